"""Which class the steps of a run have."""

import pytest

from flotilla.contracts.headers import DataClass
from flotilla.pipelines.data_flow import classes
from flotilla.pipelines.plan import Done, StepOutcome, StepTask
from flotilla.pipelines.planner import Planner
from flotilla.testkit.pipeline_runs import failed, gave, pipeline, run_to_end

PROCESS = """
[steps.sort]
capability = "classify"
input = { document = "${input.document}", labels = ["a", "b"] }
[steps.redact]
capability = "redact"
input = { document = "${input.document}" }
[steps.summary]
capability = "summarize"
input = { document = "${steps.redact.document}" }
[steps.report]
capability = "synthesize"
input = { sources = ["${steps.summary.summary}"] }
[steps.final]
capability = "restore"
input = { document = "${steps.report.report}", vault = "${steps.redact.vault}" }
[steps.plain]
capability = "chat"
input = { messages = [] }
"""


def test_a_class_follows_what_is_read_and_falls_only_where_a_field_is_declassified():
    assert {
        "sort": "restricted",
        "redact": "restricted",
        "plain": "public",
        "summary": "internal",
        "report": "internal",
        "final": "restricted",
    } == classes(pipeline(PROCESS), "restricted")


def test_what_redaction_gives_is_restricted_whatever_the_task_was():
    found = classes(pipeline(PROCESS), "public")
    assert ("public", "restricted", "internal", "restricted") == tuple(
        found[name] for name in ("sort", "redact", "summary", "final")
    )


FLOWS = {
    "a text": 'input = { text = "About ${steps.sort.label}." }',
    "a condition": "when = \"steps.sort.label == 'a'\"",
    "a list": 'for_each = ["${steps.sort.label}"]\ninput = { constant = 1 }',
    "an item": 'for_each = "${steps.sort.labels}"\ninput = { text = "${item}" }',
    "a gate's condition": "approval = { when = \"steps.sort.label == 'a'\" }",
    "what decided whether it runs": 'needs = ["gated"]',
    "a class of its own": 'data_class = "restricted"',
}


@pytest.mark.parametrize("flow", FLOWS)
def test_every_way_in_which_a_value_is_read_is_a_flow(flow: str):
    steps = f"""
[steps.sort]
capability = "classify"
input = {{ document = "${{input.document}}" }}
[steps.gated]
capability = "free"
when = "steps.sort.label == 'a'"
[steps.told]
capability = "summarize"
{FLOWS[flow]}
"""
    assert "restricted" == classes(pipeline(steps), "restricted")["told"]
    declassified: dict[tuple[str, str], DataClass] = {
        ("classify", "label"): "internal",
        ("classify", "labels"): "internal",
    }
    lower = classes(pipeline(steps), "restricted", operator=declassified)["told"]
    assert ("restricted" if flow == "a class of its own" else "internal") == lower


def test_the_field_of_each_output_is_declassified_and_the_outputs_are_not():
    steps = """
[steps.redact]
capability = "redact"
for_each = "${input.pages}"
input = { document = "${item}" }
[steps.each]
capability = "summarize"
for_each = "${steps.redact.*.document}"
input = { document = "${item}" }
[steps.first]
capability = "summarize"
input = { document = "${steps.redact.0.document}" }
[steps.whole]
capability = "summarize"
for_each = "${steps.redact}"
input = { document = "${item.document}" }
"""
    found = classes(pipeline(steps), "restricted")
    assert ("internal", "internal", "restricted") == (found["each"], found["first"], found["whole"])


@pytest.mark.parametrize(("outcome", "expected"), [(gave({"document": "d"}), "internal"), (failed(), "restricted")])
def test_a_field_of_a_failure_is_not_declassified(outcome: StepOutcome, expected: DataClass):
    steps = """
[steps.redact]
capability = "redact"
input = { document = "${input.document}" }
on_failure = "skip"
[steps.count]
capability = "count"
input = { a = "${steps.redact.document}", b = "x" }
needs = ["other"]
[steps.other]
capability = "other"
"""
    seen: list[StepTask] = []
    planner = Planner(pipeline(steps, 'out = "${steps.redact.document}"'), {"document": "d"}, "restricted")
    done = run_to_end(planner, lambda task: outcome if task.capability == "redact" else gave({}), seen)
    assert isinstance(done, Done)
    assert {expected} == {done.data_class, *(task.data_class for task in seen if task.capability == "count")}


@pytest.mark.parametrize(("outcome", "expected"), [(gave({}), "internal"), (failed(), "restricted")])
def test_what_is_left_out_with_a_step_that_failed_tells_that_it_failed(outcome: StepOutcome, expected: DataClass):
    steps = """
[steps.one]
capability = "a"
input = { text = "${input.text}" }
on_failure = "skip"
[steps.two]
capability = "b"
needs = ["one"]
[steps.three]
capability = "c"
[steps.four]
capability = "d"
data_class = "internal"
input = { told = "${steps.two}", text = "${steps.three.text}" }
"""
    seen: list[StepTask] = []
    planner = Planner(pipeline(steps, 'out = "${steps.two}"'), {"text": "t"}, "restricted")
    done = run_to_end(
        planner, lambda task: outcome if task.capability == "a" else gave({"text": "t"}, task.data_class), seen
    )
    assert isinstance(done, Done)
    assert [expected] == [task.data_class for task in seen if task.capability == "d"]
    assert ("restricted" if expected == "restricted" else "public") == done.data_class


@pytest.mark.parametrize(("ran_under", "expected"), [("restricted", "restricted"), ("public", "internal")])
def test_a_class_that_was_raised_while_a_step_ran_goes_on_and_one_that_was_lowered_does_not(
    ran_under: DataClass, expected: DataClass
):
    steps = """
[steps.one]
capability = "a"
input = { text = "${input.text}" }
[steps.two]
capability = "b"
input = { text = "${steps.one.text}" }
"""
    planner = Planner(pipeline(steps, 'out = "${steps.two}"'), {"text": "t"}, "internal")
    done = run_to_end(planner, lambda _: gave({"text": "t"}, ran_under))
    assert isinstance(done, Done)
    assert expected == done.data_class
