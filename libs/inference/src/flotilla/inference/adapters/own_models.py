"""The port of adapters whose server keeps models and fetches others when it is told to."""

from collections.abc import AsyncGenerator
from typing import Protocol, runtime_checkable

from msgspec import Struct

from flotilla.inference.checks import ListsModels


class KeptModel(Struct, frozen=True, kw_only=True):
    """
    A model that a server has.

    Attributes:
        runs_elsewhere: Whether the server hands its calls on to another one: what it is given leaves the machine.
        is_for_embedding: Whether it embeds, and does not chat.
    """

    name: str
    runs_elsewhere: bool = False
    is_for_embedding: bool = False


class PullProgress(Struct, frozen=True, kw_only=True):
    """
    How far the server is with pulling a model.

    Attributes:
        status: What it does, in its own words.
        completed_bytes: Of the layer that it pulls now; 0 when it pulls none.
        total_bytes: The same.
    """

    status: str
    completed_bytes: int
    total_bytes: int


@runtime_checkable
class FetchesModels(ListsModels, Protocol):
    """A server that keeps models, and fetches others."""

    async def installed(self, *, timeout_s: float) -> list[KeptModel]:
        """What it has; raises AttemptError as a completion does."""
        ...

    def pull(self, model: str) -> AsyncGenerator[PullProgress]:
        """Fetch one; tells how far it is, until the server has it; raises AttemptError. There is no deadline."""
        ...

    async def aclose(self) -> None:
        """Close its connections."""
        ...
