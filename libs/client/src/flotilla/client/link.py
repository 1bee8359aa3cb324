"""What the parts of a Fleet share: one connection, its replies, and the errors of both in the caller's words."""

import asyncio
import contextlib
import logging
import os
import re
import socket
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from flotilla.client.addresses import Addresses
from flotilla.client.errors import (
    CertificateNotTrustedError,
    CredentialsRefusedError,
    CredentialsUnusableError,
    NoFleetError,
    NoOrchestratorError,
    NotAllowedError,
)
from flotilla.contracts.api import CancelQuery
from flotilla.fabric.connection import Connection, Message, NatsSettings
from flotilla.fabric.errors import ConnectFailedError, CredentialsError, NoRespondersError, RequestDeniedError
from flotilla.fabric.inbox import Inbox, IsInterim, Requests
from flotilla.fabric.seed_files import check_file

logger = logging.getLogger("flotilla.client")

RECONNECT_PATIENCE_S: Final = 3.0
CONNECT_MARGIN_S: Final = 0.5
_NOBODY: Final = "nobody"
_USERINFO: Final = re.compile(r"//[^@/,]*@")


class Link:
    """
    A caller's connection.

    Attributes:
        addresses: Where its subjects are.
        url: As it may be shown: without a password.
    """

    def __init__(self, connection: Connection, addresses: Addresses, url: str) -> None:
        self.connection: Final = connection
        self.addresses: Final = addresses
        self.url: Final = url
        self.requests: Final = Requests(connection)
        self._streams: Inbox | None = None
        self._starting: Final = asyncio.Lock()
        self._reconnected: Final = asyncio.Event()
        self._interrupted: Final[set[Callable[[], None]]] = set()
        self._denied: Final[set[Callable[[str], None]]] = set()
        connection.on_reconnect(self._on_reconnect)
        connection.on_denied(self._on_denied)

    def _on_reconnect(self) -> None:
        self._reconnected.set()
        for call in list(self._interrupted):
            call()

    def watch(self, interrupted: Callable[[], None]) -> None:
        """Have `interrupted` called after each reconnect, until `unwatch`: what came in between is lost for good."""
        self._interrupted.add(interrupted)

    def unwatch(self, interrupted: Callable[[], None]) -> None:
        """Undo `watch`."""
        self._interrupted.discard(interrupted)

    def _on_denied(self, subject: str) -> None:
        for call in list(self._denied):
            call(subject)

    def watch_denied(self, denied: Callable[[str], None]) -> None:
        """Have `denied` called with each subject, in small letters, that may not be published to, until `unwatch_denied`."""
        self._denied.add(denied)

    def unwatch_denied(self, denied: Callable[[str], None]) -> None:
        """Undo `watch_denied`."""
        self._denied.discard(denied)

    @property
    def payload_bytes_max(self) -> int:
        """The largest message that the server takes."""
        return self.connection.payload_bytes_max

    async def reachable(self) -> None:
        """
        Return when the server can be reached; a connection that was just lost gets a moment to come back.

        Raises:
            NoFleetError: It cannot.
        """
        connection = self.connection
        if connection.is_connected:
            return
        if connection.closed.is_set():
            raise NoFleetError(self.url, "the connection is closed")
        self._reconnected.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RECONNECT_PATIENCE_S):
                await self._reconnected.wait()
        if not connection.is_connected:
            raise NoFleetError(self.url, "the connection was lost")

    async def request(
        self,
        subject: str,
        body: bytes,
        *,
        headers: dict[str, str] | None = None,
        timeout_s: float,
        lost_with_connection: bool = False,
        is_interim: IsInterim | None = None,
    ) -> Message:
        """
        Send a request and await its reply; see `Requests.request`.

        Raises:
            NoFleetError: The server cannot be reached, or nobody listens on the subject.
            NotAllowedError: The credentials are of a role that may not publish there.
            RequestTimeoutError: No reply in time.
        """
        await self.reachable()
        try:
            return await self.requests.request(
                subject,
                body,
                headers=headers,
                timeout_s=timeout_s,
                lost_with_connection=lost_with_connection,
                may_be_denied=True,
                is_interim=is_interim,
            )
        except NoRespondersError as error:
            raise self.nobody(subject) from error
        except RequestDeniedError as error:
            raise NotAllowedError(self.url, subject) from error

    async def abandon(self, task: str) -> None:
        """Tell the fleet that nobody waits for a task any more, without waiting for its word."""
        if self.connection.is_connected:
            query = msgspec.json.encode(CancelQuery(task=task))
            # The answer goes to a token of the inbox that no call has.
            reply = f"{self.connection.inbox}.{_NOBODY}"
            await self.connection.publish(self.addresses.api("cancel"), query, reply=reply)

    def nobody(self, subject: str) -> NoOrchestratorError:
        """The error for a subject on which nobody listens."""
        return NoOrchestratorError(self.url, f"the server is there, but nobody answers on {subject}")

    async def streams(self) -> Inbox:
        """The inbox on which replies in several pieces arrive; subscribed when it is first used."""
        async with self._starting:
            if self._streams is None:
                inbox = Inbox(self.connection, f"{self.connection.inbox}.stream")
                await inbox.start()
                self._streams = inbox
            return self._streams


@asynccontextmanager
async def linked(settings: NatsSettings, addresses: Addresses, *, name: str) -> AsyncGenerator[Link]:
    """
    A link that is closed when the block ends.

    Raises:
        NoFleetError: No server answered within `settings.connect_patience_s`.
        CredentialsRefusedError: One did, and refused the credentials.
        CredentialsUnusableError: See `Fleet.connect`.
    """
    if settings.creds is not None:
        try:
            check_file(settings.creds)
        except CredentialsError as error:
            raise CredentialsUnusableError(error.path, error.reason) from error
    if settings.tls_ca is not None:
        try:
            ssl.create_default_context(cafile=settings.tls_ca)
        except ssl.SSLError as error:
            raise CredentialsUnusableError(settings.tls_ca, "holds no certificate in PEM form") from error
        except OSError as error:
            raise CredentialsUnusableError(settings.tls_ca, error.strerror or type(error).__name__) from error
    url = shown(settings.url)
    connection = Connection(settings, name=name)
    try:
        async with asyncio.timeout(settings.connect_patience_s + CONNECT_MARGIN_S):
            await connection.open()
    except (ConnectFailedError, TimeoutError) as error:
        # nats-py goes on trying when it is refused; what it saw last says whether a server is there.
        raise not_connected(url, connection.nc.last_error or error) from error
    link = Link(connection, addresses, url)
    await link.requests.start()
    try:
        yield link
    finally:
        await link.requests.stop()
        await connection.close()


def not_connected(url: str, error: BaseException) -> NoFleetError:
    """What it means for a caller that a connection could not be made: `error` is what was seen last."""
    text = str(error).lower()
    if "authorization" in text or "authentication" in text:
        return CredentialsRefusedError(url, "the server refused the credentials")
    if isinstance(error, ssl.SSLCertVerificationError) or "certificate verify failed" in text:
        return CertificateNotTrustedError(url, "this machine does not know the CA of the server's certificate")
    return NoFleetError(url, f"no server can be reached there{_why(error, text)}")


def _why(error: BaseException, text: str) -> str:
    if isinstance(error, socket.gaierror):
        return ": no host of this name is known"
    if isinstance(error, OSError) and error.errno:
        return f": {os.strerror(error.errno).lower()}"
    if "expecting info" in text:
        return ": what listens there is no nats-server"
    return ": no answer in time" if "no answer in time" in text else ""


def shown(url: str) -> str:
    """A server's URL as it may stand in an error: without a user and password."""
    return _USERINFO.sub("//", url)
