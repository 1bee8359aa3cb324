"""What an orchestrator knows of requests for approval by what was written to their bucket, and whose tasks it wakes."""

from typing import Any, Final

import msgspec
import pytest

from flotilla.contracts.approval_requests import ApprovalRecord, GatedInput, Status, encode_record, new_record
from flotilla.fabric.keyvalue import Entry
from orchestrator.approvals.known_requests import WOKEN_AFTER_S, WOKEN_AT_ONCE_MAX, KnownRequests

NOW_MS: Final = 1_800_000_000_000
NOW_S: Final = 500.0


def record(
    task: str = "t", *, created_ms: int = NOW_MS, expires_ms: int = NOW_MS + 1_000, **changed: Any
) -> ApprovalRecord:
    """A request of a task."""
    gated = GatedInput(
        scope="acme", task=task, capability="classify", data_class="internal", zones=["local"], input_sha256="a" * 64
    )
    made = new_record(gated, submitted_by="alice", input_bytes=2, now_unix_ms=created_ms, expires_unix_ms=expires_ms)
    return msgspec.structs.replace(made, **changed)


def entry(key: str, value: ApprovalRecord | bytes | None, revision: int = 1) -> Entry:
    """A write to the bucket; None deletes."""
    body = b"" if value is None else value if isinstance(value, bytes) else encode_record(value)
    return Entry(key=key, body=body, revision=revision, deleted=value is None)


def known_after(*entries: Entry) -> KnownRequests:
    """What is known after some writes, of a bucket that was read before."""
    known = KnownRequests()
    known.see((), 1, NOW_S)
    known.see(entries, 2, known.decided_s(NOW_S))
    return known


def test_those_wait_that_nobody_has_decided_and_whose_time_is_not_over() -> None:
    """
    The oldest first; of one task, or of all.
    """
    known = known_after(
        entry("young", record("b", created_ms=NOW_MS - 2_000)),
        entry("old", record("a", created_ms=NOW_MS - 3_000)),
        entry("late", record("a", created_ms=NOW_MS - 9_000, expires_ms=NOW_MS)),
        entry("granted", record("a", status="granted")),
    )

    assert ["old", "young"] == known.pending(NOW_MS)
    assert ["old"] == known.pending(NOW_MS, "a")
    assert [] == known.pending(NOW_MS + 1_000)
    assert (2, 3.0) == (known.count(NOW_MS), known.oldest_s(NOW_MS))
    assert (3, 9.0 - 0.001) == (known.count(NOW_MS - 1), known.oldest_s(NOW_MS - 1))
    assert (0, 0.0) == (known.count(NOW_MS + 1_000), known.oldest_s(NOW_MS + 1_000))


@pytest.mark.parametrize("value", [None, b"no record", record(status="withdrawn"), record(status="denied")])
def test_the_newest_value_of_a_request_counts(value: ApprovalRecord | bytes | None) -> None:
    """
    One that is gone, that cannot be read or that was decided waits no more.
    """
    assert [] == known_after(entry("r", record()), entry("r", value)).pending(NOW_MS)


@pytest.mark.parametrize(
    ("expected", "status"),
    [
        (True, "granted"),
        (True, "denied"),
        (False, "pending"),
        (False, "consumed"),
        (False, "expired"),
        (False, "withdrawn"),
    ],
)
def test_tasks_are_woken_whose_decisions_nobody_has_acted_on(expected: bool, status: Status) -> None:  # noqa: FBT001
    """
    After a while, in which whoever took the decision wakes them.
    """
    known = known_after(entry("r", record(status=status)))

    assert [] == known.to_be_woken(NOW_S + WOKEN_AFTER_S - 0.001)
    assert ([("r", "t")] if expected else []) == known.to_be_woken(NOW_S + WOKEN_AFTER_S)


def test_a_task_is_woken_once_and_a_decision_that_was_acted_on_needs_it_not() -> None:
    """
    A second write of the same decision does not begin the time anew.
    """
    known = known_after(entry("woken", record("a", status="granted")), entry("used", record("b", status="granted")))
    known.see([entry("woken", record("a", status="granted"))], 3, known.decided_s(NOW_S + WOKEN_AFTER_S / 2))
    known.see([entry("used", record("b", status="consumed"))], 4, known.decided_s(NOW_S))

    assert [("woken", "a")] == known.to_be_woken(NOW_S + WOKEN_AFTER_S)
    known.woken("woken")
    known.woken("woken")
    assert [] == known.to_be_woken(NOW_S + WOKEN_AFTER_S)


def test_what_was_decided_before_the_first_look_has_waited_long_enough() -> None:
    """
    Also on the later pages of that look, and after the bucket was made again.
    """
    known = KnownRequests()
    for _ in range(2):
        decided_s = known.decided_s(NOW_S)
        known.see([entry("a", record("a", status="granted"))], 1, decided_s)
        known.see([entry("b", record("b", status="denied")), entry("c", record("c"))], 2, decided_s)

        assert [("a", "a"), ("b", "b")] == known.to_be_woken(NOW_S)
        assert 2 == known.revision
        known.forget()
        assert (0, [], []) == (known.revision, known.to_be_woken(NOW_S), known.pending(NOW_MS))


def test_tasks_are_woken_some_at_a_time() -> None:
    """
    The rest has its turn at the next look.
    """
    known = known_after(*(entry(f"r{n}", record(f"t{n}", status="granted")) for n in range(WOKEN_AT_ONCE_MAX + 1)))

    assert [(f"r{n}", f"t{n}") for n in range(WOKEN_AT_ONCE_MAX)] == known.to_be_woken(NOW_S + WOKEN_AFTER_S)


class Counted(dict[str, Any]):
    """A dictionary that counts what is looked up in it."""

    looked_up = 0

    def __getitem__(self, key: str) -> Any:
        self.looked_up += 1
        return super().__getitem__(key)


def test_a_task_that_ends_looks_at_its_own_requests_alone() -> None:
    """
    However many others wait in the scope; and what waits no longer is not among its own.
    """
    mine = [
        entry("young", record("run-1", created_ms=NOW_MS - 1)),
        entry("old", record("run-1", created_ms=NOW_MS - 2)),
    ]
    known = known_after(*(entry(f"other-{number}", record(f"t-{number}")) for number in range(50)), *mine)
    waiting = Counted(known._waiting)  # pyright: ignore[reportPrivateUsage]
    known._waiting = waiting  # pyright: ignore[reportPrivateUsage]

    assert ["old", "young"] == known.pending(NOW_MS, "run-1")
    assert 2 == waiting.looked_up
    assert 52 == len(known.pending(NOW_MS))

    known.see([entry("young", record("run-1", status="withdrawn"), 2)], 3, NOW_S)
    assert ["old"] == known.pending(NOW_MS, "run-1")
    known.see([entry("old", None, 2)], 4, NOW_S)
    assert [] == known.pending(NOW_MS, "run-1")
    known.forget()
    assert [] == known.pending(NOW_MS)


def test_a_bucket_that_was_made_again_has_no_request_of_the_one_before() -> None:
    """
    Of no task.
    """
    known = known_after(entry("one", record("a")), entry("two", record("b", status="granted")))
    known.forget()

    assert ([], [], []) == (known.pending(NOW_MS), known.pending(NOW_MS, "a"), known.to_be_woken(NOW_S + WOKEN_AFTER_S))
    assert 0 == known.revision
