"""`flotilla up` as a user runs it: real processes, signals, exit codes."""

import asyncio
import os
import signal
import socket
import stat
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from flotilla.cli.supervisor.supervisor import FleetFacts
from flotilla.client.errors import ClientError
from flotilla.client.fleet import Fleet
from flotilla.contracts.errors import TaskError
from flotilla.testkit.commands import WITH_SDKS, RunningCommand, start_command

READY_TIMEOUT_S = 90.0
END_TIMEOUT_S = 60.0
POLL_S = 0.05
DOCUMENT: dict[str, Any] = {"document": "The invoice is wrong.", "labels": ["billing", "legal"]}
SECRET = "sk-must-not-travel"  # noqa: S105  (no real one)
PROC = Path("/proc")


class Up:
    """One `flotilla up` in the foreground of nobody."""

    def __init__(self, process: RunningCommand, facts: FleetFacts) -> None:
        self.process = process
        self.facts = facts

    @property
    def pids(self) -> list[int]:
        """Of every child that was named."""
        return [pid for pids in self.facts.pids.values() for pid in pids]

    def state(self) -> FleetFacts:
        """The fleet as it is now."""
        return msgspec.json.decode((Path(self.facts.dir) / "fleet.json").read_bytes(), type=FleetFacts)

    async def end(self, which: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
        """Send a signal and await the end: exit code, and what was still to read of both outputs."""
        self.process.send_signal(which)
        return await rest_of(self.process)


async def rest_of(process: RunningCommand) -> tuple[int, str, str]:
    """The exit code and both outputs of a process that ends."""
    out, err = await asyncio.wait_for(process.communicate(), END_TIMEOUT_S)
    return await process.wait(), out.decode(), err.decode()


async def launch(directory: Path, *options: str, port: int = 0) -> RunningCommand:
    """Start the command, in an environment that is full of things which are not for the services."""
    environ = os.environ | {"FLOTILLA_NO_SUCH_SETTING": "1", "ANTHROPIC_API_KEY": SECRET, "OPENAI_API_KEY": SECRET}
    command = ("up", "--dir", str(directory), "--port", str(port), *options)
    return await start_command(*command, environ=environ)


@asynccontextmanager
async def running(directory: Path, *options: str) -> AsyncGenerator[Up, None]:
    """A fleet on the noop engine while the block runs; whatever is left of it is killed."""
    without = () if "--redaction" in options else ("--redaction", "0")
    without += () if "--portal" in options else ("--no-portal",)
    process = await launch(directory, "--engine", "noop", "--json", *without, *options)
    line = await asyncio.wait_for(process.stdout.readline(), READY_TIMEOUT_S)
    assert line, (await process.stderr.read()).decode()
    up = Up(process, msgspec.json.decode(line, type=FleetFacts))
    try:
        yield up
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
        await until(lambda: not any(is_alive(pid) for pid in up.pids))


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    with suppress(OSError):
        return ") Z " not in (PROC / str(pid) / "stat").read_text()
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return not PROC.is_dir()


def environments_of(up: Up) -> list[str]:
    """Of nats-server and each service; nothing where there is no /proc to read them from."""
    services = [pid for kind in up.facts.pids for pid in up.facts.pids[kind]]
    return [(PROC / str(pid) / "environ").read_text() for pid in services] if PROC.is_dir() else []


def modes_below(root: Path) -> dict[Path, int]:
    """Of a folder and everything in it, but for what nats-server has renamed or removed meanwhile."""
    found: dict[Path, int] = {}
    for path in (root, *root.rglob("*")):
        with suppress(FileNotFoundError):
            found[path] = stat.S_IMODE(path.lstat().st_mode)
    return found


async def until(holds: Callable[[], bool], timeout_s: float = END_TIMEOUT_S) -> None:
    """Return when something outside of this process holds: processes end without telling a stranger."""
    async with asyncio.timeout(timeout_s):
        while not holds():
            await asyncio.sleep(POLL_S)


async def ask_until_answered(fleet: Fleet, timeout_s: float = 60.0) -> str:
    """Ask until a fleet that was hurt answers again; gives the replica."""
    async with asyncio.timeout(timeout_s):
        while True:
            try:
                return (await fleet.ask("classify", DOCUMENT, deadline_s=5)).result.replica
            except (TaskError, ClientError):
                await asyncio.sleep(POLL_S)


async def test_it_serves_once_it_says_ready_and_leaves_nothing_behind_when_it_is_stopped(tmp_path: Path):
    """
    The ready line is alone on standard output; no service holds a key; SIGTERM drains, ends every child, and exits 0.
    """
    options = (
        "--orchestrators",
        "2",
        "--local",
        "2",
        "--slots",
        "3",
        "--redaction",
        "1",
        "--portal",
        "--portal-port",
        "0",
    )
    async with running(tmp_path, *options) as up:
        counts = {kind: len(pids) for kind, pids in up.facts.pids.items()}
        assert counts == {"nats": 1, "orchestrator": 2, "local": 2, "cloud": 1, "redaction": 1, "portal": 1}
        assert str(tmp_path) == up.facts.dir
        assert {"orchestrator", "local", "cloud", "redaction", "observer", "admin", "approver"} == set(
            up.facts.credentials
        )
        for path in map(Path, up.facts.credentials.values()):
            assert stat.S_IMODE(path.stat().st_mode) == stat.S_IRUSR | stat.S_IWUSR
            assert path.read_text().startswith("SU")
        assert all(os.getsid(pid) != os.getsid(up.process.pid) for pid in up.pids)
        assert up.facts == up.state()
        assert not [environ for environ in environments_of(up) if SECRET in environ]
        async with Fleet.connect(up.facts.url) as fleet:
            answers = [await fleet.ask("classify", DOCUMENT, route=pool) for pool in ("local", "cloud")]
            pools = {pool.pool: (pool.replicas, pool.slots) for pool in (await fleet.status()).pools}
        assert [answer.zone for answer in answers] == ["local", "cloud"]
        assert pools == {"local": (2, 6), "cloud": (1, 3), "redaction": (1, 3)}

        code, out, err = await up.end()

        assert (code, out) == (0, ""), err
        assert not [pid for pid in up.pids if is_alive(pid)]
        assert not (tmp_path / "fleet.json").exists()


async def test_the_sealed_lane_is_up_when_the_fleet_is_called_ready(tmp_path: Path):
    """
    A tenant of --sealed-scopes has it alone: what it asks is answered at home although the policy prefers the cloud, at
    once; status says who serves the lane, and none of it is heard by the admin.
    """
    policy = tmp_path / "policy.toml"
    policy.write_text('[default]\nstrategy = "failover"\nroutes = [{ pool = "cloud" }, { pool = "local" }]\n')
    lane = ("--sealed", "1", "--sealed-scopes", "acme", "--policy", str(policy))
    async with running(tmp_path / "fleet", *lane) as up:
        assert 1 == len(up.facts.pids["orchestrator-sealed"])
        acme, admin = (up.facts.credentials[name] for name in ("tenant.acme", "admin"))
        admin_sees = Fleet.connect(up.facts.url, creds=admin, scope="acme", inbox_prefix="_INBOX.admin")
        async with Fleet.connect(up.facts.url, creds=acme) as sealed, Fleet.connect(up.facts.url) as both:
            answer = await sealed.ask("classify", DOCUMENT, data_class="public")
            ordinary = await both.ask("classify", DOCUMENT, data_class="public")
            submitted = await sealed.submit("classify", DOCUMENT, task_id="kept-sealed", data_class="public")
            result = await sealed.result(submitted.task)
            seen = (await sealed.status()).lane, (await both.status()).lane, await both.sealed_status()
        async with admin_sees as fleet:
            try:
                await fleet.committed("kept-sealed")
            except TaskError as error:
                unknown = error.kind.value
            else:
                unknown = "known"
        told = [await flotilla(up, "status", "--creds", acme), await flotilla(up, "status")]
        examined = await flotilla(up, "doctor", "--json")

    assert ("local", "local", "cloud") == (answer.zone, result.zone, ordinary.zone)
    assert "not_found" == unknown
    assert ("sealed", msgspec.UNSET) == seen[:2]
    assert seen[2] is not None
    assert "orchestrator-sealed-1" == seen[2].orchestrator
    assert "all that you send is sealed; orchestrator-sealed-1 serves it, and sees 1 local replicas" in told[0]
    assert "sealed lane: orchestrator-sealed-1 serves it" in told[1]
    assert '"subject":"sealed lane","state":"ok"' in examined


async def flotilla(up: Up, *arguments: str) -> str:
    """What the command writes, of both outputs."""
    environ = os.environ | {"FLOTILLA_NATS_URL": up.facts.url}
    process = await start_command(*arguments, environ=environ, modules=WITH_SDKS)
    _, out, err = await rest_of(process)
    return out + err


async def test_everything_in_its_directory_is_its_owners_alone(tmp_path: Path):
    """
    Also under an open umask, and in a folder that was open; what nats-server writes included.
    """
    os.chmod(tmp_path, 0o777)  # noqa: PTH101, S103  (not blocking)
    before = os.umask(0)
    try:
        async with running(tmp_path):
            found = modes_below(tmp_path)
    finally:
        os.umask(before)

    assert len(found) > 20
    assert {} == {str(path): oct(mode) for path, mode in found.items() if mode & 0o077}


async def test_a_link_in_its_directory_is_refused(tmp_path: Path):
    """
    With one line, before anything is written.
    """
    victim = tmp_path / "victim"
    victim.write_text("keep")
    directory = tmp_path / "fleet"
    directory.mkdir(mode=0o700)
    (directory / "fleet.json.partial").symlink_to(victim)

    code, out, err = await rest_of(await launch(directory, "--engine", "noop"))

    assert (code, out, victim.read_text()) == (2, "", "keep")
    assert [line for line in err.splitlines() if "fleet.json.partial: is a symbolic link" in line] == err.splitlines()


async def test_what_was_redacted_is_restored_after_a_restart(tmp_path: Path):
    """
    The key of the vaults is made once, for nobody else's eyes; the worker that redacts alone is told where it is.
    """
    document = "Write to zaphod@example.com"
    async with running(tmp_path, "--cloud", "0", "--redaction", "1") as up, Fleet.connect(up.facts.url) as fleet:
        redacted = (await fleet.ask("redact", {"document": document})).output
        told = [environ for environ in environments_of(up) if "FLOTILLA_VAULT_KEY" in environ]
    key = tmp_path / "vault.key"
    async with running(tmp_path, "--cloud", "0", "--redaction", "1") as up, Fleet.connect(up.facts.url) as fleet:
        restored = (await fleet.ask("restore", {"document": redacted["document"], "vault": redacted["vault"]})).output

    assert "zaphod" not in redacted["document"]
    assert document == restored["document"]
    assert stat.S_IMODE(key.stat().st_mode) == stat.S_IRUSR | stat.S_IWUSR
    assert len(told) <= 1  # none where there is no /proc
    assert all("FLOTILLA_POOL=redaction" in environ for environ in told)
    assert not [log for log in (tmp_path / "logs").glob("*.log") if key.read_text().strip() in log.read_text()]


async def test_what_dies_is_started_again(tmp_path: Path):
    """
    A killed worker and a killed nats-server come back, with the same port and files, and serve.
    """
    async with running(tmp_path, "--cloud", "0") as up, Fleet.connect(up.facts.url) as fleet:
        submitted = await fleet.submit("classify", DOCUMENT, task_id="before")
        await fleet.result(submitted.task)
        for kind in ("local", "nats"):
            before = up.state().pids[kind]
            os.kill(before[0], signal.SIGKILL)
            await until(lambda kind=kind, before=before: up.state().pids[kind] not in ([], before))
            assert await ask_until_answered(fleet) == "local-1"
        assert (await fleet.committed("before")).ok

        code, _, err = await up.end()

        assert code == 0
        assert "local-1 was ended by SIGKILL; it is started again" in err
        assert "nats-server was ended by SIGKILL; it is started again" in err


async def test_nothing_outlives_a_killed_supervisor_and_the_next_one_finds_its_tasks(tmp_path: Path):
    """
    A killed supervisor takes its children along, and what they had accepted is done by the next fleet there.
    """
    async with running(tmp_path, "--local", "0", "--cloud", "0") as first:
        async with Fleet.connect(first.facts.url) as fleet:
            await fleet.submit("classify", DOCUMENT, task_id="kept")
        os.kill(first.facts.pids["nats"][0], signal.SIGKILL)
        await until(lambda: first.state().pids["nats"] not in ([], first.facts.pids["nats"]))
        pids = [pid for pids in first.state().pids.values() for pid in pids]
        first.process.kill()
        await first.process.wait()

        async with running(tmp_path, "--cloud", "0") as second, Fleet.connect(second.facts.url) as fleet:
            assert not [pid for pid in pids if is_alive(pid)]
            assert (await fleet.result("kept", timeout_s=60)).ok


async def test_work_under_way_and_in_line_is_finished_before_the_fleet_goes(tmp_path: Path):
    """
    Ctrl-C drains: the task that runs is answered, and so is the one that waits for its slot.
    """
    async with running(tmp_path, "--cloud", "0", "--slots", "1", "--engine-latency-ms", "1500") as up:
        async with Fleet.connect(up.facts.url) as fleet, fleet.events(kinds=["queued", "dispatched"]) as events:
            asking = [asyncio.create_task(fleet.ask("classify", DOCUMENT)) for _ in range(2)]
            seen: list[str] = []
            async for event in events:
                seen.append(event.kind)
                if seen.count("queued") == len(asking) and "dispatched" in seen:
                    break
            up.process.send_signal(signal.SIGINT)

            assert [answer.ok for answer in await asyncio.gather(*asking)] == [True, True]
        code, _, err = await rest_of(up.process)
        assert code == 0, err


async def test_a_second_signal_does_not_wait_for_work(tmp_path: Path):
    """
    Ctrl-C twice: the fleet goes at once, long before its grace is over.
    """
    slow = ("--cloud", "0", "--engine-latency-ms", "300000", "--grace-s", "300")
    async with running(tmp_path, *slow) as up:
        async with Fleet.connect(up.facts.url) as fleet, fleet.events(kinds=["dispatched"]) as events:
            await fleet.submit("classify", DOCUMENT)
            await anext(aiter(events))
            up.process.send_signal(signal.SIGINT)
            assert up.process.stderr is not None
            while b"draining" not in (line := await up.process.stderr.readline()):
                assert line, "it ended before it said that it drains"

            code, _, err = await up.end(signal.SIGINT)

        assert code == 0
        assert "stopping at once" in err
        assert not [pid for pid in up.pids if is_alive(pid)]


async def test_a_directory_of_a_running_fleet_is_refused(tmp_path: Path):
    """
    Two supervisors on one directory would corrupt it: the second exits 2 with one line.
    """
    async with running(tmp_path, "--local", "0", "--cloud", "0") as up:
        code, out, err = await rest_of(await launch(tmp_path, "--engine", "noop"))

        assert (code, out) == (2, "")
        used = f"flotilla: {tmp_path} is used by a running fleet (process {up.process.pid})"
        assert [f"{used}: end that, or name another folder with --dir"] == err.splitlines()
        assert is_alive(up.facts.pids["nats"][0])


async def test_a_port_in_use_is_refused(tmp_path: Path):
    """
    Exit code 2, and the last line says which port.
    """
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = await rest_of(await launch(tmp_path, "--engine", "noop", port=port))

    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith(f"flotilla: port {port} on 127.0.0.1 is in use; name another with --port")


async def test_an_option_that_makes_no_sense_is_refused(tmp_path: Path):
    """
    Exit code 2 and one line, before anything is started.
    """
    code, out, err = await rest_of(await launch(tmp_path / "fleet", "--orchestrators", "0"))

    assert (code, out) == (2, "")
    assert err.splitlines() == ["flotilla: --orchestrators 0: expected 1 to 256"]
    assert not (tmp_path / "fleet").exists()


async def test_a_service_that_cannot_start_is_named_with_its_last_words(tmp_path: Path):
    """
    Exit code 1, with what the service said and where it said more, instead of waiting for it.
    """
    code, out, err = await rest_of(await launch(tmp_path / "fleet", "--engine", "noop", "--local-models", "m,m"))

    assert (code, out) == (1, "")
    assert "FLOTILLA_MODELS" in err
    assert f"(see {tmp_path / 'fleet' / 'logs'}" in err
