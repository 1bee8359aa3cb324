"""What `flotilla privacy prove` takes for a canary, where one may be, and what it concludes."""

import base64
import random
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Final

import msgspec
import pytest

from flotilla.cli.prove.canaries import CANARIES_MAX, Canaries
from flotilla.cli.prove.documents import TEXT_CAPABILITIES, input_of, letter
from flotilla.cli.prove.metrics import is_endpoint, read_metrics
from flotilla.cli.prove.places import (
    ANSWERS,
    CLOUD_LANES,
    FILES,
    LOGS,
    METRICS,
    TASK_STREAM,
    VAULTS,
    Watched,
    beside_kept_output,
    beside_original,
    beside_output,
)
from flotilla.cli.prove.plan import plan_for
from flotilla.cli.prove.verdict import Run, faults
from flotilla.cli.prove.watch import LOG_CHUNK_BYTES, LogReader, Sight, VaultReader, Watch
from flotilla.contracts.api import PoolStatus
from flotilla.contracts.capabilities import BUILT_IN
from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.contracts.policy import Policy
from flotilla.contracts.results import DeadRecord, Result
from flotilla.contracts.subjects import Zone
from flotilla.privacy import Entries, Listed, Structured, redact

SOME: Final = (0, 1, 4711, CANARIES_MAX - 1)


@pytest.fixture
def canaries() -> Canaries:
    """
    Those of one run.
    """
    return Canaries(random.Random(7))


@pytest.mark.parametrize("number", SOME)
def test_each_value_is_found_in_any_form(canaries: Canaries, number: int) -> None:
    """
    In any case, and in base64 behind any bytes; another run's are not.
    """
    other = Canaries(random.Random(8)).person(number)
    for value in msgspec.structs.astuple(canaries.person(number)):
        assert canaries.are_in(f"... {value}".encode())
        assert canaries.are_in(value.upper().encode())
        for before in ("", "a", "ab"):
            assert canaries.are_in(base64.b64encode(f"{before}{value}{before}".encode()))
    for value in msgspec.structs.astuple(other):
        assert not canaries.are_in(value.encode())
        assert not canaries.are_in(base64.b64encode(value.encode()))


@pytest.mark.parametrize("number", SOME)
def test_accounts_have_a_right_checksum_and_redaction_leaves_nothing_of_a_letter(
    canaries: Canaries, number: int
) -> None:
    """
    What detection would miss by its nature would be no leak of the fleet's.
    """
    person = canaries.person(number)
    moved = "".join(str(int(each, 36)) for each in person.iban[4:] + person.iban[:4])
    redacted = redact(letter(person), Entries.empty("nobody guesses this"), [Structured(), Listed()]).text

    assert (22, 1) == (len(person.iban), int(moved) % 97)
    assert not canaries.are_in(redacted.encode())
    assert all(placeholder in redacted for placeholder in ("[PERSON_", "[EMAIL_", "[IBAN_"))


@pytest.mark.parametrize("capability", TEXT_CAPABILITIES)
def test_inputs_are_those_of_their_capabilities(canaries: Canaries, capability: str) -> None:
    """
    A refused input would try nothing.
    """
    given = input_of(capability, letter(canaries.person(1)))

    msgspec.convert(given, BUILT_IN[capability][0])
    assert canaries.are_in(msgspec.json.encode(given))
    assert set(TEXT_CAPABILITIES) == set(BUILT_IN)


def result_of(text: str, *, capability: str = "summarize", zone: Zone = "local") -> bytes:
    """A committed result with a text in its output."""
    output = msgspec.Raw(msgspec.json.encode({"summary": text}))
    return msgspec.json.encode(Result(task="t", capability=capability, status="ok", output=output, zone=zone))


def dead_of(text: str, *, capability: str = "summarize", message: str = "") -> bytes:
    """A dead letter with a text in its original message."""
    return msgspec.json.encode(
        DeadRecord(
            task="t",
            scope="default",
            capability=capability,
            error=ErrorBody(kind=ErrorKind.NO_ROUTE, message=message),
            at_unix_ms=0,
            subject="scope.default.tasks.summarize",
            headers={},
            body=text.encode(),
        )
    )


@pytest.mark.parametrize(
    ("watched", "may", "may_not"),
    [
        (beside_output, result_of("X"), result_of("X", zone="cloud")),
        (beside_output, result_of("X"), result_of("X", capability="redact")),
        (beside_output, result_of("X"), b"no result: X"),
        (beside_original, dead_of("X"), dead_of("", message="X")),
        (beside_original, dead_of("X"), msgspec.json.encode({"no": "record", "X": 1})),
        (
            beside_kept_output,
            b'{"data_class":"restricted","result":%s}' % result_of("X"),
            b'{"data_class":"internal","result":%s}' % result_of("X", zone="cloud"),
        ),
    ],
)
def test_only_what_a_caller_gets_or_a_retry_needs_may_hold_a_canary(
    watched: Watched, may: bytes, may_not: bytes
) -> None:
    """
    Not what came from the cloud or was redacted, no error, and nothing that cannot be read.
    """
    assert b"X" not in watched(may)
    assert b"X" in watched(may_not)


def test_a_dead_letter_of_what_is_redacted_may_hold_nothing(canaries: Canaries) -> None:
    """
    Its original is in base64.
    """
    text = canaries.person(3).email

    assert canaries.are_in(dead_of(text))
    assert not canaries.are_in(beside_original(dead_of(text)))
    assert canaries.are_in(beside_original(dead_of(text, capability="redact")))


def test_a_log_is_read_from_where_it_was_across_chunks_and_from_its_beginning_when_it_is_new(
    canaries: Canaries, tmp_path: Path
) -> None:
    """
    What stood there before is not of this run.
    """
    text = canaries.person(1).name.split()[1].encode()
    old, long, anew = tmp_path / "old.log", tmp_path / "long.log", tmp_path / "anew.log"
    old.write_bytes(text + b"\n")
    long.touch()
    anew.write_bytes(b"x" * 1000)
    reader, watch = LogReader([tmp_path, tmp_path / "none"]), Watch(canaries)

    reader.read_into(watch)
    assert not any(sight.leaks for sight in watch.sights())
    long.write_bytes(b"." * (LOG_CHUNK_BYTES - len(text) // 2) + text + b"." * LOG_CHUNK_BYTES)
    reader.read_into(watch)
    assert [1] == [sight.leaks for sight in watch.sights() if sight.place == LOGS]
    long.unlink()
    anew.write_bytes(text)
    reader.read_into(watch)
    assert [2] == [sight.leaks for sight in watch.sights() if sight.place == LOGS]


def test_named_files_are_read_from_where_they_were(canaries: Canaries, tmp_path: Path) -> None:
    """
    One by its name, and all of a folder's, whatever they are called.
    """
    text = canaries.person(1).email.encode()
    (tmp_path / "collected").mkdir()
    traces, inside = tmp_path / "traces.json", tmp_path / "collected" / "spans"
    traces.write_bytes(text)
    reader, watch = LogReader([], [traces, tmp_path / "collected"]), Watch(canaries)

    reader.read_into(watch)
    assert not any(sight.leaks for sight in watch.sights())
    with traces.open("ab") as file:
        file.write(b"..." + text)
    inside.write_bytes(text)
    reader.read_into(watch)
    assert [2] == [sight.leaks for sight in watch.sights() if sight.place == FILES]


def test_vaults_on_disk_are_read_where_something_was_written(canaries: Canaries, tmp_path: Path) -> None:
    """
    The blocks of their stream alone, each as a whole, whatever was in them before.
    """
    text = canaries.person(1).email.encode()
    blocks = tmp_path / "FLEET.vault" / "streams" / "KV_vault" / "msgs"
    others = tmp_path / "FLEET" / "streams" / "TASKS_default" / "msgs"
    for folder in (blocks, others):
        folder.mkdir(parents=True)
        (folder / "1.blk").write_bytes(text)
    reader, watch = VaultReader([tmp_path]), Watch(canaries)

    def seen() -> list[tuple[int, int]]:
        reader.read_into(watch)
        return [(sight.messages, sight.leaks) for sight in watch.sights() if sight.place == VAULTS]

    assert [(0, 0)] == seen()
    (others / "2.blk").write_bytes(text)
    (blocks / "2.blk").write_bytes(b"ciphertext")
    assert [(1, 0)] == seen()
    (blocks / "1.blk").write_bytes(text + b"ciphertext")
    assert [(3, 1)] == seen()


def test_metrics_are_looked_through_and_silence_proves_nothing(canaries: Canaries) -> None:
    """
    What is no endpoint, or does not answer, is told as unread.
    """

    class Endpoint(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer with a canary in a label."""
            self.send_response(200 if self.path == "/metrics" else 404)
            self.end_headers()
            self.wfile.write(b'tasks_total{name="' + canaries.person(2).name.encode() + b'"} 1\n')

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Say nothing."""

    watch = Watch(canaries)
    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        assert [f"{address}/none"] == read_metrics([f"{address}/metrics", f"{address}/none"], watch)
        server.shutdown()

    assert [1] == [sight.leaks for sight in watch.sights() if sight.place == METRICS]
    assert not is_endpoint("file:///etc/passwd")
    assert is_endpoint(address)


def test_a_canary_in_a_subject_or_header_is_a_leak_wherever_it_is(canaries: Canaries) -> None:
    """
    Also at home.
    """
    watch = Watch(canaries)
    text = canaries.person(1).email.encode()
    watch.see(TASK_STREAM, text)
    watch.see(TASK_STREAM, text, beside=text)

    assert [(2, 1, 1)] == [
        (sight.messages, sight.leaks, sight.at_home) for sight in watch.sights() if sight.place == TASK_STREAM
    ]


def test_the_plan_has_what_is_served_and_what_the_policy_lowers() -> None:
    """
    Local capabilities alone; those of a text go on to a cloud pool where one serves any.
    """

    def pool(zone: Zone, name: str, *capabilities: str) -> PoolStatus:
        return PoolStatus(
            zone=zone, pool=name, provider="p", replicas=1, slots=1, busy=0, models=[], capabilities=list(capabilities)
        )

    pools = [
        pool("local", "a", "classify", "redact", "restore", "vault", "own"),
        pool("cloud", "b", "reason"),
        pool("cloud", "c", "embed"),
    ]
    policy = Policy(declassify={"restore": {"document": "public"}, "classify": {"label": "public"}})
    plan = plan_for(pools, policy, ["mine"])

    assert ("classify", "own", "mine") == plan.capabilities
    assert (("b", "c"), "reason", ("b",), True) == (plan.cloud_pools, plan.onward, plan.onward_pools, plan.redacts)
    assert [("redact", "internal"), ("restore", "public"), ("classify", "public")] == [
        (low.capability, low.data_class) for low in plan.lowered
    ]
    assert [] == [low.capability for low in plan_for(pools[1:], None).lowered]


def run_of(*, leaks: int = 0, at_home: int = 9, **others: int | bool | dict[str, str]) -> Run:
    """A run that proves something unless told otherwise."""
    done: dict[str, int | bool | dict[str, str]] = {
        "wanted": 9,
        "documents": 9,
        "served": 9,
        "decoys_served": 2,
        "decoys_heard": 2,
        "interrupted": False,
        "left": 0,
        **others,
    }
    sights = [
        Sight(place=CLOUD_LANES, messages=4, leaks=leaks, at_home=0),
        Sight(place=ANSWERS, messages=4, leaks=0, at_home=4),
        Sight(place=TASK_STREAM, messages=9, leaks=0, at_home=at_home),
    ]
    return msgspec.convert({**done, "elapsed_s": 1.0, "ends": {}, "sights": sights}, Run)


@pytest.mark.parametrize(
    ("run", "begin"),
    [
        (run_of(), []),
        (run_of(leaks=2), ["leak: cloud lanes: 2 "]),
        (run_of(at_home=0), ["deaf: "]),
        (run_of(decoys_heard=1), ["deaf: "]),
        (run_of(interrupted=True), ["interrupted: "]),
        (run_of(documents=8), ["unfinished: 8 of 9 "]),
        (run_of(served=0), ["nothing done: "]),
        (run_of(untried={"triage": "no_route"}), ["not tried: no document of triage "]),
        (run_of(vaults_wanted=True), ["deaf: nothing was written to vaults "]),
        (run_of(leaks=1, documents=1), ["leak: ", "unfinished: "]),
    ],
)
def test_nothing_is_proven_unless_it_would_have_been_seen(run: Run, begin: list[str]) -> None:
    """
    Each reason for which it is not is told.
    """
    found = faults(run)

    assert len(begin) == len(found)
    assert all(fault.startswith(start) for fault, start in zip(found, begin, strict=True)), found
