"""The demo's pipeline, as far as it is pure: its file, and what the cloud saw."""

from pathlib import Path

import pytest

from flotilla.cli.demo.pipeline import FILE_BYTES_MAX, POLICY, NoPipelineError, read_pipeline
from flotilla.cli.demo.redacted import parts_of, unseen, values_at_home
from flotilla.pipelines.reading import read_pipeline as read_text
from flotilla.routing.policy_check import parse_policy

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "pipelines" / "process-document.toml"
REDACTED = "From [PERSON_1_TPXHF], [EMAIL_2_TPXHF].\nYours, [PERSON_1_TPXHF] [sic] [PERSON_3_TPXHF]"


def test_the_example_is_read_with_its_gate_and_the_demos_policy_is_one():
    """
    One step waits for somebody.
    """
    pipeline = read_text(read_pipeline(EXAMPLE), "process-document")

    assert {"classify", "entities", "redact", "summary", "report", "final"} == {step.name for step in pipeline.steps}
    assert ["report"] == [step.name for step in pipeline.steps if step.approval is not None]
    assert {"classify": {"label": "internal"}} == parse_policy(POLICY).declassify


@pytest.mark.parametrize(
    "text", [None, 'name = "another"\n', "#" * (FILE_BYTES_MAX + 1)], ids=["none", "other", "long"]
)
def test_a_file_that_is_not_the_pipeline_is_refused(tmp_path: Path, text: str | None):
    """
    By its name.
    """
    file = tmp_path / "pipeline.toml"
    if text is not None:
        file.write_text(text)

    with pytest.raises(NoPipelineError, match=r"pipeline\.toml"):
        read_pipeline(file)


def test_what_the_cloud_did_not_see_is_counted_once_and_marked_each_time():
    """
    Nothing of the text is lost between the parts.
    """
    parts = parts_of(REDACTED)

    assert {"PERSON": 2, "EMAIL": 1} == unseen(REDACTED)
    assert REDACTED == "".join(part for part, _ in parts)
    assert 4 == sum(marked for _, marked in parts)
    assert [("plain", False)] == parts_of("plain")


def test_at_home_each_placeholder_has_its_value():
    """
    The first of each; of two side by side nobody can say where one ends, and nothing is told after texts part.
    """
    original = "From Ann Lee, ann@lee.example.\nYours, Ann Lee [sic] Bob"

    assert {"[PERSON_1_TPXHF]": "Ann Lee", "[EMAIL_2_TPXHF]": "ann@lee.example", "[PERSON_3_TPXHF]": "Bob"} == (
        values_at_home(original, REDACTED)
    )
    assert {} == values_at_home("Ann Lee!", "[PERSON_1_TPXHF][DATE_2_TPXHF]!")
    assert {} == values_at_home("another text", REDACTED)
