"""What an adapter is made from, and the adapter of a provider by its record."""

import importlib
from collections.abc import Callable, Mapping
from typing import Protocol, cast

from msgspec import Struct

from flotilla.contracts.providers import Provider
from flotilla.inference.adapters.egress import Egress
from flotilla.inference.adapters.failures import CONNECTIONS_MAX
from flotilla.inference.backend import Model
from flotilla.inference.checks import ListsModels


class Access(Struct, frozen=True, kw_only=True):
    """
    How a provider is reached.

    Attributes:
        api_key: None for a server that wants none.
        base_url: As the provider's `address` variable has it; None where it has none.
        egress: Which way calls take, and to which hosts they may go.
        connections_max: Calls that may run at once; more wait for a connection within their own timeout.
        headers: What a gateway before the provider wants beside the protocol's own; see `extra_headers`.
        context_tokens: The context that a server of one's own is to load models with; None leaves it to the server.
    """

    provider: Provider
    api_key: str | None
    base_url: str | None
    egress: Egress
    connections_max: int = CONNECTIONS_MAX
    headers: Mapping[str, str] | None = None
    context_tokens: int | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        """What goes with every call and is shown to nobody: the key, and the values of the headers."""
        key = (self.api_key,) if self.api_key else ()
        return (*key, *(self.headers or {}).values())


class Adapter(Model, ListsModels, Protocol):
    """A provider's models, which it can list."""


def connect(access: Access) -> Adapter:
    """
    Make the adapter; nothing is connected to yet. Its module is imported here: an image has one provider's SDK.

    Raises:
        ImportError: The provider's extra is not installed.
        ValueError: An address, or a setting of the network, cannot be used.
    """
    module = importlib.import_module(f"flotilla.inference.adapters.{access.provider.adapter}")
    made = cast("Callable[[Access], Adapter]", module.connect)
    return made(access)
