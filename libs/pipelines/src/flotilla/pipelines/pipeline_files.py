"""The pipelines in the folder of capabilities, and what they are to whoever takes tasks: capabilities like any other."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from flotilla.capabilities.capability_files import is_pipeline
from flotilla.capabilities.catalogue import Catalogue, capability_files
from flotilla.capabilities.json_schema import JsonSchema
from flotilla.capabilities.user_defined import UserCapability
from flotilla.pipelines.definition import FILE_BYTES_MAX, NESTING_MAX, Pipeline
from flotilla.pipelines.errors import PipelineError, PipelinesError
from flotilla.pipelines.reading import read_pipeline


def load_pipelines(source: Path | Sequence[Path] | None, catalogue: Catalogue) -> dict[str, Pipeline]:
    """
    Read the pipelines among the files of a folder, by name.

    Args:
        source: As `Catalogue.load` takes it.
        catalogue: The other capabilities, whose names a pipeline may not take.

    Raises:
        PipelinesError: Files are not valid; with every fault of every file.
        CatalogueError: There is no such folder or file, or one is no TOML.
    """
    pipelines: dict[str, Pipeline] = {}
    origins: dict[str, Path] = {}
    errors: list[PipelineError] = []
    for file in capability_files(source):
        if not is_pipeline(file):
            continue
        try:
            pipeline = read_pipeline_file(file)
        except PipelineError as error:
            errors.append(error)
            continue
        if pipeline.name in origins:
            fault = f"name: {pipeline.name} is already in {origins[pipeline.name]}"
            errors.append(PipelineError(str(file), [fault], pipeline.source_text))
        elif catalogue.get(pipeline.name) is not None:
            fault = f"name: {pipeline.name} is a capability of another file"
            errors.append(PipelineError(str(file), [fault], pipeline.source_text))
        origins[pipeline.name] = file
        pipelines[pipeline.name] = pipeline
    if not errors:
        errors = [
            PipelineError(str(origins[name]), [fault], pipelines[name].source_text)
            for name, fault in nesting_faults(pipelines)
        ]
    if errors:
        raise PipelinesError(errors)
    return pipelines


def read_pipeline_file(file: Path) -> Pipeline:
    """
    Read one file.

    Raises:
        PipelineError: It cannot be read, or is no pipeline.
    """
    try:
        with file.open("rb") as opened:
            text = opened.read(FILE_BYTES_MAX + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "expected UTF-8"
        raise PipelineError(str(file), [f"cannot be read ({reason})"]) from None
    return read_pipeline(text, str(file))


def capabilities_of(pipelines: Iterable[Pipeline]) -> Iterator[UserCapability]:
    """What callers see of pipelines: a name, a schema of the input and one of the output."""
    for pipeline in pipelines:
        yield UserCapability(
            name=pipeline.name,
            description=pipeline.description,
            input_schema=JsonSchema(pipeline.input_schema),
            output_schema=JsonSchema(pipeline.output_schema),
            template=None,
        )


def nesting_faults(pipelines: Mapping[str, Pipeline]) -> Iterator[tuple[str, str]]:
    """Pipelines that are nested too deeply, which those in a circle are: the name and the fault, with its key."""
    deeper = set(pipelines)
    for _ in range(NESTING_MAX):
        deeper = {name for name in deeper if any(step.capability in deeper for step in pipelines[name].steps)}
    for name in sorted(deeper):
        yield name, f"steps: pipelines within pipelines more than {NESTING_MAX} deep, or in a circle"
