"""Which step's pieces are a run's own: the last one's, where they make up one text of the output."""

from pathlib import Path

import pytest

from flotilla.capabilities.catalogue import Catalogue
from flotilla.pipelines.pipeline_files import capabilities_of, load_pipelines
from flotilla.pipelines.streaming import Streamed, streamed
from flotilla.testkit.pipeline_runs import pipeline

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "pipelines"
SORT = '[steps.sort]\ncapability = "classify"\ninput = { document = "a", labels = ["x", "y"] }\n'
SHORT = '[steps.short]\ncapability = "summarize"\ninput = { document = "${steps.sort.label}" }\n'
TEXT = 'text = "${steps.short.summary}"'
CATALOGUE = Catalogue.load()


@pytest.mark.parametrize(
    ("steps", "output", "path"),
    [
        (SORT + SHORT, TEXT, ("text",)),
        (SORT + SHORT, f'label = "${{steps.sort.label}}"\n{TEXT}', ("text",)),
        (SORT + SHORT, 'all = { texts = ["-", "${steps.short.summary}"] }', ("all", "texts", "1")),
        (SORT + SHORT + SORT.replace("sort", "beside"), f'{TEXT}\nbeside = "${{steps.beside.label}}"', ("text",)),
    ],
)
def test_the_last_step_streams_where_its_text_stands_alone(steps: str, output: str, path: tuple[str, ...]):
    """
    Other steps may feed the output too, as long as nobody's pieces could be taken for theirs.
    """
    assert Streamed("short", path) == streamed(pipeline(steps, output), {}, CATALOGUE)


@pytest.mark.parametrize(
    ("steps", "output"),
    [
        (SORT + SHORT, 'text = "In short: ${steps.short.summary}"'),
        (SORT + SHORT, 'text = "${steps.short}"'),
        (SORT + SHORT, f'{TEXT}\nall = "${{steps.short}}"'),
        (SORT + SHORT, 'label = "${steps.sort.label}"'),
        (SORT + SHORT + 'on_failure = "skip"\n', TEXT),
        (SORT + SHORT + 'on_failure = "collect"\n', TEXT),
        (SORT + SHORT + 'for_each = ["a"]\n', 'text = "${steps.short.0.summary}"'),
        (SORT + SHORT + SHORT.replace("short", "more"), f'{TEXT}\nmore = "${{steps.more.summary}}"'),
        (SORT + SHORT + SHORT.replace("short", "more").replace("sort.label", "short.summary"), TEXT),
        (SORT, 'label = "${steps.sort.label}"'),
        (SORT + SHORT.replace('"summarize"', '"unknown"'), TEXT),
    ],
)
def test_nothing_streams_where_pieces_would_not_make_up_one_text(steps: str, output: str):
    """
    Nor where a failure would be passed over after pieces were told, nor of two steps that are both last.
    """
    assert streamed(pipeline(steps, output), {}, CATALOGUE) is None


def test_a_step_that_is_a_pipeline_streams_what_its_own_last_step_does():
    """
    Under the field that its output has it in; never endlessly.
    """
    inner = pipeline(SORT + SHORT, TEXT)
    around = pipeline('[steps.in]\ncapability = "inner"\n', 'out = "${steps.in.text}"')
    circle = pipeline('[steps.in]\ncapability = "circle"\n', 'out = "${steps.in.out}"')

    assert Streamed("in", ("out",)) == streamed(around, {"inner": inner}, CATALOGUE)
    assert streamed(circle, {"circle": circle}, CATALOGUE) is None


def test_the_examples_stream_what_their_pages_say():
    """
    The document's report as it is restored; of the mail nothing, since what comes last is an id.
    """
    catalogue = Catalogue.load(EXAMPLES)
    pipelines = load_pipelines(EXAMPLES, catalogue)
    known = catalogue.with_capabilities(capabilities_of(pipelines.values()))

    found = {name: streamed(each, pipelines, known) for name, each in pipelines.items()}

    assert Streamed("final", ("report",)) == found["process-document"]
    assert found["support-inbox"] is None
