"""The policy while the fleet runs: what is refused, what takes effect when, and the way back."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec import Struct

from flotilla.client import ErrorKind, Fleet, PolicyError, TaskError
from flotilla.testkit.commands import start_command
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import BODIES, PlainClient

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLASSIFY = BODIES["classify"]
LOCAL_FIRST = '[default]\nroutes = [{ pool = "local" }, { pool = "cloud" }]\n'
CLOUD_FIRST = '# Changed on purpose.\n[default]\nroutes = [{ pool = "cloud" }, { pool = "local" }]\n'
EXAMPLE = Path(__file__).parents[2] / "examples" / "policy.toml"

BAD = [
    ("[default]\nstrategi = 'failover'\n", "default.strategi: unknown key (did you mean strategy?)"),
    ("[default]\nstrategy = 'failovr'\n", "default.strategy: unknown strategy failovr (did you mean failover?)"),
    ("[default]\nroutes = [{ pool = 'local', weight = 0 }]\n", "default.routes[0].weight: "),
    ("[default]\nreturn_after_s = -1\n", "default.return_after_s: "),
    (
        "[default]\nroutes = [{ pool = 'local' }, { pool = 'local' }]\n",
        "default.routes[1]: the same route as routes[0]",
    ),
    ("[default\n", "not TOML: "),
    ("format = 3\n", "format: 3 is newer than 2"),
]


class Ended(Struct, frozen=True):
    """How the command ended."""

    code: int
    out: str
    err: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ruled(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFleet]:
    """
    Two orchestrators, a pool in each zone, and a second tenant that may not change the policy.
    """
    directory = tmp_path_factory.mktemp("ruled")
    async with running_fleet(directory, orchestrators=2, local=1, cloud=1, scopes=("default", "acme")) as fleet:
        yield fleet


@pytest_asyncio.fixture(loop_scope="module")
async def api(ruled: RunningFleet) -> AsyncIterator[Fleet]:
    """
    A caller of the default scope, with a policy in force that prefers the local pool.
    """
    async with Fleet.connect(ruled.url) as fleet:
        await fleet.policy.set(LOCAL_FIRST)
        await until_followed(fleet, (await fleet.policy.get()).revision)
        yield fleet


async def command(ruled: RunningFleet, *arguments: str) -> Ended:
    """Run `flotilla` against the fleet."""
    process = await start_command(*arguments, environ={"FLOTILLA_NATS_URL": ruled.url})
    out, err = await process.communicate()
    assert b"Traceback" not in err, err.decode()
    return Ended(process.returncode or 0, out.decode(), err.decode())


async def until_followed(api: Fleet, revision: int, answers: int = 12) -> float:
    """Seconds until as many answers in a row as make it sure that both orchestrators follow a revision."""
    began = followed_at = time.monotonic()
    in_a_row = 0
    async with asyncio.timeout(60):
        while in_a_row < answers:
            if (await api.explain("classify")).policy_revision == revision:
                in_a_row += 1
            else:
                in_a_row, followed_at = 0, time.monotonic()
                await asyncio.sleep(0.01)
    return followed_at - began


async def plain_policy(client: PlainClient, question: dict[str, Any]) -> dict[str, Any]:
    """Ask as a client in any language would."""
    return await client.api("policy", question)


async def test_a_change_is_followed_by_every_orchestrator(ruled: RunningFleet, api: Fleet):
    """
    New tasks go by the new policy, whichever orchestrator takes them; nothing is restarted.
    """
    client = await ruled.client()
    before = [await client.ask("classify", CLASSIFY) for _ in range(8)]
    changed = await api.policy.set(CLOUD_FIRST, author="tests")
    took_s = await until_followed(api, changed.revision)
    after = [await client.ask("classify", CLASSIFY) for _ in range(8)]

    assert took_s < 10.0
    assert {"local"} == {answer.result["pool"] for answer in before}
    assert {"cloud"} == {answer.result["pool"] for answer in after}
    in_force = await api.policy.get()
    assert (CLOUD_FIRST, "tests", changed.revision) == (in_force.toml, in_force.author, in_force.revision)


@pytest.mark.parametrize(("toml", "fault"), BAD)
async def test_a_bad_policy_changes_nothing_and_says_why(ruled: RunningFleet, api: Fleet, toml: str, fault: str):
    """
    One clear error with the key, from the library and from the fleet itself.
    """
    before = await api.policy.get()
    with pytest.raises(PolicyError) as refused:
        await api.policy.set(toml)
    answer = await plain_policy(await ruled.client(), {"verb": "set", "toml": toml})

    assert len(refused.value.faults) == 1
    assert fault in refused.value.faults[0]
    assert "bad_request" == answer["error"]["kind"]
    assert fault in answer["error"]["message"]
    assert list(refused.value.faults) == answer["error"]["details"]["faults"]
    assert before == await api.policy.get()


async def test_a_pool_that_nobody_has_seen_is_a_warning(api: Fleet):
    """
    It may come later; a misspelt one is named with what was probably meant.
    """
    done = await api.policy.set('[default]\nroutes = [{ pool = "locl" }, { pool = "cloud" }]\n')

    assert done.revision > 0
    assert done.warnings == ["default.routes[0].pool: no live pool is called locl (did you mean local?)"]


async def test_of_two_who_change_it_at_once_only_one_does(api: Fleet):
    """
    Compare-and-set: the other one is told to look again, and nothing of its change is in force.
    """
    seen = (await api.policy.get()).revision
    first = await api.policy.set(CLOUD_FIRST, expected_revision=seen)
    with pytest.raises(TaskError) as conflict:
        await api.policy.set(LOCAL_FIRST, expected_revision=seen)

    assert conflict.value.kind is ErrorKind.CONFLICT
    assert (await api.policy.get()).revision == first.revision


async def test_an_older_policy_can_be_put_in_force_again(api: Fleet):
    """
    As a new revision, with its comments; by number, or the one before the newest; what is gone is not found.
    """
    first = await api.policy.get()
    second = await api.policy.set(CLOUD_FIRST)
    back = await api.policy.rollback(author="tests")
    again = await api.policy.rollback(second.revision)
    with pytest.raises(TaskError) as missing:
        await api.policy.rollback(10_000)
    versions = await api.policy.history()

    assert (first.toml, CLOUD_FIRST) == (back.toml, again.toml)
    assert [again.revision, back.revision, second.revision] == [version.revision for version in versions[:3]]
    assert [True, False, False] == [version.in_force for version in versions[:3]]
    assert first == await api.policy.get(first.revision)
    assert missing.value.kind is ErrorKind.NOT_FOUND


async def test_the_example_is_put_in_force_as_it_is_and_serves_everything(ruled: RunningFleet, api: Fleet):
    """
    On the pools that `flotilla up` starts: no warning, and a route for each capability.
    """
    done = await api.policy.set(EXAMPLE.read_text())
    await until_followed(api, done.revision)

    assert done.warnings == []
    [pool, *_] = (await api.status()).pools
    for capability in pool.capabilities:
        assert (await api.explain(capability)).routes, capability
    assert (await (await ruled.client()).ask("classify", CLASSIFY)).result["pool"] == "local"


async def test_a_policy_for_pools_that_are_not_there_stops_nothing_unless_it_is_forced(
    ruled: RunningFleet, api: Fleet, tmp_path: Path
):
    """
    By force it does, every refusal names its revision, and there is a way back: to the last good one, and to none.
    """
    elsewhere = tmp_path / "elsewhere.toml"
    elsewhere.write_text('[default]\nroutes = [{ pool = "ollama" }]\n')
    before = (await api.policy.get()).revision

    refused = await command(ruled, "policy", "set", str(elsewhere))
    assert (1, "") == (refused.code, refused.out)
    assert "classify" in refused.err
    assert "--force" in refused.err
    assert before == (await api.policy.get()).revision

    forced = await command(ruled, "policy", "set", str(elsewhere), "--force")
    await until_followed(api, int(forced.out))
    asked = await command(ruled, "ask", "classify", "--text", "x", "--labels", "a,b")
    assert 1 == asked.code
    assert f"policy revision {forced.out.strip()}" in asked.err
    assert "flotilla policy rollback" in asked.err

    back = await command(ruled, "policy", "rollback")
    await until_followed(api, int(back.out))
    assert LOCAL_FIRST == (await api.policy.get()).toml
    unset = await command(ruled, "policy", "unset")
    await until_followed(api, 0)
    assert (0, "0\n") == (unset.code, unset.out)
    assert "no policy is in force" in unset.err
    assert (await (await ruled.client()).ask("classify", CLASSIFY)).result["status"] == "ok"


async def test_a_tenant_that_was_not_allowed_to_cannot_change_the_policy(ruled: RunningFleet, api: Fleet):
    """
    The policy is the whole fleet's: others may read it.
    """
    acme = await ruled.client("acme")
    refused = await plain_policy(acme, {"verb": "set", "toml": CLOUD_FIRST})
    rolled_back = await plain_policy(acme, {"verb": "rollback"})
    unset = await plain_policy(acme, {"verb": "unset"})
    read = await plain_policy(acme, {"verb": "get"})

    assert ["not_permitted"] * 3 == [each["error"]["kind"] for each in (refused, rolled_back, unset)]
    assert (await api.policy.get()).revision == read["revision"]


async def test_the_command_checks_sets_shows_and_rolls_back(ruled: RunningFleet, api: Fleet, tmp_path: Path):
    """
    Output for people, and the same as JSON; a file that is no policy ends with 2, a line for each fault.
    """
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text(CLOUD_FIRST + "attempt_timeout_s = 9\ntotal_timeout_s = 5\n")
    bad.write_text("[default]\nstrategi = 'failover'\nreturn_after_s = -1\n")

    checked, faulty, offline, example = await asyncio.gather(
        command(ruled, "policy", "check", str(good)),
        command(ruled, "policy", "check", str(bad)),
        command(ruled, "policy", "check", str(good), "--url", "nats://127.0.0.1:1"),
        command(ruled, "policy", "check", str(EXAMPLE), "--offline", "--json"),
    )
    done = await command(ruled, "policy", "set", str(good), "--author", "tests")
    refused = await command(ruled, "policy", "set", str(bad))
    late = await command(ruled, "policy", "set", str(good), "--expected-revision", "1")
    shown = await command(ruled, "policy", "get")
    back = await command(ruled, "policy", "rollback", "--json")
    listed = await command(ruled, "policy", "history", "--json")

    timeout = "default.attempt_timeout_s: longer than total_timeout_s, which ends the task first"
    assert (0, f"{good}: warning: {timeout}\n") == (checked.code, checked.out) == (offline.code, offline.out)
    assert "only a fleet can say" in offline.err
    assert (2, "") == (faulty.code, faulty.out)
    places = [f"flotilla: {bad}:{line}: default.{key}" for line, key in ((2, "strategi"), (3, "return_after_s"))]
    assert places == [line[: len(place)] for line, place in zip(faulty.err.splitlines(), places, strict=True)]
    assert {"file": str(EXAMPLE), "warnings": [], "fleet": False} == json.loads(example.out)
    assert 0 == done.code
    assert timeout in done.err
    assert (2, "") == (refused.code, refused.out)
    assert 1 == late.code
    assert "conflict" in late.err
    assert (0, good.read_text()) == (shown.code, shown.out)
    assert f"revision {done.out.strip()} · " in shown.err
    versions = [json.loads(line) for line in listed.out.splitlines()]
    assert json.loads(back.out)["revision"] == versions[0]["revision"] == int(done.out) + 1
    assert "tests" == versions[1]["author"]


async def test_the_command_explains_and_shows_how_routes_do(ruled: RunningFleet, api: Fleet):
    """
    Where the next task goes and why; a route that is out says why too; none at all ends with 1.
    """
    await (await ruled.client()).ask("classify", CLASSIFY)
    explained, restricted, program, nowhere, unknown, status, both = await asyncio.gather(
        command(ruled, "explain", "classify"),
        command(ruled, "explain", "classify", "--data-class", "restricted"),
        command(ruled, "explain", "classify", "--json"),
        command(ruled, "explain", "classify", "--data-class", "restricted", "--route", "cloud"),
        command(ruled, "explain", "clasify"),
        command(ruled, "status"),
        command(ruled, "status", "--json"),
    )

    rows = [line.split("\t") for line in explained.out.splitlines()]
    assert [("1", "local", "local/noop-1"), ("2", "cloud", "cloud/noop-1")] == [tuple(row[:3]) for row in rows]
    assert ["first healthy route", "next healthy route"] == [row[-1] for row in rows]
    assert "failover, policy revision" in explained.err
    assert "restricted data never enters the cloud zone" in restricted.out
    assert 0 == restricted.code
    assert "local" == json.loads(program.out)["routes"][0]["pool"]
    assert 1 == nowhere.code
    assert 1 == unknown.code
    assert "unknown_capability" in unknown.err
    assert any(
        line.startswith("local/noop-1\tclassify\t") and "healthy\tclosed" in line for line in status.out.splitlines()
    )
    assert {"local"} <= {route["pool"] for route in json.loads(both.out)["routes"]}
    assert {"pools", "backlog", "dead", "routes"} <= set(json.loads(both.out))
