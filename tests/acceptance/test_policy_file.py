"""`FLOTILLA_POLICY_FILE`: orchestrators that are started with a policy, as a ConfigMap gives it to them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flotilla.client import Fleet
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.fleet_process import FleetProcess

FIRST = '# One.\n[default]\nroutes = [{ pool = "cloud" }, { pool = "local" }]\n'
SECOND = '# Two.\n[default]\nroutes = [{ pool = "local" }]\n'
BY_HAND = '[default]\nroutes = [{ pool = "local" }, { pool = "cloud" }]\n'
SETTING = "FLOTILLA_POLICY_FILE"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """
    The file that every orchestrator is given.
    """
    file = tmp_path / "policy.toml"
    file.write_text(FIRST)
    return file


@pytest.fixture
async def fleet(tmp_path: Path, file: Path) -> AsyncIterator[RunningFleet]:
    """
    Two orchestrators that started at once with the file, and a pool in each zone.
    """
    async with running_fleet(tmp_path / "fleet", orchestrators=2, local=1, cloud=1, env={SETTING: str(file)}) as fleet:
        yield fleet


def write(file: Path, text: str) -> None:
    """As a new ConfigMap does."""
    file.write_text(text)


async def restarted(fleet: RunningFleet, name: str) -> FleetProcess:
    """Every orchestrator replaced by one, as the last one of a rollout."""
    replaced = [process for process in fleet.orchestrators if process.is_running]
    process = await fleet.start_orchestrator(name)
    for old in replaced:
        old.terminate()
    await asyncio.gather(*(old.wait() for old in replaced))
    return process


async def in_force(fleet: RunningFleet) -> tuple[int, str]:
    """How many policies there have been, and the text of the one in force by the word of whoever routes."""
    async with Fleet.connect(fleet.url) as api:
        revision = (await api.explain("classify")).policy_revision
        return len(await api.policy.history()), (await api.policy.get(revision)).toml


async def test_the_file_is_in_force_before_the_first_task_and_stands_once_in_the_history(fleet: RunningFleet):
    """
    Two orchestrators that start at once make one revision, and both route by it from the beginning.
    """
    async with Fleet.connect(fleet.url) as api:
        explained = [await api.explain("classify") for _ in range(12)]
        [version] = await api.policy.history()

    assert {version.revision} == {each.policy_revision for each in explained}
    assert {"cloud"} == {each.routes[0].pool for each in explained}
    assert "policy file" == version.author
    assert (1, FIRST) == await in_force(fleet)


async def test_what_is_set_by_hand_holds_across_restarts_until_the_file_changes(fleet: RunningFleet, file: Path):
    """
    The same file is not put in force a second time; another one is, at the next start.
    """
    async with Fleet.connect(fleet.url) as api:
        await api.policy.set(BY_HAND, author="me")
    await restarted(fleet, "same-file")
    held = await in_force(fleet)
    write(file, SECOND)
    await restarted(fleet, "changed-file")

    assert (2, BY_HAND) == held
    assert (3, SECOND) == await in_force(fleet)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[default]\nstrategi = 'failover'\n", ":2: default.strategi: unknown key (did you mean strategy?)"),
        ("[default]\nqueue_timeout_s = 0\n[breaker]\nopen_s = 0\n", ":2: default.queue_timeout_s: "),
        ("[default\n", ":1:9: not TOML: "),
        (None, ": No such file or directory"),
    ],
)
async def test_a_file_that_is_no_policy_ends_the_orchestrator_with_one_line(
    tmp_path: Path, text: str | None, said: str
):
    """
    Like any other setting: code 2, before anything is connected, with the key in the line.
    """
    file = tmp_path / "policy.toml"
    if text is not None:
        file.write_text(text)
    environ = {"FLOTILLA_NATS_URL": "nats://127.0.0.1:1", SETTING: str(file)}
    process = await FleetProcess.spawn("orchestrator", ("-m", "orchestrator"), environ, tmp_path / "log")

    assert 2 == await process.wait()
    [line] = process.log_text().splitlines()
    assert line.startswith(f"orchestrator: setting {SETTING}: {file}{said}")


async def test_a_fleet_whose_file_turns_bad_keeps_the_policy_that_it_has(fleet: RunningFleet, file: Path):
    """
    The new orchestrator does not start, so a rollout stops there and the old ones go on.
    """
    write(file, "[default]\nstrategy = 'failovr'\n")
    late = await fleet.start_orchestrator("late", wait=False)

    assert 2 == await late.wait()
    assert "default.strategy: unknown strategy failovr (did you mean failover?)" in late.log_text()
    assert (1, FIRST) == await in_force(fleet)
