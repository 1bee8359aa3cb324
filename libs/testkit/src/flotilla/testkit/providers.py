"""
Model providers as real HTTP servers on free ports, which do as they are told.

`provider_ollama`, `provider_openai` and `provider_anthropic` speak one protocol each; what they share is here. The
steps that a server can be told to take are in `provider_steps`; without a script it answers with `otherwise`.
Questions about a model take no step and stand in `shown`, not in `requests`.

    async with OllamaServer() as server:
        server.script(Fails(503), Says("second time lucky"))
        ...
        assert server.requests[0].body["model"] == "llama3.2"
"""

import asyncio
import json
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, ClassVar, Final, Literal, Self

from aiohttp import web

from flotilla.testkit.patient_client import WAIT_S
from flotilla.testkit.ports import free_ports
from flotilla.testkit.provider_steps import Cuts, Fails, FailsInside, Garbage, Loops, Received, Says, Stalls, Step

SCRIPT_STEPS_MAX: Final = 1000
REQUESTS_MAX: Final = 100_000
BODY_BYTES_MAX: Final = 64 * 1024 * 1024
SHUTDOWN_S: Final = 0.2

Call = Literal["chat", "embed", "list", "show", "pull"]
"""What can be asked of a provider. `show` is a question about a model before it is used; it and `pull` are Ollama's."""


class ProviderServer(ABC):
    """
    What the three servers share.

    Args:
        api_key: When given, requests without it are refused as the provider does.
        models: When given, others are not found.
    """

    stream_type: ClassVar[str] = "text/event-stream"

    def __init__(self, *, api_key: str | None = None, models: tuple[str, ...] | None = None) -> None:
        self.api_key = api_key
        self.models = models
        self.otherwise: Step | Callable[[Received], Step] = Says()
        self.requests: deque[Received] = deque(maxlen=REQUESTS_MAX)
        self.shown: deque[Received] = deque(maxlen=REQUESTS_MAX)
        self._script: deque[Step] = deque()
        self._arrived = asyncio.Condition()
        self._closing = False
        self._runner: web.AppRunner | None = None
        # Not one of those that others get with port 0: while this server is away, nobody may answer in its place.
        self._port = free_ports(1)[0]
        self._url = ""

    @property
    def url(self) -> str:
        """Without a path."""
        return self._url

    def script(self, *steps: Step) -> None:
        """Take these steps, one a request, then go on with `otherwise`. ValueError past `SCRIPT_STEPS_MAX`."""
        if len(self._script) + len(steps) > SCRIPT_STEPS_MAX:
            raise ValueError(f"a script has at most {SCRIPT_STEPS_MAX} steps")
        self._script.extend(steps)

    async def received(self, number: int = 1) -> Received:
        """Wait until `number` requests have come in all, and give the last of them. TimeoutError after `WAIT_S`."""
        async with asyncio.timeout(WAIT_S), self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= number)
        return self.requests[number - 1]

    async def start(self) -> Self:
        """Listen on a free port of the loopback; after `aclose` on the same one as before."""
        self._closing = False
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=SHUTDOWN_S)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self._runner.addresses[0][1]
        self._url = f"http://127.0.0.1:{self._port}"
        return self

    async def aclose(self) -> None:
        """Stop listening and drop every connection."""
        self._closing = True
        if self._runner is not None:
            await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # --- what a protocol fills in ---

    @abstractmethod
    def answers(self, received: Received) -> Call | None:
        """Which call a request is; None when the provider has nothing at that path."""

    @abstractmethod
    def objection(self, received: Received) -> Fails | None:
        """What the provider itself would refuse about a well-addressed request."""

    @abstractmethod
    def whole(self, received: Received, says: Says) -> dict[str, Any]:
        """The body of an answer that is not streamed."""

    @abstractmethod
    def opening(self, received: Received, says: Says) -> list[bytes]:
        """The frames before the first piece."""

    @abstractmethod
    def piece(self, received: Received, text: str) -> bytes:
        """The frame of one piece."""

    @abstractmethod
    def closing(self, received: Received, says: Says) -> list[bytes]:
        """The frames after the last piece, the end marker among them."""

    @abstractmethod
    def failure(self, fails: Fails) -> dict[str, Any]:
        """The body of an error."""

    @abstractmethod
    def failure_inside(self, fails: FailsInside) -> bytes:
        """The frame of an error in a stream."""

    @abstractmethod
    def embedding(self, received: Received, says: Says) -> dict[str, Any]:
        """The body of an answer to an embedding call."""

    @abstractmethod
    def listing(self) -> dict[str, Any]:
        """The body of the list of models."""

    def showing(self, received: Received) -> dict[str, Any]:
        """The body of an answer about one model."""
        raise NotImplementedError

    def pulling(self, received: Received) -> list[bytes]:
        """The frames of an answer to a pull; the model is there afterwards."""
        raise NotImplementedError

    def unfinished(self, received: Received, loops: Loops) -> dict[str, Any]:
        """The body of an answer that the provider ended and does not call done."""
        raise NotImplementedError

    # --- serving ---

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        port = request.transport.get_extra_info("peername")[1] if request.transport is not None else 0
        received = Received(request.method, request.path, request.headers, json.loads(body) if body else None, port)
        if self.answers(received) == "show":
            self.shown.append(received)
        else:
            async with self._arrived:
                self.requests.append(received)
                self._arrived.notify_all()
        try:
            return await self._answer(request, received)
        except (asyncio.CancelledError, ConnectionError):
            if not self._closing:
                received.disconnected.set()
            raise

    async def _answer(self, request: web.Request, received: Received) -> web.StreamResponse:
        call = self.answers(received)
        step = self._refusal(received, call)
        if step is None and (answer := self._without_a_step(received, call)) is not None:
            return answer
        if step is None:
            step = await self._next_step(received)
        match step:
            case Fails():
                return web.json_response(self.failure(step), status=step.status, headers=step.headers)
            case Garbage(body=body, status=status, content_type=kind, headers=headers):
                return web.Response(body=body, status=status, content_type=kind, headers=headers)
            case Says() if call == "embed":
                return web.json_response(self.embedding(received, step))
            case _ if received.streams:
                ends = Cuts(step.pieces, how="clean") if isinstance(step, Loops) else step
                return await self._stream(request, received, ends)
            case _:
                return await self._whole(request, received, step)

    def _without_a_step(self, received: Received, call: str | None) -> web.Response | None:
        if call == "pull":
            return web.Response(body=b"".join(self.pulling(received)), content_type=self.stream_type)
        if call in ("list", "show"):
            return web.json_response(self.listing() if call == "list" else self.showing(received))
        return None

    async def _next_step(self, received: Received) -> Says | Fails | Cuts | Loops | FailsInside | Garbage:
        step = self._script.popleft() if self._script else self.otherwise
        if callable(step):
            step = step(received)
        if isinstance(step, Stalls):
            await step.until.wait()
            return Says()
        return step

    def _refusal(self, received: Received, call: str | None) -> Fails | None:
        if call is None:
            return Fails(404, message=f"no such path: {received.path}")
        given = received.headers.get("authorization", "").removeprefix("Bearer ") or received.headers.get("x-api-key")
        if self.api_key is not None and given != self.api_key:
            # Providers show a part of the wrong key in this message.
            return Fails(401, code="invalid_api_key", message=f"Incorrect API key provided: {given}")
        if call in ("list", "pull"):
            return None
        model = received.body.get("model")
        if self.models is not None and model not in self.models:
            return Fails(404, code="model_not_found", message=f"model {model!r} not found")
        return None if call == "show" else self.objection(received)

    async def _stream(
        self, request: web.Request, received: Received, step: Says | Cuts | FailsInside
    ) -> web.StreamResponse:
        says = step if isinstance(step, Says) else Says(text="".join(step.pieces), pieces=step.pieces)
        response = web.StreamResponse(headers={"content-type": self.stream_type})
        await response.prepare(request)
        for frame in self.opening(received, says):
            await response.write(frame)
        cuts = says.cuts
        for index, text in enumerate(cuts):
            if says.hold is not None and index == len(cuts) - 1:
                await says.hold.wait()
            await response.write(self.piece(received, text))
        match step:
            case Says():
                for frame in self.closing(received, says):
                    await response.write(frame)
            case FailsInside():
                await response.write(self.failure_inside(step))
            case Cuts():
                if step.torn:
                    frame = self.piece(received, " lost")
                    await response.write(frame[: len(frame) // 2])
                if step.how == "close":
                    return _dropped(request, response)
        await response.write_eof()
        return response

    async def _whole(
        self, request: web.Request, received: Received, step: Says | Cuts | Loops | FailsInside
    ) -> web.StreamResponse:
        if isinstance(step, Says):
            if step.hold is not None:
                await step.hold.wait()
            return web.json_response(self.whole(received, step))
        if isinstance(step, Loops):
            return web.json_response(self.unfinished(received, step))
        body = json.dumps(self.whole(received, Says())).encode()
        response = web.StreamResponse(headers={"content-type": "application/json", "content-length": str(len(body))})
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        return _dropped(request, response)


def _dropped(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.close()
    return response
