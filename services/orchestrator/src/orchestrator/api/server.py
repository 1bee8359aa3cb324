"""API requests to the fleet: `api.<verb>`, answered by any orchestrator of the queue group."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import msgspec
import structlog

from flotilla.contracts import subjects
from flotilla.contracts.errors import BadRequestError, TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.names import OBSERVER_ACCOUNT
from flotilla.fabric.backpressure import BoundedMembership
from flotilla.fabric.connection import Connection, Message
from flotilla.fabric.errors import FabricError
from flotilla.fabric.prompt_client import IMPORTED_REPLY
from orchestrator.api.requests import Answerer, ApiRequest
from orchestrator.api.turns import Turns
from orchestrator.execution.crashes import internal
from orchestrator.state.origins import REQUEST_INFO
from orchestrator.state.reading_time import ReadingTime, refused
from orchestrator.state.shares import Shares
from orchestrator.ways_in.replies import FOR_NO_STREAM, NO_HEADERS, may_answer, reply_error

logger = structlog.get_logger("orchestrator")

RETRY_AFTER_S: Final = 1.0
AT_ONCE_MAX: Final = 256
AT_ONCE_PER_SCOPE_MAX: Final = 64
"""API requests that are being answered; the others wait, and scopes take turns."""
IN_HAND_MAX: Final = 1024
IN_HAND_PER_SCOPE_MAX: Final = 256
IN_HAND_BYTES_MAX: Final = 16 * 1024 * 1024
IN_HAND_BYTES_PER_SCOPE_MAX: Final = 4 * 1024 * 1024
QUESTION_BYTES_MAX: Final = 2 * 1024 * 1024
"""A value of the blackboard, and what it is wrapped in, fit."""
WATCHES_MAX: Final = 2048
WATCHES_PER_SCOPE_MAX: Final = 256
"""API requests that wait for something to happen; they take nothing from the others."""

_FROM_OBSERVER: Final = f'"acc":"{OBSERVER_ACCOUNT}"'


class Api:
    """
    Serves the `api` subjects of the scopes it was given, a function for each verb.

    What one scope asks never keeps another's requests from being answered: of requests in hand, of their bytes, and of
    watches each has a bound of its own within that of all, and the places where they are answered go from scope to scope.
    """

    def __init__(self, connection: Connection, *, scopes: tuple[str, ...], verbs: Mapping[str, Answerer]) -> None:
        self._connection = connection
        self._reading = ReadingTime((*scopes, OBSERVER_ACCOUNT) if len(scopes) > 1 else scopes)
        self._scopes = scopes
        self._verbs = verbs
        self._memberships: dict[str, BoundedMembership] = {}
        self._serving: set[asyncio.Task[None]] = set()
        self._turns = Turns(places=AT_ONCE_MAX, per_scope_max=AT_ONCE_PER_SCOPE_MAX)
        self._in_hand = Shares(total_max=IN_HAND_MAX, per_scope_max=IN_HAND_PER_SCOPE_MAX)
        self._bytes = Shares(total_max=IN_HAND_BYTES_MAX, per_scope_max=IN_HAND_BYTES_PER_SCOPE_MAX)
        self._watches = Shares(total_max=WATCHES_MAX, per_scope_max=WATCHES_PER_SCOPE_MAX)

    async def start(self) -> None:
        """Join the queue group of every scope."""
        for scope in self._scopes:
            joined = await self._connection.subscribe(
                subjects.api(scope, "*"), self._on_request, queue=subjects.ORCHESTRATOR_GROUP
            )
            self._memberships[scope] = BoundedMembership(self._connection, joined)

    async def stop(self) -> None:
        """Leave the groups; requests under way are still answered, those that wait for something are told at once."""
        await asyncio.gather(*(membership.end() for membership in self._memberships.values()))
        if self._serving:
            await asyncio.wait(self._serving, timeout=1.0)
        late = list(self._serving)
        for serving in late:
            serving.cancel()
        if late:
            await asyncio.wait(late, timeout=1.0)

    async def _on_request(self, message: Message) -> None:
        _, scope, _, verb = message.subject.split(".")
        size = len(message.data)
        membership = self._memberships.get(scope)
        if membership is not None:
            membership.read(size)
        asker = _asker(message, scope)
        self._reading.arrived(asker, size)
        held_off_s = self._reading.held_off_s(asker)
        if held_off_s and membership is not None and asker == scope:
            membership.hold_off(held_off_s)
        if not may_answer(message.reply):
            return
        if held_off_s:
            await reply_error(self._connection, message.reply, refused(held_off_s))
            return
        if size > QUESTION_BYTES_MAX:
            details = {"limit_bytes": QUESTION_BYTES_MAX, "size_bytes": size}
            text = f"the question has {size} bytes; at most {QUESTION_BYTES_MAX}"
            await reply_error(self._connection, message.reply, TaskError(ErrorKind.TOO_LARGE, text, details=details))
            return
        if not self._in_hand.take(asker):
            await self._refuse(message.reply)
            return
        if size and not self._bytes.take(asker, size):
            self._in_hand.give_back(asker)
            await self._refuse(message.reply)
            return
        place = _Place(self._turns, self._in_hand, self._watches, asker)
        serving = asyncio.get_running_loop().create_task(self._serve(message, scope, verb, place))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)

        def over(_serving: object) -> None:
            place.give_up()
            if size:
                self._bytes.give_back(asker, size)

        serving.add_done_callback(over)

    async def _refuse(self, reply: str) -> None:
        text = "as many requests of the scope wait already as may; ask fewer at a time"
        error = TaskError(ErrorKind.NO_CAPACITY, text, details={"retry_after_s": RETRY_AFTER_S})
        await reply_error(self._connection, reply, error)

    async def _serve(self, message: Message, scope: str, verb: str, place: "_Place") -> None:
        from_tenant = message.reply.startswith(IMPORTED_REPLY)
        info = message.headers.get(REQUEST_INFO, "") if message.raw_headers is not None else ""
        question = ApiRequest(
            scope=scope,
            verb=verb,
            body=message.data,
            from_tenant=from_tenant,
            request_info=info,
            waiting=place.waiting,
        )
        headers = FOR_NO_STREAM if verb in subjects.APPROVER_VERBS else NO_HEADERS
        refuse = partial(reply_error, self._connection, message.reply, headers=headers)
        reference = secrets.token_hex(6)
        try:
            await place.take()
            answer = msgspec.json.encode(await self._verbs.get(verb, self._unknown)(question))
            # One that cannot be sent is a crash like any other: whoever asked is told.
            await self._connection.publish(message.reply, answer, headers=headers or None)
        except TaskError as error:
            await refuse(error)
        except asyncio.CancelledError:
            logger.warning("api_stopped", id=reference, verb=verb)
            stopped = _failed("the orchestrator was stopped before it could answer; ask again", reference)
            await refuse(stopped)
        except FabricError as error:
            logger.warning("api_failed", id=reference, verb=verb, error=type(error).__name__)
            failed = _failed("the stores could not be reached; try again", reference)
            await refuse(failed)
        except Exception:
            logger.exception("api_crashed", id=reference, verb=verb)
            await refuse(internal(reference))

    async def _unknown(self, _question: ApiRequest) -> None:
        known = ", ".join(sorted(self._verbs))
        raise BadRequestError(f"no such question; known are {known}", path="subject", expected=known)


def _asker(message: Message, scope: str) -> str:
    """
    Whose share a question takes: the scope's, or the observer's, who asks about any.

    The server says in a header which account a request came from, in the place of whatever its sender wrote there.
    """
    if message.raw_headers is not None and _FROM_OBSERVER in message.headers.get(REQUEST_INFO, ""):
        return OBSERVER_ACCOUNT
    return scope


class _Place:
    """Where one question stands: in hand, one of those that are being answered, or waiting for something to happen."""

    def __init__(self, turns: Turns, in_hand: Shares, watches: Shares, scope: str) -> None:
        self._turns = turns
        self._in_hand = in_hand
        self._watches = watches
        self._scope = scope
        self._has_turn = False
        self._watching = False

    async def take(self) -> None:
        """Wait for a turn."""
        await self._turns.take(self._scope)
        self._has_turn = True

    @asynccontextmanager
    async def waiting(self) -> AsyncGenerator[None]:
        """
        Leave the place to others while something is waited for that may not happen.

        Raises:
            TaskError: `no_capacity`: as many of the scope do so already as may.
        """
        if not self._watching:
            if not self._watches.take(self._scope):
                text = "as many watches of the scope wait already as may; close some"
                raise TaskError(ErrorKind.NO_CAPACITY, text, details={"retry_after_s": RETRY_AFTER_S})
            # A watch counts as one to its end: it is woken with the others, and waits for its turn again.
            self._watching = True
            self._in_hand.give_back(self._scope)
        self._has_turn = False
        self._turns.give_back(self._scope)
        yield
        await self.take()

    def give_up(self) -> None:
        """It is over."""
        if self._has_turn:
            self._has_turn = False
            self._turns.give_back(self._scope)
        (self._watches if self._watching else self._in_hand).give_back(self._scope)


def _failed(text: str, reference: str) -> TaskError:
    """The error for what may pass, which therefore says what it was; the logs have more under the reference."""
    return TaskError(ErrorKind.INTERNAL, text, details={"id": reference})
