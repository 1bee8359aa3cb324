"""When the policy of a file counts, and that many who start at once put it in force once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import msgspec
import pytest
from msgspec import Struct

from flotilla.contracts import subjects
from flotilla.contracts.errors import NoPolicyError
from flotilla.contracts.policy import Policy, decode_policy
from flotilla.fabric import keyvalue
from flotilla.fabric.connection import connected
from flotilla.fabric.inbox import Requests
from flotilla.provisioning.streams import ensure
from flotilla.provisioning.topology import TopologyLimits, topology
from flotilla.testkit.nats_server import RunningServer
from orchestrator.policy_and_health.configured_policy import FILE_KEY, FileRecord, PolicyFileError, put_in_force
from orchestrator.policy_and_health.policy_documents import POLICY_KEY, Source, source_of, stored

BUCKET = subjects.POLICY_BUCKET
ORCHESTRATORS = 5
FIRST = '# One.\n[default]\nroutes = [{ pool = "local" }]\n'
SECOND = '# Two.\n[default]\nroutes = [{ pool = "cloud" }]\n'
BY_HAND = '[default]\nroutes = [{ pool = "local" }, { pool = "cloud" }]\n'


class Bucket(Struct, frozen=True):
    """The policy's bucket as several orchestrators see it, each by a connection of its own."""

    orchestrators: list[Requests]

    async def start_with(self, toml: str, number: int = 0) -> None:
        """As an orchestrator does at its start."""
        await put_in_force(self.orchestrators[number], toml, instance=f"o{number}")

    async def set_by_hand(self, toml: str) -> int | None:
        """As `flotilla policy set` does."""
        return await keyvalue.put(self.orchestrators[0], BUCKET, POLICY_KEY, stored(Source(toml=toml, author="me")))

    async def versions(self) -> list[str]:
        """The texts that were in force, oldest first."""
        return [
            source_of(entry.body).toml for entry in await keyvalue.history(self.orchestrators[0], BUCKET, POLICY_KEY)
        ]

    async def record(self) -> FileRecord:
        """What the bucket says of the file."""
        entry = await keyvalue.get(self.orchestrators[0], BUCKET, FILE_KEY)
        return msgspec.json.decode(b"{}" if entry is None else entry.body, type=FileRecord)


@pytest.fixture
async def bucket(nats_server: RunningServer) -> AsyncIterator[Bucket]:
    """
    Of a fleet that has only just been made.
    """
    async with AsyncExitStack() as stack:
        orchestrators: list[Requests] = []
        for _ in range(ORCHESTRATORS):
            connection = await stack.enter_async_context(connected(nats_server.orchestrator(), name="orchestrator"))
            requests = Requests(connection)
            await requests.start()
            stack.push_async_callback(requests.stop)
            orchestrators.append(requests)
        await ensure(orchestrators[0], topology(("default",), TopologyLimits()))
        yield Bucket(orchestrators)


async def test_orchestrators_that_start_at_once_make_one_revision(bucket: Bucket):
    """
    Each write is a compare-and-set; those that come too late find what they wanted.
    """
    await asyncio.gather(*(bucket.start_with(FIRST, number) for number in range(ORCHESTRATORS)))

    policy = await keyvalue.get(bucket.orchestrators[0], BUCKET, POLICY_KEY)
    assert policy is not None
    assert [FIRST] == await bucket.versions()
    assert policy.revision == (await bucket.record()).revision


async def test_a_policy_set_by_hand_holds_until_the_file_changes(bucket: Bucket):
    """
    Whoever starts with the file that was there before leaves it alone; a file with another text wins.
    """
    await bucket.start_with(FIRST)
    await bucket.set_by_hand(BY_HAND)
    for number in range(ORCHESTRATORS):
        await bucket.start_with(FIRST, number)
    held = await bucket.versions()
    await bucket.start_with(SECOND)

    assert [FIRST, BY_HAND] == held
    assert [FIRST, BY_HAND, SECOND] == await bucket.versions()


async def test_a_file_that_was_in_force_before_the_last_one_is_new_again(bucket: Bucket):
    """
    So that a Deployment that is rolled back brings its own policy with it.
    """
    for toml in (FIRST, SECOND, FIRST):
        await bucket.start_with(toml)

    assert [FIRST, SECOND, FIRST] == await bucket.versions()


async def test_a_policy_that_says_already_what_the_file_says_is_not_written_again(bucket: Bucket):
    """
    Set by hand, or by an orchestrator that died before it could note the file; the note is made up for.
    """
    by_hand = await bucket.set_by_hand(FIRST)
    await bucket.start_with(FIRST)
    noted = await bucket.record()
    await bucket.set_by_hand(BY_HAND)
    await bucket.start_with(FIRST)

    assert by_hand == noted.revision
    assert [FIRST, BY_HAND] == await bucket.versions()


async def test_a_fleet_with_a_file_is_never_without_a_policy(bucket: Bucket):
    """
    One that was deleted from the bucket comes back: without it data could go where the file forbids.
    """
    await bucket.start_with(FIRST)
    await keyvalue.delete(bucket.orchestrators[0], BUCKET, POLICY_KEY)
    await bucket.start_with(FIRST)

    entry = await keyvalue.get(bucket.orchestrators[0], BUCKET, POLICY_KEY)
    assert entry is not None
    assert (False, FIRST) == (entry.deleted, source_of(entry.body).toml)


async def test_a_policy_of_a_newer_format_is_not_overwritten(bucket: Bucket):
    """
    An older orchestrator that starts during an upgrade must not undo it; it refuses to serve instead.
    """
    newer = await keyvalue.put(bucket.orchestrators[0], BUCKET, POLICY_KEY, b'{"format": 3}')
    await bucket.start_with(FIRST)

    entry = await keyvalue.get(bucket.orchestrators[0], BUCKET, POLICY_KEY)
    assert entry is not None
    assert newer == entry.revision


async def test_an_earlier_version_takes_the_record_for_a_policy_that_says_nothing(bucket: Bucket):
    """
    It decodes every key of the bucket; this one knows better.
    """
    await bucket.start_with(FIRST)
    entry = await keyvalue.get(bucket.orchestrators[0], BUCKET, FILE_KEY)

    assert entry is not None
    assert Policy() == msgspec.json.decode(entry.body, type=Policy)
    with pytest.raises(NoPolicyError):
        decode_policy(entry.body)


async def test_a_bucket_that_does_not_answer_is_waited_for_and_then_given_up(
    bucket: Bucket, nats_server: RunningServer
):
    """
    As while a cluster elects a leader; the error is one of the project's own, so the process ends with one line.
    """
    await nats_server.kill()
    waiting = asyncio.ensure_future(bucket.start_with(FIRST))
    with pytest.raises(PolicyFileError):
        await put_in_force(bucket.orchestrators[1], FIRST, instance="o1", patience_s=0.5)
    await nats_server.start()
    await asyncio.wait_for(waiting, 60)

    assert [FIRST] == await bucket.versions()
