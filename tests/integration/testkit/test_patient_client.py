"""Tests wait for a server that is slow: nats-py's own half a second is a moment of a busy machine."""

import ast
import asyncio
import os
import re
import signal
from pathlib import Path

from nats.aio.msg import Msg

from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.plain_client import connect_plainly, settled

STANDS_STILL_S = 1.0
"""Longer than nats-py waits for an answer."""
ROOT = Path(__file__).parents[3]


async def test_a_request_to_a_server_that_stands_still_for_a_moment_is_answered(nats_server: RunningServer):
    """
    As far as nothing else is said.
    """

    async def answer_it(message: Msg) -> None:
        await message.respond(b"answer")

    admin = nats_server.admin()
    asking, answering = [
        await connect_plainly(nats_server.url, nkeys_seed=str(admin.creds), inbox_prefix=admin.inbox_prefix)
        for _ in range(2)
    ]
    await answering.nc.subscribe("question", cb=answer_it)  # pyright: ignore[reportUnknownMemberType]
    await settled(answering.nc)
    os.kill(nats_server.pid, signal.SIGSTOP)
    try:
        answer = asyncio.ensure_future(asking.nc.request("question"))
        await asyncio.wait({answer}, timeout=STANDS_STILL_S)
    finally:
        os.kill(nats_server.pid, signal.SIGCONT)

    assert b"answer" == (await answer).data
    for client in (asking, answering):
        await client.nc.close()


def test_no_test_makes_a_client_of_less_patience():
    """
    Of nats-py's own, whose requests give up soon; what is asked of a whole cluster of machines is another matter.
    """
    made = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
        for root in ("tests", "libs/testkit/src")
        for path in sorted((ROOT / root).rglob("*.py"))
        if "k8s" not in path.parts
        for source in [path.read_text(encoding="utf-8")]
        # A tree is not walked, which takes long, where none of the names is called.
        if re.search(r"\b(connect|Client|NATS)\(", source)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"nats.connect", "Client", "NATS"}
    ]

    assert [] == made
