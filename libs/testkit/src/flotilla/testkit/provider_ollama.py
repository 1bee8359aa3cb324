"""An Ollama server: `/api/chat` as NDJSON, `/api/embed`, `/api/tags` (github.com/ollama/ollama, docs/api.md)."""

import json
from typing import Any, ClassVar, Final, Literal

from flotilla.testkit.provider_steps import Fails, FailsInside, Received, Says, vector
from flotilla.testkit.providers import ProviderServer

_AT: Final = "2026-01-01T00:00:00Z"
_PATHS: Final[dict[tuple[str, str], Literal["chat", "embed", "list"]]] = {
    ("POST", "/api/chat"): "chat",
    ("POST", "/api/embed"): "embed",
    ("GET", "/api/tags"): "list",
}


class OllamaServer(ProviderServer):
    """
    Speaks Ollama's protocol.

    Attributes:
        context_words: How much a model reads, a word a token; None for no limit. As in Ollama, what is longer is cut
            silently unless the request says `truncate: false` and `shift: false`.
    """

    stream_type: ClassVar[str] = "application/x-ndjson"
    context_words: int | None = None

    def answers(self, received: Received) -> Literal["chat", "embed", "list"] | None:
        """See `ProviderServer`."""
        return _PATHS.get((received.method, received.path))

    def objection(self, received: Received) -> Fails | None:
        """See `ProviderServer`."""
        body = received.body
        texts = [message["content"] for message in body.get("messages", [])] or [*body.get("input", [])]
        words = sum(len(text.split()) for text in texts)
        refuses = body.get("truncate") is False and ("input" in body or body.get("shift") is False)
        if self.context_words is not None and words > self.context_words and refuses:
            return Fails(400, message="the prompt is longer than the context length currently available to the model")
        return None

    def whole(self, received: Received, says: Says) -> dict[str, Any]:
        """See `ProviderServer`."""
        message = {"role": "assistant", "content": "" if says.end == "refused" else says.text}
        return _line(received, says) | {"message": message} | _end(says)

    def opening(self, received: Received, says: Says) -> list[bytes]:
        """See `ProviderServer`."""
        if not says.thinking:
            return []
        thought = {"role": "assistant", "content": "", "thinking": says.thinking}
        return [_ndjson(_line(received, says) | {"message": thought, "done": False})]

    def piece(self, received: Received, text: str) -> bytes:
        """See `ProviderServer`."""
        message = {"role": "assistant", "content": text}
        return _ndjson(_line(received, Says()) | {"message": message, "done": False})

    def closing(self, received: Received, says: Says) -> list[bytes]:
        """See `ProviderServer`."""
        return [_ndjson(_line(received, says) | {"message": {"role": "assistant", "content": ""}} | _end(says))]

    def failure(self, fails: Fails) -> dict[str, Any]:
        """See `ProviderServer`."""
        return {"error": fails.message}

    def failure_inside(self, fails: FailsInside) -> bytes:
        """See `ProviderServer`."""
        return _ndjson({"error": fails.message})

    def embedding(self, received: Received, says: Says) -> dict[str, Any]:
        """See `ProviderServer`."""
        return {
            "model": says.model or received.body["model"],
            "embeddings": [vector(text) for text in received.body["input"]],
            "total_duration": 1_000_000,
            "load_duration": 1_000,
            "prompt_eval_count": says.input_tokens,
        }

    def listing(self) -> dict[str, Any]:
        """See `ProviderServer`."""
        return {"models": [{"name": name, "model": name, "size": 1, "digest": "0"} for name in self.models or ()]}


def _line(received: Received, says: Says) -> dict[str, Any]:
    return {"model": says.model or received.body["model"], "created_at": _AT}


def _end(says: Says) -> dict[str, Any]:
    counts = {"prompt_eval_count": says.input_tokens, "eval_count": says.output_tokens} if says.counted else {}
    reason = "length" if says.end == "limit" else "stop"
    return {"done": True, "done_reason": reason, "total_duration": 1_000_000, "load_duration": 1_000, **counts}


def _ndjson(line: dict[str, Any]) -> bytes:
    return json.dumps(line).encode() + b"\n"
