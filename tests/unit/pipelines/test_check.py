"""What a check finds, and the examples, which have nothing to find."""

from pathlib import Path

import pytest

from flotilla.capabilities.capability_files import is_pipeline
from flotilla.capabilities.catalogue import Catalogue
from flotilla.contracts.policy import Policy
from flotilla.pipelines.check import Surroundings, check
from flotilla.pipelines.definition import Pipeline
from flotilla.pipelines.mermaid import drawing
from flotilla.pipelines.pipeline_files import read_pipeline_file
from flotilla.routing.policy_check import parse_policy
from flotilla.testkit.pipeline_runs import pipeline

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "pipelines"
DECLASSIFY = '[declassify]\nclassify = { label = "internal" }\n'


def around(policy: str = "", *, pipelines: dict[str, Pipeline] | None = None) -> Surroundings:
    return Surroundings(
        catalogue=Catalogue.load(EXAMPLES),
        pipelines=pipelines or {},
        policy=parse_policy(policy) if policy else Policy(),
        zones={"home": "local", "far": "cloud"},
    )


def faults(steps: str, output: str = "x = 1", policy: str = "") -> tuple[str, ...]:
    return check(pipeline(steps, output), "restricted", around(policy)).faults


@pytest.mark.parametrize(
    "file", [file for file in sorted(EXAMPLES.glob("*.toml")) if is_pipeline(file)], ids=lambda file: file.stem
)
def test_the_examples_have_no_fault(file: Path):
    report = check(read_pipeline_file(file), "restricted", around(DECLASSIFY))
    assert ((), ()) == (report.faults, report.warnings)


def test_the_example_goes_to_the_cloud_redacted_and_only_so():
    example = read_pipeline_file(EXAMPLES / "process-document.toml")
    zones = {step.name: step.zones for step in check(example, "restricted", around(DECLASSIFY)).steps}
    assert {"summary", "report"} == {name for name, allowed in zones.items() if "cloud" in allowed}
    stays = {step.name: step for step in check(example, "restricted", around()).steps}["report"]
    assert ("local",) == stays.zones
    assert ("steps.classify.label",) == stays.causes


def test_a_mail_stays_at_home_and_is_sent_through_a_gate():
    example = read_pipeline_file(EXAMPLES / "support-inbox.toml")
    report = check(example, "restricted", around())
    assert {("local",)} == {step.zones for step in report.steps}
    assert ["send"] == [step.name for step in example.steps if step.approval is not None]


def test_pages_are_translated_anywhere_and_restored_at_home():
    example = read_pipeline_file(EXAMPLES / "translate-pages.toml")
    found = {step.name: step.data_class for step in check(example, "restricted", around()).steps}
    assert {"redact": "restricted", "sides": "internal", "final": "restricted"} == found


@pytest.mark.parametrize(
    ("steps", "output", "fault"),
    [
        ('[steps.a]\ncapability = "sumarize"', "x = 1", "steps.a.capability: there is no capability sumarize: did you mean"),
        ('[steps.a]\ncapability = "classify"', 'x = "${steps.a.lable}"', "output: steps.a.lable: the output of classify"),
        ('[steps.a]\ncapability = "classify"', 'x = "${steps.a.label.x.y}"', "output: steps.a.label.x.y"),
        ('[steps.a]\ncapability = "embed"', 'x = "${steps.a.vectors.0.x}"', "output: steps.a.vectors.0.x"),
        ('[steps.a]\ncapability = "chat"', 'x = "${steps.a.message.contents}"', "output: steps.a.message.contents"),
        ('[steps.a]\ncapability = "chat"\nfor_each = [1]', 'x = "${steps.a.message}"', "expected steps.a.*.message"),
        ('[steps.a]\ncapability = "chat"', 'x = "${steps.a.*.message}"', "expected steps.a.message"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_key(steps: str, output: str, fault: str):
    (found,) = faults(steps, output)
    assert fault in found


def test_what_is_there_is_no_fault():
    steps = """
[steps.a]
capability = "chat"
on_failure = "collect"
[steps.b]
capability = "embed"
for_each = [1, 2]
[steps.c]
capability = "redact"
"""
    output = """
a = "${steps.a.message.content}"
b = "${steps.a.error.message}"
c = "${steps.b.*.vectors}"
d = "${steps.b.1.vectors.0.3}"
e = "${steps.c.document.any.thing}"
"""
    assert () == faults(steps, output)


def test_a_step_that_nobody_reads_is_a_warning():
    report = check(pipeline('[steps.a]\ncapability = "chat"'), "internal", around())
    assert ("steps.a: nobody reads what it gives",) == report.warnings


def test_restricted_data_for_a_step_with_routes_in_the_cloud_alone_is_a_fault():
    steps = '[steps.a]\ncapability = "summarize"\ninput = { document = "${input.text}" }'
    far = '[capabilities.summarize]\nroutes = [{ pool = "far" }]\n'
    (fault,) = faults(steps, policy=far)
    assert fault.startswith("steps.a: its data is restricted (because of input.text)")
    assert "far" in fault
    for there in (
        far.replace("far", "home"),
        far.replace("far", "unheard-of"),
        far.replace("[{", '[{ pool = "home" }, {'),
    ):
        assert () == faults(steps, policy=there)
    assert () == check(pipeline(steps), "internal", around(far)).faults
    (unserved,) = faults(steps, policy='[capabilities.summarize]\ndata_classes = ["public"]\n')
    assert "serves no summarize" in unserved


def test_what_is_wrong_within_a_step_that_is_a_pipeline_is_found_under_the_class_it_runs_with():
    inner = pipeline('[steps.a]\ncapability = "summarize"\ninput = { document = "${input.text}" }', 'y = "${steps.a}"')
    outer = pipeline('[steps.all]\ncapability = "one"\ninput = { text = "${input.text}" }', 'x = "${steps.all.z}"')
    far = '[capabilities.summarize]\nroutes = [{ pool = "far" }]\n'
    found = check(outer, "restricted", around(far, pipelines={"one": inner})).faults
    assert any(fault.startswith("steps.all (one): steps.a: its data is restricted") for fault in found)
    assert any(fault.startswith("output: steps.all.z") for fault in found)


def test_a_drawing_has_every_step_and_what_it_follows():
    example = read_pipeline_file(EXAMPLES / "process-document.toml")
    drawn = drawing(example, check(example, "restricted", around(DECLASSIFY)).steps)
    for line in (
        "flowchart TD",
        "s_redact --> s_summary",
        "s_summary -.-> g_report",
        "g_report --> s_report",
        "s_final --> out",
    ):
        assert line in drawn
