"""
One connection to NATS, set up the way every member of the fleet needs it.

Unlimited reconnects with jitter, a private inbox prefix per role, errors that name the subject, and a close that keeps
what was published. nats-py's own `drain()` is not used: it loses messages (see `groups.py`) and can hang.
"""

import asyncio
import logging
import random
import re
import secrets
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import nats
import nats.errors
import nkeys  # pyright: ignore[reportMissingTypeStubs]
from msgspec import Struct
from nats.aio.subscription import Subscription

from flotilla.fabric.errors import ConnectFailedError
from flotilla.fabric.message import Message as Message  # noqa: PLC0414  (what handlers get belongs with `subscribe`)
from flotilla.fabric.message import is_status as is_status  # noqa: PLC0414
from flotilla.fabric.message import status_of as status_of  # noqa: PLC0414
from flotilla.fabric.per_item import guarded
from flotilla.fabric.prompt_client import PromptClient
from flotilla.fabric.subscription_lines import Handler
from flotilla.fabric.unreadable import Sparing

logger = logging.getLogger("flotilla.fabric")

CONNECT_TIMEOUT_S: Final = 5
RECONNECT_WAIT_S: Final = 0.5
RECONNECT_JITTER_S: Final = 0.5
PING_INTERVAL_S: Final = 3
PINGS_OUTSTANDING_MAX: Final = 2
"""A server that is frozen, or whose machine died, is left for another one after 6 to 9 s, as it would leave this member."""
PENDING_BYTES_MAX: Final = 32 * 1024 * 1024
FLUSH_TIMEOUT_S: Final = 5
CLOSE_TIMEOUT_S: Final = 3.0
INBOX_ID_BYTES: Final = 9
DETAIL_LENGTH_MAX: Final = 500
_DENIED_PUBLISH: Final = re.compile(r'permissions violation for publish to "([^"\s]{1,1024})"')
URL_SCHEMES: Final = ("nats", "tls")
URL_EXPECTED: Final = "expected nats://HOST:PORT or tls://HOST:PORT, several with commas between"


class NatsSettings(Struct, frozen=True, kw_only=True):
    """
    Where the server is, and as whom to connect.

    Attributes:
        url: One URL or several with commas between (`nats://a:4222,nats://b:4222`); `tls://` for TLS.
        creds: An nkey seed file, or a `.creds` file with a JWT; None connects without credentials.
        tls_ca: A CA bundle, when the system's does not know the server's certificate.
        inbox_prefix: The role's private prefix; nobody else may subscribe to it.
        connect_patience_s: How long the first connection may take before `ConnectFailedError`.
    """

    url: str
    creds: Path | None = None
    user: str | None = None
    password: str | None = None
    tls_ca: Path | None = None
    inbox_prefix: str = "_INBOX"
    connect_patience_s: float = 30.0


class Connection:
    """
    A connection to NATS.

    Attributes:
        nc: nats-py's client, for the fabric's own modules only.
        inbox: A subject prefix that no other connection uses: `<inbox_prefix>.<random>`.
    """

    def __init__(self, settings: NatsSettings, *, name: str, client: type[PromptClient] = PromptClient) -> None:
        self.nc: Final = client()
        self.inbox: Final = f"{settings.inbox_prefix}.{secrets.token_urlsafe(INBOX_ID_BYTES).replace('-', '_')}"
        self._settings = settings
        self._name = name
        self._reconnected: list[Callable[[], None]] = []
        self._refused_subject: list[Callable[[str], None]] = []
        self._closing = False
        self._denied = Sparing()
        self._troubles = Sparing()
        self._refused = asyncio.Event()
        self.closed: Final = asyncio.Event()

    @property
    def is_connected(self) -> bool:
        """Whether the server can be reached now; readiness probes follow it."""
        return self.nc.is_connected

    @property
    def is_answered(self) -> bool:
        """Whether the server has answered the last ping: one that is frozen is noticed by this within PING_INTERVAL_S."""
        return self.nc.is_connected and not self.nc._pings_outstanding  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    @property
    def reconnects(self) -> int:
        """How often the connection was lost and made again."""
        return self.nc.stats["reconnects"]

    @property
    def payload_bytes_max(self) -> int:
        """The largest message that the server takes."""
        return self.nc.max_payload

    def on_reconnect(self, call: Callable[[], None]) -> None:
        """Have `call` run after each reconnect, subscriptions being restored already."""
        self._reconnected.append(call)

    def on_denied(self, call: Callable[[str], None]) -> None:
        """Have `call` run with each subject, in small letters, on which the server has refused a publish."""
        self._refused_subject.append(call)

    async def open(self) -> None:
        """
        Connect, trying again for `connect_patience_s`.

        Raises:
            ConnectFailedError: No server answered, or it refused the credentials (at once); says which.
        """
        # nats-py's connect never gives up when reconnects are unlimited, not even on refused credentials.
        connecting = asyncio.ensure_future(self._connect_once())
        refused = asyncio.ensure_future(self._refused.wait())
        try:
            await asyncio.wait(
                (connecting, refused),
                timeout=self._settings.connect_patience_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not connecting.done():
                raise ConnectFailedError(self._settings.url, self.nc.last_error or TimeoutError("no answer in time"))
            await connecting
        except (OSError, ValueError, nats.errors.Error, nkeys.NkeysError) as error:
            raise ConnectFailedError(self._settings.url, error) from error
        finally:
            if not self.nc.is_connected:
                self._closing = True
                connecting.cancel()
                with suppress(AssertionError):  # nats-py's, when it never got as far as connecting
                    await self.nc.close()
            refused.cancel()

    async def _connect_once(self) -> None:
        settings = self._settings
        creds = settings.creds
        is_seed = creds is not None and creds.suffix != ".creds"
        await self.nc.connect(
            servers=[url.strip() for url in settings.url.split(",")],
            name=self._name,
            allow_reconnect=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            max_reconnect_attempts=-1,
            reconnect_time_wait=RECONNECT_WAIT_S + random.random() * RECONNECT_JITTER_S,  # pyright: ignore[reportArgumentType]  # a float works: it is slept
            ping_interval=PING_INTERVAL_S,
            max_outstanding_pings=PINGS_OUTSTANDING_MAX,
            pending_size=PENDING_BYTES_MAX,
            flush_timeout=FLUSH_TIMEOUT_S,
            inbox_prefix=settings.inbox_prefix,
            nkeys_seed=str(creds) if creds is not None and is_seed else None,
            user_credentials=str(creds) if creds is not None and not is_seed else None,
            user=settings.user,
            password=settings.password,
            tls=_tls_context(settings),
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnected,
            reconnected_cb=self._on_reconnected,
            closed_cb=self._on_closed,
            # `subject_guard` is stricter, and costs a tenth.
            skip_subject_validation=True,
        )

    async def publish(
        self, subject: str, body: bytes = b"", *, reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """
        Publish without waiting for anything; while disconnected it is kept, up to PENDING_BYTES_MAX.

        Raises:
            MalformedSubjectError: `subject` or `reply` is none.
            MalformedHeaderError: A header cannot be sent.
        """
        if not self.nc.send(subject, body, reply, headers):
            await self.nc.publish(subject, body, reply, headers)

    async def subscribe(self, subject: str, handler: Handler, *, queue: str = "") -> Subscription:
        """
        Subscribe; messages are handled one after the other, as they are read.

        The handler must only hand work on: it runs up to its first wait in the task that reads. Call `settle` before
        announcing the subscription.
        """
        return await self.nc.handle(subject, handler, queue=queue)

    async def settle(self) -> None:
        """
        Return when the server has processed everything sent before.

        nats-py's flush writes its PING past the queued commands, so the first PONG proves nothing about them; the
        second PING is sent after they were written.
        """
        await self.nc.flush(FLUSH_TIMEOUT_S)
        await self.nc.flush(FLUSH_TIMEOUT_S)

    async def close(self) -> None:
        """Send what is still queued, then close."""
        if self._closing:
            return
        self._closing = True
        try:
            if self.nc.is_connected:
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await self.settle()
        except (TimeoutError, OSError, nats.errors.Error) as error:
            logger.warning("nats_close_unflushed", extra={"error": type(error).__name__})
        try:
            await self.nc.close()
        except (OSError, RuntimeError) as error:
            # It writes what is left into a socket that the server has closed already; uvloop raises RuntimeError then.
            logger.warning("nats_close_unflushed", extra={"error": type(error).__name__})
        except asyncio.CancelledError:
            # nats-py cancels its own reconnecting task, and with it the future that it and `close` both await: the end of
            # the socket. That is no cancellation of whoever closes.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            logger.warning("nats_close_unflushed", extra={"error": "CancelledError"})

    async def _on_error(self, error: Exception) -> None:
        # A permission violation names the subject in its text; it would otherwise surface only as a timeout.
        text = str(error) or type(error).__name__
        if "permissions violation" in text.lower():
            self._on_denied(text.lower())
            unsaid = self._denied.due(text)
            if unsaid is not None:
                logger.error("nats_permission_denied", extra={"detail": text, "unsaid": unsaid})
        elif "authorization" in text.lower() or "authentication" in text.lower():
            self._refused.set()
            logger.error("nats_credentials_refused", extra={"detail": text})
        elif isinstance(error, ssl.SSLCertVerificationError):
            self._refused.set()  # trying again changes nothing
            logger.error("nats_certificate_not_trusted", extra={"detail": text[:DETAIL_LENGTH_MAX]})
        else:
            # A handler that raises raises for whatever anybody sends to it, at any rate.
            unsaid = self._troubles.due(type(error).__name__)
            if unsaid is not None:
                extra = {"error": type(error).__name__, "detail": text[:DETAIL_LENGTH_MAX], "unsaid": unsaid}
                logger.warning("nats_error", extra=extra)

    def _on_denied(self, text: str) -> None:
        found = _DENIED_PUBLISH.search(text)
        if found is not None:
            for call in self._refused_subject:
                call(found.group(1))

    async def _on_disconnected(self) -> None:
        if not self._closing:
            logger.warning("nats_disconnected")

    async def _on_reconnected(self) -> None:
        logger.info("nats_reconnected")
        for call in self._reconnected:
            with guarded("reconnects"):
                call()

    async def _on_closed(self) -> None:
        if not self._closing:
            logger.error("nats_closed")
        self.closed.set()


def is_url(text: str) -> bool:
    """Whether `NatsSettings.url` may be this; the client would take any word for a host, and try it for long."""
    return all(_is_server(part.strip()) for part in text.split(","))


def _is_server(url: str) -> bool:
    try:
        parts = urlsplit(url)
        # The port is read only when it is asked for, and refused then.
        return parts.scheme in URL_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _tls_context(settings: NatsSettings) -> ssl.SSLContext | None:
    if settings.tls_ca is None:
        return None
    return ssl.create_default_context(cafile=str(settings.tls_ca))


@asynccontextmanager
async def connected(
    settings: NatsSettings, *, name: str, client: type[PromptClient] = PromptClient
) -> AsyncGenerator[Connection]:
    """
    A connection that is closed, after what was published is sent, when the block ends.

    Raises:
        ConnectFailedError: See `Connection.open`.
    """
    connection = Connection(settings, name=name, client=client)
    await connection.open()
    try:
        yield connection
    finally:
        await connection.close()
