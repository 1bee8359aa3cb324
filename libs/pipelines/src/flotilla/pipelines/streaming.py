"""
Which step's pieces are a run's own, for a caller who wants a stream.

They are those of the last step, if they concatenate to one text of the output: a step that no other follows, that runs
once, whose failure fails the run (what was told cannot be taken back), and of which the output has its text alone and
nothing else. Where there are several such steps nobody could tell their pieces apart, and all comes whole, with the result.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

from flotilla.capabilities.catalogue import Catalogue
from flotilla.pipelines.definition import NESTING_MAX, Pipeline, Step
from flotilla.pipelines.references import Reference


class Streamed(NamedTuple):
    """
    What is streamed of a pipeline.

    Attributes:
        step: Whose pieces are passed on.
        path: The text of the output that they concatenate to; names of fields, and numbers of elements.
    """

    step: str
    path: tuple[str, ...]


def streamed(
    pipeline: Pipeline, pipelines: Mapping[str, Pipeline], catalogue: Catalogue, *, depth: int = 1
) -> Streamed | None:
    """
    The step of a pipeline that streams; None where nothing does.

    Args:
        pipeline: Whose output is asked for.
        pipelines: By name, those that steps may be: the pieces of such a step are those of its own last step.
        catalogue: The other capabilities, which say what field of theirs is a text.
        depth: Of the pipeline; the outermost has 1.
    """
    followed = {name for step in pipeline.steps for name in step.follows}
    found = [
        Streamed(step.name, path)
        for step in pipeline.steps
        if step.name not in followed and (path := _place_of(step, pipeline, pipelines, catalogue, depth)) is not None
    ]
    return found[0] if len(found) == 1 else None


def _place_of(
    step: Step, pipeline: Pipeline, pipelines: Mapping[str, Pipeline], catalogue: Catalogue, depth: int
) -> tuple[str, ...] | None:
    """Where in the output the pieces of a step stand; None where they do not, or not alone."""
    if step.for_each is not None or step.on_failure != "fail":
        return None
    text = _text_of(step.capability, pipelines, catalogue, depth)
    read = {read.path for read in pipeline.output.references if read.step == step.name}
    if text is None or read != {text}:
        return None
    wanted = Reference("steps", step.name, text)
    return next((path for path, node in _nodes(pipeline.output.node, ()) if node == wanted), None)


def _text_of(
    capability: str, pipelines: Mapping[str, Pipeline], catalogue: Catalogue, depth: int
) -> tuple[str, ...] | None:
    inner = pipelines.get(capability)
    if inner is not None:
        found = streamed(inner, pipelines, catalogue, depth=depth + 1) if depth < NESTING_MAX else None
        return None if found is None else found.path
    definition = catalogue.get(capability)
    return None if definition is None or definition.text_field is None else tuple(definition.text_field.split("."))


def _nodes(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value of a template with where it stands."""
    yield path, node
    if isinstance(node, dict):
        for name, item in cast("dict[str, Any]", node).items():
            yield from _nodes(item, (*path, name))
    elif isinstance(node, list):
        for index, item in enumerate(cast("list[Any]", node)):
            yield from _nodes(item, (*path, str(index)))
