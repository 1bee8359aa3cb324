"""What stands in for a result that cannot be read, and how often it is told."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.results import Result, decode_result, encode
from orchestrator.state.unreadable_stored import UnreadableStored, standing_for


@given(st.binary())
def test_what_stands_for_a_result_that_cannot_be_read_can_be_read(body: bytes):
    """
    Whoever asks for it decodes it like any other.
    """
    try:
        decode_result(body)
    except DecodeFailedError as error:
        result = Result(task="t", capability="c", status="failed", error=standing_for("it", error, len(body)))
        assert decode_result(encode(result)) == result


def test_it_is_counted_each_time_and_logged_once_a_minute(capsys: pytest.CaptureFixture[str]):
    """
    A list of the dead may find thousands.
    """
    counts = Counter[str]()

    def count(what: str) -> None:
        counts[what] += 1

    unreadable = UnreadableStored(count)
    for _ in range(100):
        unreadable.found("result", "scope.default.results.c.t")
        unreadable.found("dead_record", "dead.default.c.t")

    assert {"result": 100, "dead_record": 100} == counts
    assert 2 == capsys.readouterr().out.count("stored_unreadable")
