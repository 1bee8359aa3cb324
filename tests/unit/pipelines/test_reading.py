"""Files of pipelines."""

import datetime as dt
import re

import pytest

from flotilla.pipelines.errors import PipelineError
from flotilla.pipelines.reading import read_pipeline
from flotilla.testkit.pipeline_runs import HEAD, pipeline

STEP = '[steps.one]\ncapability = "a"\n'
OUT = '[output]\nx = "${steps.one}"\n'


def faults_of(text: str) -> tuple[str, ...]:
    with pytest.raises(PipelineError) as raised:
        read_pipeline(text, "one.toml")
    for fault in raised.value.faults:
        assert re.search(rf"one\.toml(:[0-9]+)*: {re.escape(fault)}", str(raised.value))
    return raised.value.faults


def test_every_fault_is_named_with_its_key_at_once():
    text = f"""{HEAD}
[steps.one]
capability = "Not A Name"
input = {{ a = "${{steps.nobody.x}}", b = ["${{input.}}", "${{"], c = {dt.date.min.isoformat()} }}
needs = ["two", "three"]
when = "1 +"
[steps.two]
capability = "b"
parallel = 0
[steps.four]
capability = "b"
input = {{ a = "${{item}}" }}
for_each = "pages"
[output]
x = "${{item}}"
y = nan
"""
    found = "\n".join(faults_of(text))
    for key in (
        "steps.one.capability: ",
        "steps.one.input: steps.nobody.x: there is no step",
        "steps.one.input.b[0]: ",
        "steps.one.input.b[1]: ",
        "steps.one.input.c: ",
        "steps.one.needs[1]: there is no step 'three'",
        "steps.one.when: ",
        "steps.two.parallel: ",
        "steps.four.for_each: ",
        "output: item stands only in",
        "output.y: ",
    ):
        assert key in found


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[", "TOML"),
        ("", "required field `name`"),
        (f"{HEAD}[steps]\n{OUT}", "0 steps, expected 1 to 64"),
        (HEAD + "".join(f'[steps.s{n}]\ncapability = "a"\n' for n in range(65)) + OUT, "65 steps"),
        (f"{HEAD}{STEP}", "required field `output`"),
        (f"{HEAD}{STEP}[output]\n", "at least one field"),
        (f"{HEAD}{STEP}wehn = 'true'\n{OUT}", "steps.one: "),
        (f"{HEAD}[steps.One]\ncapability = 'a'\n[output]\nx = 1", "a-z, 0-9 and _"),
        (f"{HEAD}{STEP}for_each = []\n{OUT}", "0 items"),
        (f"{HEAD}{STEP}input = {{ x = {2**70} }}\n{OUT}", "64 bits"),
        (f"{HEAD}{STEP}input = {{ x = {'[' * 66}{']' * 66} }}\n{OUT}", "nested deeper than 64"),
        (f"x = '{'x' * 262_144}'", "262144 bytes"),
        (f"{HEAD}{STEP}{OUT}".replace('"object"', '"array"'), "input.type"),
        (f"{HEAD}{STEP}{OUT}".replace('name = "one"', 'name = "redact"'), "built in"),
        (f"{HEAD}{STEP}approval = {{ expires_s = 0 }}\n{OUT}", "steps.one.approval.expires_s"),
    ],
)
def test_a_file_that_is_no_pipeline_is_refused(text: str, fault: str):
    assert any(fault in found for found in faults_of(text))


def test_steps_that_wait_for_each_other_are_refused_however_they_do():
    steps = """
[steps.start]
capability = "a"
[steps.one]
capability = "a"
when = "steps.two == null"
[steps.two]
capability = "a"
approval = { when = "steps.three.x" }
[steps.three]
capability = "a"
for_each = "${steps.four}"
[steps.four]
capability = "a"
needs = ["one"]
"""
    (fault,) = faults_of(f"{HEAD}{steps}[output]\nx = 1\n")
    assert "one, two, three, four" in fault
    assert "start" not in fault


def test_the_digest_is_that_of_what_is_said_and_not_of_how():
    plain = pipeline(STEP + "parallel = 3")
    other = read_pipeline(plain.source_text.replace("parallel = 3", "parallel   =   3 # three"), "elsewhere.toml")
    changed = read_pipeline(plain.source_text.replace("parallel = 3", "parallel = 4"), "one.toml")
    assert plain.digest == other.digest != changed.digest
    assert plain.digest == read_pipeline(plain.source_text, "again.toml").digest


def test_a_dollar_before_a_hole_makes_it_text():
    definition = pipeline(STEP + "input = { a = '$${input.x} ${input.x}', b = '$$', c = '{x}', d = '$${' }")
    assert {"a": "${input.x} 7", "b": "$$", "c": "{x}", "d": "${"} == definition.steps[0].input.render(lambda _: 7)
