"""From a command line to the inputs of tasks."""

from pathlib import Path
from typing import Any

import pytest

from flotilla.cli.console.arguments import Fields
from flotilla.cli.console.exits import UsageError
from flotilla.cli.console.jobs import plan
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind


@pytest.fixture
def document(tmp_path: Path) -> str:
    """
    A file with text in it.
    """
    path = tmp_path / "mail.txt"
    path.write_text("a mail\n")
    return str(path)


def _bodies(capability: str, *sources: str, **fields: Any) -> list[dict[str, Any] | None]:
    return [job.body for job in plan(capability, sources, Fields(**fields)).jobs()]


@pytest.mark.parametrize(
    ("capability", "fields", "expected"),
    [
        ("classify", {"labels": "a, b,"}, {"labels": ["a", "b"], "document": "a mail\n"}),
        ("summarize", {"max_words": 9}, {"max_words": 9, "document": "a mail\n"}),
        ("translate", {"target": "de"}, {"target": "de", "text": "a mail\n"}),
        ("translate", {"target": "de", "set": ["source=en"]}, {"target": "de", "source": "en", "text": "a mail\n"}),
        ("reason", {}, {"question": "a mail\n"}),
        ("reason", {"question": "why?"}, {"question": "why?", "context": "a mail\n"}),
        ("generate-code", {"language": "go"}, {"language": "go", "instruction": "a mail\n"}),
        ("embed", {}, {"texts": ["a mail\n"]}),
        ("chat", {}, {"messages": [{"role": "user", "content": "a mail\n"}]}),
        ("synthesize", {}, {"sources": [{"title": "mail.txt", "text": "a mail\n"}]}),
        (
            "my-own",
            {"set": ["depth=3", "tags=[1]", "who=me"]},
            {"depth": 3, "tags": [1], "who": "me", "document": "a mail\n"},
        ),
        ("my-own", {"field": "mail"}, {"mail": "a mail\n"}),
        (
            "classify",
            {"input": '{"labels":["x"],"multi":true}'},
            {"labels": ["x"], "multi": True, "document": "a mail\n"},
        ),
        ("classify", {"input": '{"labels":["x"]}', "labels": "y"}, {"labels": ["y"], "document": "a mail\n"}),
    ],
)
def test_a_file_becomes_the_field_that_the_capability_reads(
    document: str, capability: str, fields: dict[str, Any], expected: dict[str, Any]
):
    """
    Beside the fields that options give; an option of its own goes before --input.
    """
    assert _bodies(capability, document, **fields) == [expected]


def test_json_on_the_command_line_is_an_input():
    """
    Alone, or beside a document.
    """
    assert _bodies("classify", '{"document": "x", "labels": ["a"]}') == [{"document": "x", "labels": ["a"]}]


def test_an_input_may_come_from_a_file(tmp_path: Path):
    """
    As @FILE.
    """
    (tmp_path / "in.json").write_text('{"document": "x", "labels": ["a"]}')

    assert _bodies("classify", input=f"@{tmp_path / 'in.json'}") == [{"document": "x", "labels": ["a"]}]


def test_a_folder_is_a_task_for_each_file_below_it(tmp_path: Path):
    """
    In order; hidden files and folders are left out, and what is no text is refused without stopping the others.
    """
    for name in ("b.txt", "a.txt", ".hidden", "below/c.txt", ".git/config"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "x.png").write_bytes(b"\x89PNG\x00\xff")
    (tmp_path / "empty.txt").write_text(" \n")

    wanted = plan("summarize", [str(tmp_path)], Fields())
    jobs = {Path(job.name).relative_to(tmp_path).as_posix(): job for job in wanted.jobs()}

    assert wanted.is_batch
    assert list(jobs) == ["a.txt", "b.txt", "below/c.txt", "empty.txt", "x.png"]
    assert jobs["below/c.txt"].body == {"document": "below/c.txt"}
    refused = {name: job.refused.message for name, job in jobs.items() if job.refused}
    assert {name: text.rpartition(": ")[2] for name, text in refused.items()} == {
        "empty.txt": "empty",
        "x.png": "binary, no text",
    }


def test_a_folder_to_synthesize_is_one_task(tmp_path: Path):
    """
    It is the one capability that takes many sources.
    """
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.txt").write_text("two")

    [body] = _bodies("synthesize", str(tmp_path), instruction="compare")

    assert body == {
        "instruction": "compare",
        "sources": [{"title": "a.txt", "text": "one"}, {"title": "b.txt", "text": "two"}],
    }


def test_a_single_file_that_is_no_text_fails(tmp_path: Path):
    """
    Its contents do not appear.
    """
    (tmp_path / "x.png").write_bytes(b"\x89PNG\xff")

    with pytest.raises(TaskError, match="binary, no text") as caught:
        _bodies("summarize", str(tmp_path / "x.png"))

    assert caught.value.kind is ErrorKind.BAD_REQUEST


@pytest.mark.parametrize(
    ("capability", "sources", "fields", "says"),
    [
        ("classify", ["MAIL"], {}, "needs `labels`: give --labels"),
        ("translate", [], {"text": "x"}, "needs `target`: give --target"),
        ("classify", ["MAIL"], {"labels": "a", "target": "de"}, "no field `target`"),
        ("classify", ["MAIL"], {"labels": "a", "text": "x"}, "not both"),
        ("classify", ["missing.txt"], {"labels": "a"}, "missing.txt: no such file"),
        ("classify", ["-", "-"], {"labels": "a"}, "only once"),
        ("classify", ["{broken"], {}, "not JSON"),
        ("classify", ["MAIL"], {"input": "[1]"}, "must be a JSON object"),
        ("classify", ["MAIL"], {"set": ["labels"]}, "expected KEY=VALUE"),
        ("classify", ["MAIL"], {"input": '{"labels":["a"],"document":"x"}'}, "given twice"),
        ("classify", [], {"input": "@missing.json"}, "missing.json"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_to_give(
    document: str, capability: str, sources: list[str], fields: dict[str, Any], says: str
):
    """
    Before anything is sent.
    """
    given = [document if source == "MAIL" else source for source in sources]

    with pytest.raises(UsageError, match=says):
        _bodies(capability, *given, **fields)
