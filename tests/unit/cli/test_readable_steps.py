"""A pipeline's run as people read it: a line for each step, which fits."""

import msgspec

from flotilla.cli.console.readable import cost, origin, steps
from flotilla.client.answers import Answer
from flotilla.contracts.attempts import Usage
from flotilla.contracts.results import Result, StepReport

STEPS = [
    StepReport(
        name="redact",
        capability="redact",
        status="succeeded",
        data_class="restricted",
        pool="redaction",
        model="lists-1",
        zone="local",
        latency_ms=12.4,
    ),
    StepReport(
        name="a-step-whose-name-is-longer-than-anybody-reads",
        capability="summarize",
        status="succeeded",
        data_class="internal",
        tasks=12,
        kept=3,
        cached=4,
        pool="anthropic",
        model="m" * 100,
        zone="cloud",
        latency_ms=2_500.0,
        usage=Usage(cost_usd=0.0123),
    ),
    StepReport(
        name="report",
        capability="synthesize",
        status="failed",
        data_class="internal",
        error="approval_required",
        failed=1,
    ),
]
RUN = Result(task="t-1", capability="process-document", status="ok", output=msgspec.Raw(b"{}"), steps=STEPS)


def test_each_step_has_a_line_that_fits_eighty_columns():
    """
    Where it ran, what it took, what it cost; what was kept or another's; and how it failed.
    """
    lines = steps(Answer(RUN))

    assert 3 == len(lines)
    assert max(map(len, lines)) <= 80
    assert "local: redaction/lists-1" in lines[0]
    assert lines[0].endswith("12 ms")
    assert "2.5 s · 12 tasks · 3 kept · 4 cached · $0.0123" in lines[1]
    assert lines[2].endswith("failed approval_required")


def test_a_run_has_no_place_and_a_task_has_no_steps():
    """
    The line on where it ran counts the steps.
    """
    assert origin(Answer(RUN)).startswith("3 steps · ")
    assert [] == steps(Answer(Result(task="t", capability="classify", status="ok")))


def test_an_answer_of_another_task_says_what_it_saved():
    """
    In place of its cost.
    """
    answer = Result(task="t", capability="classify", status="ok", cached=True, original_task="u", saved_usd=0.0123)

    assert "cached, saved $0.0123" == cost(Answer(answer))
    assert "cached" == cost(Answer(msgspec.structs.replace(answer, saved_usd=msgspec.UNSET)))
