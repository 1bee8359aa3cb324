"""A pipeline as a drawing in Mermaid (https://mermaid.js.org), which GitHub and GitLab show."""

from collections.abc import Iterator

from flotilla.pipelines.check import StepReport
from flotilla.pipelines.definition import Pipeline


def drawing(pipeline: Pipeline, reports: tuple[StepReport, ...]) -> str:
    """
    A flow chart: the steps with their classes, and what each follows. Those of the local zone alone have a thick border.

    Names in it are of a safe alphabet; nothing else of the file is drawn.
    """
    return "\n".join(_lines(pipeline, {report.name: report for report in reports})) + "\n"


def _lines(pipeline: Pipeline, reports: dict[str, StepReport]) -> Iterator[str]:
    yield "flowchart TD"
    yield "  in([input])"
    yield "  out([output])"
    for step in pipeline.steps:
        report = reports[step.name]
        each = " for each" if step.for_each is not None else ""
        yield f'  s_{step.name}["{step.name}: {step.capability}{each}<br/>{report.data_class}"]'
        if step.approval is not None:
            yield f'  g_{step.name}{{"approval"}}'
            yield f"  g_{step.name} --> s_{step.name}"
        if report.zones == ("local",):
            yield f"  style s_{step.name} stroke-width:4px"
    for step in pipeline.steps:
        target = f"g_{step.name}" if step.approval is not None else f"s_{step.name}"
        conditional = "-.->" if step.when is not None else "-->"
        for source in [f"s_{name}" for name in step.follows] or ["in"]:
            yield f"  {source} {conditional} {target}"
    for name in dict.fromkeys(read.step for read in pipeline.output.references if read.step):
        yield f"  s_{name} --> out"
