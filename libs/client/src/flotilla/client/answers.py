"""An answer: the result of a task, with its output as Python data."""

from functools import cached_property
from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from flotilla.client.errors import TaskFailedError
from flotilla.contracts.attempts import Usage
from flotilla.contracts.capabilities import TEXT_FIELDS
from flotilla.contracts.decoding import UNDECODABLE, safe_text
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.contracts.results import AttemptReport, Result
from flotilla.contracts.subjects import Zone

OutputT = TypeVar("OutputT")

_NO_REASON: Final = ErrorBody(kind=ErrorKind.INTERNAL, message="the result holds neither an output nor an error")


class Answer:
    """
    The result of one task.

        answer = await fleet.ask("summarize", {"document": text})
        answer.output["summary"]                      # as plain data
        answer.output_as(SummarizeOutput).summary     # as a type of `flotilla.contracts.capabilities`, or your own

    Attributes:
        result: All of it, as it came over the wire; `result.output` are the output's bytes.
    """

    def __init__(self, result: Result) -> None:
        self.result: Final = result

    def __repr__(self) -> str:
        result = self.result
        return f"<Answer {result.task} {result.capability} {result.status} {result.pool}/{result.model}>"

    @property
    def ok(self) -> bool:
        """Whether there is an output."""
        return self.error is None

    @property
    def error(self) -> ErrorBody | None:
        """Why the task failed; None when it did not."""
        result = self.result
        if result.status == "ok" and result.output is not UNSET:
            return None
        return result.error if isinstance(result.error, ErrorBody) else _NO_REASON

    def raise_for_error(self) -> None:
        """
        Do nothing when the task went well.

        Raises:
            TaskFailedError: It failed.
        """
        error = self.error
        if error is not None:
            raise TaskFailedError(error, self)

    @cached_property
    def output(self) -> Any:
        """
        The output as dicts, lists, strings, numbers; valid against the capability's output schema.

        Raises:
            TaskFailedError: There is none, since the task failed.
        """
        return self.output_as(object)

    def output_as(self, kind: type[OutputT]) -> OutputT:
        """
        The output as a Struct, a dataclass, a TypedDict or whatever else msgspec decodes to.

        Raises:
            TaskFailedError: There is none, since the task failed.
            DecodeFailedError: It is not of this type; says where, never what it held.
        """
        self.raise_for_error()
        output = self.result.output
        if isinstance(output, UnsetType):
            raise TaskFailedError(_NO_REASON, self)
        try:
            return msgspec.json.decode(output, type=kind)
        except UNDECODABLE as error:
            raise DecodeFailedError(f"output: {safe_text(error)}") from error

    @property
    def text(self) -> str | None:
        """
        The field of the output that reads as text (a summary, a translation, a reply); None for capabilities whose
        output is structured.

        Raises:
            TaskFailedError: There is no output, since the task failed.
        """
        path = TEXT_FIELDS.get(self.result.capability)
        found = self.output
        for name in path.split(".") if path else ():
            found = found.get(name) if isinstance(found, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return found if path and isinstance(found, str) else None

    @property
    def task(self) -> str:
        """The task's id."""
        return self.result.task

    @property
    def capability(self) -> str:
        """The capability that was asked for."""
        return self.result.capability

    @property
    def zone(self) -> Zone | None:
        """Where the data went: `local` or `cloud`; None when no route finished."""
        zone = self.result.zone
        return None if zone is UNSET else zone

    @property
    def pool(self) -> str:
        """Which pool's worker answered; empty when no route finished."""
        return self.result.pool

    @property
    def provider(self) -> str:
        """Whose model it was: `ollama`, `anthropic`, `embedded`, ..."""
        return self.result.provider

    @property
    def model(self) -> str:
        """The model, as the provider calls it."""
        return self.result.model

    @property
    def latency_ms(self) -> float:
        """From acceptance by an orchestrator to the result."""
        return self.result.latency_ms

    @property
    def usage(self) -> Usage:
        """Tokens and US dollars, of all attempts together."""
        return self.result.usage

    @property
    def cached(self) -> bool:
        """Whether it is another task's answer to the same input; then it cost nothing."""
        return self.result.cached is True

    @property
    def original_task(self) -> str | None:
        """The id of the task whose answer it is; None when it is this one's own."""
        task = self.result.original_task
        return None if task is UNSET else task

    @property
    def saved_usd(self) -> float | None:
        """What a cached answer cost the original task; None when that is not known, or the answer is its own."""
        saved = self.result.saved_usd
        return None if saved is UNSET else saved

    @property
    def attempts(self) -> list[AttemptReport]:
        """What was tried, in order, and why."""
        return self.result.attempts

    @property
    def labels(self) -> dict[str, str]:
        """The labels that the task came with."""
        labels = self.result.labels
        return {} if labels is UNSET else labels


def failed_answer(task: str, capability: str, error: ErrorBody) -> Answer:
    """An answer for a task that the fleet never took, so that a batch has one for every input."""
    return Answer(Result(task=task, capability=capability, status="failed", error=error))
