"""Layers: their union, and a detection that fails whole when one of them does."""

import asyncio
import itertools
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flotilla.privacy import Entries, Function, Guarded, Listed, Span, Structured, plugin, redact
from flotilla.privacy.errors import LayerError, LayerFailedError, LayerMissingError, LayerTimeoutError
from flotilla.privacy.layers import STUCK_MAX
from flotilla.privacy.spacy_layer import SpacyLayer
from flotilla.privacy.spans import covered, union
from flotilla.testkit.examples import examples

EMPTY = Entries.empty("case-1")
TEXT = "Mail jane@example.com of Quentin"


def raises(text: str) -> Iterator[Span]:
    yield Span(start=0, end=1, type="PERSON")
    raise ValueError(f"cannot read {text}")


def raises_for_its_own_reason(text: str) -> Iterable[Span]:
    try:
        return [Span(start=0, end=1, type=text)]
    finally:
        raise LayerFailedError("inner", "gave up")


def exits(text: str) -> Iterable[Span]:
    """In a thread of its own this ends the thread and nothing else."""
    raise SystemExit(text)


def exhausts(text: str) -> Iterable[Span]:
    raise MemoryError(text)


def recurses(text: str) -> Iterable[Span]:
    return recurses(text)


def gives(value: Any) -> Callable[[str], Any]:
    return lambda _: value


FAULTS = [
    raises,
    raises_for_its_own_reason,
    exits,
    exhausts,
    recurses,
    gives([(0, 10_000, "PERSON")]),
    gives([(-1, 3, "PERSON")]),
    gives([(3, 3, "PERSON")]),
    gives([(0, 3, "no type")]),
    gives([(0, "3", "PERSON")]),
    gives([(True, 3, "PERSON")]),
    gives(["PERSON"]),
    gives(None),
]


@pytest.mark.parametrize("function", FAULTS)
@pytest.mark.parametrize("guarded", ["guarded", "plain"])
def test_a_layer_that_fails_fails_the_whole_and_tells_nothing_of_the_text(function: Callable[[str], Any], guarded: str):
    """Raising, or giving no spans; the error has neither cause nor context that could quote the text."""
    layer = Function("broken", function)
    with pytest.raises(LayerError) as failed:
        redact(TEXT, EMPTY, [Structured(), Guarded(layer, timeout_s=30) if guarded == "guarded" else layer])

    assert failed.value.layer in {"broken", "inner"}
    assert failed.value.__cause__ is None
    assert failed.value.__context__ is None
    assert not any(word in str(failed.value) for word in ("jane", "Quentin", "Mail", "cannot read"))


def test_a_layer_that_is_cancelled_has_not_found_nothing():
    """Nor whatever else is no ordinary error and ends the layer's thread."""

    def cancelled(_: str) -> Iterable[Span]:
        raise asyncio.CancelledError

    with pytest.raises(LayerFailedError, match="raised CancelledError"):
        redact(TEXT, EMPTY, [Guarded(Function("broken", cancelled), timeout_s=30)])


def test_a_layer_that_hangs_fails_by_its_deadline():
    """Threads that hang are bounded: with `STUCK_MAX` of them the layer fails at once, until one ends."""
    released = threading.Event()

    def hangs(_: str) -> Iterable[Span]:
        released.wait(60)
        return ()

    layer = Guarded(Function("slow", hangs), timeout_s=0.05)
    for _ in range(STUCK_MAX):
        with pytest.raises(LayerTimeoutError, match=r"'slow' did not answer within 0\.05 s"):
            redact(TEXT, EMPTY, [layer])
    with pytest.raises(LayerTimeoutError, match="hangs in 4 calls already"):
        redact(TEXT, EMPTY, [layer])

    released.set()
    for thread in [thread for thread in threading.enumerate() if thread.name == "layer-slow"]:
        thread.join(30)
    assert redact(TEXT, EMPTY, [Guarded(Function("slow", hangs), timeout_s=30)]).text == TEXT


def test_no_layers_are_no_detection():
    with pytest.raises(LayerFailedError):
        redact(TEXT, EMPTY, [])


SPANS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 12), st.sampled_from(["PERSON", "EMAIL", "NUMBER", "OWN"])).map(
        lambda drawn: Span(start=drawn[0], end=drawn[0] + drawn[1], type=drawn[2])
    ),
    max_size=12,
)


@settings(max_examples=examples(150), deadline=None)
@given(SPANS)
def test_the_union_covers_what_any_layer_found_and_nothing_else(spans: list[Span]):
    merged = union(spans)

    assert covered(spans, 60) == covered(merged, 60)
    assert all(one.end <= two.start for one, two in itertools.pairwise(merged))
    assert merged == union(reversed(spans)) == union(merged)
    for whole in merged:
        parts = [span for span in spans if span.start < whole.end and whole.start < span.end]
        assert whole.type in {part.type for part in parts}
        if any(part.type == "OWN" for part in parts):
            assert whole.type == "OWN"


@pytest.mark.parametrize(
    "reference", ["no_such_package.module:find", "json:no_such_function", "json:__doc__", "not a reference", "json"]
)
def test_a_plugin_that_is_not_there_is_named(reference: str):
    with pytest.raises(LayerMissingError) as missing:
        plugin(reference, timeout_s=1)

    assert missing.value.layer == reference
    assert "nothing was redacted" in str(missing.value)


def test_a_plugin_adds_what_it_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Any function from a text to spans, by its name."""
    (tmp_path / "ships_plugin.py").write_text(
        "def ships(text):\n    at = text.find('Nautilus')\n    return [(at, at + 8, 'SHIP')] if at >= 0 else []\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    layer = plugin("ships_plugin:ships", timeout_s=30)

    assert f"On the [SHIP_1_{EMPTY.tag}] today" == redact("On the Nautilus today", EMPTY, [layer]).text


def test_spacy_that_is_not_installed_is_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(LayerMissingError, match=r"install flotilla-privacy\[ner\]"):
        SpacyLayer("en_core_web_sm")


def test_spacy_finds_entities_with_their_offsets():
    """A pipeline of rules stands for a trained one: the same interface, and no download."""
    spacy: Any = pytest.importorskip("spacy", reason="the extra ner is not installed")
    pipeline = spacy.blank("en")
    pipeline.add_pipe("entity_ruler").add_patterns(
        [
            {"label": "PERSON", "pattern": "Quentin"},
            {"label": "GPE", "pattern": "Lyon"},
            {"label": "MONEY", "pattern": "ten"},
        ]
    )
    text = "So Quentin left Lyon with ten."

    assert (
        f"So [PERSON_1_{EMPTY.tag}] left [PLACE_2_{EMPTY.tag}] with ten."
        == redact(text, EMPTY, [SpacyLayer(pipeline)]).text
    )
    with pytest.raises(LayerMissingError, match="has no pipeline"):
        SpacyLayer("no_such_pipeline")


class Ruled:
    """The interface of a pipeline, for what is cut into pieces."""

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def __call__(self, text: str) -> Any:
        self.lengths.append(len(text))
        at = text.find("Quentin")
        found = [SimpleNamespace(label_="PER", start_char=at, end_char=at + 7)] if at >= 0 else []
        return SimpleNamespace(ents=found)


def test_a_long_text_is_given_to_a_pipeline_in_pieces():
    pipeline = Ruled()
    text = "A line of a long text.\n" * 10_000 + "So Quentin left."
    (span,) = SpacyLayer(pipeline).find(text, "en")

    assert "Quentin" == text[span.start : span.end]
    assert max(pipeline.lengths) <= 100_000
    assert sum(pipeline.lengths) == len(text)


@pytest.mark.parametrize("part", ["flotilla.privacy.structured.shared_outline_of", "flotilla.privacy.listed.tokens_of"])
def test_a_built_in_layer_that_breaks_fails_as_any_other(part: str, monkeypatch: pytest.MonkeyPatch):
    def broken(text: str, *_: object) -> None:
        raise RuntimeError(text)

    monkeypatch.setattr(part, broken)
    with pytest.raises(LayerFailedError) as failed:
        redact(TEXT, EMPTY, [Structured(), Listed()])

    assert failed.value.layer in {"structured", "lists"}
    assert "jane" not in "".join(traceback.format_exception(failed.value))
