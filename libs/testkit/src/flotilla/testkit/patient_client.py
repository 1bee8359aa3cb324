"""nats-py's client with the patience of a test."""

from typing import Any, Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext

WAIT_S: Final = 60.0
"""For a condition that comes soon on a machine that has time: no test may depend on how busy it is."""


class PatientClient(Client):
    """
    Waits WAIT_S where nats-py waits for half a second (a request), for two (its only try to connect) or five (JetStream).
    """

    async def connect(self, *servers: Any, allow_reconnect: bool = True, **options: Any) -> None:
        """See nats-py; one that may try again does so soon, since a server of several may stand still."""
        patience = {} if allow_reconnect else {"connect_timeout": WAIT_S}
        await super().connect(*servers, allow_reconnect=allow_reconnect, **patience, **options)

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = WAIT_S,  # noqa: ASYNC109  (as nats-py has it)
        old_style: bool = False,  # noqa: FBT001, FBT002  (as nats-py has it)
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        """See nats-py."""
        return await super().request(subject, payload, timeout, old_style, headers)

    def jetstream(self, **opts: Any) -> JetStreamContext:
        """See nats-py."""
        return super().jetstream(**{"timeout": WAIT_S, **opts})  # pyright: ignore[reportUnknownMemberType]  # partly untyped
