"""What is wrong with a pipeline among the capabilities and the policy it is to run with; and where its steps may run."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from flotilla.capabilities.catalogue import Catalogue
from flotilla.contracts.headers import DataClass
from flotilla.contracts.names import DEFAULT_SCOPE
from flotilla.contracts.policy import Policy
from flotilla.contracts.policy_rules import rules_for
from flotilla.contracts.subjects import Zone
from flotilla.pipelines.data_flow import DataFlow, enter_whole
from flotilla.pipelines.definition import NESTING_MAX, Pipeline, Step
from flotilla.pipelines.references import Reference
from flotilla.pipelines.schema_paths import has_path
from flotilla.routing.data_classes import ORDER, declassified_by
from flotilla.routing.eligibility import open_zones
from flotilla.routing.types import TaskView

CAUSES_SHOWN_MAX: Final = 3


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a pipeline is looked at with.

    Attributes:
        catalogue: The capabilities that files and Flotilla define; those of pipelines may be among them.
        pipelines: The other pipelines, by name.
        announced: Capabilities that only workers know; nothing is known of their outputs.
        zones: Of pools, by name, as far as they are known.
    """

    catalogue: Catalogue
    pipelines: Mapping[str, Pipeline] = {}
    announced: frozenset[str] = frozenset()
    policy: Policy = Policy()
    zones: Mapping[str, Zone] = {}


class StepReport(msgspec.Struct, frozen=True, kw_only=True):
    """
    Where a step may run.

    Attributes:
        zones: Those its data may enter; of a step that is a pipeline, its own steps' zones count.
        causes: What it reads that has its class, if that is above the lowest.
    """

    name: str
    capability: str
    data_class: DataClass
    zones: tuple[Zone, ...]
    causes: tuple[str, ...]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a check found, each fault and warning beginning with its key.

    Attributes:
        faults: With which it would fail when it runs, or send nothing anywhere.
        warnings: What may be a mistake.
    """

    steps: tuple[StepReport, ...]
    faults: tuple[str, ...]
    warnings: tuple[str, ...]


def check(pipeline: Pipeline, task_class: DataClass, around: Surroundings, *, depth: int = 1) -> Report:
    """Look at a pipeline whose tasks have a class; the pipelines among its steps are looked at with it."""
    steps = tuple(_reports(pipeline, task_class, around))
    faults = [*_path_faults(pipeline, around)]
    for step, report in zip(pipeline.steps, steps, strict=True):
        faults += _capability_faults(step, around)
        faults += _route_faults(report, around)
        inner = around.pipelines.get(step.capability)
        if inner is not None and depth <= NESTING_MAX:
            found = check(inner, report.data_class, around, depth=depth + 1)
            faults += [f"steps.{step.name} ({inner.name}): {fault}" for fault in found.faults]
    return Report(steps=steps, faults=tuple(faults), warnings=tuple(_unread(pipeline)))


def _reports(pipeline: Pipeline, task_class: DataClass, around: Surroundings) -> Iterator[StepReport]:
    operator = declassified_by(around.policy)
    flow = DataFlow(pipeline, task_class, operator=operator)
    for step in pipeline.steps:
        data_class = enter_whole(flow, step, operator, around.pipelines)
        causes: list[str] = []
        if data_class != ORDER[0]:
            causes = [str(read) for read in _read_by(step) if flow.of_reference(read, step) == data_class]
        yield StepReport(
            name=step.name,
            capability=step.capability,
            data_class=data_class,
            zones=open_zones(TaskView(capability=step.capability, scope=DEFAULT_SCOPE, data_class=data_class)),
            causes=tuple(dict.fromkeys(causes)),
        )


def _read_by(step: Step) -> Iterator[Reference]:
    yield from step.input.references
    if step.for_each is not None:
        yield from step.for_each.references
    for condition in (step.when, step.approval.when if step.approval else None):
        if condition is not None:
            yield from condition.references


def _capability_faults(step: Step, around: Surroundings) -> Iterator[str]:
    known = {*around.catalogue.names(), *around.pipelines, *around.announced}
    if step.capability not in known:
        near = next(iter(difflib.get_close_matches(step.capability, sorted(known), n=1)), "")
        hint = f": did you mean {near}?" if near else ""
        yield f"steps.{step.name}.capability: there is no capability {step.capability}{hint}"


def _path_faults(pipeline: Pipeline, around: Surroundings) -> Iterator[str]:
    for step in pipeline.steps:
        places = (
            (f"steps.{step.name}.input", step.input.references),
            (f"steps.{step.name}.for_each", step.for_each.references if step.for_each else ()),
            (f"steps.{step.name}.when", step.when.references if step.when else ()),
            (
                f"steps.{step.name}.approval.when",
                step.approval.when.references if step.approval and step.approval.when else (),
            ),
        )
        for key, references in places:
            yield from (fault for read in references for fault in _path_fault(key, read, pipeline, around))
    yield from (fault for read in pipeline.output.references for fault in _path_fault("output", read, pipeline, around))


def _path_fault(key: str, read: Reference, pipeline: Pipeline, around: Surroundings) -> Iterator[str]:
    if read.root == "input":
        if not has_path(pipeline.input_schema, read.path):
            yield f"{key}: {read}: the input's schema has no such field"
    elif read.root == "steps":
        source = pipeline.step(read.step)
        path = read.path
        if source.for_each is not None and path:
            if not (path[0] == "*" or path[0].isdecimal()):
                yield f"{key}: {read}: {read.step} runs for each item: expected steps.{read.step}.*.{path[0]}, or a number"
                return
            path = path[1:]
        elif path and path[0] == "*":
            yield f"{key}: {read}: {read.step} runs once: expected steps.{read.step}.{'.'.join(path[1:])}"
            return
        if source.on_failure == "collect" and path[:1] == ("error",):
            return
        schema = _output_schema(source.capability, around)
        if schema is not None and not has_path(schema, path):
            yield f"{key}: {read}: the output of {source.capability} has no such field"


def _output_schema(capability: str, around: Surroundings) -> dict[str, object] | None:
    if capability in around.pipelines:
        return around.pipelines[capability].output_schema
    found = around.catalogue.get(capability)
    return None if found is None else found.output_schema


def _route_faults(report: StepReport, around: Surroundings) -> Iterator[str]:
    """A policy that leaves the step's data nowhere to go, as far as the zones of its pools are known."""
    if report.capability in around.pipelines:
        return
    rules = rules_for(around.policy, report.capability)
    if rules is None:
        return
    why = f" (because of {', '.join(report.causes[:CAUSES_SHOWN_MAX])})" if report.causes else ""
    if report.data_class not in rules.data_classes:
        yield f"steps.{report.name}: its data is {report.data_class}{why}, which the policy serves no {report.capability} for"
    pools = [route.pool for route in rules.routes or ()]
    if pools and all(around.zones.get(pool, report.zones[0]) not in report.zones for pool in pools):
        yield (
            f"steps.{report.name}: its data is {report.data_class}{why} and may enter {', '.join(report.zones)}, "
            f"but the policy's routes for {report.capability} are all elsewhere: {', '.join(pools)}"
        )


def _unread(pipeline: Pipeline) -> Iterator[str]:
    read = {name for step in pipeline.steps for name in step.follows}
    read.update(one.step for one in pipeline.output.references if one.step)
    for step in pipeline.steps:
        if step.name not in read:
            yield f"steps.{step.name}: nobody reads what it gives"
