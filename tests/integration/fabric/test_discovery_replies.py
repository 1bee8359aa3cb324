"""Discovery answers whoever may ask, and sends nothing that the asker has written."""

from flotilla.fabric.connection import connected
from flotilla.fabric.discovery import discoverable
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.raw_client import raw_client

HEADERS = b"NATS/1.0\r\n Nats-Trace-Dest: $KV.policy.routing\r\nX-Mine: written by the asker\r\n\r\n"


async def test_an_answer_has_none_of_the_headers_of_the_question(nats_server: RunningServer):
    """
    nats-py answers with them; sent with an orchestrator's rights, one has the server write to any subject.
    """
    settings = nats_server.orchestrator()
    heard: list[str] = []
    async with connected(nats_server.admin(), name="admin") as admin, connected(settings, name="member") as member:

        async def hear(message: object) -> None:
            heard.append(repr(message))

        await admin.subscribe("$KV.policy.>", hear)
        await admin.settle()
        async with (
            discoverable(member, name="orchestrator", version="1.0.0", description="", metadata={}),
            raw_client(nats_server.observer()) as raw,
        ):
            await member.settle()
            raw.subscribe(b"_INBOX.observer.x")
            await raw.flush()
            for kind in (b"PING", b"INFO", b"STATS"):
                raw.publish(b"$SRV." + kind, b"", reply=b"_INBOX.observer.x", headers=HEADERS)
                await raw.until(b"io.nats.micro.v1." + kind.lower())
            await raw.flush()
        await admin.settle()

    assert [] == heard
    assert not [line for line in raw.said if b"written by the asker" in line]
