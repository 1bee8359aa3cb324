"""Questions to the fleet: `api.<verb>`, answered by any orchestrator of the queue group."""

import asyncio
import secrets
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import structlog

from flotilla.contracts import subjects
from flotilla.contracts.errors import BadRequestError, TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.fabric.connection import Connection, Message
from flotilla.fabric.errors import FabricError
from flotilla.fabric.groups import leave
from orchestrator.questions import Answerer, Question
from orchestrator.replies import IMPORTED_REPLY, internal, reply_error

logger = structlog.get_logger("orchestrator")

IN_FLIGHT_MAX: Final = 1024


class Api:
    """Serves the `api` subjects of the scopes it was given, a function for each verb."""

    def __init__(self, connection: Connection, *, scopes: tuple[str, ...], verbs: Mapping[str, Answerer]) -> None:
        self._connection = connection
        self._scopes = scopes
        self._verbs = verbs
        self._memberships: list[Any] = []
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Join the queue group of every scope."""
        for scope in self._scopes:
            membership = await self._connection.subscribe(
                subjects.api(scope, "*"), self._on_request, queue=subjects.ORCHESTRATOR_GROUP
            )
            self._memberships.append(membership)

    async def stop(self) -> None:
        """Leave the groups; questions under way are still answered, those that wait for something are told at once."""
        memberships, self._memberships = self._memberships, []
        await asyncio.gather(*(leave(self._connection, member) for member in memberships))
        if self._serving:
            await asyncio.wait(self._serving, timeout=1.0)
        late = list(self._serving)
        for serving in late:
            serving.cancel()
        if late:
            await asyncio.wait(late, timeout=1.0)

    async def _on_request(self, message: Message) -> None:
        if not message.reply:
            return
        if len(self._serving) >= IN_FLIGHT_MAX:
            await reply_error(
                self._connection, message.reply, TaskError(ErrorKind.NO_CAPACITY, "too many questions at a time")
            )
            return
        serving = asyncio.get_running_loop().create_task(self._serve(message))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)

    async def _serve(self, message: Message) -> None:
        _, scope, _, verb = message.subject.split(".")
        from_tenant = message.reply.startswith(IMPORTED_REPLY)
        question = Question(scope=scope, verb=verb, body=message.data, from_tenant=from_tenant)
        reference = secrets.token_hex(6)
        try:
            answer = await self._verbs.get(verb, self._unknown)(question)
        except TaskError as error:
            await reply_error(self._connection, message.reply, error)
        except asyncio.CancelledError:
            logger.warning("api_stopped", id=reference, verb=verb)
            stopped = _failed("the orchestrator was stopped before it could answer; ask again", reference)
            await reply_error(self._connection, message.reply, stopped)
        except FabricError as error:
            logger.warning("api_failed", id=reference, verb=verb, error=type(error).__name__)
            failed = _failed("the stores could not be reached; try again", reference)
            await reply_error(self._connection, message.reply, failed)
        except Exception:
            logger.exception("api_crashed", id=reference, verb=verb)
            await reply_error(self._connection, message.reply, internal(reference))
        else:
            await self._connection.publish(message.reply, msgspec.json.encode(answer))

    async def _unknown(self, _question: Question) -> None:
        known = ", ".join(sorted(self._verbs))
        raise BadRequestError(f"no such question; known are {known}", path="subject", expected=known)


def _failed(text: str, reference: str) -> TaskError:
    """The error for what may pass, which therefore says what it was; the logs have more under the reference."""
    return TaskError(ErrorKind.INTERNAL, text, details={"id": reference})
