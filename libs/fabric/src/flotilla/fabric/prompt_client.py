"""
nats-py's client with fewer turns of the event loop on the way of a message, and the same batching.

nats-py has a task read what has arrived, puts each message into its subscription's queue, where a task finds it a turn
later, and has another task write what the handler publishes, one more turn later. Here a message is handled as the socket
hands it over, and what all the messages of one read led to is written at the end of that read, in one system call. What
tasks publish between reads is gathered for one turn.

Everything that goes out passes `subject_guard`, and what comes in is read by `wire_reader`. The rest (connecting,
reconnecting, subscriptions without a handler) is nats-py's.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from nats.aio.client import PING_PROTO, Client
from nats.aio.subscription import Subscription
from nats.errors import ConnectionClosedError, SlowConsumerError

from flotilla.fabric.eager import start
from flotilla.fabric.errors import MalformedSubjectError
from flotilla.fabric.message import HeaderBlock, Message
from flotilla.fabric.subject_guard import check_pattern, check_queue, header_block, is_literal, literal
from flotilla.fabric.subscription_lines import BEHIND_BYTES_MAX, Handler, SubscriptionLine
from flotilla.fabric.unreadable import UNREADABLE
from flotilla.fabric.wire_reader import WireReader

IMPORTED_REPLY: Final = "_R_."
"""How the server begins the reply subject of a request that came from another account."""
SMALL_BYTES: Final = 64 * 1024
UNREAD_BYTES_MAX: Final = 1024 * 1024
"""Written but not taken by the server: over this, nats-py's flusher writes, and publishers come to wait for it."""


class PromptClient(Client):
    """nats-py's client, which handles a message as the socket hands it over and writes once per read."""

    def __init__(self) -> None:
        super().__init__()
        self._ps = WireReader(self)
        self._lines: dict[int, SubscriptionLine] = {}
        self.loop: Final = asyncio.get_running_loop()
        self._write_due = False

    @property
    def is_clogged(self) -> bool:
        """Whether so much is unsent that nats-py is to judge what is sent further."""
        return self._pending_data_size > UNREAD_BYTES_MAX

    async def handle(self, subject: str, handler: Handler, *, queue: str = "") -> Subscription:
        """
        Subscribe; messages are handled one after the other, in order, as they are read.

        Raises:
            ConnectionClosedError: As nats-py's `subscribe` does.
            MalformedSubjectError: It is no subject.
        """
        check_pattern(subject)
        if self.is_closed:
            raise ConnectionClosedError
        self._sid += 1
        subscription = Subscription(self, self._sid, subject, queue=queue)  # no callback: nats-py would start its task
        self._lines[self._sid] = SubscriptionLine(subscription, handler, self._on_trouble)
        self._subs[self._sid] = subscription
        await self._send_subscribe(subscription)
        return subscription

    def step_out(self, subscription: Subscription) -> None:
        """
        Have the server send nothing more to a subscription of `handle`; what it had sent, or sends yet, is handled.

        A reconnect does not restore it.
        """
        sid: int = subscription._id  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        self._subs.pop(sid, None)
        self._say(b"UNSUB %d\r\n" % sid)

    def step_in(self, subscription: Subscription) -> None:
        """Subscribe again, under the same id, after `step_out`."""
        sid: int = subscription._id  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        self._subs[sid] = subscription
        self._say(b"SUB %b %b %d\r\n" % (subscription.subject.encode(), subscription.queue.encode(), sid))

    def ping(self) -> "asyncio.Future[bool] | None":
        """
        Ask for a PONG, which comes behind all that the server has for this connection; None without one.

        It never comes where the connection is lost. The server reads it after what was said before.
        """
        self.write()
        if not self.is_connected or self._transport is None:
            return None
        pong: asyncio.Future[bool] = self.loop.create_future()
        self._pongs.append(pong)  # pyright: ignore[reportUnknownMemberType]
        with suppress(OSError, RuntimeError):  # the socket was closed just now, as in `write`
            self._transport.write(PING_PROTO)
        return pong

    async def handled(self, sid: int) -> None:
        """Return when every message of a subscription that was read has been handled."""
        line = self._lines.get(sid)
        if line is not None:
            await line.idle.wait()

    def forget(self, sid: int, heard_s: float) -> None:
        """A reconnect does not restore the subscription any more; what arrives for it is handled for `heard_s` yet."""
        line = self._lines.get(sid)
        self._remove_sub(sid)
        if line is not None:
            self._lines[sid] = line
            self.loop.call_later(heard_s, self._lines.pop, sid, None)

    def send(self, subject: str, body: bytes, reply: str, headers: Mapping[str, str] | None = None) -> bool:
        """
        Publish, if nothing stands in the way; False leaves it to `publish`.

        What stands in the way is nats-py's to judge: no connection, a body larger than the server takes, a server that
        does not read.

        Raises:
            MalformedSubjectError: Subject or reply is none.
            MalformedHeaderError: A header cannot be sent.
        """
        # Every message comes this way, several for each task: no call that is not needed.
        if self._status != Client.CONNECTED or len(body) > SMALL_BYTES or self._pending_data_size > UNREAD_BYTES_MAX:
            return False
        to, back = literal(subject), literal(reply) if reply else b""
        if headers is None:
            command = b"PUB %b %b %d\r\n%b\r\n" % (to, back, len(body), body)
        else:
            block = header_block(headers)
            command = b"HPUB %b %b %d %d\r\n%b%b\r\n" % (to, back, len(block), len(block) + len(body), block, body)
        # As `_say` does, without the call.
        self._pending.append(command)
        self._pending_data_size += len(command)
        stats = self.stats
        stats["out_msgs"] += 1
        stats["out_bytes"] += len(body)
        if not self._write_due:
            self._write_due = True
            self.loop.call_soon(self._write_now)
        return True

    def _say(self, command: bytes) -> None:
        """Write a command with the others of this read or turn; while disconnected it is kept."""
        self._pending.append(command)
        self._pending_data_size += len(command)
        if not self._write_due:
            self._write_due = True
            self.loop.call_soon(self._write_now)

    async def _send_publish(
        self, subject: str, reply: str, payload: bytes, payload_size: int, headers: dict[str, Any] | None
    ) -> None:
        """Every publish and request that does not take the way above, nats-py's own among them."""
        literal(subject)
        if reply:
            literal(reply)
        if headers is not None:
            header_block(headers)
        await super()._send_publish(subject, reply, payload, payload_size, headers)

    async def _send_subscribe(self, sub: Subscription) -> None:
        """Every subscription; one that is refused is forgotten, or a reconnect would make it."""
        try:
            check_pattern(sub.subject)
            if sub.queue:
                check_queue(sub.queue)
        except MalformedSubjectError:
            self._remove_sub(sub._id)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            sub._stop_processing()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            raise
        await super()._send_subscribe(sub)

    def begin_read(self) -> None:
        """What is published until the end of the read is written then."""
        self._write_due = True

    def end_read(self) -> None:
        """Write, and once more after the tasks that the read woke, so that what they publish waits for no other turn."""
        self.write()
        self.loop.call_soon(self._write_now)

    def write(self) -> None:
        """Write what is pending, in order, in one go."""
        transport = self._transport
        if not self._pending_data_size or not self.is_connected or transport is None:
            return
        if _unread_bytes(transport) > UNREAD_BYTES_MAX:
            self._kick()
            return
        pending, self._pending = self._pending, []
        self._pending_data_size = 0
        try:
            transport.write(b"".join(pending))
        except (OSError, RuntimeError):
            # The socket is closed already (uvloop raises RuntimeError then); the read loop finds out and reconnects.
            self._pending = pending + self._pending
            self._pending_data_size += sum(len(command) for command in pending)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        line = self._lines.get(sid)
        try:
            to, back = subject.decode(), reply.decode()
        except UnicodeDecodeError:
            to = back = ""
        if not is_literal(to) or (back and not is_literal(back)):
            self._drop(sid, subject)
            self._let_go(reply.decode("ascii", "replace"))
            return
        if line is None:
            await super()._process_msg(sid, subject, reply, data, headers)  # pyright: ignore[reportArgumentType]  # None without
            return
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(data)
        await line.take(Message(to, back, data, headers))

    def _drop(self, sid: int, subject: bytes) -> None:
        subscription = self._subs.get(sid)
        UNREADABLE.dropped(
            "reply" if _is_readable(subject) else "subject", "" if subscription is None else subscription.subject
        )

    async def _on_trouble(self, error: Exception) -> None:
        if isinstance(error, SlowConsumerError):
            self._let_go(error.reply)
        await self._error_cb(error)

    def _let_go(self, reply: str) -> None:
        """
        End the way back of a request from another account that was dropped here.

        The server keeps it until an answer comes, or for as long as one may take, which of an `ask` is an hour: at 3 KB
        each, requests that nobody answers would fill its memory within seconds.
        """
        if reply.startswith(IMPORTED_REPLY) and is_literal(reply) and self._pending_data_size < BEHIND_BYTES_MAX:
            self._say(b"PUB %b 0\r\n\r\n" % reply.encode())

    async def _process_headers(self, headers: bytes | None) -> dict[str, str] | None:
        """
        For the subscriptions that are nats-py's (discovery): the server's status, and nothing that a sender has written.

        nats-py answers with the headers of the request (`Msg.respond`), so whoever may ask could have this member send
        any header with its own rights; of `Nats-Trace-Dest` the server makes a message to whatever subject it names.
        """
        block = HeaderBlock(headers) if headers else None
        if block is None or block.status is None:
            return None
        return {"Status": block.status, "Description": block.description}

    async def _read_loop(self) -> None:
        """nats-py's: it hears of nothing but the end of the connection, since what arrives does not get that far."""
        _Arrivals(self, self._transport).intercept()
        await super()._read_loop()

    async def parse(self, data: bytes) -> None:
        """Parse what arrived; a server that does not keep to the protocol is left, and connected to again."""
        try:
            await self._ps.parse(data)
        except Exception as error:  # noqa: BLE001  (as with nats-py's own loop, whatever it is ends the connection)
            await self._process_op_err(error)

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        super()._remove_sub(sid, max_msgs)
        self._lines.pop(sid, None)

    def _write_now(self) -> None:
        self._write_due = False
        self.write()

    def _kick(self) -> None:
        if self._flush_queue is not None and self._flush_queue.empty():
            self._flush_queue.put_nowait(self.loop.create_future())


class _Arrivals:
    """Takes what the socket hands over before it comes into the stream that nats-py's read loop awaits."""

    def __init__(self, client: PromptClient, transport: Any) -> None:
        self._client = client
        self._reader: Any = transport._io_reader  # noqa: SLF001  # the stream below nats-py's transport
        self._socket: Any = transport._io_writer.transport  # noqa: SLF001
        self._behind: list[bytes] = []
        self._parsing: asyncio.Task[None] | None = None

    def intercept(self) -> None:
        """Take what the socket hands over from now on, and first what nobody has read yet."""
        buffered = bytes(self._reader._buffer)  # noqa: SLF001
        self._reader._buffer.clear()  # noqa: SLF001
        self._reader.feed_data = self._take
        if buffered:
            self._take(buffered)

    def _take(self, data: bytes) -> None:
        if self._parsing is not None:
            self._behind.append(bytes(data))
            return
        parse = self._client.parse(data)
        # What a handler publishes may have to wait when a lot is unsent, and nats-py's wait must be in a task.
        self._parsing = self._client.loop.create_task(parse) if self._client.is_clogged else start(parse)
        if self._parsing is not None:
            # Rare: it waits for a full output buffer, or for somebody to be told of an error.
            self._socket.pause_reading()
            self._parsing.add_done_callback(self._go_on)

    def _go_on(self, _done: "asyncio.Task[None]") -> None:
        self._parsing = None
        behind, self._behind = b"".join(self._behind), []
        if self._socket.is_closing():
            return  # another connection is being made, and this one's bytes would end up among those of the new one
        if behind:
            self._take(behind)
        if self._parsing is None:
            self._socket.resume_reading()


def _is_readable(subject: bytes) -> bool:
    with suppress(UnicodeDecodeError):
        return is_literal(subject.decode())
    return False


def _unread_bytes(transport: Any) -> int:
    """How much was written that the socket has not taken; nats-py's transport has no method for it."""
    return transport._io_writer.transport.get_write_buffer_size()  # noqa: SLF001
