"""
Reading recorded traffic: CSV with a header, or JSON lines. What is wrong with it is said with its line.

A CSV has a column for the input, perhaps one for the label, and for each model `<model>.output` (or `<model>.label`) with
any of `<model>.seconds`, `.input_tokens`, `.output_tokens`, `.cost_usd`, `.confidence`, `.error`. A JSON line has `input`,
perhaps `label`, and `models`, an object of objects with the same names.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Final, TextIO, cast

import msgspec
from msgspec import Meta, Struct

from flotilla.capabilities.json_schema import flaw_of
from flotilla.cli.replay.errors import ReplayError
from flotilla.cli.replay.recording import MODELS_MAX, RECORDED_MAX, ROWS_MAX, Recorded, Recording, Row, answer_of
from flotilla.contracts.failures import FailureKind
from flotilla.contracts.fields import COST_USD_MAX, MODEL_LENGTH_MAX, TOKENS_MAX, are_words

FILE_BYTES_MAX: Final = 16 * 1024 * 1024 * 1024
"""Read line by line: what is held is a row's text, and of each row what models answered."""
ROW_CHARS_MAX: Final = 16 * 1024 * 1024
FIELD_CHARS_MAX: Final = 4 * 1024 * 1024
ANSWERS_SHARED_MAX: Final = 10_000
"""Different answers that are held once, however many rows have them."""
SECONDS_MAX: Final = 24 * 3600.0
INPUT_NAMES: Final = ("input", "text", "document", "narrative", "prompt")
"""Columns that are taken as the input unless one is named."""
LABEL_NAME: Final = "label"

DELIMITERS: Final = (",", ";", "\t")
"""Of a CSV; the first line tells which."""

_OUTPUTS: Final = ("output", "label")
_FIELDS: Final = (*_OUTPUTS, "seconds", "input_tokens", "output_tokens", "cost_usd", "confidence", "error")

Tokens = Annotated[int, Meta(ge=0, le=TOKENS_MAX)]


class _Given(Struct, kw_only=True):
    """What a line says of one model. Numbers may stand there as text, as a CSV has them."""

    output: Any = None
    label: Any = None
    seconds: Annotated[float, Meta(ge=0.0, le=SECONDS_MAX)] = 0.0
    input_tokens: Tokens = 0
    output_tokens: Tokens = 0
    cost_usd: Annotated[float, Meta(ge=0.0, le=COST_USD_MAX)] | None = None
    confidence: Annotated[float, Meta(ge=0.0, le=1.0)] | None = None
    error: Annotated[str, Meta(max_length=MODEL_LENGTH_MAX)] | None = None


def read_recording(path: Path, *, input_name: str | None = None, label_name: str | None = None) -> Recording:
    """
    The rows of a file. Inputs are measured and let go.

    Args:
        path: `.csv` is CSV; anything else is JSON lines.
        input_name: The column, or key, of the input; the first of `INPUT_NAMES` that is there unless given.
        label_name: Of what is right; `LABEL_NAME` where it is there unless given.

    Raises:
        ReplayError: It cannot be read, is too large, or a line does not fit.
    """
    try:
        size = path.stat().st_size
        if size > FILE_BYTES_MAX:
            raise ReplayError(f"{path}: {size:,} bytes, and a recording has at most {FILE_BYTES_MAX:,}; split it")
        is_csv = path.suffix.lower() == ".csv"
        with path.open(encoding="utf-8-sig", newline="" if is_csv else "\n") as file:
            text = _Lines(path, file)
            lines = _csv_lines(path, text) if is_csv else _json_lines(path, text)
            return _recording(path, lines, input_name, label_name)
    except OSError as error:
        raise ReplayError(f"{path}: {error.strerror or type(error).__name__}") from error
    except UnicodeDecodeError as error:
        raise ReplayError(f"{path}: not text in UTF-8") from error


class _Lines:
    """
    The lines of a file, one after the other; no row of it is longer than ROW_CHARS_MAX.

    Attributes:
        row_chars: Of the lines that were read since it was set to 0.
    """

    def __init__(self, path: Path, file: TextIO) -> None:
        self._path = path
        self._file = file
        self.row_chars = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._file.readline(ROW_CHARS_MAX + 1)
        self.row_chars += len(line)
        if self.row_chars > ROW_CHARS_MAX:
            raise ReplayError(f"{self._path}: a row of more than {ROW_CHARS_MAX:,} characters")
        if not line:
            raise StopIteration
        return line


def _recording(
    path: Path, lines: Iterator[tuple[int, Mapping[str, Any]]], input_name: str | None, label_name: str | None
) -> Recording:
    rows: list[Row] = []
    models: tuple[str, ...] = ()
    shared: dict[str, str] = {}
    for line, found in lines:
        where = f"{path}:{line}"
        if len(rows) >= ROWS_MAX:
            raise ReplayError(f"{where}: more than {ROWS_MAX:,} rows; split the file")
        if len(rows) * len(models) >= RECORDED_MAX:
            raise ReplayError(f"{where}: more than {RECORDED_MAX:,} answers; split the file, or leave models out")
        given = cast("dict[str, object]", found["models"])
        if not rows:
            models = _models(where, given)
            input_name = _column(where, found, input_name)
            if label_name is not None and label_name not in found:
                raise ReplayError(f"{where}: there is no {label_name}; --label names what is right")
        elif not given.keys() <= set(models):
            raise ReplayError(f"{where}: a model that the first line does not name; it names every one")
        label = found.get(label_name or LABEL_NAME)
        rows.append(
            Row(
                input_bytes=_bytes_of(found.get(input_name or "")),
                label=None if label is None or label == "" else answer_of(label),
                by_model={model: _recorded(f"{where}: {model}", given.get(model), shared) for model in models},
            )
        )
    if not rows:
        raise ReplayError(f"{path}: holds no rows")
    return Recording(models=models, rows=rows)


def _csv_lines(path: Path, text: _Lines) -> Iterator[tuple[int, dict[str, Any]]]:
    csv.field_size_limit(FIELD_CHARS_MAX)
    first = next(text, "")
    # As spreadsheets write it where the comma stands in numbers; a model's column is what tells them apart.
    delimiter = next((each for each in DELIMITERS if _has_model(first, each)), DELIMITERS[0])
    reader = csv.reader(chain((first,), text), delimiter=delimiter, strict=True)
    try:
        header = next(reader, None) or []
        columns = _columns(path, header)
        for cells in reader:
            text.row_chars = 0
            if not cells:
                continue
            if len(cells) != len(header):
                raise ReplayError(f"{path}:{reader.line_num}: {len(cells)} cells, and the header has {len(header)}")
            yield reader.line_num, _csv_line(columns, cells)
    except csv.Error as error:
        raise ReplayError(f"{path}:{reader.line_num}: not CSV: {error}") from error


def _has_model(header: str, delimiter: str) -> bool:
    names = header.strip().split(delimiter)
    return any(_model_column(name.strip('"')) for name in names) and all(
        other not in name for name in names for other in DELIMITERS
    )


_Columns = list[tuple[str, tuple[str, str] | None]]
"""The names of a header, those of models taken apart into model and field."""


def _columns(path: Path, header: list[str]) -> _Columns:
    columns = [(name, _model_column(name)) for name in header]
    if not any(column for _, column in columns):
        raise ReplayError(f"{path}:1: no column <model>.output or <model>.label; the header names what was recorded")
    if len(set(header)) < len(header):
        raise ReplayError(f"{path}:1: a column stands there twice")
    return columns


def _csv_line(columns: _Columns, cells: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"models": {column[0]: {} for _, column in columns if column is not None}}
    for (name, column), cell in zip(columns, cells, strict=True):
        if column is None:
            found[name] = cell
        elif cell:
            found["models"][column[0]][column[1]] = cell
    return found


def _model_column(name: str) -> tuple[str, str] | None:
    model, dot, field = name.rpartition(".")
    return (model, field) if dot and model and field in _FIELDS else None


def _json_lines(path: Path, text: _Lines) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text, start=1):
        text.row_chars = 0
        if not line.strip():
            continue
        try:
            found: object = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ReplayError(f"{path}:{number}: not JSON; a recording is CSV (.csv) or JSON lines") from error
        table = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
        if not isinstance(table.get("models"), dict):
            raise ReplayError(f"{path}:{number}: no object `models` with what each model did")
        yield number, table


def _models(where: str, given: Mapping[str, object]) -> tuple[str, ...]:
    if not given or len(given) > MODELS_MAX:
        raise ReplayError(f"{where}: {len(given)} models; a recording has 1 to {MODELS_MAX}")
    for model in given:
        if not model or len(model) > MODEL_LENGTH_MAX or not are_words("", model):
            raise ReplayError(f"{where}: the name of a model is empty, too long or not printable")
    return tuple(given)


def _column(where: str, found: Mapping[str, Any], name: str | None) -> str:
    if name is None:
        name = next((each for each in INPUT_NAMES if each in found), INPUT_NAMES[0])
    if name not in found:
        raise ReplayError(f"{where}: there is no {name}; --input names what was asked")
    return name


def _bytes_of(value: object) -> int:
    text = value if isinstance(value, str) else json.dumps(value)
    return len(text.encode("utf-8", "surrogatepass"))


def _recorded(where: str, found: object, shared: dict[str, str]) -> Recorded:
    """A model without an entry on a line, or without an answer, has failed there. Answers that were there before are one."""
    try:
        given = msgspec.convert({} if found is None else found, _Given, strict=False)
    except msgspec.ValidationError as error:
        raise ReplayError(f"{where}: {flaw_of(error)}") from error
    output = given.label if given.output is None else given.output
    failed = output is None or given.error is not None
    return Recorded(
        answer=None if failed else _shared(answer_of(output), shared),
        answer_bytes=0 if failed else _bytes_of(output),
        seconds=given.seconds,
        input_tokens=given.input_tokens,
        output_tokens=given.output_tokens,
        cost_usd=given.cost_usd,
        confidence=_confidence(output) if given.confidence is None else given.confidence,
        failure=_failure(given.error) if failed else None,
    )


def _shared(answer: str, shared: dict[str, str]) -> str:
    return shared.setdefault(answer, answer) if len(shared) < ANSWERS_SHARED_MAX else shared.get(answer, answer)


def _confidence(output: object) -> float | None:
    """Of an output that is an object with one, as `classify` gives it."""
    found = cast("dict[str, Any]", output).get("confidence") if isinstance(output, dict) else None
    return float(found) if isinstance(found, int | float) and 0.0 <= found <= 1.0 else None


def _failure(error: str | None) -> FailureKind:
    """A kind of the wire by its name; anything else is a provider that could not be reached."""
    try:
        return FailureKind(error)
    except ValueError:
        return FailureKind.UNAVAILABLE
