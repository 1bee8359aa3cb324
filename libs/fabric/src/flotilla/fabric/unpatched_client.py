"""nats-py as it comes, behind the methods of the prompt client: what the benchmark compares with."""

from collections.abc import Mapping
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.protocol.parser import Parser

from flotilla.fabric.message import Message
from flotilla.fabric.prompt_client import PromptClient
from flotilla.fabric.subscription_lines import Handler


class UnpatchedClient(PromptClient):
    """nats-py's own ways behind the same methods: what the ways above are compared with."""

    def __init__(self) -> None:
        super().__init__()
        self._ps = Parser(self)
        self._header_block: bytes | None = None

    async def _read_loop(self) -> None:
        await Client._read_loop(self)  # noqa: SLF001  (past the one above)

    async def handle(self, subject: str, handler: Handler, *, queue: str = "") -> Subscription:
        """Subscribe, with a queue and a task for the subscription."""

        async def hand_over(message: Msg) -> None:
            raw_headers: bytes | None = getattr(message, "raw_headers", None)
            await handler(Message(message.subject, message.reply, message.data, raw_headers))

        return await self.subscribe(subject, queue=queue, cb=hand_over)  # pyright: ignore[reportUnknownMemberType]  # nats-py leaves a Future untyped

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        self._header_block = headers
        await super()._process_msg(sid, subject, reply, data, headers)

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Any:
        message: Any = super()._build_message(sid, subject, reply, data, headers)
        message.raw_headers = self._header_block
        return message

    def send(self, subject: str, body: bytes, reply: str, headers: Mapping[str, str] | None = None) -> bool:
        """Leave everything to `publish`."""
        del subject, body, reply, headers
        return False
