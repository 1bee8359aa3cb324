"""From a command line to the inputs of tasks."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, cast

import msgspec
from msgspec import Struct

from flotilla.chassis.terminal_text import encodable
from flotilla.cli.console.arguments import Fields
from flotilla.cli.console.documents import STDIN, check_encoding, expand, read
from flotilla.cli.console.exits import UsageError
from flotilla.contracts.capabilities import BUILT_IN
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorBody
from flotilla.contracts.redaction import LOCAL_CAPABILITIES

TEXT_FIELD_DEFAULT: Final = "document"
_TYPES: Final = {**BUILT_IN, **LOCAL_CAPABILITIES}
_TEXT_FIELDS: Final = {
    "translate": "text",
    "reason": "question",
    "generate-code": "instruction",
    "synthesize": "sources",
    "embed": "texts",
    "chat": "messages",
}
"""Where a document goes, for those capabilities that do not call it one."""

_CONTEXT: Final = "context"
_TAKES_MANY: Final = "synthesize"


class Job(Struct, frozen=True, kw_only=True):
    """
    One task to be.

    Attributes:
        name: Of the file; empty when the input came from the command line alone.
        body: None when the file cannot be used.
        refused: Why.
    """

    name: str
    body: dict[str, Any] | None = None
    refused: ErrorBody | None = None


class Plan(Struct, frozen=True, kw_only=True):
    """
    What a command line asks for.

    Attributes:
        is_batch: A folder or several files: a task each, and a table of them.
    """

    capability: str
    fields: dict[str, Any]
    files: list[str]
    text: str | None
    field: str | None
    encoding: str | None
    is_batch: bool

    def __len__(self) -> int:
        return len(self.files) if self.is_batch else 1

    def jobs(self) -> Iterator[Job]:
        """
        The tasks, each file being read when its turn comes.

        Raises:
            TaskError: A single document cannot be used; one of a batch is a refused job instead.
        """
        if not self.is_batch:
            yield self._single()
            return
        for file in self.files:
            try:
                yield Job(name=file, body=self._with(read(file, self.encoding)))
            except TaskError as error:
                yield Job(name=file, refused=error.body)

    def _single(self) -> Job:
        name = self.files[0] if len(self.files) == 1 else ""
        if self.capability == _TAKES_MANY and self.files:
            sources = [
                {"title": encodable(Path(file).name) if file != STDIN else "", "text": read(file, self.encoding)}
                for file in self.files
            ]
            return Job(name=name, body=_complete(self.capability, {**self.fields, "sources": sources}))
        text = read(self.files[0], self.encoding) if self.files else self.text
        body = self.fields if text is None else self._with(text)
        return Job(name=name, body=_complete(self.capability, body))

    def _with(self, text: str) -> dict[str, Any]:
        field = self.field or _TEXT_FIELDS.get(self.capability, TEXT_FIELD_DEFAULT)
        value: Any = text
        if field in self.fields and _CONTEXT in _known(self.capability):
            field = _CONTEXT
        elif self.field is None and field in ("texts", "sources"):
            value = [text]
        elif self.field is None and field == "messages":
            value = [{"role": "user", "content": text}]
        if field in self.fields:
            raise UsageError(f"`{field}` is given twice: by an option and by a document")
        return _complete(self.capability, {**self.fields, field: value})


def plan(capability: str, sources: Sequence[str], fields: Fields) -> Plan:
    """
    Work out what is asked for. A source that begins with `{` is JSON: fields of the input.

    Raises:
        UsageError: It makes no sense; says what to give.
    """
    check_encoding(fields.encoding)
    inline = [source for source in sources if source.lstrip().startswith("{")]
    named = [source for source in sources if not source.lstrip().startswith("{")]
    found = _fields(capability, fields, inline)
    files = expand(named)
    if files and fields.text is not None:
        raise UsageError("give a FILE or --text, not both")
    main = fields.field or _TEXT_FIELDS.get(capability, TEXT_FIELD_DEFAULT)
    if not files and fields.text is None and main not in found:
        if found and main not in (_known(capability) or ()):
            pass  # it takes no document, or is one's own and may need none
        elif sys.stdin.isatty():
            raise UsageError(f"nothing to {capability}: give a FILE, a folder, - for standard input, or --text TEXT")
        else:
            files = [STDIN]
    several = len(files) > 1 or any(Path(source).is_dir() for source in named if source != STDIN)
    return Plan(
        capability=capability,
        fields=found,
        files=files,
        text=fields.text,
        field=fields.field,
        encoding=fields.encoding,
        is_batch=several and capability != _TAKES_MANY,
    )


def _fields(capability: str, fields: Fields, inline: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in (*([fields.input] if fields.input is not None else ()), *inline):
        found |= _object(text)
    for pair in fields.set or ():
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--set {pair}: expected KEY=VALUE")
        found[name] = _value(value)
    named = fields.named()
    known = _known(capability)
    for name in named:
        if known and name not in known:
            raise UsageError(f"{capability} has no field `{name}`; it has {', '.join(sorted(known))}")
    return found | named


def _object(text: str) -> dict[str, Any]:
    if text.startswith("@"):
        try:
            text = read(text[1:])
        except TaskError as error:
            raise UsageError(f"--input {error.message}") from error
    try:
        decoded: Any = json.loads(text)
    except ValueError as error:
        raise UsageError(f"the input is not JSON: {error}") from error
    if not isinstance(decoded, dict):
        raise UsageError('the input must be a JSON object such as {"labels": ["a", "b"]}')
    return cast("dict[str, Any]", decoded)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _known(capability: str) -> frozenset[str]:
    if capability not in _TYPES:
        return frozenset()
    return frozenset(field.name for field in msgspec.structs.fields(_TYPES[capability][0]))


def _complete(capability: str, body: dict[str, Any]) -> dict[str, Any]:
    if capability in _TYPES:
        for field in msgspec.structs.fields(_TYPES[capability][0]):
            if field.required and field.name not in body:
                raise UsageError(f"{capability} needs `{field.name}`: give {_how(field.name)}")
    return body


def _how(name: str) -> str:
    if name in Fields.__dataclass_fields__:
        return f"--{name.replace('_', '-')}"
    return "a FILE, or --text TEXT" if name in {TEXT_FIELD_DEFAULT, *_TEXT_FIELDS.values()} else f"--set {name}=..."
