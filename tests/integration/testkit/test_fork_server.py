"""A forked process is like one that was started by its command: how it begins, how it ends, what it sees."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from flotilla.testkit import fork_client
from flotilla.testkit.fleet_process import FleetProcess, Forked, clean_environ
from flotilla.testkit.fork_client import AS_IN_IMAGES, NOTHING, RUN, ForkClient, can_fork
from flotilla.testkit.fork_server import StartRequest

LIKE_IN_IMAGES = {"PYTHONPATH": str(AS_IN_IMAGES)}
ORCHESTRATOR = ("-m", "orchestrator")


def _request(folder: Path, code: str, how: str = "-m", environ: dict[str, str] | None = None) -> StartRequest:
    program = folder / "program.py"
    program.write_text(code)
    command = {"-m": ["-m", "program"], "-c": ["-c", code], "path": [str(program)]}[how]
    return StartRequest(command=[*command, "one", "two"], environ=environ or {}, cwd=str(folder), umask=0o027)


async def _forked(folder: Path, code: str, how: str = "-m", environ: dict[str, str] | None = None) -> FleetProcess:
    log = folder / "log"
    mine, theirs = os.pipe()
    with log.open("ab") as output, NOTHING.open("rb") as nothing:
        streams = (nothing.fileno(), output.fileno(), output.fileno())
        pid = fork_client.fork_client().start(_request(folder, code, how, environ), streams, theirs)
    os.close(theirs)
    return FleetProcess("p", Forked(pid, mine), log)


def _started_by(server: ForkClient, folder: Path, code: str) -> Forked:
    mine, theirs = os.pipe()
    with NOTHING.open("r+b") as nothing:
        number = nothing.fileno()
        pid = server.start(_request(folder, code), (number, number, number), theirs)
    os.close(theirs)
    return Forked(pid, mine)


@pytest.mark.parametrize("how", ["-m", "-c", "path"])
@pytest.mark.parametrize(
    ("code", "returncode", "said"),
    [
        ("print('well')", 0, "well\n"),
        ("raise SystemExit(3)", 3, ""),
        ("raise SystemExit('wrong')", 1, "wrong\n"),
        ("import atexit, sys; atexit.register(print, 'left'); sys.exit(2)", 2, "left\n"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -9, ""),
        ("import sys; print(sys.argv[1:])", 0, "['one', 'two']\n"),
        ("import os; print(dict(os.environ))", 0, "{}\n"),
        ("import os; os.close(os.open('made', os.O_CREAT)); print(oct(os.umask(0)))", 0, "0o27\n"),
        ("x = 1; import sys; print(__name__, sys.modules[__name__].x)", 0, "__main__ 1\n"),
        ("import os, pathlib; print(pathlib.Path.cwd().joinpath('program.py').exists())", 0, "True\n"),
        ("import os; print(os.getsid(0) == os.getpid(), os.read(0, 1))", 0, "True b''\n"),
        ("import os; print(sorted(map(int, os.listdir('/proc/self/fd')))[:4])", 0, "[0, 1, 2, 3]\n"),
        ("import os; print(len(os.listdir('/proc/self/fd')))", 0, "4\n"),
        ("import threading; threading.Thread(target=print, args=('at last',)).start()", 0, "at last\n"),
        ("import signal; print(signal.getsignal(signal.SIGCHLD), signal.getsignal(signal.SIGINT))", 0, None),
    ],
)
async def test_it_begins_and_ends_as_a_command_does(
    tmp_path: Path, code: str, returncode: int, said: str | None, how: str
):
    """
    Exit codes, streams, arguments, environment, folder, session, descriptors, and what runs at the exit.
    """
    process = await _forked(tmp_path, code, how)

    assert returncode == await process.wait(60)
    if said is not None:
        assert said == process.log_text()


@pytest.mark.parametrize("how", ["-m", "-c", "path"])
async def test_an_error_is_printed_and_is_code_1(tmp_path: Path, how: str):
    """
    As the interpreter does.
    """
    process = await _forked(tmp_path, "1 / 0", how)

    assert 1 == await process.wait(60)
    assert process.log_text().endswith("ZeroDivisionError: division by zero\n")


async def test_children_draw_different_numbers(tmp_path: Path):
    """
    None goes on with the random state of the server.
    """
    drawn = set[str]()
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        process = await _forked(folder, "import random; print(random.random())")
        await process.wait(60)
        drawn.add(process.log_text())

    assert 3 == len(drawn)


async def test_signals_reach_the_process_itself(tmp_path: Path):
    """
    It can be frozen, thawed, asked to leave and killed; several at a time end each in its own way.
    """
    code = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: exit(7)); print('up', flush=True); time.sleep(600)"
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    one, two = [await _forked(folder, code) for folder in folders]
    while "up" not in one.log_text() or "up" not in two.log_text():
        await asyncio.sleep(0.01)
    one.freeze()
    one.terminate()
    assert one.is_running
    two.kill()
    assert -signal.SIGKILL == await two.wait(60)
    one.thaw()

    assert 7 == await one.wait(60)


async def test_the_end_of_the_server_ends_no_wait_in_vain(tmp_path: Path):
    """
    What it had started is killed, and a start through it is refused.
    """
    server = ForkClient((), {})
    mine, theirs = os.pipe()
    request = _request(tmp_path, "import time; time.sleep(600)")
    with (tmp_path / "log").open("a+b") as output:
        streams = (output.fileno(), output.fileno(), output.fileno())
        child = Forked(server.start(request, streams, theirs), mine)
        os.close(theirs)
        server.end()

        assert -signal.SIGKILL == await asyncio.wait_for(child.wait(), 60)
        with pytest.raises(OSError, match=r"."):
            server.start(request, streams, output.fileno())


async def test_processes_of_a_run_share_a_server_until_the_last_has_left(tmp_path: Path):
    """
    Who leaves takes only its own children along; whoever comes after the last gets a server that has begun anew.
    """
    code = "import os, pathlib, time; pathlib.Path('up').write_text(str(os.getppid())); time.sleep(600)"
    servers: list[str] = []
    children: list[Forked] = []
    one, two = ForkClient(("this",), {}), ForkClient(("this",), {})
    for server in (one, two):
        folder = tmp_path / str(len(children))
        folder.mkdir()
        children.append(_started_by(server, folder, code))
        while not (folder / "up").exists() or not (folder / "up").read_text():
            await asyncio.sleep(0.01)
        servers.append((folder / "up").read_text())
    one.end()

    assert -signal.SIGKILL == await asyncio.wait_for(children[0].wait(), 60)
    assert children[1].returncode is None
    assert servers[0] == servers[1]

    two.end()
    assert -signal.SIGKILL == await asyncio.wait_for(children[1].wait(), 60)
    while Path(f"/proc/{servers[0]}/exe").exists():  # noqa: ASYNC240  (in memory)
        await asyncio.sleep(0.01)
    three = ForkClient(("this",), {})
    (tmp_path / "0" / "up").unlink()
    after = _started_by(three, tmp_path / "0", code.replace("600", "0"))
    assert 0 == await asyncio.wait_for(after.wait(), 60)
    assert servers[0] != (tmp_path / "0" / "up").read_text()
    assert RUN.stat().st_mode & 0o777 == 0o700
    three.end()


def test_what_the_interpreter_reads_as_it_starts_needs_a_start_from_nothing():
    """
    Its own variables, and modules that the server has not imported.
    """
    assert can_fork(ORCHESTRATOR, clean_environ(LIKE_IN_IMAGES))
    assert not can_fork(ORCHESTRATOR, clean_environ({}))
    assert not can_fork(ORCHESTRATOR, clean_environ({**LIKE_IN_IMAGES, "PYTHONHASHSEED": "0"}))
    assert not can_fork(("-m", "flotilla.cli"), clean_environ(LIKE_IN_IMAGES))
    assert can_fork(("-c", "pass"), clean_environ(LIKE_IN_IMAGES))
    assert can_fork(("/a/worker.py", "more"), clean_environ(LIKE_IN_IMAGES))
    assert not can_fork(("/a/worker.py", "more"), clean_environ({}))
    assert not can_fork(("-X", "dev"), clean_environ(LIKE_IN_IMAGES))


async def test_a_service_forked_says_what_one_started_says(tmp_path: Path):
    """
    Wrong settings: one line and code 2, both ways.
    """
    said = set[str]()
    for fork in (True, False):
        log = tmp_path / f"{fork}.log"
        process = await FleetProcess.spawn(
            "o", ORCHESTRATOR, {**LIKE_IN_IMAGES, "FLOTILLA_HTTP_PORT": "none"}, log, fork=fork
        )
        assert 2 == await process.wait(60)
        said.add(process.log_text())

    assert 1 == len(said)
    assert "FLOTILLA_HTTP_PORT" in said.pop()


async def test_a_worker_is_forked_with_the_package_of_its_provider(tmp_path: Path):
    """
    Which takes ten times the rest of its start; the others are forked without it.
    """
    code = 'import sys; print("ollama" in sys.modules)'
    said: list[str] = []
    for provider in ("ollama", "noop"):
        environ = {**LIKE_IN_IMAGES, "FLOTILLA_PROVIDER": provider}
        process = await FleetProcess.spawn(provider, ("-c", code), environ, tmp_path / provider)
        assert 0 == await process.wait(60)
        said.append(process.log_text())

    assert ["True\n", "False\n"] == said


async def test_the_loop_goes_on_while_a_server_imports_and_who_waits_goes_on_in_order(tmp_path: Path):
    """
    A fleet that runs already has timers and heartbeats to serve meanwhile.
    """
    go = tmp_path / "go"
    code = f"import pathlib, time\nfor _ in range(1000):\n    pathlib.Path({str(go)!r}).exists() or time.sleep(0.01)\n"
    (tmp_path / "waits.py").write_text(code)
    modules, order = ("this", "waits"), list[int]()

    async def wait(number: int) -> ForkClient:
        server = await fork_client.begun(modules)
        order.append(number)
        return server

    path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(tmp_path)
    waiting = [asyncio.create_task(wait(number)) for number in range(3)]
    try:
        await asyncio.sleep(0.3)
        order.append(-1)
        go.touch()
        servers = await asyncio.gather(*waiting)
    finally:
        os.environ.pop("PYTHONPATH") if path is None else os.environ.update(PYTHONPATH=path)

    assert [-1, 0, 1, 2] == order
    assert 1 == len({id(server) for server in servers})
    servers[0].end()
