"""Vaults in their bucket on a real server: agreed on, bound to a scope, gone when they should be."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts import subjects
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.failures import FailureKind
from flotilla.contracts.redaction import VaultOutput
from flotilla.contracts.subjects import VAULT_BUCKET, Zone
from flotilla.fabric import keyvalue
from flotilla.fabric.connection import connected
from flotilla.fabric.inbox import Requests
from flotilla.inference.redaction import vault_room
from flotilla.inference.redaction.vault_keys import new_key, vault_keys
from flotilla.inference.redaction.vaults import Vaults
from flotilla.privacy import Entries
from flotilla.provisioning.stream_config import StreamConfig
from flotilla.provisioning.streams import ensure
from flotilla.provisioning.topology import vault_bucket
from flotilla.testkit.nats_server import RunningServer, running_server

POOLS: tuple[tuple[Zone, str], ...] = (("local", "redaction"),)
KEY = new_key()
WRITERS = 12


@pytest.fixture
async def server(tmp_path: Path) -> AsyncGenerator[RunningServer]:
    """
    A server with the bucket.
    """
    async with running_server(tmp_path, pools=POOLS, vault_pools=("redaction",)) as server:
        async with requests_to(server) as requests:
            await ensure(requests, [vault_bucket(1)])
        yield server


@asynccontextmanager
async def requests_to(server: RunningServer) -> AsyncGenerator[Requests]:
    """A replica's connection."""
    async with connected(server.worker("local", "redaction"), name="redaction") as connection:
        requests = Requests(connection)
        await requests.start()
        yield requests
        await requests.stop()


async def add(vaults: Vaults, value: str, scope: str = "acme", **which: Any) -> tuple[str, str]:
    """Have a value stand in a vault; gives its placeholder and the handle."""

    async def work(entries: Entries) -> tuple[str, Entries]:
        entries = entries.with_values({value: "PERSON"})
        entry = entries.of_value(value)
        assert entry is not None
        return entries.placeholder_of(entry), entries

    given: dict[str, Any] = {"handle": None, "case": None, "lifetime_s": 600, **which}
    placeholder, handle, _ = await vaults.change(scope, work, **given)
    return placeholder, handle


async def values(vaults: Vaults, handle: str, scope: str = "acme") -> set[str]:
    """What a vault holds."""
    return {entry.value for entry in await vaults.entries(scope, handle)}


async def test_documents_of_one_case_that_are_redacted_at_once_agree(server: RunningServer):
    """
    From replicas that know nothing of one another: one vault, every value in it, one placeholder for each.
    """
    async with requests_to(server) as one, requests_to(server) as two:
        replicas = [Vaults(requests, vault_keys(KEY, None)) for requests in (one, two)]
        told = await asyncio.gather(
            *(add(replicas[index % 2], f"value {index // 3}", case="2026-117") for index in range(WRITERS))
        )

        assert len({handle for _, handle in told}) == 1
        assert [told[index // 3 * 3][0] for index in range(WRITERS)] == [placeholder for placeholder, _ in told]
        assert {f"value {number}" for number in range(WRITERS // 3)} == await values(replicas[0], told[0][1])


@pytest.mark.parametrize("begun", [False, True], ids=["a new vault", "a vault that is there"])
async def test_what_another_replica_stores_meanwhile_is_kept(server: RunningServer, *, begun: bool):
    """
    Whoever comes second redacts once more, with the entries of who was first, and nobody's value is overwritten.
    """
    async with requests_to(server) as one, requests_to(server) as two:
        vaults, other = (Vaults(requests, vault_keys(KEY, None)) for requests in (one, two))
        if begun:
            await add(other, "Zoe", case="1")
        seen: list[set[str]] = []

        async def work(entries: Entries) -> tuple[None, Entries]:
            if not seen:
                await add(other, "Bob", case="1")
            seen.append({entry.value for entry in entries})
            return None, entries.with_values({"Ann": "PERSON"})

        _, handle, _ = await vaults.change("acme", work, handle=None, case="1", lifetime_s=600)

        before = {"Zoe"} if begun else set[str]()
        assert [before, before | {"Bob"}] == seen
        assert before | {"Ann", "Bob"} == await values(vaults, handle)


async def test_a_handle_is_good_in_its_scope_alone(server: RunningServer):
    """
    Another tenant's is not there, and the same case of another tenant is another vault.
    """
    async with requests_to(server) as requests:
        vaults = Vaults(requests, vault_keys(KEY, None))
        _, handle = await add(vaults, "Ann", case="1")
        _, others = await add(vaults, "Bob", "other", case="1")

        assert handle != others
        for attempt in (vaults.entries("other", handle), add(vaults, "Eve", "other", handle=handle)):
            with pytest.raises(AttemptError) as caught:
                await attempt
            assert FailureKind.NOT_FOUND is caught.value.kind
        assert 0 == await vaults.forget("other", handle=handle, case=None)
        assert {"Ann"} == await values(vaults, handle)
        assert [handle] == [entry.vault for entry in (await vaults.listed("acme")).vaults]


async def test_handles_of_no_case_are_new_and_nothing_in_the_bucket_says_what_a_case_is_called(server: RunningServer):
    """
    Keys of the bucket are shown to whoever runs the server.
    """
    async with requests_to(server) as requests:
        vaults = Vaults(requests, vault_keys(KEY, None))
        handles = {(await add(vaults, "Ann"))[1] for _ in range(3)}
        _, named = await add(vaults, "Ann", case="patient-117")

        keys = await keyvalue.keys(requests, VAULT_BUCKET, ">")
        assert {subjects.vault_key("acme", handle) for handle in {*handles, named}} == set(keys)
        assert len(handles) == 3
        for key in keys:
            entry = await keyvalue.get(requests, VAULT_BUCKET, key)
            assert entry is not None
            assert b"Ann" not in entry.body
            assert b"117" not in key.encode()


async def test_a_forgotten_vault_is_not_found_and_its_case_begins_anew(server: RunningServer):
    """
    At once; and a change that was under way does not bring it back.
    """
    async with requests_to(server) as requests:
        vaults, other = (Vaults(requests, vault_keys(KEY, None)) for _ in range(2))
        _, handle = await add(vaults, "Ann", case="1")

        async def work(entries: Entries) -> tuple[None, Entries]:
            await other.forget("acme", handle=None, case="1")
            return None, entries.with_values({"Bob": "PERSON"})

        with pytest.raises(AttemptError) as caught:
            await vaults.change("acme", work, handle=handle, case=None, lifetime_s=600)
        assert FailureKind.NOT_FOUND is caught.value.kind
        with pytest.raises(AttemptError):
            await vaults.entries("acme", handle)
        assert VaultOutput() == await vaults.listed("acme")
        assert 0 == await vaults.forget("acme", handle=handle, case=None)
        assert handle == (await add(vaults, "Eve", case="1"))[1]
        assert {"Eve"} == await values(vaults, handle)


async def test_a_vault_expires_on_the_server_by_itself(server: RunningServer):
    """
    After the longest lifetime that a document was redacted with.
    """
    async with requests_to(server) as requests:
        vaults = Vaults(requests, vault_keys(KEY, None))
        _, short = await add(vaults, "Ann", lifetime_s=1)
        _, long = await add(vaults, "Ann", lifetime_s=600)
        await add(vaults, "Bob", handle=long, lifetime_s=1)
        key = subjects.vault_key("acme", short)

        for _ in range(300):
            entry = await keyvalue.get(requests, VAULT_BUCKET, key)
            if entry is None or entry.deleted:
                break
            await asyncio.sleep(0.1)
        else:
            raise AssertionError("the server keeps it")

        with pytest.raises(AttemptError):
            await vaults.entries("acme", short)
        assert {"Ann", "Bob"} == await values(vaults, long)
        [listed] = (await vaults.listed("acme")).vaults
        assert listed.expires_unix_ms > unix_ms() + 300_000


async def test_a_case_goes_on_while_keys_are_changed(server: RunningServer):
    """
    Found under the handle that the old key gave it, and encrypted anew with the new one.
    """
    old, new = KEY, new_key()
    async with requests_to(server) as requests:
        before = Vaults(requests, vault_keys(old, None))
        _, handle = await add(before, "Ann", case="1")

        between = Vaults(requests, vault_keys(f"{new},{old}", None))
        assert handle == (await add(between, "Bob", case="1"))[1]

        after = Vaults(requests, vault_keys(new, None))
        assert {"Ann", "Bob"} == await values(after, handle)
        with pytest.raises(AttemptError) as caught:
            await before.entries("acme", handle)
        assert FailureKind.REFUSED is caught.value.kind
        # One of a key that is gone hides none of the others.
        _, lost = await add(before, "Cid")
        listed = await after.listed("acme")
        assert ([lost], True) == (listed.unreadable, handle in {entry.vault for entry in listed.vaults})
        assert 1 == await after.forget("acme", handle=lost, case=None)
        assert 1 == await between.forget("acme", handle=None, case="1")


async def test_without_its_bucket_a_vault_is_unavailable(tmp_path: Path):
    """
    Which passes: nothing is said to be redacted whose values are not stored.
    """
    async with (
        running_server(tmp_path, pools=POOLS, vault_pools=("redaction",)) as server,
        requests_to(server) as requests,
    ):
        with pytest.raises(AttemptError) as caught:
            await add(Vaults(requests, vault_keys(KEY, None)), "Ann")

    assert FailureKind.UNAVAILABLE is caught.value.kind


async def test_a_bucket_that_is_gone_is_made_again_when_it_is_needed(tmp_path: Path):
    """
    The task that finds it missing fails and may be tried again; a vault that was in it is not found.
    """
    async with (
        running_server(tmp_path, pools=POOLS, vault_pools=("redaction",)) as server,
        requests_to(server) as requests,
    ):
        made: list[int] = []

        async def make_bucket(requests: Requests) -> None:
            made.append(len(made))
            await ensure(requests, [vault_bucket(1)])

        vaults = Vaults(requests, vault_keys(KEY, None), make_bucket)
        failed = await asyncio.gather(*(add(vaults, "Ann") for _ in range(8)), return_exceptions=True)
        kinds: list[FailureKind] = []
        placeholder = ""
        async with asyncio.timeout(60):
            while not placeholder:
                try:
                    placeholder, handle = await add(vaults, "Bob")
                    assert {"Bob"} == await values(vaults, handle)
                except AttemptError as error:
                    kinds.append(error.kind)
                    await asyncio.sleep(0.01)
        with pytest.raises(AttemptError) as gone:
            await vaults.entries("acme", "a" * 26)
        await vaults.stop()

    assert {FailureKind.UNAVAILABLE} == {error.kind for error in failed if isinstance(error, AttemptError)} | {*kinds}
    assert FailureKind.NOT_FOUND is gone.value.kind
    assert made


def small_bucket(**bounds: int) -> StreamConfig:
    return msgspec.structs.replace(vault_bucket(1), **bounds)


async def filled(vaults: Vaults, value: str, scope: str, most: int) -> int:
    """How many vaults a scope can make, each with a value of its own."""
    for count in range(most):
        try:
            await add(vaults, f"{value} {count}", scope)
        except AttemptError as error:
            if error.kind is not FailureKind.UNAVAILABLE:
                raise
            return count
    return most


@pytest.mark.parametrize(
    ("bounds", "length", "made"),
    [({"max_msgs": 40}, 10, 20), ({"max_bytes": 400_000}, 20_000, 11)],
    ids=["many", "large"],
)
async def test_vaults_of_one_scope_leave_room_for_those_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bounds: dict[str, int], length: int, made: int
):
    """
    However many, or however large: one has half, and what another's small documents need is left.
    """
    monkeypatch.setattr(vault_room, "LOOK_S", 0.0)
    async with (
        running_server(tmp_path, pools=POOLS, vault_pools=("redaction",)) as server,
        requests_to(server) as requests,
    ):
        await ensure(requests, [small_bucket(**bounds)])
        vaults = Vaults(requests, vault_keys(KEY, None))
        assert made >= await filled(vaults, "x" * length, "flood", 100) >= made // 2
        kept, handle = await add(vaults, "Ann", "honest")
        assert 15 == await filled(vaults, "Bob", "honest", 15)
        # What is there already may still be written to: a case goes on.
        assert (kept, handle) == await add(vaults, "Ann", "honest", handle=handle)
