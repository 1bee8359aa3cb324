"""
The Python API (`Fleet`) and the `flotilla` command.

    from flotilla.client import Fleet

    async with Fleet.connect("nats://127.0.0.1:4222") as fleet:
        answer = await fleet.ask("classify", {"document": "My card was charged twice", "labels": ["billing", "login"]})
        print(answer.output["label"], answer.pool, answer.model)

Names are imported when they are first used: the command shows its help without loading a NATS client.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from flotilla.client.answers import Answer
    from flotilla.client.batches import Done, WithId
    from flotilla.client.blackboard import Blackboard, Entry
    from flotilla.client.errors import (
        CertificateNotTrustedError,
        ClientError,
        CredentialsRefusedError,
        CredentialsUnusableError,
        NoFleetError,
        NoOrchestratorError,
        NotAcceptedError,
        NotAllowedError,
        ResultTimeoutError,
        StreamCutError,
        TaskFailedError,
        TaskIdTakenError,
        UnconfirmedError,
    )
    from flotilla.client.events import EventFeed
    from flotilla.client.fleet import Fleet
    from flotilla.client.options import AskOptions, SubmitOptions
    from flotilla.client.policy import PolicyBook
    from flotilla.client.streams import AnswerStream
    from flotilla.client.submission import Submitted
    from flotilla.contracts.errors import FlotillaError, PolicyError, TaskError
    from flotilla.contracts.failures import ErrorKind

__all__ = [
    "Answer",
    "AnswerStream",
    "AskOptions",
    "Blackboard",
    "CertificateNotTrustedError",
    "ClientError",
    "CredentialsRefusedError",
    "CredentialsUnusableError",
    "Done",
    "Entry",
    "ErrorKind",
    "EventFeed",
    "Fleet",
    "FlotillaError",
    "NoFleetError",
    "NoOrchestratorError",
    "NotAcceptedError",
    "NotAllowedError",
    "PolicyBook",
    "PolicyError",
    "ResultTimeoutError",
    "StreamCutError",
    "SubmitOptions",
    "Submitted",
    "TaskError",
    "TaskFailedError",
    "TaskIdTakenError",
    "UnconfirmedError",
    "WithId",
]

_HOMES: Final = {
    "Answer": "flotilla.client.answers",
    "AnswerStream": "flotilla.client.streams",
    "AskOptions": "flotilla.client.options",
    "Blackboard": "flotilla.client.blackboard",
    "Done": "flotilla.client.batches",
    "Entry": "flotilla.client.blackboard",
    "ErrorKind": "flotilla.contracts.failures",
    "EventFeed": "flotilla.client.events",
    "Fleet": "flotilla.client.fleet",
    "FlotillaError": "flotilla.contracts.errors",
    "PolicyBook": "flotilla.client.policy",
    "PolicyError": "flotilla.contracts.errors",
    "SubmitOptions": "flotilla.client.options",
    "Submitted": "flotilla.client.submission",
    "TaskError": "flotilla.contracts.errors",
    "WithId": "flotilla.client.batches",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_HOMES.get(name, "flotilla.client.errors")), name)
    globals()[name] = found
    return found
