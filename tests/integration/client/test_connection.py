"""Connecting, and what becomes of it."""

import asyncio
import time
from pathlib import Path

import pytest
import trustme

from flotilla.client import CredentialsRefusedError, CredentialsUnusableError, Fleet, NoFleetError, NotAllowedError
from flotilla.client.errors import CertificateNotTrustedError
from flotilla.client.fleet import CONNECT_PATIENCE_S
from flotilla.contracts.headers import parse_headers
from flotilla.provisioning.credentials import load_or_create, new_seed
from flotilla.provisioning.embedded_server import EmbeddedServer
from flotilla.provisioning.server_spec import RANDOM_PORT, ServerSpec, TlsFiles, users
from flotilla.testkit.fleet_peer import Asked, FleetPeer
from flotilla.testkit.nats_server import RunningServer

DEADLINE_S = 100.0
"""Whoever waited for it would be told apart from one that fails soon, however busy the machine is."""


async def test_no_server_is_known_within_the_patience(nats_server: RunningServer):
    """
    The error names the place, without the password in it.
    """
    url = nats_server.url
    await nats_server.stop()
    began_at = time.monotonic()

    with pytest.raises(NoFleetError, match="no server can be reached") as caught:
        async with Fleet.connect(url.replace("//", "//user:secret@"), connect_patience_s=0.3):
            pass

    assert time.monotonic() - began_at < CONNECT_PATIENCE_S
    assert "secret" not in str(caught.value)
    assert not isinstance(caught.value, CredentialsRefusedError)


async def test_refused_credentials_are_told_apart_from_no_server(nats_server: RunningServer, tmp_path: Path):
    """
    A stranger's seed is a seed, but not of this fleet.
    """
    seed = tmp_path / "stranger.nk"
    seed.write_bytes(new_seed())

    with pytest.raises(CredentialsRefusedError):
        async with Fleet.connect(nats_server.url, creds=seed):
            pass


async def test_credentials_of_another_role_are_told_so_at_once(nats_server: RunningServer):
    """
    Whatever they ask: a silence would look as if there were no fleet, and take its caller a minute.
    """
    observer = nats_server.observer()
    async with Fleet.connect(nats_server.url, creds=observer.creds, inbox_prefix=observer.inbox_prefix) as fleet:
        async with asyncio.timeout(DEADLINE_S):
            stream = fleet.stream("summarize", {"document": "x"}, deadline_s=2 * DEADLINE_S)
            ended = await asyncio.gather(
                fleet.ask("summarize", {"document": "x"}, deadline_s=2 * DEADLINE_S),
                fleet.submit("summarize", {"document": "x"}, task_id="one"),
                fleet.dead_list(),
                fleet.approvals.list(),
                stream.finish(),
                return_exceptions=True,
            )

    assert [NotAllowedError] * 5 == [type(error) for error in ended]
    assert ["ask.summarize", "tasks.summarize", "api.dead", "api.approvals", "ask.summarize"] == [
        error.subject for error in ended if isinstance(error, NotAllowedError)
    ]


async def test_a_file_that_holds_no_credentials_is_said_so(nats_server: RunningServer, tmp_path: Path):
    """
    Missing, or something else; its contents do not appear.
    """
    other = tmp_path / "other.nk"
    other.write_text("hunter2")

    with pytest.raises(CredentialsUnusableError, match=r"other\.nk: not a seed") as caught:
        async with Fleet.connect(nats_server.url, creds=other):
            pass
    with pytest.raises(CredentialsUnusableError, match="No such file"):
        async with Fleet.connect(nats_server.url, creds=tmp_path / "missing.nk"):
            pass

    assert "hunter2" not in str(caught.value)


async def test_a_restart_of_the_server_is_survived(nats_server: RunningServer, fleet: Fleet, peer: FleetPeer):
    """
    A call made while the connection is away waits a moment for it.
    """
    await fleet.ask("classify", {"document": "one"})
    back = asyncio.Event()
    peer.connection.on_reconnect(back.set)
    await nats_server.restart()
    await back.wait()
    await peer.connection.settle()

    answer = await fleet.ask("classify", {"document": "two"})

    assert answer.output == {"document": "two"}


async def test_an_ask_that_was_taken_when_the_server_died_fails_soon_after_it_is_back(
    nats_server: RunningServer, fleet: Fleet, peer: FleetPeer
):
    """
    The way back of its answer died too: the caller may ask again, and does not wait for the deadline to learn it.
    """
    asked_for = asyncio.Event()

    async def work_on(asked: Asked) -> None:
        await (peer.echo(asked) if asked_for.is_set() else peer.accept(asked, "one"))
        asked_for.set()

    peer.on_ask = work_on
    asking = asyncio.ensure_future(fleet.ask("classify", {"document": "one"}, deadline_s=DEADLINE_S))
    await asked_for.wait()
    # Its answer comes behind the word that the first one was taken.
    await fleet.ask("classify", {"document": "two"})
    await nats_server.kill()
    await nats_server.start()
    with pytest.raises(NoFleetError, match="ask again"):
        await asyncio.wait_for(asking, DEADLINE_S / 2)


async def test_an_ask_that_nobody_had_taken_when_the_server_died_is_asked_again(
    nats_server: RunningServer, fleet: Fleet, peer: FleetPeer
):
    """
    Its caller hears nothing of it.
    """
    asked_for = asyncio.Event()

    async def work_on(asked: Asked) -> None:
        if asked_for.is_set():
            await peer.echo(asked)
        asked_for.set()

    peer.on_ask = work_on
    asking = asyncio.ensure_future(fleet.ask("classify", {"document": "one"}, deadline_s=DEADLINE_S))
    await asked_for.wait()
    await nats_server.kill()
    await nats_server.start()

    assert (await asyncio.wait_for(asking, DEADLINE_S / 2)).output == {"document": "one"}


async def test_a_call_without_a_server_fails_soon(nats_server: RunningServer, fleet: Fleet):
    """
    Not after the task's deadline.
    """
    await nats_server.stop()
    began_at = time.monotonic()

    with pytest.raises(NoFleetError):
        await fleet.ask("classify", {"document": "one"}, deadline_s=DEADLINE_S)

    assert time.monotonic() - began_at < DEADLINE_S / 2


async def test_a_closed_fleet_says_so(nats_server: RunningServer):
    """
    Using it after its block is an error of its own, not a hang.
    """
    async with Fleet.connect(nats_server.url) as fleet:
        pass

    with pytest.raises(NoFleetError, match="closed"):
        await fleet.ask("classify", {"document": "one"})


async def test_labels_in_any_script_arrive_whole(fleet: Fleet, peer: FleetPeer):
    """
    Header values are UTF-8.
    """
    await fleet.ask("classify", {"document": "one"}, labels={"team": "Büro 東京"})

    assert parse_headers(peer.asked[0].headers).labels == {"team": "Büro 東京"}


async def test_a_server_with_tls_is_reached_with_its_ca_and_its_absence_is_said(tmp_path: Path):
    """
    Without it the machine does not trust the server; a file that holds none is told as such.
    """
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    files = TlsFiles(cert_file=str(tmp_path / "tls.crt"), key_file=str(tmp_path / "tls.key"))
    issued.cert_chain_pems[0].write_to_path(files.cert_file)
    issued.private_key_pem.write_to_path(files.key_file)
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    (tmp_path / "other.crt").write_text("hunter2")
    keys = load_or_create(tmp_path / "credentials", users(("default",), ())).public_keys
    spec = ServerSpec(store_dir="", public_keys=keys, port=RANDOM_PORT, no_auth_scope="default", tls=files)

    async with EmbeddedServer(tmp_path, spec) as server:
        url = server.url.replace("nats:", "tls:")
        async with Fleet.connect(url, tls_ca=tmp_path / "ca.crt"):
            pass
        with pytest.raises(CertificateNotTrustedError):
            async with Fleet.connect(url, connect_patience_s=30.0):
                pass
        with pytest.raises(CredentialsUnusableError, match=r"other\.crt: holds no certificate"):
            async with Fleet.connect(url, tls_ca=tmp_path / "other.crt"):
                pass
        with pytest.raises(CredentialsUnusableError, match="No such file"):
            async with Fleet.connect(url, tls_ca=tmp_path / "missing.crt"):
                pass
