"""What waits for approvals is found by its task, however many others wait in the scope."""

from typing import Any

import msgspec

from flotilla.contracts.approval_requests import GatedInput, digest_of, encode_record, new_record
from flotilla.fabric.keyvalue import Entry
from orchestrator.approvals.known_requests import KnownRequests

NOW_MS = 1_800_000_000_000
OTHERS = 50


def request(task: str, *, step: str = "report", revision: int = 1, **changed: Any) -> Entry:
    """A request as it stands in the bucket."""
    gated = GatedInput(
        scope="acme",
        task=task,
        step=step,
        index=None,
        capability="synthesize",
        data_class="internal",
        zones=["cloud"],
        input_sha256="1" * 64,
    )
    record = new_record(
        gated,
        submitted_by="ann",
        input_bytes=9,
        now_unix_ms=NOW_MS - len(step),
        expires_unix_ms=NOW_MS + 60_000,
    )
    body = encode_record(msgspec.structs.replace(record, **changed))
    return Entry(key=digest_of(gated)[:32], body=body, revision=revision)


class Counted(dict[str, Any]):
    """A dictionary that counts what is looked up in it, and is not walked through."""

    looked_up = 0

    def __getitem__(self, key: str) -> Any:
        self.looked_up += 1
        return super().__getitem__(key)


def test_a_task_that_ends_looks_at_its_own_requests_alone():
    """
    A tenant with fifty thousand that wait costs the end of a task no more than one with none. What is decided, or whose
    time is over, is not among them.
    """
    known = KnownRequests()
    known.see([request(f"other-{number}") for number in range(OTHERS)], 1, 0.0)
    mine = [request("run-1", step="b"), request("run-1", step="aa")]
    known.see(mine, 1, 0.0)
    waiting = Counted(known._waiting)  # pyright: ignore[reportPrivateUsage]
    known._waiting = waiting  # pyright: ignore[reportPrivateUsage]

    # The one that is older comes first.
    assert [mine[1].key, mine[0].key] == known.pending(NOW_MS, "run-1")
    assert 2 == waiting.looked_up
    assert OTHERS + 2 == len(known.pending(NOW_MS))
    assert [] == known.pending(NOW_MS + 60_000, "run-1") == known.pending(NOW_MS, "nobodys")

    known.see([request("run-1", step="b", revision=2, status="withdrawn")], 2, 0.0)
    assert [mine[1].key] == known.pending(NOW_MS, "run-1")
    known.see([msgspec.structs.replace(mine[1], deleted=True)], 3, 0.0)
    assert [] == known.pending(NOW_MS, "run-1")
    known.forget()
    assert [] == known.pending(NOW_MS)
