"""Reading a pipeline's file: every fault at once, each with the key where it stands."""

import hashlib
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, cast

import msgspec
from msgspec import Meta

from flotilla.capabilities.built_in import TYPES
from flotilla.capabilities.json_schema import JsonSchema, flaw_of
from flotilla.contracts.fields import PRINTABLE
from flotilla.contracts.headers import DataClass
from flotilla.contracts.names import is_name
from flotilla.contracts.toml_text import read_toml
from flotilla.pipelines.conditions import condition
from flotilla.pipelines.definition import (
    DEADLINE_S_MAX,
    EXPIRES_S_DEFAULT,
    EXPIRES_S_MAX,
    FILE_BYTES_MAX,
    GROUP_LENGTH_MAX,
    ITEMS_MAX,
    PARALLEL_DEFAULT,
    PARALLEL_MAX,
    STEPS_MAX,
    Approval,
    Pipeline,
    Step,
)
from flotilla.pipelines.errors import PipelineError
from flotilla.pipelines.references import STEP_NAME, Reference
from flotilla.pipelines.values import OutOfBoundsError, Text, encoded, template

FAULTS_MAX: Final = 100
DESCRIPTION_LENGTH_MAX: Final = 2_000


class _Approval(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    when: str | None = None
    group: Annotated[str, Meta(max_length=GROUP_LENGTH_MAX, pattern=PRINTABLE)] = ""
    expires_s: Annotated[int, Meta(ge=1, le=EXPIRES_S_MAX)] = EXPIRES_S_DEFAULT
    four_eyes: bool = True


class _Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    capability: str
    input: dict[str, Any] = {}
    needs: Annotated[list[str], Meta(max_length=STEPS_MAX)] = []
    when: str | None = None
    for_each: str | list[Any] | None = None
    parallel: Annotated[int, Meta(ge=1, le=PARALLEL_MAX)] = PARALLEL_DEFAULT
    on_failure: Literal["fail", "skip", "collect"] = "fail"
    approval: _Approval | None = None
    data_class: DataClass = "public"


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    description: Annotated[str, Meta(max_length=DESCRIPTION_LENGTH_MAX)] = ""
    deadline_s: Annotated[float, Meta(gt=0.0, le=DEADLINE_S_MAX)] | None = None
    input: dict[str, Any]
    output_schema: dict[str, Any] | None = None
    steps: dict[str, Any]
    output: dict[str, Any]


def read_pipeline(text: str, file_name: str) -> Pipeline:
    """
    Read a pipeline from TOML.

    Raises:
        PipelineError: With everything that is wrong with it in itself, up to FAULTS_MAX faults.
    """
    if len(text.encode(errors="replace")) > FILE_BYTES_MAX:
        raise PipelineError(file_name, [f"expected at most {FILE_BYTES_MAX} bytes"])
    try:
        document = read_toml(text)
    except ValueError as error:
        raise PipelineError(file_name, [f"expected TOML: {error}"], text) from None
    faults: list[str] = []
    file = _converted(document, _File, "", faults)
    if file is None:
        raise PipelineError(file_name, faults, text)
    pipeline = _pipeline(file, document, text, faults)
    if faults or pipeline is None:
        raise PipelineError(file_name, list(dict.fromkeys(faults))[:FAULTS_MAX], text)
    return pipeline


def _converted(document: Any, kind: type[Any], key: str, faults: list[str]) -> Any:
    try:
        return msgspec.convert(document, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        flaw = flaw_of(error)
        path = ".".join(part for part in (key, flaw.path.removeprefix("$").lstrip(".")) if part)
        faults.append(f"{path}: {flaw.expected}" if path else flaw.expected)
        return None


def _pipeline(file: _File, document: dict[str, Any], text: str, faults: list[str]) -> Pipeline | None:
    if not is_name(file.name):
        faults.append("name: expected 1 to 63 of a-z, 0-9 and hyphens, no hyphen at either end")
    if file.name in TYPES:
        faults.append(f"name: {file.name} is built in and cannot be redefined")
    _check_schema(file.input, "input", faults)
    if file.output_schema is not None:
        _check_schema(file.output_schema, "output_schema", faults)
    if not 1 <= len(file.steps) <= STEPS_MAX:
        faults.append(f"steps: {len(file.steps)} steps, expected 1 to {STEPS_MAX}")
        return None
    steps = [step for name, given in file.steps.items() if (step := _step(name, given, faults)) is not None]
    output = template(file.output, "output", faults)
    if not file.output:
        faults.append("output: expected at least one field, which the caller gets")
    _check_references(output.references, "output", set(file.steps), faults, items=False)
    for step in steps:
        _check_step(step, set(file.steps), faults)
    ordered = _ordered(steps, faults)
    digest = _digest(document, faults)
    if faults:
        return None
    return Pipeline(
        name=file.name,
        description=file.description,
        deadline_s=file.deadline_s,
        input_schema=file.input,
        output_schema=file.output_schema or _any_of(file.output),
        steps=tuple(ordered),
        output=output,
        digest=digest,
        source_text=text,
    )


def _digest(document: dict[str, Any], faults: list[str]) -> str:
    try:
        return hashlib.sha256(encoded(document)).hexdigest()
    except (OutOfBoundsError, TypeError, ValueError, OverflowError) as error:
        faults.append(f"expected what JSON can say: {error}")
        return ""


def _check_schema(document: dict[str, Any], key: str, faults: list[str]) -> None:
    if document.get("type") != "object":
        faults.append(f'{key}.type: expected "object": inputs and outputs are JSON objects')
        return
    try:
        JsonSchema(document)
    except (ValueError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        faults.append(f"{key}: expected a JSON Schema without references to elsewhere: {reason}")


def _any_of(output: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {} for name in output}, "required": sorted(output)}


def _step(name: str, given: Any, faults: list[str]) -> Step | None:
    key = f"steps.{name}"
    if not STEP_NAME.fullmatch(name):
        faults.append(f"{key}: expected a step's name to be 1 to 40 of a-z, 0-9 and _, beginning with a letter")
    read = _converted(given, _Step, key, faults)
    if read is None:
        return None
    step = cast("_Step", read)
    if not is_name(step.capability):
        faults.append(f"{key}.capability: expected the name of a capability")
    gate = step.approval
    return Step(
        name=name,
        capability=step.capability,
        input=template(step.input, f"{key}.input", faults),
        needs=tuple(dict.fromkeys(step.needs)),
        when=None if step.when is None else condition(step.when, f"{key}.when", faults),
        for_each=None if step.for_each is None else template(step.for_each, f"{key}.for_each", faults),
        parallel=step.parallel,
        on_failure=step.on_failure,
        data_class=step.data_class,
        approval=None
        if gate is None
        else Approval(
            when=None if gate.when is None else condition(gate.when, f"{key}.approval.when", faults),
            group=gate.group,
            expires_s=gate.expires_s,
            four_eyes=gate.four_eyes,
        ),
    )


def _check_step(step: Step, names: set[str], faults: list[str]) -> None:
    key = f"steps.{step.name}"
    items = step.for_each is not None
    for index, needed in enumerate(step.needs):
        if needed not in names:
            faults.append(f"{key}.needs[{index}]: there is no step {needed!r}")
    _check_references(step.input.references, f"{key}.input", names, faults, items=items)
    if step.when is not None:
        _check_references(step.when.references, f"{key}.when", names, faults, items=False)
    if step.for_each is not None:
        _check_references(step.for_each.references, f"{key}.for_each", names, faults, items=False)
        node = step.for_each.node
        if isinstance(node, str | Text):
            faults.append(f"{key}.for_each: expected one path of a list, as ${{input.pages}}, or an array")
        elif isinstance(node, list) and not 1 <= (length := len(cast("list[Any]", node))) <= ITEMS_MAX:
            faults.append(f"{key}.for_each: {length} items, expected 1 to {ITEMS_MAX}")
    if step.approval is not None and step.approval.when is not None:
        _check_references(step.approval.when.references, f"{key}.approval.when", names, faults, items=items)


def _check_references(
    references: Iterable[Reference], key: str, names: set[str], faults: list[str], *, items: bool
) -> None:
    for read in references:
        if read.step and read.step not in names:
            faults.append(f"{key}: {read}: there is no step {read.step!r}")
        if read.root in ("item", "index") and not items:
            faults.append(f"{key}: {read} stands only in the input and the approval of a step with for_each")


def _ordered(steps: list[Step], faults: list[str]) -> list[Step]:
    """Each after all that it follows, else as in the file."""
    known = {step.name for step in steps}
    waiting, ended, ordered = list(steps), set[str](), list[Step]()
    while waiting:
        free = next(
            (step for step in waiting if all(name in ended or name not in known for name in step.follows)), None
        )
        if free is None:
            cycle = ", ".join(step.name for step in waiting)
            faults.append(f"steps: these wait for each other: {cycle}")
            break
        waiting.remove(free)
        ended.add(free.name)
        ordered.append(free)
    return ordered
