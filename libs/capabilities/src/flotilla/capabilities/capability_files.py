"""
Reading users' capabilities from TOML files.

    name = "triage-ticket"              # a subject token; not one of the built-in ones
    description = "..."                 # optional
    text_field = "reply"                # optional: the answer is plain text, it is this field, and it can be streamed

    agree_on = ["team"]                 # optional: two outputs with these fields alike agree (consensus, shadow)

    [input]                             # JSON Schema of an object
    [output]                            # JSON Schema of an object
    [prompt]                            # optional: without it only a handler of one's own can serve the capability
    system = "..."                      # optional; `{field}` is a field of the input, as in `user`
    user = "..."
    temperature = 0.0                   # optional
    max_output_tokens = 500             # optional; 4096 without
    [defaults]                          # optional: fields put into an input that leaves them out

A file with a table `[steps]` is a pipeline (`flotilla.pipelines`), and nothing to a worker.

Every complaint is a CatalogueError that names the file, the key, and what was expected.
"""

from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import msgspec

from flotilla.capabilities.agreement import AGREE_ON_MAX, Comparison
from flotilla.capabilities.built_in import TYPES
from flotilla.capabilities.errors import CatalogueError
from flotilla.capabilities.json_schema import JsonSchema, flaw_of
from flotilla.capabilities.templates import fields_of
from flotilla.capabilities.user_defined import Template, UserCapability
from flotilla.contracts.names import is_name
from flotilla.contracts.toml_lines import located_all
from flotilla.contracts.toml_text import read_toml

FILE_BYTES_MAX: Final = 262_144


class CapabilityDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file as it stands."""

    name: str
    description: str = ""
    text_field: str | None = None
    agree_on: list[str] = []
    input: dict[str, Any]
    output: dict[str, Any]
    prompt: dict[str, Any] | None = None
    defaults: dict[str, Any] = {}


class PromptDocument(Template, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[prompt]` table; a misspelt key must not pass silently."""


Document = TypeVar("Document", bound=msgspec.Struct)


def read_capability(file: Path) -> UserCapability:
    """
    Read one file.

    Raises:
        CatalogueError: It cannot be read, is no TOML, or describes no capability.
    """
    document = _convert(file, "", _toml(file), CapabilityDocument)
    if not is_name(document.name):
        _complain(file, "name", "expected 1 to 63 of a-z, 0-9 and hyphens, no hyphen at either end")
    if document.name in TYPES:
        _complain(file, "name", f"{document.name} is built in and cannot be redefined")
    given = _schema(file, "input", document.input)
    output = _schema(file, "output", document.output)
    template = None
    if document.prompt is not None:
        template = _convert(file, "prompt", document.prompt, PromptDocument)
        _check_fields(file, template, document)
    _check_text_field(file, document)
    _check_defaults(file, document, given)
    _check_agree_on(file, document)
    return UserCapability(
        name=document.name,
        description=document.description,
        input_schema=given,
        output_schema=output,
        template=template,
        defaults=document.defaults,
        text_field=document.text_field,
        comparison=Comparison(fields=tuple(document.agree_on)),
    )


def is_pipeline(file: Path) -> bool:
    """
    Whether a file describes a pipeline, right or wrong.

    Raises:
        CatalogueError: It cannot be read, or is no TOML.
    """
    return "steps" in _toml(file)


def _complain(file: Path, key: str, expected: str) -> NoReturn:
    (fault,) = located_all(str(file), (f"{key}: {expected}" if key else expected,), _text(file))
    raise CatalogueError(fault) from None


def _text(file: Path) -> str:
    """To say on which line a fault is; empty where it cannot be read."""
    try:
        with file.open("rb") as opened:
            return opened.read(FILE_BYTES_MAX).decode(errors="replace")
    except OSError:
        return ""


def _toml(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            content = opened.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        _complain(file, "", f"cannot be read ({error.strerror or type(error).__name__})")
    if len(content) > FILE_BYTES_MAX:
        _complain(file, "", f"expected at most {FILE_BYTES_MAX} bytes")
    try:
        return read_toml(content.decode())
    except ValueError as error:
        _complain(file, "", f"expected TOML: {error}")


def _convert(file: Path, key: str, data: dict[str, Any], document: type[Document]) -> Document:
    try:
        return msgspec.convert(data, document)
    except msgspec.ValidationError as error:
        flaw = flaw_of(error)
        path = ".".join(part for part in (key, flaw.path.removeprefix("$").lstrip(".")) if part)
        _complain(file, path, flaw.expected)


def _schema(file: Path, key: str, document: dict[str, Any]) -> JsonSchema:
    if document.get("type") != "object":
        _complain(file, f"{key}.type", 'expected "object": inputs and outputs are JSON objects')
    try:
        return JsonSchema(document)
    except (ValueError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        _complain(file, key, f"expected a JSON Schema without references to elsewhere: {reason}")


def _properties(schema: dict[str, Any]) -> dict[str, Any]:
    found = schema.get("properties")
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType]  # JSON of any shape


def _check_fields(file: Path, template: Template, document: CapabilityDocument) -> None:
    known = _properties(document.input)
    for key, text in (("prompt.system", template.system), ("prompt.user", template.user)):
        for field in fields_of(text):
            if field.partition(".")[0] not in known:
                names = ", ".join(sorted(known)) or "none"
                _complain(file, key, f"{{{field}}} is not a property of the input (those are: {names})")
    if template.max_output_tokens is not None and template.max_output_tokens < 1:
        _complain(file, "prompt.max_output_tokens", "expected 1 or more")


def _check_text_field(file: Path, document: CapabilityDocument) -> None:
    field = document.text_field
    if field is None:
        return
    declared = _properties(document.output).get(field)
    if not isinstance(declared, dict) or declared.get("type") != "string":  # pyright: ignore[reportUnknownMemberType]
        _complain(file, "text_field", "expected a property of the output whose type is string")
    required: Any = document.output.get("required", [])
    if any(name != field for name in required):
        _complain(file, "text_field", "expected that no other property of the output is required: the text is all")


def _check_agree_on(file: Path, document: CapabilityDocument) -> None:
    if len(document.agree_on) > AGREE_ON_MAX:
        _complain(file, "agree_on", f"expected at most {AGREE_ON_MAX} fields")
    known = _properties(document.output)
    for field in document.agree_on:
        if field not in known:
            names = ", ".join(sorted(known)) or "none"
            _complain(file, "agree_on", f"{field} is not a property of the output (those are: {names})")


def _check_defaults(file: Path, document: CapabilityDocument, given: JsonSchema) -> None:
    for name, value in document.defaults.items():
        if _properties(document.input) and name not in _properties(document.input):
            _complain(file, f"defaults.{name}", "expected a property of the input")
        # Alone the default lacks the required fields; only what concerns itself counts.
        probe = JsonSchema({key: rule for key, rule in given.document.items() if key not in _WHOLE_OBJECT_RULES})
        if flaw := probe.flaw({name: value}):
            _complain(file, f"defaults.{name}", flaw.expected)


_WHOLE_OBJECT_RULES: Final = frozenset(
    {"required", "minProperties", "dependentRequired", "dependentSchemas", "oneOf", "anyOf", "allOf", "if", "not"}
)
