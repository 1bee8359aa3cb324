"""`flotilla pipeline`: capabilities made of steps, in files."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final, cast

import msgspec
from cyclopts import App, Parameter

from flotilla.capabilities.capability_files import is_pipeline
from flotilla.capabilities.catalogue import FILE_SUFFIX, Catalogue, capability_files
from flotilla.chassis.policy_toml import read_policy
from flotilla.chassis.terminal_text import encodable
from flotilla.cli.console import exits, terminal
from flotilla.cli.console.examples import examples_of
from flotilla.cli.console.exits import UsageError, close_to
from flotilla.cli.console.tables import table
from flotilla.contracts.errors import SettingsError
from flotilla.contracts.headers import DataClass
from flotilla.contracts.policy import Policy
from flotilla.contracts.subjects import Zone
from flotilla.contracts.toml_lines import located_all
from flotilla.pipelines.check import Report, Surroundings
from flotilla.pipelines.check import check as look_at
from flotilla.pipelines.definition import Pipeline
from flotilla.pipelines.errors import PipelineError
from flotilla.pipelines.mermaid import drawing
from flotilla.pipelines.pipeline_files import capabilities_of, load_pipelines, read_pipeline_file
from flotilla.routing.policy_check import parse_policy

pipeline: Final = App(name="pipeline", help_format="plaintext", help_epilogue=examples_of("pipeline"))
Flag = Annotated[bool, Parameter(negative="")]
Names = Annotated[list[str] | None, Parameter(negative="", consume_multiple=True)]


@pipeline.command
def check(
    source: Path,
    /,
    *,
    capabilities: Path | None = None,
    policy: Path | None = None,
    cloud_pool: Names = None,
    announced: Names = None,
    data_class: DataClass = "restricted",
    mermaid: Flag = False,
    json: Flag = False,
) -> int:
    """
    Say what is wrong with a pipeline, each fault with line and key, and the class and zones of each step. Needs no fleet.

    Parameters
    ----------
    source
        The pipeline (TOML), or a folder: each of those in it.
    capabilities
        The folder of capabilities and pipelines that it uses; the file's own folder unless given.
    policy
        A policy (TOML): what it declassifies, and which routes it has.
    cloud_pool
        The policy's pools that are in the cloud; each of the others counts as local.
    announced
        Capabilities that only workers know, and no file.
    data_class
        Of the pipeline's tasks.
    mermaid
        Draw it, in Mermaid.
    json
        Write for programs: one JSON object per line.
    """
    found_policy = Policy() if policy is None else parse_policy(read_policy(policy))
    ends: list[int] = []
    for file in _files(source):
        around = _around(file, capabilities, found_policy, cloud_pool or [], announced or [])
        if source.is_dir() and not json:
            terminal.write(f"{file}\n")
        ends.append(_check(file, around, data_class, as_json=json, mermaid=mermaid))
    return max(ends)


@pipeline.command(name="list")
def list_(source: Path | None = None, /, *, capabilities: Path | None = None, json: Flag = False) -> int:
    """
    List the pipelines of a folder.

    Parameters
    ----------
    source
        The folder, or one file; this folder unless given.
    capabilities
        The same.
    json
        Write for programs: one JSON object per line.
    """
    found = list(_loaded(source or capabilities or Path()).values())
    if json:
        for each in found:
            terminal.json_line(
                msgspec.json.encode({"name": each.name, "steps": len(each.steps), "digest": each.digest})
            )
    else:
        table(
            ("pipeline", "steps", "description"),
            [(each.name, str(len(each.steps)), each.description) for each in found],
        )
    return exits.OK


@pipeline.command
def show(
    name: str,
    /,
    *,
    capabilities: Path | None = None,
    data_class: DataClass = "restricted",
    mermaid: Flag = False,
    json: Flag = False,
) -> int:
    """
    Show the steps of a pipeline, in the order in which they may run.

    Parameters
    ----------
    name
        The pipeline's, or its file.
    capabilities
        The folder of capabilities; the file's own folder unless given, and of a name this one.
    data_class
        Of the pipeline's tasks.
    mermaid
        Draw it, in Mermaid.
    json
        Write for programs: one JSON object.
    """
    file = Path(name)
    if file.suffix == FILE_SUFFIX:
        folder = capabilities or file.parent
        try:
            shown = read_pipeline_file(file)
        except PipelineError as error:
            return _faulty(file, error.faults, error.located, as_json=json)
    else:
        folder = capabilities or Path()
        pipelines = _loaded(folder)
        if name not in pipelines:
            near = close_to(name, pipelines)
            raise UsageError(f"{folder}: there is no pipeline {name}" + (f": did you mean {near}?" if near else ""))
        shown = pipelines[name]
    others = {other.name: other for other in _others(folder) if other.name != shown.name}
    catalogue = _catalogue(folder).with_capabilities(capabilities_of(others.values()))
    report = look_at(shown, data_class, Surroundings(catalogue=catalogue, pipelines=others))
    if json:
        terminal.json_line(msgspec.json.encode({"name": shown.name, **_fields(report)}))
    elif mermaid:
        terminal.write(drawing(shown, report.steps))
    else:
        _show(report)
    return exits.OK


def _files(source: Path) -> list[Path]:
    """The pipelines' files: the one that was given, or those of a folder."""
    if not source.is_dir():
        return [source]
    try:
        files = [file for file in capability_files(source) if is_pipeline(file)]
    except SettingsError as error:
        raise UsageError(str(error)) from error
    if not files:
        raise UsageError(f"{source}: there is no pipeline in this folder")
    return files


def _check(file: Path, around: Surroundings, data_class: DataClass, *, as_json: bool, mermaid: bool) -> int:
    try:
        read = read_pipeline_file(file)
    except PipelineError as error:
        return _faulty(file, error.faults, error.located, as_json=as_json)
    report = look_at(read, data_class, around)
    if as_json:
        terminal.json_line(msgspec.json.encode({"file": encodable(str(file)), "name": read.name, **_fields(report)}))
    elif mermaid:
        terminal.write(drawing(read, report.steps))
    else:
        _show(report)
    if report.faults:
        shown = located_all(str(file), report.faults, read.source_text)
        return exits.USAGE if as_json else _faulty(file, report.faults, shown, as_json=False)
    return exits.OK


def _others(folder: Path, but: Path | None = None) -> Iterator[Pipeline]:
    for other in sorted(folder.glob(f"*{FILE_SUFFIX}")):
        if but is not None and other.resolve() == but.resolve():
            continue
        # One that is no pipeline, or one that a check of its own is for.
        with suppress(PipelineError):
            yield read_pipeline_file(other)


def _around(
    file: Path, capabilities: Path | None, policy: Policy, cloud_pools: list[str], announced: list[str]
) -> Surroundings:
    folder = capabilities or file.parent
    catalogue = _catalogue(folder)
    pipelines = {read.name: read for read in _others(folder, file)}
    pools = {route.pool for entry in policy.capabilities.values() for route in entry.routes or ()}
    pools |= {route.pool for route in (policy.default.routes if policy.default else None) or ()}
    zones: dict[str, Zone] = {pool: "cloud" if pool in cloud_pools else "local" for pool in pools}
    return Surroundings(
        catalogue=catalogue.with_capabilities(capabilities_of(pipelines.values())),
        pipelines=pipelines,
        announced=frozenset(announced),
        policy=policy,
        zones=zones,
    )


def _catalogue(folder: Path) -> Catalogue:
    try:
        return Catalogue.load(folder)
    except SettingsError as error:
        # Of this folder where none was named: it may be of anything.
        where = "; pipelines and capabilities stand in a folder of their own: name it" if folder == Path() else ""
        raise UsageError(f"{error}{where}") from error


def _loaded(folder: Path) -> dict[str, Pipeline]:
    try:
        return load_pipelines(folder, _catalogue(folder))
    except SettingsError as error:
        raise UsageError(str(error)) from error


def _show(report: Report) -> None:
    table(
        ("step", "capability", "data class", "zones", "because of"),
        [
            (step.name, step.capability, step.data_class, ", ".join(step.zones), ", ".join(step.causes))
            for step in report.steps
        ],
    )
    for warning in report.warnings:
        terminal.aside(f"warning: {warning}")


def _faulty(file: Path, faults: tuple[str, ...], located: tuple[str, ...], *, as_json: bool) -> int:
    if as_json:
        terminal.json_line(msgspec.json.encode({"file": encodable(str(file)), "faults": faults}))
    else:
        terminal.error(list(located))
    return exits.USAGE


def _fields(report: Report) -> dict[str, Any]:
    return cast("dict[str, Any]", msgspec.to_builtins(report))
