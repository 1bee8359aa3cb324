"""JetStream's own words stand in the fabric alone: its subjects, its headers for a publish, its error codes."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from flotilla.fabric.jetstream_api import ErrorCode

ROOT = Path(__file__).parents[3]
WORDS = ("$JS.", "Nats-Expected-", "err_code")
CODES = frozenset(map(int, ErrorCode))
MAY_HAVE = re.compile(r"JS\.|Nats-Expected|err_code|1_?0_?\d_?\d_?\d")
OUTSIDE = [
    path
    for part in ("libs", "services")
    for path in sorted((ROOT / part).glob("*/src/**/*.py"))
    if not {"fabric", "testkit"} & set(path.relative_to(ROOT).parts)
]


@pytest.mark.parametrize("path", OUTSIDE, ids=[str(path.relative_to(ROOT)) for path in OUTSIDE])
def test_outside_the_fabric_nobody_spells_out_jetstream(path: Path):
    """
    Whoever needs a subject, header or code of it takes it from `flotilla.fabric.jetstream_api`.
    """
    source = path.read_text(encoding="utf-8")

    # The walk of a tree takes long; most modules have nothing in their text that could be one of the words or codes.
    assert not MAY_HAVE.search(source) or [] == list(_spelled_out(ast.parse(source)))


@pytest.mark.parametrize(
    "source",
    [
        '"$JS.API.INFO"',
        'f"$JS.API.STREAM.INFO.{name}"',
        'b"$JS.ACK.>"',
        '{"Nats-Expected-Last-Sequence": "0"}',
        "10071",
    ],
)
def test_what_would_be_found(source: str):
    """
    Text, bytes, a piece of a formatted text, and a number.
    """
    assert MAY_HAVE.search(source)
    assert [1] == [line for line, _ in _spelled_out(ast.parse(f"x = {source}"))]


def _spelled_out(tree: ast.Module) -> Iterator[tuple[int, object]]:
    """The constants that are JetStream's own, with their lines; docstrings may speak of it."""
    prose = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or id(node) in prose:
            continue
        value = node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value
        if value in CODES or (isinstance(value, str) and any(word in value for word in WORDS)):
            yield node.lineno, value
