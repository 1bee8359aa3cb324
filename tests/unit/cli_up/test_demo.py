"""The demo's pure parts: documents, what is done with them, and the numbers at the end."""

import io
import stat
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from flotilla.cli.demo.documents import PASSAGE_CHARS_MIN, Document, NoDocumentsError, passages_of, read_documents
from flotilla.cli.demo.outputs import write_outputs
from flotilla.cli.demo.screen import Screen
from flotilla.cli.demo.summary import FAILURES_SHOWN_MAX, failures, milliseconds, rows, summary_line
from flotilla.cli.demo.work import HEADLINES, SUMMARIES, Item, Ran, batches
from flotilla.cli.supervisor.engines import Engines
from flotilla.client.answers import Answer
from flotilla.contracts.attempts import Usage
from flotilla.contracts.results import Result
from flotilla.contracts.subjects import Zone

SAMPLES = Path(__file__).parents[3] / "examples" / "documents"
WORDS_A_PAGE = 400


def ran(zone: Zone, latency_ms: float, *, ok: bool = True, title: str = SUMMARIES) -> Ran:
    """A task that was done, or not."""
    result = Result(
        task="a",
        capability="summarize",
        status="ok" if ok else "failed",
        output=msgspec.Raw(b'{"summary":"Short."}'),
        zone=zone,
        model="m",
        latency_ms=latency_ms,
        usage=Usage(input_tokens=10, output_tokens=2, cost_usd=0.25),
    )
    return Ran(way="durable", title=title, item=Item(document="d", passage=None, input={}), answer=Answer(result))


def test_the_sample_documents_are_a_page_or_more_and_make_more_than_a_hundred_tasks():
    """
    One of them is restricted, and every character of each is in a passage.
    """
    documents = read_documents(SAMPLES, pytest.fail)

    assert {document.name for document in documents if document.data_class == "restricted"} == {"clinical-note"}
    assert all(len(document.text.split()) >= WORDS_A_PAGE for document in documents)
    assert all("\n\n".join(document.passages) == document.text for document in documents)
    assert sum(len(batch.items) for batch in batches(documents, 50)) > 100


def test_restricted_documents_have_no_work_in_the_cloud():
    """
    Nothing asks for what the fleet would refuse.
    """
    document = Document(name="clinical-note", text="Text.", data_class="restricted", passages=("Text.",))

    found = batches([document], 50)

    assert len(found) == 5
    assert {(batch.zone, batch.data_class) for batch in found} == {("local", "restricted")}


@pytest.mark.parametrize("runs", ["local", "cloud"])
def test_where_one_zone_has_no_model_the_other_does_its_work(runs: Zone):
    """
    Restricted documents stay home all the same.
    """
    documents = [
        Document(name="open", text="Text.", data_class="internal", passages=("Text.",)),
        Document(name="closed", text="Text.", data_class="restricted", passages=("Text.",)),
    ]

    found = batches(documents, 1, near=runs, cloud=runs)

    assert {("internal", runs), ("restricted", "local")} == {(batch.data_class, batch.zone) for batch in found}


def test_the_work_on_passages_can_be_limited():
    """
    Models take their time, or money.
    """
    document = Document(name="d", text="a b", data_class="internal", passages=("a", "b", "c"))

    found = {batch.title: batch for batch in batches([document], 1)}

    assert [item.passage for item in found[HEADLINES].items] == [0]
    assert (found[SUMMARIES].zone, found[SUMMARIES].items[0].input["document"]) == ("cloud", "a b")


def test_passages_are_whole_paragraphs_and_long_enough():
    """
    A short rest belongs to the passage before it, and a short text is one passage.
    """
    long = "x" * PASSAGE_CHARS_MIN

    assert passages_of(f"a\n\n{long}\n\n{long}\n\nend") == (f"a\n\n{long}", f"{long}\n\nend")
    assert passages_of("short\n\ntext") == ("short\n\ntext",)


def test_a_folder_without_documents_is_named(tmp_path: Path):
    """
    Instead of an empty show.
    """
    with pytest.raises(NoDocumentsError, match=str(tmp_path)):
        read_documents(tmp_path, pytest.fail)
    with pytest.raises(NoDocumentsError, match="nowhere"):
        read_documents(tmp_path / "nowhere", pytest.fail)


def test_documents_are_read_as_by_every_command(tmp_path: Path):
    """
    Not Markdown alone; what is no document is named, and the show goes on. Hidden files are none of it.
    """
    (tmp_path / "letter.txt").write_bytes("Grüße aus Köln".encode("cp1252"))
    (tmp_path / "letter.html").write_bytes(b"<html><p>I was charged twice")
    (tmp_path / "clinical.md").write_text("The patient is well.")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    (tmp_path / ".hidden.md").write_text("Nothing")
    left_out: list[str] = []

    documents = read_documents(tmp_path, left_out.append)

    assert {(each.name, each.text.strip(), each.data_class) for each in documents} == {
        ("letter.txt", "Grüße aus Köln", "internal"),
        ("letter.html", "I was charged twice", "internal"),
        ("clinical", "The patient is well.", "restricted"),
    }
    assert left_out == [f"{tmp_path / 'picture.png'}: binary, no text"]


def test_the_outputs_are_their_owners_alone_and_follow_no_link(tmp_path: Path):
    """
    They hold what was in the documents, a clinical note among them.
    """
    victim = tmp_path / "victim"
    victim.write_text("keep")
    folder = tmp_path / "output"
    folder.mkdir()
    (folder / "tasks.json").symlink_to(victim)

    files = write_outputs(folder, [ran("local", 1.0)], "the report")

    assert {0o600} == {stat.S_IMODE(file.lstat().st_mode) for file in files}
    assert (folder / "report.md").read_text() == "the report\n"
    assert victim.read_text() == "keep"


def test_the_last_line_tells_how_many_went_well_and_how_long_they_took():
    """
    Failed ones count as tasks and not for the latency, and a share is never rounded up.
    """
    good = [ran("local", 30.0), ran("local", 46.0), ran("cloud", 120.0)]

    assert summary_line(good) == "3 tasks | 100% ok | avg 38 ms local | avg 120 ms cloud"
    assert summary_line([*good, ran("local", 9.0, ok=False)]) == (
        "4 tasks | 75% ok | avg 38 ms local | avg 120 ms cloud"
    )
    assert summary_line([*([ran("local", 1.0)] * 999), ran("local", 1.0, ok=False)]).startswith("1,000 tasks | 99% ok")
    assert summary_line([]) == "0 tasks | 0% ok"


def test_a_row_adds_up_the_tasks_of_one_kind_zone_and_model():
    """
    In the order in which the kinds of work are shown.
    """
    done = [ran("cloud", 1.0, title=HEADLINES), ran("cloud", 10.0), ran("cloud", 30.0, ok=False), ran("local", 5.0)]

    found = rows(done)

    assert [(row.title, row.zone, row.tasks, row.failed) for row in found] == [
        (SUMMARIES, "cloud", 2, 1),
        (SUMMARIES, "local", 1, 0),
        (HEADLINES, "cloud", 1, 0),
    ]
    assert (found[0].latency_ms, found[0].tokens, found[0].cost_usd) == (20.0, 24, 0.5)


def test_latencies_are_written_for_people():
    """
    Neither 0 ms nor five digits.
    """
    assert [milliseconds(value) for value in (0.84, 9.9, 38.4, 12_345.0)] == ["0.8 ms", "9.9 ms", "38 ms", "12.3 s"]


def test_the_first_failures_are_told_and_how_many_more_there_are():
    """
    With a model that is good for nothing everything fails, and nobody wants to read it all.
    """
    bad = [ran("local", 1.0, ok=False) for _ in range(FAILURES_SHOWN_MAX + 2)]

    *told, last = failures([ran("local", 1.0), *bad])

    assert len(told) == FAILURES_SHOWN_MAX
    assert all(line.startswith("summaries, d: the result holds") for line in told)
    assert last == "and 2 more"
    assert failures(bad[:1]) == told[:1]
    assert failures([ran("local", 1.0)]) == []


def test_what_is_waited_for_is_said_at_once_on_a_terminal():
    """
    With the seconds; into a pipe nothing moves.
    """
    shown = {}
    for is_terminal in (True, False):
        out = io.StringIO()
        with Screen(Console(file=out, force_terminal=is_terminal, width=80)).waiting("Looking for models and keys"):
            shown[is_terminal] = out.getvalue()

    assert "Looking for models and keys" in shown[True]
    assert "0:00:00" in shown[True]
    assert shown[False] == ""


def test_a_line_that_is_wrapped_stays_where_it_begins():
    """
    It is part of what stands above it.
    """
    out = io.StringIO()
    Screen(Console(file=out, width=20)).say("  one two three four five six")

    assert [line.rstrip() for line in out.getvalue().splitlines()] == ["  one two three four", "  five six"]


def test_who_had_models_looked_for_is_told_why_there_are_none():
    """
    And not to have them looked for; who did not is told how.
    """
    told = {looked_for: io.StringIO() for looked_for in (True, False)}
    for looked_for, out in told.items():
        engines = Engines(local="embedded", cloud="embedded", notes=("local: no server answers",))
        Screen(Console(file=out, width=400)).engines(engines, looked_for=looked_for)

    assert "local: no server answers\n" == told[True].getvalue()
    assert "ENGINE=auto" in told[False].getvalue()
