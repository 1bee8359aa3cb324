"""
Layers of detection: each may only add spans, none can take one away, and one that fails fails the whole detection.

What a layer raises may quote the text, so it goes no further: the error that callers see names the layer alone.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, Protocol, cast

from flotilla.privacy.errors import LayerError, LayerFailedError, LayerTimeoutError
from flotilla.privacy.normalise import read
from flotilla.privacy.spans import Span, union
from flotilla.privacy.types import TYPES, is_type_name
from flotilla.privacy.values.outline import forget_shared

LAYERS_MAX: Final = 16
SPANS_MAX: Final = 200_000
STUCK_MAX: Final = 4


class Layer(Protocol):
    """
    One way of finding personal data.

    Attributes:
        name: How errors and reports call it.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - see the class

    def find(self, text: str, language: str) -> Iterable[Span]:
        """
        The spans of a text, in any order; they may overlap.

        Args:
            text: In its plain form (`normalise.read`).
            language: "en", "de", "fr" or "es"; "any" where it is another one, or could not be told.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """
    Which types are redacted, and from which score on.

    Attributes:
        off: Types that stay in the text.
        score_min: By type, the score below which a span does not count; 0 where none is given.
    """

    off: frozenset[str] = frozenset()
    score_min: Mapping[str, float] = field(default_factory=dict[str, float])

    def counts(self, span: Span) -> bool:
        """Whether a span is redacted."""
        return span.type not in self.off and span.score >= self.score_min.get(span.type, 0.0)


ALL: Final = Policy()


def find_spans(text: str, layers: Sequence[Layer], *, language: str, policy: Policy = ALL) -> list[Span]:
    """
    What all layers find together, in offsets of the original text, without overlaps.

    Raises:
        LayerError: a layer failed; nothing that another one found is told.
    """
    if not layers or len(layers) > LAYERS_MAX:
        raise LayerFailedError("all", f"are to be 1 to {LAYERS_MAX}")
    reading = read(text)
    found: list[Span] = []
    try:
        for layer in layers:
            spans = _checked(layer, reading.text, language)
            if policy is not ALL:
                spans = [span for span in spans if policy.counts(span)]
            found += spans if reading.starts is None else map(reading.original, spans)
    finally:
        forget_shared()
    return union(found)


def _checked(layer: Layer, text: str, language: str) -> list[Span]:
    """The spans of one layer, or a LayerError that has nothing of the text: neither a cause nor a context."""
    found: list[Span] = []
    failure: LayerError | None = None
    length = len(text)
    types: set[str] = set(TYPES)
    try:
        found += islice(layer.find(text, language), SPANS_MAX + 1)
        if len(found) > SPANS_MAX:
            failure = LayerFailedError(layer.name, f"gave more than {SPANS_MAX} spans; send smaller documents")
        elif not _are_spans(found, length, types):
            failure = LayerFailedError(layer.name, "gave what is no span of the text")
    except LayerError as error:
        failure = error.bare()
    # Whatever a layer raises, the text is not redacted; one that wants to end the process does not.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        failure = LayerFailedError(layer.name, f"raised {type(error).__name__}")
    if failure is not None:
        raise failure
    return found


def _are_spans(found: Iterable[object], length: int, types: set[str]) -> bool:
    """Whether all are spans of a text of that length; `types` are the names that were checked before."""
    for span in found:
        if not isinstance(span, Span):
            return False
        start, end, name, _, _ = cast("tuple[Any, ...]", span)
        if not (type(start) is int and type(end) is int and 0 <= start < end <= length and type(name) is str):
            return False
        if name not in types:
            if not is_type_name(name):
                return False
            types.add(name)
    return True


class Guarded:
    """
    A layer that may hang, with a deadline.

    It runs in a thread of its own. A thread cannot be ended: one that hangs stays, and when `STUCK_MAX` of them do,
    the layer fails at once until one has ended. What holds the interpreter's lock (a pattern of Python's `re`) cannot
    be timed so; patterns from users are RE2's (`own_types`).

    Raises:
        LayerTimeoutError: from `find`, when the layer did not answer in time, or too many of its threads hang.
    """

    def __init__(self, layer: Layer, *, timeout_s: float) -> None:
        self.name = layer.name
        self._layer = layer
        self._timeout_s = timeout_s
        self._stuck: list[threading.Thread] = []
        self._lock = threading.Lock()

    def find(self, text: str, language: str) -> Sequence[Span]:
        """The layer's spans, when they came in time."""
        with self._lock:
            self._stuck = [thread for thread in self._stuck if thread.is_alive()]
            if len(self._stuck) >= STUCK_MAX:
                raise LayerTimeoutError(self.name, f"hangs in {STUCK_MAX} calls already; restart the worker")
        found: list[Span] = []
        raised: list[BaseException] = []
        done = threading.Event()

        def work() -> None:
            try:
                found.extend(self._layer.find(text, language))
            # SystemExit and its like as well: they end a thread without a word, and the layer would have found nothing.
            except BaseException as error:  # noqa: BLE001 - carried over to the caller
                raised.append(error)
            finally:
                done.set()

        thread = threading.Thread(target=work, name=f"layer-{self.name}", daemon=True)
        thread.start()
        if not done.wait(self._timeout_s):
            with self._lock:
                self._stuck.append(thread)
            raise LayerTimeoutError(self.name, f"did not answer within {self._timeout_s:g} s")
        if raised:
            error = raised[0]
            raise (
                error if isinstance(error, Exception) else LayerFailedError(self.name, f"raised {type(error).__name__}")
            )
        return found


@dataclass(frozen=True, slots=True)
class Function:
    """
    Any function from a text to spans as a layer; run it `Guarded`.

    Attributes:
        name: How errors and reports call it.
        function: Gives spans, or tuples of start, end and type.
    """

    name: str
    function: Callable[[str], Iterable[Span | tuple[int, int, str]]]

    def find(self, text: str, language: str) -> Iterable[Span]:  # noqa: ARG002 - a plain function knows none
        """What the function gives."""
        for each in self.function(text):
            if isinstance(each, Span):
                yield each
            else:
                start, end, name = each
                yield Span(start=start, end=end, type=name, layer=self.name)
