"""What providers say of an error, in the forms that they and the gateways before them use."""

from http import HTTPStatus
from typing import Any, Final, cast

import msgspec

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.attempts import Usage
from flotilla.inference.adapters.failures import failure_of
from flotilla.inference.adapters.token_counts import broken_off
from flotilla.inference.lenient_json import loads

LABELS: Final = ("type", "code", "status")
"""Of an error: what names it, beside its message."""


def failure_inside(error: Any, provider: str, usage: Usage | None = None) -> AttemptError:
    """The failure that an error inside a success means: an object, a text, or either in a list or under `error`."""
    named = error_object(error)
    labels = [named.get(label) for label in LABELS]
    if usage is not None and usage != Usage():
        # The answer had begun.
        usage = broken_off(provider, usage)
    return failure_of(provider, HTTPStatus.OK, labels=labels, text=str(error), usage=usage, said=sentence_of(error))


def error_object(said: Any) -> dict[str, Any]:
    """
    What an error says of itself: `message`, `type`, `code`, `status`, `param`; empty where it is a text.

    It stands under `error` (OpenAI), in a list (Gemini) or in a list under `detail` (FastAPI's refusals of a body).
    """
    inner = said
    for name in ("error", "detail"):
        if isinstance(inner, list):
            inner = next(iter(cast("list[Any]", inner)), None)
        if isinstance(inner, dict) and says_an_error(found := cast("dict[str, Any]", inner).get(name)):
            inner = found
    if isinstance(inner, list):
        inner = next(iter(cast("list[Any]", inner)), None)
    named = cast("dict[str, Any]", inner) if isinstance(inner, dict) else {}
    place = named.get("loc")
    if isinstance(place, list) and place:
        named = {**named, "param": cast("list[Any]", place)[-1]}
    return named


def sentence_of(said: Any) -> str:
    """The sentence in an error, unchecked; "" where there is none, as on a page in HTML."""
    text = said if isinstance(said, str) else error_object(said).get("message")
    if text is None and isinstance(said, dict):
        # Ollama's error is a text, FastAPI's a text under `detail`.
        texts = cast("dict[str, Any]", said)
        text = next((texts[name] for name in ("error", "detail") if isinstance(texts.get(name), str)), None)
    if not isinstance(text, str) or text.lstrip().startswith("<"):
        return ""
    return f"{text}: {_behind(said)}".removesuffix(": ")


def _behind(said: Any) -> str:
    """What the provider behind a gateway said, where the gateway's own sentence is always the same (OpenRouter)."""
    metadata = error_object(said).get("metadata")
    raw = cast("dict[str, Any]", metadata).get("raw") if isinstance(metadata, dict) else None
    if not isinstance(raw, str):
        return ""
    try:
        inner = loads(raw.encode(errors="replace"))
    except msgspec.DecodeError:
        return raw
    message = error_object(inner).get("message")
    return message if isinstance(message, str) else ""


def says_an_error(error: Any) -> bool:
    """Whether an `error` is one; some servers send the field always."""
    if isinstance(error, dict):
        return any(cast("dict[str, Any]", error).values())
    return bool(error)
