# ruff: noqa: S101  (what it asserts is what a test asks for)
"""
JSON that is almost a message: any part of a valid one replaced by what breaks things elsewhere.

Most of it does not decode. `check_safe` holds what does against where the fleet puts it: in subjects and keys, headers, log
lines and sums, and on the wire again.
"""

import json
import logging
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final, cast

import msgspec
from hypothesis import strategies as st
from msgspec import Struct
from structlog.processors import JSONRenderer

from flotilla.contracts.decoding import UNDECODABLE, checked
from flotilla.contracts.errors import FlotillaError
from flotilla.contracts.experiments import SUM_MAX
from flotilla.contracts.fields import TEXT_LENGTH_MAX
from flotilla.fabric.subject_guard import header_block, literal

Decode = Callable[[bytes], Any]
Json = Any
Field = tuple[str, str]
"""The names of a message and of a field of it."""
REASON_MAX: Final = 1_000

TEXTS: Final = (
    *('"x 2\\r\\n{}\\r\\nPUB y"', '"a b"', '"a.b"', '"*"', '">"', '""', '"a\\u0000"', '"\\u001b[2J"', '"a\\u0085b"'),
    *('"\\u202eevil"', '"\\u2028"', '"\\ufeff"', '"\\ud800"', '"\\ud83d\\ude00"', '"\\udfff\\ud800"', '"a\\n"', '"A"'),
    *(
        '"-"',
        '"a\\\\"',
        '"a\\"b"',
        '"{}"',
        '"' + "a" * 600 + '"',
        '"' + "é" * 129 + '"',
        '"seq-1\\n"',
        '"=41"',
        '"a/b"',
    ),
)
NUMBERS: Final = (
    *("-1", "0", "-0.0", "1.5", "1e308", "-1e308", "1e999", "-1e999", "NaN", "Infinity", "9" * 400, "-" + "9" * 400),
    *("9" * 5000, "9223372036854775808", "18446744073709551616", "-9223372036854775809", "1e-400", "4294967296"),
)
OTHERS: Final = (
    *("null", "true", "[]", "{}", "[" * 200 + "]" * 200, "[" * 3000 + "]" * 3000, '{"a":' * 150 + "1" + "}" * 150),
    *('{"a":1,"a":2}', "[" + ",".join(["1"] * 2000) + "]", "{" + ",".join(f'"k{n}":1' for n in range(2000)) + "}"),
    *('"\xff"', '"\xed\xa0\x80"', '{"\xff":1}'),
)


def token(text: str) -> bytes:
    """
    What stands above as the bytes that it means: those that are not UTF-8 are written as characters of their number.
    """
    return text.encode("latin-1" if "\xff" in text or "\xed" in text else "utf-8")


def _hostile() -> st.SearchStrategy[bytes]:
    text = st.text(st.characters(exclude_categories=()), max_size=8).map(json.dumps)
    number = st.one_of(st.integers(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False)).map(json.dumps)
    known = st.one_of(st.sampled_from(TEXTS), st.sampled_from(NUMBERS), st.sampled_from(OTHERS))
    return st.one_of(known.map(token), text.map(str.encode), number.map(str.encode))


HOSTILE: Final = _hostile()
_COMPACT: Final = json.JSONEncoder(separators=(",", ":"))
_KEYS: Final = HOSTILE.map(lambda token: token if token[:1] == b'"' else b'"' + token[:40].replace(b'"', b"") + b'"')
_FREE_KEYS: Final = frozenset(
    {"labels", "headers", "capabilities", "scopes", "failures", "windows", "in_flight", "latency", "details"}
)
"""Where the keys of an object are data."""


@st.composite
def near(draw: st.DrawFn, value: Json) -> bytes:
    """
    A message like this one, with a few of its parts replaced, and of its keys.
    """
    chosen = set(draw(st.lists(st.sampled_from(list(paths(value, ()))), min_size=1, max_size=3)))
    free = _FREE_KEYS if draw(st.booleans()) else frozenset[str]()

    replaced = {path: draw(HOSTILE) for path in chosen}
    return render(value, (), replaced, lambda path: draw(_KEYS) if path and path[-1] in free else None)


def render(
    value: Json,
    path: tuple[Any, ...],
    replaced: Mapping[tuple[Any, ...], bytes],
    key_at: Callable[[tuple[Any, ...]], bytes | None] = lambda _: None,
) -> bytes:
    """A value with parts, and keys, replaced."""
    if path in replaced:
        return replaced[path]
    if isinstance(value, dict):
        fields = [
            (key_at(path) or compact(key)) + b":" + render(item, (*path, key), replaced, key_at)
            for key, item in cast("dict[str, Json]", value).items()
        ]
        return b"{" + b",".join(fields) + b"}"
    if isinstance(value, list):
        items = enumerate(cast("list[Json]", value))
        return b"[" + b",".join(render(item, (*path, index), replaced, key_at) for index, item in items) + b"]"
    return compact(value)


def paths(value: Json, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """Of every part of a value."""
    yield path
    if isinstance(value, dict):
        for key, item in cast("dict[str, Json]", value).items():
            yield from paths(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(cast("list[Json]", value)):
            yield from paths(item, (*path, index))


def compact(value: Json) -> bytes:
    """As the fleet writes it."""
    return _COMPACT.encode(value).encode()


def broken_once(value: Json) -> Iterator[bytes]:
    """The message with each of its parts replaced by each of the things that break others, one at a time."""
    tokens = [token(text) for text in (*TEXTS, *NUMBERS, *OTHERS)]
    for path in paths(value, ()):
        # Rendered once for all of them, around a character that no JSON has as it is.
        before, after = render(value, (), {path: b"\0"}).split(b"\0")
        for replacement in tokens:
            yield before + replacement + after


def query(kind: type[Struct]) -> Decode:
    """How the body of a question is decoded."""
    decoder = msgspec.json.Decoder(kind)

    def decode(body: bytes) -> Any:
        return decoder.decode(checked(body))

    return decode


def decoded(decode: Decode, body: bytes) -> Any:
    """
    The message; None when it is refused, by the one class of error that the fleet expects.
    """
    try:
        return decode(body)
    except FlotillaError as error:
        text = str(error)
        assert text.isprintable()
        assert len(text) < REASON_MAX
        return None
    except UNDECODABLE:
        # API requests are decoded where the refusal is made.
        assert decode.__qualname__.startswith("query.")
        return None


def leaves(value: Any, owner: Field) -> Iterator[tuple[Field, Any]]:
    """Every text and number of a message, with the field that it is of."""
    if isinstance(value, Struct):
        for field in value.__struct_fields__:
            yield from leaves(getattr(value, field), (type(value).__name__, field))
    elif isinstance(value, dict):
        for key, item in cast("dict[Any, Any]", value).items():
            yield owner, key
            yield from leaves(item, owner)
    elif isinstance(value, list | tuple):
        for item in cast("list[Any]", value):
            yield from leaves(item, owner)
    else:
        yield owner, value


def check_safe(
    message: Any,
    *,
    free: Collection[Field],
    signed: Collection[str] = (),
    subjects: Iterable[tuple[str, int]] = (),
    headers: Iterable[tuple[str, str]] = (),
) -> None:
    """
    Assert that a message is safe as it is.

    Args:
        message: What decoded.
        free: Fields whose texts are somebody's own and go nowhere but back, into JSON.
        signed: Names of numbers that may lie below 0.
        subjects: Made of it, and of how many tokens they are.
        headers: Made of it.
    """
    for owner, leaf in leaves(message, ("", "")):
        if isinstance(leaf, str):
            leaf.encode()
            if owner not in free:
                assert len(leaf) <= TEXT_LENGTH_MAX
                assert not any(letter in leaf for letter in "\r\n\t\x00\x0b\x1b\x7f\x85\u2028\u202e\ufeff")
                fits_a_log_line(leaf)
        elif isinstance(leaf, float):
            assert math.isfinite(leaf)
            assert owner in free or -(2**63) < leaf <= SUM_MAX
            assert owner in free or leaf >= 0 or owner[1] in signed
        elif isinstance(leaf, int):
            assert owner in free or abs(leaf) < 2**63
            assert owner in free or leaf >= 0 or owner[1] in signed
        elif isinstance(leaf, msgspec.Raw):
            checked(bytes(leaf))
    for subject, tokens in subjects:
        assert len(literal(subject).split(b".")) == tokens
    header_block(dict(headers))
    msgspec.json.encode(message)


def fits_a_log_line(text: str) -> None:
    """Assert that a text makes one line of ASCII in a log."""
    line = JSONRenderer()(None, "info", {"event": "e", "key": text})
    assert isinstance(line, str)
    assert "\n" not in line
    assert line.isascii()
    logging.getLogger("hostile").debug("%s", text)
