"""
What is wrong with a provider before the first task finds out: the server, the key, the models; and what mends it.

Asked at the start of a worker and of `flotilla up`, and by `flotilla doctor`.
"""

from collections.abc import Sequence
from typing import Final, Literal, Protocol, runtime_checkable

from msgspec import Struct

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.failures import FailureKind
from flotilla.contracts.providers import PROVIDERS, provider_named, providers_of
from flotilla.inference.provider_sentences import explained

CHECK_TIMEOUT_S: Final = 10.0
SHOWN_MODELS_MAX: Final = 5

KEYS: Final = {provider.name: provider.key for provider in providers_of("cloud")}
"""Of proprietary APIs: the variable that holds the key."""
_NAMELESS: Final = frozenset(provider.name for provider in PROVIDERS if provider.answers_any_name)
_UNHEARD: Final = frozenset({FailureKind.UNAVAILABLE, FailureKind.TIMEOUT})

State = Literal["ok", "note", "wrong"]


class Finding(Struct, frozen=True, kw_only=True):
    """
    What a check found.

    Attributes:
        subject: What was looked at: `ollama`, `model llama3.2`, `clock`, ...
        state: `note` is for what may be meant so.
        says: What was found, one line; without secrets.
        mend: What to do, as a command or a sentence; "" where there is nothing.
    """

    subject: str
    state: State
    says: str
    mend: str = ""


@runtime_checkable
class ListsModels(Protocol):
    """A provider that can be asked which models it has; that also tells whether it answers, and takes the key."""

    @property
    def provider(self) -> str:
        """`ollama`, `openai`, `anthropic`, ...: the name of its record."""
        ...

    async def models(self, *, timeout_s: float) -> list[str]:
        """The names; raises AttemptError as a completion does."""
        ...


async def check_provider(
    model: ListsModels, wanted: Sequence[str], *, secrets: Sequence[str] = (), timeout_s: float = CHECK_TIMEOUT_S
) -> list[Finding]:
    """
    Look whether a provider answers, takes the key and has the models that are wanted of it.

    Args:
        model: The adapter that will serve.
        wanted: Names of models, as they are given to the provider.
        secrets: The key and the headers that it sends: no word of them is told.
        timeout_s: For the answer.
    """
    provider = model.provider
    try:
        listed = await model.models(timeout_s=timeout_s)
    except AttemptError as error:
        return [_failed(provider, explained(error, request=(), model="", secrets=secrets))]
    found = [
        Finding(subject=provider, state="ok", says="answers" + (", and takes the key" if provider in KEYS else ""))
    ]
    if provider not in _NAMELESS and listed:
        found += [_of_model(provider, name, listed) for name in wanted]
    return found


def is_listed(name: str, listed: Sequence[str]) -> bool:
    """Whether a provider lists a model, perhaps under its full name: `llama3.2:latest`, `models/...`, one with a date."""
    return any(
        each == name or each.startswith((f"{name}-", f"{name}@")) or each == f"{name}:latest"
        for each in (one.removeprefix("models/") for one in listed)
    )


def _of_model(provider: str, name: str, listed: Sequence[str]) -> Finding:
    if is_listed(name.removeprefix("models/"), listed):
        return Finding(subject=f"model {name}", state="ok", says=f"{provider} has it")
    known = provider_named(provider)
    if known is not None and known.own_models is not None:
        mend = f"{known.own_models.pull_command} {name}"
        return Finding(subject=f"model {name}", state="wrong", says="not installed", mend=mend)
    some = ", ".join(sorted(listed)[:SHOWN_MODELS_MAX]) + (", ..." if len(listed) > SHOWN_MODELS_MAX else "")
    return Finding(
        subject=f"model {name}",
        state="wrong",
        says=f"{provider} does not list it",
        mend=f"name one that it has (FLOTILLA_MODELS, --local-models, --cloud-models): {some}",
    )


def _failed(provider: str, error: AttemptError) -> Finding:
    if error.kind is FailureKind.AUTH:
        known = provider_named(provider)
        mend = f"set a valid key in {known.key}" if known is not None and known.key else "let it answer without a key"
        return Finding(subject=provider, state="wrong", says=error.message, mend=mend)
    if error.kind in _UNHEARD:
        return Finding(subject=provider, state="wrong", says=error.message, mend=_reach(provider))
    if error.kind is FailureKind.RATE_LIMITED:
        return Finding(
            subject=provider, state="wrong", says=error.message, mend="wait, or raise the limit with the provider"
        )
    # It is there, and loads a model, or has no list.
    return Finding(subject=provider, state="note", says=error.message)


def _reach(provider: str) -> str:
    if provider in KEYS:
        return "see whether this machine reaches the provider: network, proxy (docs/models.md), its status page"
    known = provider_named(provider)
    if known is None:
        return f"start the {provider} server, or correct its address"
    if known.own_models is not None:
        return f"start it with `{known.own_models.start_command}`, or say in {known.address} where it is"
    return f"start the {provider} server, or correct {known.address}"
