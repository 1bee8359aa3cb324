"""The settings of a worker that serves a provider: those of every worker, and the variables of its zone's providers."""

from typing import TYPE_CHECKING, cast

import msgspec

from flotilla.contracts.providers import Provider, providers_of
from flotilla.contracts.subjects import Zone
from flotilla.inference.settings import WorkerSettings


class ProviderSettings(WorkerSettings, frozen=True, kw_only=True):
    """
    Settings of a worker, with a field for each variable of a provider, called like it: `openai_api_key`.

    The fields are made from the providers' records (`settings_of`).
    """

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> str | None: ...

    def key_of(self, provider: Provider) -> str | None:
        """The provider's API key; None when it is not set."""
        return self._value(provider.key)

    def address_of(self, provider: Provider) -> str | None:
        """The provider's base URL; None when it is not set."""
        return self._value(provider.address)

    def _value(self, variable: str) -> str | None:
        return getattr(self, variable.lower()) if variable else None


def settings_of(zone: Zone) -> type[ProviderSettings]:
    """The settings of a service that serves this zone's providers."""
    names = sorted({name for provider in providers_of(zone) for name in (provider.key, provider.address) if name})
    made = msgspec.defstruct(
        f"{zone.capitalize()}ProviderSettings",
        [(name.lower(), str | None, None) for name in names],
        bases=(ProviderSettings,),
        namespace={"__foreign__": {name.lower(): name for name in names}},
        module=__name__,
        frozen=True,
        kw_only=True,
    )
    return cast("type[ProviderSettings]", made)
