"""What of a run comes next."""

from typing import Any

import msgspec
import pytest

from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.contracts.headers import DataClass
from flotilla.pipelines.plan import Done, Failed, Run, StepKey, StepOutcome, StepTask, Waiting
from flotilla.pipelines.planner import Planner, plan
from flotilla.testkit.pipeline_runs import failed, gave, pipeline, run_to_end, value

CHAIN = """
[steps.last]
capability = "b"
input = { text = "${steps.first.text}!", number = "${steps.first.number}" }
[steps.first]
capability = "a"
input = { document = "${input.document}" }
"""
FAN = """
[steps.pages]
capability = "page"
for_each = "${input.pages}"
parallel = 2
input = { page = "${item.text}", number = "${index}" }
"""


def tasks(said: object) -> tuple[StepTask, ...]:
    assert isinstance(said, Run)
    return said.steps


def test_steps_run_in_the_order_of_what_they_read_and_values_keep_their_types():
    definition = pipeline(CHAIN, 'whole = "${steps.last}"\nlist = ["${steps.first.number}", "n=${steps.first.number}"]')
    planner = Planner(definition, {"document": {"deep": [1, None]}}, "internal")

    (first,) = tasks(planner.start())
    assert (StepKey("first"), "a") == (first.key, first.capability)
    assert {"document": {"deep": [1, None]}} == value(first.input)
    (last,) = tasks(planner.record(first.key, gave({"text": "x", "number": 4})))
    assert {"text": "x!", "number": 4} == value(last.input)
    done = planner.record(last.key, gave({"ok": True}))

    assert isinstance(done, Done)
    assert {"whole": {"ok": True}, "list": [4, "n=4"]} == value(done.output)


def test_a_task_is_named_once_and_what_was_never_named_is_refused():
    planner = Planner(pipeline(FAN), {"pages": [{"text": "a"}, {"text": "b"}, {"text": "c"}]}, "internal")
    started = tasks(planner.start())
    assert [0, 1] == [task.key.index for task in started]
    assert [{"page": "a", "number": 0}, {"page": "b", "number": 1}] == [value(task.input) for task in started]
    for key in (StepKey("pages", 2), StepKey("pages"), StepKey("other")):
        with pytest.raises(ValueError, match=r"\S is no task of this run that is under way"):
            planner.record(key, gave(1))
    assert [2] == [task.key.index for task in tasks(planner.record(StepKey("pages", 1), gave("B")))]
    with pytest.raises(ValueError, match=r"\S is no task of this run that is under way"):
        planner.record(StepKey("pages", 1), gave("B"))
    assert planner.record(StepKey("pages", 0), gave("A")) == Waiting()


def test_a_step_runs_for_each_item_and_its_outputs_are_in_order_whichever_ended_first():
    definition = pipeline(FAN, 'pages = "${steps.pages}"\nsecond = "${steps.pages.1.n}"\nall = "${steps.pages.*.n}"')
    planner = Planner(definition, {"pages": [{"text": "a"}, {"text": "b"}, {"text": "c"}]}, "internal")
    planner.start()
    planner.record(StepKey("pages", 1), gave({"n": 1}))
    planner.record(StepKey("pages", 2), gave({"n": 2}))
    done = planner.record(StepKey("pages", 0), gave({"n": 0}))
    assert isinstance(done, Done)
    assert {"pages": [{"n": 0}, {"n": 1}, {"n": 2}], "second": 1, "all": [0, 1, 2]} == value(done.output)


def test_no_items_are_an_empty_list():
    done = Planner(pipeline(FAN, 'pages = "${steps.pages}"'), {"pages": []}, "internal").start()
    assert isinstance(done, Done)
    assert {"pages": []} == value(done.output)


@pytest.mark.parametrize("pages", [7, "text", {"a": 1}, [{"text": "a"}] * 1_001])
def test_what_is_no_list_or_too_long_a_one_fails_the_step(pages: Any):
    said = Planner(pipeline(FAN), {"pages": pages}, "internal").start()
    assert isinstance(said, Failed)
    assert (StepKey("pages"), {"step": "pages"}) == (said.step, said.error.details)
    assert "for_each" in said.error.message


@pytest.mark.parametrize("on_failure", ["skip", "collect"])
def test_what_is_missing_since_its_whole_step_failed_says_why(on_failure: str):
    """
    A step that had no tasks has no outputs, and what reads them cannot say more than that; here it does.
    """
    definition = pipeline(FAN + f'on_failure = "{on_failure}"', 'all = "${steps.pages.0.n}"')
    said = Planner(definition, {"pages": [{"text": "a"}] * 1_001}, "internal").start()
    if on_failure == "skip":
        # Null is what was asked for.
        assert isinstance(said, Done)
        assert {"all": None} == value(said.output)
    else:
        assert isinstance(said, Failed)
        why = "step pages failed: for_each: 1001 items, expected at most 1000"
        assert f"there is no steps.pages.0.n: {why}" == said.error.message


def test_an_absent_field_fails_the_step_by_its_path():
    for steps, step, path in ((CHAIN, "first", "input.document"), (FAN, "pages", "input.pages")):
        said = Planner(pipeline(steps), {}, "internal").start()
        assert isinstance(said, Failed)
        assert {"step": step, "path": path} == said.error.details


def test_an_absent_field_of_the_output_fails_the_run():
    planner = Planner(pipeline(CHAIN, 'x = "${steps.first.nothing}"'), {"document": "d"}, "internal")
    said = run_to_end(planner, lambda _: gave({"text": "x", "number": 4}))
    assert isinstance(said, Failed)
    assert (StepKey("output"), {"step": "output", "path": "steps.first.nothing"}) == (said.step, said.error.details)


def test_an_output_that_grew_too_large_fails_the_run():
    planner = Planner(
        pipeline(CHAIN, 'x = ["${input.d}", "${input.d}"]'), {"document": "", "d": "x" * 9_000_000}, "internal"
    )
    said = run_to_end(planner, lambda _: gave({"text": "x", "number": 4}))
    assert isinstance(said, Failed)
    assert (StepKey("output"), {"step": "output"}) == (said.step, said.error.details)


WHEN = """
[steps.sort]
capability = "a"
input = { document = "${input.document}" }
[steps.report]
capability = "b"
when = "steps.sort.label != 'other'"
input = { about = "${steps.sort.label}" }
[steps.sent]
capability = "c"
input = { report = "${steps.report.text}" }
[steps.kept]
capability = "d"
input = { report = "${steps.report.text}", label = "${steps.sort.label}" }
[steps.instead]
capability = "e"
when = "steps.report == null"
"""


def test_what_needs_only_steps_that_are_left_out_is_left_out_too():
    seen: list[StepTask] = []
    output = 'report = "${steps.report.text}"\nsent = "${steps.sent}"\ntext = "[${steps.sent}]"'
    done = run_to_end(
        Planner(pipeline(WHEN, output), {"document": "d"}, "internal"), lambda _: gave({"label": "other"}), seen
    )
    assert isinstance(done, Done)
    assert ["sort", "instead", "kept"] == sorted((task.key.step for task in seen), key="sort instead kept".find)
    assert {"report": None, "sent": None, "text": "[]"} == value(done.output)
    kept = next(task for task in seen if task.key.step == "kept")
    assert {"report": None, "label": "other"} == value(kept.input)


def test_what_holds_runs():
    seen: list[StepTask] = []
    run_to_end(
        Planner(pipeline(WHEN), {"document": "d"}, "internal"), lambda _: gave({"label": "new", "text": "t"}), seen
    )
    assert {"sort", "report", "sent", "kept"} == {task.key.step for task in seen}


def test_a_condition_that_cannot_be_evaluated_fails_the_step_and_quotes_no_value():
    said = run_to_end(Planner(pipeline(WHEN), {"document": "d"}, "internal"), lambda _: gave({"secret": "the patient"}))
    assert isinstance(said, Failed)
    assert StepKey("report") == said.step
    assert "steps.sort.label" in said.error.message
    assert {"step": "report"} == said.error.details
    assert "patient" not in said.error.message


@pytest.mark.parametrize(
    ("on_failure", "expected"),
    [
        ("skip", [{"n": 1}, None, {"n": 1}]),
        ("collect", [{"n": 1}, {"error": {"kind": "provider_failed", "message": "it broke"}}, {"n": 1}]),
    ],
)
def test_a_failed_item_leaves_null_or_its_error(on_failure: str, expected: list[Any]):
    definition = pipeline(FAN + f'on_failure = "{on_failure}"', 'pages = "${steps.pages}"')
    planner = Planner(definition, {"pages": [{"text": "a"}] * 3}, "internal")
    done = run_to_end(planner, lambda task: failed() if task.key.index == 1 else gave({"n": 1}))
    assert isinstance(done, Done)
    assert {"pages": expected} == value(done.output)


def test_an_item_that_cannot_be_given_its_input_fails_alone():
    definition = pipeline(FAN + 'on_failure = "skip"', 'pages = "${steps.pages}"')
    done = run_to_end(Planner(definition, {"pages": [{"text": "a"}, {}, {}, {}]}, "internal"), lambda _: gave(1))
    assert isinstance(done, Done)
    assert {"pages": [1, None, None, None]} == value(done.output)


def test_a_failed_step_fails_the_run_at_once_and_for_good():
    planner = Planner(pipeline(FAN), {"pages": [{"text": "a"}] * 3}, "internal")
    planner.start()
    said = planner.record(StepKey("pages", 1), failed())
    assert isinstance(said, Failed)
    assert (StepKey("pages", 1), "it broke") == (said.step, said.error.message)
    assert said is planner.record(StepKey("pages", 0), gave(1))


def test_a_task_that_was_not_to_run_gives_null():
    done = run_to_end(
        Planner(pipeline(CHAIN, 'x = "${steps.last}"'), {"document": "d"}, "internal"),
        lambda _: StepOutcome(status="skipped"),
    )
    assert isinstance(done, Done)
    assert {"x": None} == value(done.output)


def test_a_gate_stands_only_where_its_condition_holds():
    steps = FAN + 'approval = { when = "item.text == \'b\'", group = "privacy", expires_s = 60 }'
    said = Planner(pipeline(steps), {"pages": [{"text": "a"}, {"text": "b"}]}, "internal").start()
    first, second = tasks(said)
    assert first.approval is None
    assert second.approval is not None
    assert ("privacy", 60, True) == (second.approval.group, second.approval.expires_s, second.approval.four_eyes)


def test_the_digest_of_an_input_does_not_depend_on_the_order_of_its_keys():
    steps = '[steps.one]\ncapability = "a"\ninput = { all = "${input}" }'
    (one,) = tasks(Planner(pipeline(steps), {"a": 1, "b": 2}, "internal").start())
    (same,) = tasks(Planner(pipeline(steps), {"b": 2, "a": 1}, "internal").start())
    (other,) = tasks(Planner(pipeline(steps), {"b": 2, "a": 3}, "internal").start())
    assert one.input_digest == same.input_digest != other.input_digest


def test_plan_goes_on_from_whatever_is_known():
    definition = pipeline(CHAIN, 'x = "${steps.last}"')
    first, last = StepKey("first"), StepKey("last")
    known = {first: gave({"text": "x", "number": 4})}
    assert [first] == [task.key for task in tasks(plan(definition, {"document": "d"}, "internal", {}))]
    assert [last] == [task.key for task in tasks(plan(definition, {"document": "d"}, "internal", known))]
    done = plan(definition, {"document": "d"}, "internal", {**known, last: gave(7)})
    assert isinstance(done, Done)
    assert {"x": 7} == value(done.output)


def test_an_input_that_grew_too_large_fails_its_step():
    steps = '[steps.one]\ncapability = "a"\ninput = { a = "${input.d} ${input.d}", b = "${input.d}" }'
    for length, says in ((3_000_000, "bytes"), (5_000_000, "a text is longer than")):
        said = Planner(pipeline(steps), {"d": "x" * length}, "internal").start()
        assert isinstance(said, Failed)
        assert (StepKey("one"), {"step": "one"}) == (said.step, said.error.details)
        assert says in said.error.message


LOWERED = """
[steps.hidden]
capability = "redact"
on_failure = "skip"
{hidden}
[steps.beside]
capability = "a"
[steps.told]
capability = "summarize"
input = {{ document = "${{steps.hidden.{field}}} ${{steps.beside}}" }}
"""
WELL = 'input = { document = "${input.document}" }'


@pytest.mark.parametrize(
    ("hidden", "outcome", "data_class"),
    [
        (WELL, gave({"document": "x"}), "internal"),
        (WELL, failed(), "restricted"),
        (WELL, StepOutcome(status="skipped"), "restricted"),
        ('input = { document = "${input.gone}" }', None, "restricted"),
        (f'{WELL}\nwhen = "input.gone > 1"', None, "restricted"),
        (f"{WELL}\nwhen = \"input.document == ''\"", None, "restricted"),
        (f'{WELL}\nfor_each = "${{input.document}}"', None, "restricted"),
    ],
    ids=["went well", "failed", "skipped", "no input", "no condition", "left out", "no list"],
)
def test_what_a_step_declassifies_it_has_to_have_given(hidden: str, outcome: StepOutcome | None, data_class: str):
    """
    However it came to give nothing: that it gave nothing was decided by what is restricted.
    """
    field = "*.document" if "for_each" in hidden else "document"
    planner = Planner(pipeline(LOWERED.format(hidden=hidden, field=field)), {"document": "d"}, "restricted")
    planner.start()
    if outcome is not None:
        planner.record(StepKey("hidden"), outcome)
    (told,) = tasks(planner.record(StepKey("beside"), gave("b")))
    assert (StepKey("told"), data_class) == (told.key, told.data_class)


def test_a_step_that_its_condition_leaves_out_tells_nothing_of_its_list():
    done = Planner(pipeline(FAN + 'when = "1 == 2"', 'all = "${steps.pages}"'), {"pages": [1]}, "restricted").start()
    assert isinstance(done, Done)
    assert ({"all": None}, "public") == (value(done.output), done.data_class)


@pytest.mark.parametrize(
    ("on_failure", "output"),
    [
        ("skip", None),
        (
            "collect",
            {"error": {"kind": "bad_request", "message": "for_each: what stands there in this run is no list"}},
        ),
    ],
)
def test_a_step_that_fails_before_it_has_tasks_leaves_null_or_its_error(on_failure: str, output: Any):
    definition = pipeline(FAN + f'on_failure = "{on_failure}"', 'pages = "${steps.pages}"')
    done = Planner(definition, {"pages": 7}, "internal").start()
    assert isinstance(done, Done)
    assert {"pages": output} == value(done.output)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (
            {},
            ErrorBody(
                kind=ErrorKind.BAD_REQUEST,
                message="there is no input.document: a condition with has(input.document) can leave the step out",
                retryable=False,
                details={"step": "first", "path": "input.document"},
            ),
        ),
        (
            {"document": "x" * 17_000_000},
            ErrorBody(kind=ErrorKind.BAD_REQUEST, message="", retryable=False, details={"step": "first"}),
        ),
    ],
)
def test_what_a_step_cannot_be_given_is_a_bad_request_of_that_step(given: dict[str, Any], error: ErrorBody):
    said = Planner(pipeline(CHAIN), given, "internal").start()
    assert isinstance(said, Failed)
    assert StepKey("first") == said.step
    assert error == msgspec.structs.replace(said.error, message=error.message and said.error.message)


def test_a_task_that_failed_without_saying_why_failed_for_a_reason_that_may_pass():
    planner = Planner(pipeline(CHAIN), {"document": "d"}, "internal")
    planner.start()
    said = planner.record(StepKey("first"), StepOutcome(status="failed"))
    assert isinstance(said, Failed)
    expected = ErrorBody(kind=ErrorKind.INTERNAL, message="the step failed", retryable=ErrorKind.INTERNAL.retryable)
    assert (StepKey("first"), expected) == (said.step, said.error)


def test_a_task_that_gave_nothing_gave_null():
    planner = Planner(pipeline(CHAIN, 'x = "${steps.first}"'), {"document": "d"}, "internal")
    planner.start()
    (last,) = tasks(planner.record(StepKey("first"), StepOutcome(status="succeeded")))
    assert {"text": "!", "number": None} == value(last.input)


def test_plan_waits_for_tasks_beside_those_that_are_known_and_passes_over_the_others():
    """
    With the operator's word on what is declassified, as the planner has it.
    """
    definition = pipeline(FAN, 'all = "${steps.pages}"')
    given = {"pages": [{"text": "a"}, {"text": "b"}]}
    known = {StepKey("pages", 0): gave(1), StepKey("nobody"): gave(2), StepKey("pages", 7): gave(3)}
    assert [StepKey("pages", 1)] == [task.key for task in tasks(plan(definition, given, "internal", known))]

    chain = pipeline(CHAIN)
    lowered: dict[tuple[str, str], DataClass] = {("a", "text"): "public", ("a", "number"): "public"}
    outcomes = {StepKey("first"): gave({"text": "x", "number": 4})}
    for operator, data_class in (({}, "internal"), (lowered, "public")):
        (last,) = tasks(plan(chain, {"document": "d"}, "internal", outcomes, operator=operator))
        assert data_class == last.data_class


def test_as_many_items_as_may_be_run_and_one_more_does_not():
    for count, ends in ((1_000, Run), (1_001, Failed)):
        assert isinstance(Planner(pipeline(FAN), {"pages": [{"text": "a"}] * count}, "internal").start(), ends)


@pytest.mark.parametrize("read", ['all = "${steps.pages}"', 'all = "${steps.pages.*.n}"', 'told = "${steps.after}"'])
def test_that_a_list_was_null_is_as_secret_as_the_list(read: str):
    """
    Its step is left out for it, and so is what reads that step alone: either tells what stood there.
    """
    after = '[steps.after]\ncapability = "a"\ninput = { x = "${steps.pages}" }\n'
    done = Planner(pipeline(FAN + after, read), {"pages": None}, "restricted").start()
    assert isinstance(done, Done)
    assert ([None], "restricted") == (list(value(done.output).values()), done.data_class)


def test_an_item_that_was_not_to_run_gives_null_in_its_own_place():
    definition = pipeline(FAN, 'pages = "${steps.pages}"')
    planner = Planner(definition, {"pages": [{"text": "a"}] * 3}, "internal")
    skipped = StepOutcome(status="skipped")
    done = run_to_end(planner, lambda task: skipped if task.key.index == 2 else gave({"n": 1}))
    assert isinstance(done, Done)
    assert {"pages": [{"n": 1}, {"n": 1}, None]} == value(done.output)


def test_a_gates_condition_that_cannot_be_evaluated_fails_its_step():
    steps = FAN + 'approval = { when = "item.secret > 1" }'
    said = Planner(pipeline(steps), {"pages": [{"text": "a"}]}, "internal").start()
    assert isinstance(said, Failed)
    assert (StepKey("pages", 0), ErrorKind.BAD_REQUEST) == (said.step, said.error.kind)
    assert "pages" == said.error.details["step"]


def test_what_is_too_large_says_so():
    planner = Planner(pipeline(CHAIN), {"document": "x" * 17_000_000}, "internal")
    said = planner.start()
    assert isinstance(said, Failed)
    assert "bytes" in said.error.message
