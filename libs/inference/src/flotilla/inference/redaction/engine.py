"""The backend that redacts, restores and looks after vaults: no model, as many replicas as one likes."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from flotilla.capabilities.errors import AttemptError
from flotilla.capabilities.json_schema import encode_json
from flotilla.contracts.failures import RULES, FailureKind
from flotilla.contracts.presence import ModelCard
from flotilla.contracts.redaction import (
    LOCAL_CAPABILITIES,
    Found,
    Placeholder,
    RedactInput,
    RedactOutput,
    RestoreInput,
    RestoreOutput,
    VaultInput,
    VaultOutput,
)
from flotilla.inference.backend import Answer, Emit, Work
from flotilla.inference.redaction.documents import RedactedDocument, redact_document
from flotilla.inference.redaction.model_layer import GIVES_UP_AT, ModelFailedError
from flotilla.inference.redaction.vaults import Vaults
from flotilla.privacy import Account, Entries, Layer, Policy, PrivacyError, StreamRestorer, restore_json
from flotilla.privacy.errors import EntriesError, LanguageError, LayerError, LayerTimeoutError, UnsupportedTextError

PROVIDER: Final = "redaction"
MODELS: Final = {"redact": "patterns-1", "restore": "vaults-1", "vault": "vaults-1"}
"""By capability. Restoring needs no detection: a layer that fails must not close its route, so it has one of its own."""
THREADS_MAX: Final = 4
PIECE_LENGTH: Final = 4_096
"""Characters of a text that is restored piece by piece."""

_T = TypeVar("_T")


class RedactionEngine:
    """
    Serves `redact`, `restore` and `vault`.

    It fails closed: whatever a layer does but answer fails the attempt, and the error names the layer and nothing of the
    text. Work runs in threads of its own, as many as there are cores; one that is not waited for any more ends unheard.
    """

    def __init__(self, layers: Sequence[Layer], *, threads: int | None = None) -> None:
        self._layers = tuple(layers)
        self._vaults: Vaults | None = None
        count = threads if threads is not None else min(os.cpu_count() or 1, THREADS_MAX)
        self._threads = ThreadPoolExecutor(max_workers=count, thread_name_prefix="redaction")

    def open(self, vaults: Vaults) -> None:
        """Serve with these vaults: the connection that they need comes after the backend."""
        self._vaults = vaults

    @property
    def provider(self) -> str:
        """`redaction`."""
        return PROVIDER

    def capabilities(self) -> frozenset[str]:
        """What the local zone alone serves."""
        return frozenset(LOCAL_CAPABILITIES)

    def model_cards(self) -> list[ModelCard]:
        """For the replica's card."""
        return [
            ModelCard(name=model, capabilities=sorted(name for name in MODELS if MODELS[name] == model))
            for model in dict.fromkeys(MODELS.values())
        ]

    async def answer(self, work: Work) -> Answer:
        """
        Redact, restore, or look after vaults.

        Raises:
            AttemptError: NOT_FOUND for a vault that is none of the scope; BAD_INPUT for what cannot be redacted; CRASHED
                and TIMEOUT for a layer that failed, or why the pool's model did where that passes; REFUSED for other
                capabilities and for a task of no scope.
        """
        began = time.perf_counter()
        if self._vaults is None or not work.scope:
            raise AttemptError(FailureKind.REFUSED, "the orchestrator does not say whose task it is: update it")
        served = await told(self._served(self._vaults, work))
        output = msgspec.Raw(encode_json(served))
        if work.emit is not None and not (isinstance(served, RestoreOutput) and isinstance(served.document, str)):
            await work.emit(bytes(output).decode())
        spent_ms = (time.perf_counter() - began) * 1000
        return Answer(output=output, provider=PROVIDER, model=MODELS[work.capability], provider_ms=spent_ms)

    async def aclose(self) -> None:
        """Drop what has not begun; what runs in a thread ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _served(self, vaults: Vaults, work: Work) -> Struct:
        match work.input:
            case RedactInput():
                return await self._redact(vaults, work, work.input)
            case RestoreInput():
                return await self._restore(vaults, work, work.input)
            case VaultInput():
                return await self._vault(vaults, work.scope, work.input)
            case _:
                raise AttemptError(FailureKind.REFUSED, f"the capability {work.capability} is not served here")

    async def _redact(self, vaults: Vaults, asked: Work, given: RedactInput) -> Struct:
        switched = Policy(off=frozenset(asked.redaction.off), score_min=asked.redaction.score_min)

        gives_up_at = time.monotonic() + asked.deadline_s

        def in_time(entries: Entries) -> RedactedDocument:
            GIVES_UP_AT.set(gives_up_at)
            return redact_document(given.document, entries, self._layers, given.language, switched)

        async def work(entries: Entries) -> tuple[RedactedDocument, Entries]:
            done = await self._in_thread(partial(in_time, entries))
            return done, done.entries

        redacted, handle, expires_unix_ms = await vaults.change(
            asked.scope, work, handle=given.vault, case=given.case, lifetime_s=given.lifetime_s
        )
        placeholders = [
            Placeholder(
                placeholder=redacted.entries.placeholder_of(entry), type=entry.type, count=redacted.counts[entry.number]
            )
            for entry in redacted.entries
            if redacted.counts[entry.number]
        ]
        by_type: Counter[str] = Counter()
        for each in placeholders:
            by_type[each.type] += each.count
        return RedactOutput(
            document=redacted.document,
            vault=handle,
            placeholders=placeholders,
            found=[Found(type=name, count=count) for name, count in by_type.most_common()],
            expires_unix_ms=expires_unix_ms,
        )

    async def _restore(self, vaults: Vaults, asked: Work, given: RestoreInput) -> Struct:
        entries = await vaults.entries(asked.scope, given.vault)
        account = Account()
        document = given.document
        if asked.emit is not None and isinstance(document, str) and len(document) > PIECE_LENGTH:
            document, account = await self._restored_in_pieces(document, entries, asked.emit)
        else:
            document = await self._in_thread(partial(restore_json, document, entries, account))
            if asked.emit is not None and isinstance(document, str) and document:
                await asked.emit(document)
        return RestoreOutput(
            document=document,
            restored=account.restored,
            unknown=list(account.unknown),
            missing=account.missing(entries),
        )

    async def _restored_in_pieces(self, text: str, entries: Entries, emit: Emit) -> tuple[str, Account]:
        """A long text, told piece by piece as it is restored; no piece has a part of a placeholder."""
        restorer = StreamRestorer(entries)
        told: list[str] = []
        for start in range(0, len(text) + PIECE_LENGTH, PIECE_LENGTH):
            piece = text[start : start + PIECE_LENGTH]
            restored = await self._in_thread(partial(restorer.feed, piece) if piece else restorer.close)
            if restored:
                told.append(restored)
                await emit(restored)
        return "".join(told), restorer.account

    async def _vault(self, vaults: Vaults, scope: str, given: VaultInput) -> Struct:
        if given.action == "forget":
            return VaultOutput(forgotten=await vaults.forget(scope, handle=given.vault, case=given.case))
        return await vaults.listed(scope)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


async def told(serving: Awaitable[_T]) -> _T:
    """
    Await, and have what the library raises become a failure's kind; its texts quote nothing of a document.

    Raises:
        AttemptError: See `RedactionEngine.answer`.
    """
    failure: AttemptError
    try:
        return await serving
    except ModelFailedError as error:
        # A model that is overloaded or being loaded is waited for; what is wrong with it for good is the layer's failure.
        failure = AttemptError(error.kind if RULES[error.kind].passes else FailureKind.CRASHED, str(error))
    except LayerError as error:
        kind = FailureKind.TIMEOUT if isinstance(error, LayerTimeoutError) else FailureKind.CRASHED
        failure = AttemptError(kind, str(error))
    except (UnsupportedTextError, LanguageError) as error:
        failure = AttemptError(FailureKind.BAD_INPUT, f"$.document: {error}")
    except EntriesError as error:
        failure = AttemptError(FailureKind.TOO_LARGE, str(error))
    except PrivacyError as error:
        failure = AttemptError(FailureKind.CRASHED, f"redaction failed ({type(error).__name__})")
    raise failure
