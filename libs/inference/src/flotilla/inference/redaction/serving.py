"""A worker that redacts: the engine alone, or beside the model that its pool serves, which then finds what it can too."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from flotilla.capabilities.catalogue import Catalogue
from flotilla.contracts.redaction import LOCAL_CAPABILITIES
from flotilla.fabric.connection import Connection
from flotilla.fabric.inbox import Requests
from flotilla.inference.backend import Answer, Backend, Work
from flotilla.inference.redaction.detection import Detection
from flotilla.inference.redaction.engine import RedactionEngine
from flotilla.inference.redaction.model_layer import CAPABILITY, ModelLayer
from flotilla.inference.redaction.vault_keys import VaultKeys
from flotilla.inference.redaction.vaults import Vaults
from flotilla.inference.serving import Opened, Serving
from flotilla.inference.settings import WorkerSettings
from flotilla.privacy import Layer

MakeBucket = Callable[[Requests], Awaitable[None]]
"""Makes the bucket of the vaults where it is missing."""


def serving_redaction(
    settings: WorkerSettings, detection: Detection, keys: VaultKeys, make_bucket: MakeBucket
) -> Serving:
    """
    Redact and restore, and nothing else.

    Raises:
        SettingsError: A layer that is configured is not there.
    """
    engine = RedactionEngine(detection.layers())
    cards = engine.model_cards()
    if settings.model_names():
        cards = settings.model_cards(engine.capabilities())
    catalogue = Catalogue.load(settings.capability_files)
    return Serving(backend=engine, catalogue=catalogue, models=cards, opened=_opened(engine, None, keys, make_bucket))


def with_redaction(
    serving: Serving, settings: WorkerSettings, detection: Detection, keys: VaultKeys, make_bucket: MakeBucket
) -> Serving:
    """
    What a pool serves with its models, and redaction, in which its model is asked for entities where it serves them.

    Raises:
        SettingsError: A layer that is configured is not there.
    """
    found: list[Layer] = [*detection.layers()]
    model = ModelLayer(serving.backend) if CAPABILITY in serving.backend.capabilities() else None
    if model is not None:
        found.append(model)
    engine = RedactionEngine(found, threads=settings.slots)
    return msgspec.structs.replace(
        serving,
        backend=_Both(serving.backend, engine),
        models=[*serving.models, *engine.model_cards()],
        opened=_opened(engine, model, keys, make_bucket),
    )


def _opened(engine: RedactionEngine, model: ModelLayer | None, keys: VaultKeys, make_bucket: MakeBucket) -> Opened:
    @asynccontextmanager
    async def opened(connection: Connection) -> AsyncGenerator[None]:
        if model is not None:
            model.open(asyncio.get_running_loop())
        requests = Requests(connection)
        async with AsyncExitStack() as stack:
            await requests.start()
            stack.push_async_callback(requests.stop)
            await make_bucket(requests)
            vaults = Vaults(requests, keys, make_bucket)
            stack.push_async_callback(vaults.stop)
            engine.open(vaults)
            yield

    return opened


class _Both:
    """Two backends as one: what redacts goes to the engine, everything else to the models."""

    def __init__(self, models: Backend, engine: RedactionEngine) -> None:
        self._models = models
        self._engine = engine

    @property
    def provider(self) -> str:
        """The provider of the models; the engine beside them is not shown."""
        return self._models.provider

    def capabilities(self) -> frozenset[str]:
        """What the models serve, and what the engine does."""
        return self._models.capabilities() | self._engine.capabilities()

    async def answer(self, work: Work) -> Answer:
        """Have the one that serves the capability answer."""
        backend: Backend = self._engine if work.capability in LOCAL_CAPABILITIES else self._models
        return await backend.answer(work)

    async def aclose(self) -> None:
        """Close the engine, then the models."""
        await self._engine.aclose()
        await self._models.aclose()
