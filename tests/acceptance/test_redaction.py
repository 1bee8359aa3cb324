"""Redaction by a fleet of real processes: exact, each tenant's own, and silent about what it has seen."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
import pytest_asyncio

from flotilla.contracts.subjects import Zone
from flotilla.inference.redaction.vault_keys import new_key
from flotilla.testkit.commands import start_command
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import PlainClient, new_task
from flotilla.testkit.probe_client import PROBED, probe_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

POOLS: tuple[tuple[Zone, str], ...] = (("local", "local"), ("local", "redaction"), ("cloud", "cloud"))
MIB: Final = 1024 * 1024
MEMORY_MAX: Final = 120 * MIB
START_CPU_RATIO_MAX: Final = 6.0
"""Of a start that reads the lists, against one of a worker that has none, on the same machine."""
START_CPU_S: Final[dict[str, float]] = {}
"""By worker, what it had used when it was ready."""
CANARY: Final = "zaphod.canary4711@example.com"
DOCUMENT: Final = f"Dear customer, we have your address {CANARY} and your card 4111 1111 1111 1111.\nRegards"
DEBUG: Final = {"FLOTILLA_LOG_LEVEL": "debug", **PROBED}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFleet]:
    """
    A cloud worker that could do anything, and two that redact. All are started from nothing: what that costs is compared.
    """
    async with AsyncExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FLEET_FORKS", "0")
            fleet = await stack.enter_async_context(
                running_fleet(
                    tmp_path_factory.mktemp("redaction"),
                    local=0,
                    cloud=1,
                    scopes=("default", "acme"),
                    pools=POOLS,
                    vault_pools=("redaction",),
                    env=DEBUG,
                    worker_env=DEBUG,
                )
            )
            env = {**DEBUG, "FLOTILLA_VAULT_KEY": new_key()}
            for number in (1, 2):
                await fleet.start_worker("local", "redaction", f"redaction-w{number}", engine="redaction", env=env)
        for worker in fleet.workers:
            used = psutil.Process(worker.pid).cpu_times()
            START_CPU_S[worker.name] = used.user + used.system
        yield fleet


async def asked(client: PlainClient, capability: str, **given: Any) -> dict[str, Any]:
    """The output of a task that went well."""
    answer = await client.ask(capability, given)
    assert answer.result["status"] == "ok", answer.result
    return answer.result["output"]


async def refused(client: PlainClient, capability: str, **given: Any) -> str:
    """The kind of a task that did not, whose error says nothing of the document."""
    answer = await client.ask(capability, given)
    assert CANARY not in json.dumps(answer.result)
    return answer.result["error"]["kind"]


@pytest.mark.parametrize("document", [DOCUMENT, {"mail": {CANARY: [DOCUMENT, 3, None]}}], ids=["text", "JSON"])
async def test_a_document_is_redacted_and_restored_exactly(fleet: RunningFleet, document: Any):
    """
    Whatever class the caller claims, its tasks stay in the local zone.
    """
    client = await fleet.client()
    answer = await client.ask("redact", {"document": document}, headers={"Flotilla-Data-Class": "public"})
    redacted = answer.result["output"]

    assert ("local", "redaction") == (answer.result["zone"], answer.result["pool"])
    assert CANARY not in json.dumps(answer.result)
    assert {"EMAIL", "CARD"} == {found["type"] for found in redacted["found"]}
    restored = await asked(client, "restore", document=redacted["document"], vault=redacted["vault"])
    assert document == restored["document"]
    assert ([], []) == (restored["unknown"], restored["missing"])


async def test_a_durable_document_is_redacted_too(fleet: RunningFleet):
    """
    And documents of one case have one placeholder for one value, from whichever replica.
    """
    client = await fleet.client()
    async with client.hearing("results.>") as results:
        tasks = [new_task() for _ in range(6)]
        await client.submit_many("redact", {"document": f"{CANARY}", "case": "2026-117"}, tasks)
        committed = [await results.result(task) for task in tasks]

    assert {"ok"} == {result["status"] for result in committed}
    assert len({(result["output"]["document"], result["output"]["vault"]) for result in committed}) == 1


async def test_a_tenant_with_anothers_handle_finds_no_vault(fleet: RunningFleet):
    """
    Nor does it list or forget it; its owner does, and then it is gone.
    """
    client, other = await fleet.client("default"), await fleet.client("acme")
    redacted = await asked(client, "redact", document=DOCUMENT)
    handle = redacted["vault"]

    assert "not_found" == await refused(other, "restore", document=redacted["document"], vault=handle)
    assert "not_found" == await refused(other, "redact", document=DOCUMENT, vault=handle)
    assert [] == (await asked(other, "vault", action="list"))["vaults"]
    assert 0 == (await asked(other, "vault", action="forget", vault=handle))["forgotten"]
    assert handle in {entry["vault"] for entry in (await asked(client, "vault", action="list"))["vaults"]}
    assert 1 == (await asked(client, "vault", action="forget", vault=handle))["forgotten"]
    assert "not_found" == await refused(client, "restore", document=redacted["document"], vault=handle)


async def test_the_policy_switches_types_and_no_caller_does(fleet: RunningFleet):
    """
    Workers cannot read the policy: it reaches them with each attempt. What a caller says of types changes nothing.
    """
    client = await fleet.client()
    policy = "[redaction]\noff = ['CARD']\n[declassify]\nclassify = { label = 'public' }\n"

    async def types(**given: Any) -> set[str]:
        return {found["type"] for found in (await asked(client, "redact", document=DOCUMENT, **given))["found"]}

    assert {"EMAIL", "CARD"} == await types(redaction={"off": ["EMAIL"]}, off=["EMAIL"])
    assert (await client.api("policy", {"verb": "set", "toml": policy}))["revision"]
    await until(types, {"EMAIL"})
    assert {"EMAIL"} == await types(redaction={"off": []}, off=[])
    await client.api("policy", {"verb": "unset"})
    await until(types, {"EMAIL", "CARD"})


async def until(found: Callable[[], Awaitable[set[str]]], expected: set[str]) -> None:
    """Ask until every orchestrator follows a policy that was just set."""
    async with asyncio.timeout(60):
        while await found() != expected:
            await asyncio.sleep(0.05)


async def test_without_its_pool_nobody_else_redacts(tmp_path: Path):
    """
    A cloud worker is live and would have the class: the refusal says why it has no part in it.
    """
    async with running_fleet(tmp_path, local=0, cloud=1, pools=POOLS) as fleet:
        client = await fleet.client()
        answer = await client.ask(
            "redact", {"document": DOCUMENT}, headers={"Flotilla-Data-Class": "public", "Flotilla-Route": "cloud"}
        )

    assert "no_route" == answer.result["error"]["kind"]
    assert CANARY not in json.dumps(answer.result)


async def test_nothing_but_tasks_and_results_has_the_document(fleet: RunningFleet):
    """
    Served, refused and dead: not in a log, an event, a card, a metric, a dead letter or another lane.
    """
    client, admin = await fleet.client(), await fleet.admin()
    nobodys = "a" * 26
    async with client.hearing("results.>") as results, admin.hearing(">") as everything:
        redacted = await asked(client, "redact", document=DOCUMENT, case=CANARY)
        await asked(client, "restore", document=redacted["document"], vault=redacted["vault"])
        kinds = [
            await refused(client, "redact", document=DOCUMENT, vault=nobodys),
            await refused(client, "redact", document=f"{DOCUMENT}\0"),
            await refused(client, "redact", document=DOCUMENT, language="fi"),
            await refused(client, "restore", document=DOCUMENT, vault=nobodys),
            await refused(client, "restore", document=DOCUMENT, vault=CANARY),
            await refused(client, "redact", text=DOCUMENT),
        ]
        dead = [new_task() for _ in range(3)]
        for task, bad in zip(dead, ({"vault": nobodys}, {"language": "fi"}, {"case": 7}), strict=True):
            await client.submit("redact", {"document": DOCUMENT, **bad}, task=task)
        ended = [await results.result(task) for task in dead]
        kept = [await client.dead_record(task) for task in dead]
        await everything.until(lambda heard: sum("events" in subject for subject in heard.subjects) >= len(dead))

    assert ["not_found", "bad_request", "bad_request", "not_found", "bad_request", "bad_request"] == kinds
    assert {"failed"} == {result["status"] for result in ended}
    for record in kept:
        assert ("redact", "") == (record["capability"], record["body"]), record
        assert CANARY not in json.dumps(record)
    carriers = {
        message.subject
        for message in everything.messages
        if CANARY.encode() in message.data or CANARY in str(message.headers)
    }
    # Tasks, what the pool is handed, and what it gives back, hold the document; nothing else does.
    allowed = ("scope.default.tasks.re", "scope.default.ask.re", "infer.local.redaction.re", "_INBOX.", "_R_.")
    own = [subject for subject in carriers if not subject.startswith((*allowed, "scope.default.results.restore."))]
    assert [] == own
    assert any(subject.startswith("infer.local.redaction.redact") for subject in carriers)
    for process in fleet.processes:
        assert CANARY not in (await probe_of(process).get("/metrics"))[1]
        assert CANARY not in process.log.read_text(errors="replace")
    for log in (fleet.directory / "nats").glob("*.log"):
        assert CANARY not in log.read_text(errors="replace")


async def test_a_worker_that_redacts_starts_fast(fleet: RunningFleet):
    """
    In seconds of the processor, so that a busy machine does not count, against a worker without lists.
    """
    plain, *redacting = (START_CPU_S[worker.name] for worker in fleet.workers)

    assert max(redacting) <= START_CPU_RATIO_MAX * plain, START_CPU_S


async def test_a_worker_that_redacts_stays_small(fleet: RunningFleet):
    """
    Its lists included, after it has worked.
    """
    client = await fleet.client()
    for _ in range(4):
        await asked(client, "redact", document=DOCUMENT * 20)

    async def small() -> bool:
        return all(psutil.Process(worker.pid).memory_info().rss <= MEMORY_MAX for worker in fleet.workers[1:])

    sizes = {worker.name: psutil.Process(worker.pid).memory_info().rss // MIB for worker in fleet.workers[1:]}
    assert await small(), sizes


async def command(fleet: RunningFleet, *arguments: str, expected: int = 0) -> tuple[str, str]:
    """What `flotilla` writes to standard output and to standard error."""
    environ = {"FLOTILLA_NATS_URL": fleet.url, "PATH": os.environ["PATH"]}
    process = await start_command(*arguments, environ=environ)
    out, err = await process.communicate()
    assert expected == process.returncode, err.decode()
    return out.decode(), err.decode()


async def test_the_command_redacts_a_file_and_restores_it(fleet: RunningFleet, tmp_path: Path):
    """
    The text to standard output, what was replaced beside it; then its vault is forgotten.
    """
    file = tmp_path / "letter.txt"
    file.write_text(DOCUMENT)

    redacted, told = await command(fleet, "redact", str(file))
    handle = told.partition("vault ")[2].split()[0]
    file.write_text(redacted)
    restored, _ = await command(fleet, "ask", "restore", str(file), "--set", f"vault={handle}")
    listed, _ = await command(fleet, "vault", "list")
    forgotten, _ = await command(fleet, "vault", "forget", handle)
    _, missing = await command(fleet, "ask", "restore", str(file), "--set", f"vault={handle}", expected=1)
    _, again = await command(fleet, "vault", "forget", handle, expected=1)

    assert CANARY not in redacted + told + listed
    assert {"EMAIL 1", "CARD 1"} == set(told.partition("replaced: ")[2].splitlines()[0].split(", "))
    assert DOCUMENT == restored.rstrip("\n")
    assert handle in listed
    assert "forgotten\n" == forgotten
    assert "not_found" in missing
    assert "no such vault" in again


async def test_the_command_redacts_a_folder(fleet: RunningFleet, tmp_path: Path):
    """
    Into another one, with the same placeholder for the same value, and a table of what was replaced.
    """
    folder = tmp_path / "letters"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.txt", "b.md", "deep/c.eml"):
        (folder / name).write_text(f"{name}: {CANARY}")
    (folder / "binary.txt").write_bytes(b"\x00\x01\x02" * 100)

    table, told = await command(fleet, "redact", str(folder), expected=1)
    asked, _ = await command(fleet, "ask", "redact", str(folder / "a.txt"), "--json")

    out = tmp_path / "letters.redacted"
    written = {str(path.relative_to(out)): path.read_text() for path in out.rglob("*") if path.is_file()}
    assert {"a.txt", "b.md", "deep/c.eml.txt"} == written.keys()
    assert len({text.partition(": ")[2] for text in written.values()}) == 1
    assert CANARY not in "".join(written.values()) + table + told
    assert ["EMAIL", "3", "3"] == table.splitlines()[0].split("\t")
    assert "3 of 4 redacted" in told
    assert f"{folder / 'binary.txt'}: bad_request: binary, no text\n" in told
    assert CANARY not in asked


async def test_the_command_refuses_what_no_fleet_would_take(fleet: RunningFleet, tmp_path: Path):
    """
    Before a file is read.
    """
    (tmp_path / "a").write_text("a")
    for wrong in (("--lifetime-s", "1"), ("--language", "?"), ("--jobs", "0")):
        _, told = await command(fleet, "redact", str(tmp_path / "a"), *wrong, expected=2)
        assert wrong[0] in told
    await command(fleet, "redact", expected=2)
    await command(fleet, "vault", "forget", expected=2)
