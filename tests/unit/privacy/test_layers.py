"""Layers: their union, and a detection that fails whole when one of them does."""

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flotilla.privacy import Entries, Function, Guarded, Span, Structured, redact
from flotilla.privacy.errors import LayerError, LayerFailedError, LayerTimeoutError
from flotilla.privacy.layers import STUCK_MAX
from flotilla.privacy.spans import covered, union

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


def gives(value: Any) -> Callable[[str], Any]:
    return lambda _: value


FAULTS = [
    raises,
    raises_for_its_own_reason,
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


@settings(max_examples=150, deadline=None)
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
