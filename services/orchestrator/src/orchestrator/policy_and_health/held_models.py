"""
The model that a capability is held to (`routing.one_model`), agreed on by all orchestrators and kept when they are gone.

It stands under a key of its own in the policy bucket, in a form that decodes as an empty policy, and is written by
compare-and-set: who is second takes what the first has written. It lasts until a policy names one other model.
"""

import asyncio
from typing import Annotated, Final

import msgspec
import structlog
from msgspec import Meta, Struct

from flotilla.contracts import subjects
from flotilla.contracts.decoding import UNDECODABLE, checked
from flotilla.contracts.fields import ModelName, Name, Sequence
from flotilla.contracts.policy import FORMAT_PLAIN
from flotilla.fabric import keyvalue
from flotilla.fabric.connection import Connection
from flotilla.fabric.inbox import Requests
from flotilla.fabric.kv_cache import KvCache
from flotilla.fabric.per_item import ITEM_FAILURES, guarded
from flotilla.routing.router import PolicyRouter

logger = structlog.get_logger("orchestrator")

HELD_KEY: Final = "held-models"
HELD_MAX: Final = 1_000
"""Capabilities."""
LIST_TIMEOUT_S: Final = 30.0
AGAIN_S: Final = 0.5
"""After a write that got no answer."""


class HeldModel(Struct, frozen=True, kw_only=True):
    """The value of `HELD_KEY`; `format` makes it a policy that says nothing, for whoever takes it for one."""

    format: Sequence = FORMAT_PLAIN
    held: Annotated[dict[Name, ModelName], Meta(max_length=HELD_MAX)] = {}


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(HeldModel).decode


class HeldModels:
    """Follows what is held, and writes it down when the router asks."""

    def __init__(self, connection: Connection, requests: Requests, router: PolicyRouter) -> None:
        self._requests = requests
        self._router = router
        self._writing: asyncio.Task[None] | None = None
        self._wanted: dict[str, str] = {}
        self._named: dict[str, str] = {}
        router.on_to_hold = self._on_to_hold
        self._cache: Final[KvCache[bytes]] = KvCache(
            connection,
            requests,
            subjects.POLICY_BUCKET,
            keys=HELD_KEY,
            decode=bytes,
            on_change=self._on_change,
            verified=True,
        )

    async def start(self) -> None:
        """Read what is held, then follow it. TimeoutError when the bucket could not be listed."""
        await self._cache.start()
        async with asyncio.timeout(LIST_TIMEOUT_S):
            await self._cache.listed.wait()

    async def stop(self) -> None:
        """Stop following and writing."""
        if self._writing is not None:
            self._writing.cancel()
        await self._cache.stop()

    def _on_change(self, _key: str, body: bytes | None) -> None:
        # A bucket that is lost does not change what is held: it is written down again when it is next asked for.
        if body is not None:
            for capability, model in _held_in(body).items():
                with guarded("held_models", capability):
                    self._router.hold(capability, model)

    def _on_to_hold(self, capability: str, model: str, *, named: bool) -> None:
        self._wanted[capability] = model
        if named:
            self._named[capability] = model
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        while self._wanted:
            wanted = dict(self._wanted)
            try:
                entry = await keyvalue.get(self._requests, subjects.POLICY_BUCKET, HELD_KEY)
                known = _held_in(entry.body) if entry is not None else {}
                held = {**wanted, **known, **self._named}
                if known != held:
                    revision = await keyvalue.put(
                        self._requests,
                        subjects.POLICY_BUCKET,
                        HELD_KEY,
                        _encode(HeldModel(held=held)),
                        expected_revision=entry.revision if entry is not None else 0,
                    )
                    if revision is None:
                        continue
                    logger.info("capabilities_held", models=held, revision=revision)
            except Exception as error:  # noqa: BLE001  (what is to be held must not be forgotten, whatever it is)
                ITEM_FAILURES.tell("held_models", HELD_KEY, error)
                await asyncio.sleep(AGAIN_S)
                continue
            for capability in wanted:
                self._wanted.pop(capability, None)
                self._named.pop(capability, None)
                self._router.hold(capability, held[capability])


def _held_in(body: bytes) -> dict[str, str]:
    try:
        return _decode(checked(body)).held
    except UNDECODABLE:
        return {}
