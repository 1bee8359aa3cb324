"""Pipelines in the folder of capabilities."""

from pathlib import Path

import msgspec
import pytest

from flotilla.capabilities.catalogue import Catalogue
from flotilla.contracts.errors import BadRequestError
from flotilla.pipelines.errors import PipelinesError
from flotilla.pipelines.pipeline_files import capabilities_of, load_pipelines


def write(folder: Path, name: str, *capabilities: str, file: str = "") -> None:
    steps = "".join(f'[steps.s{n}]\ncapability = "{each}"\n' for n, each in enumerate(capabilities))
    text = f'name = "{name}"\n[input]\ntype = "object"\nrequired = ["document"]\n{steps}[output]\nx = "${{steps.s0}}"\n'
    (folder / f"{file or name}.toml").write_text(text)


CAPABILITY = 'name = "plain"\n[input]\ntype = "object"\n[output]\ntype = "object"\n'


def test_a_pipeline_is_a_capability_to_intake_and_nothing_to_a_worker(tmp_path: Path):
    write(tmp_path, "two-steps", "classify", "plain")
    (tmp_path / "plain.toml").write_text(CAPABILITY)
    known = Catalogue.load(tmp_path)
    assert known.get("two-steps") is None
    assert known.get("plain") is not None

    pipelines = load_pipelines(tmp_path, known)
    assert ["two-steps"] == list(pipelines)
    capability = known.with_capabilities(capabilities_of(pipelines.values())).get("two-steps")
    assert capability is not None
    with pytest.raises(BadRequestError, match="document"):
        capability.decode_input(b"{}")
    capability.check_form(msgspec.Raw(b'{"x": 1}'))


def test_every_fault_of_every_file_is_named(tmp_path: Path):
    write(tmp_path, "plain", "classify", file="other")
    write(tmp_path, "twice", "classify", file="a")
    write(tmp_path, "twice", "classify", file="b")
    (tmp_path / "plain.toml").write_text(CAPABILITY)
    (tmp_path / "bad.toml").write_text('name = "bad"\n[steps]\n')
    with pytest.raises(PipelinesError) as raised:
        load_pipelines(tmp_path, Catalogue.load(tmp_path))
    assert ["b.toml", "bad.toml", "other.toml"] == sorted(Path(error.file_name).name for error in raised.value.errors)
    assert all(str(error) in str(raised.value) for error in raised.value.errors)


@pytest.mark.parametrize(
    ("inner", "bad"),
    [
        ({"a": "b", "b": "c", "c": "d"}, set[str]()),
        ({"a": "b", "b": "c", "c": "d", "d": "e"}, {"a"}),
        ({"a": "a"}, {"a"}),
        ({"a": "b", "b": "a", "c": "d"}, {"a", "b"}),
    ],
)
def test_pipelines_are_nested_four_deep_at_most_and_never_in_a_circle(
    tmp_path: Path, inner: dict[str, str], bad: set[str]
):
    for name in {*inner, *inner.values()}:
        write(tmp_path, name, inner.get(name, "classify"), "classify")
    try:
        load_pipelines(tmp_path, Catalogue.load(tmp_path))
        found = set[str]()
    except PipelinesError as error:
        found = {Path(each.file_name).stem for each in error.errors}
    assert bad == found
