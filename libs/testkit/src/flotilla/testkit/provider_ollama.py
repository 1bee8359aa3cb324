"""An Ollama server: `/api/chat` and `/api/pull` as NDJSON, `/api/embed`, `/api/tags`, `/api/show` (its docs/api.md)."""

import json
import re
from typing import Any, ClassVar, Final, cast

from flotilla.testkit.provider_steps import Fails, FailsInside, Loops, Received, Says, vector
from flotilla.testkit.providers import Call, ProviderServer

_REPEATS: Final = ("minLength", "maxLength", "minItems", "maxItems")
_REPEATS_MAX: Final = 2000
_AT: Final = "2026-01-01T00:00:00Z"
_PATHS: Final[dict[tuple[str, str], Call]] = {
    ("POST", "/api/chat"): "chat",
    ("POST", "/api/embed"): "embed",
    ("GET", "/api/tags"): "list",
    ("POST", "/api/show"): "show",
    ("POST", "/api/pull"): "pull",
}


class OllamaServer(ProviderServer):
    """
    Speaks Ollama's protocol.

    Attributes:
        context_words: How much a model reads, a word a token; None for no limit. As in Ollama, what is longer is cut
            silently unless the request says `truncate: false` and `shift: false`.
        pullable: The models that it can pull.
        remote_models: Those that it hands on to another server, as Ollama does with its cloud models.
    """

    stream_type: ClassVar[str] = "application/x-ndjson"
    context_words: int | None = None
    pullable: frozenset[str] = frozenset()
    remote_models: frozenset[str] = frozenset()

    def answers(self, received: Received) -> Call | None:
        """See `ProviderServer`."""
        return _PATHS.get((received.method, received.path))

    def objection(self, received: Received) -> Fails | None:
        """See `ProviderServer`."""
        body = received.body
        texts = [message["content"] for message in body.get("messages", [])] or [*body.get("input", [])]
        words = sum(len(text.split()) for text in texts)
        refuses = body.get("truncate") is False and ("input" in body or body.get("shift") is False)
        if self.context_words is not None and words > self.context_words and refuses:
            return Fails(400, message="the input length exceeds the context length")
        return _objection_to(body.get("format"))

    def whole(self, received: Received, says: Says) -> dict[str, Any]:
        """See `ProviderServer`."""
        message = {"role": "assistant", "content": "" if says.end == "refused" else says.text}
        return self._line(received, says) | {"message": message} | _end(says)

    def opening(self, received: Received, says: Says) -> list[bytes]:
        """See `ProviderServer`."""
        if not says.thinking:
            return []
        thought = {"role": "assistant", "content": "", "thinking": says.thinking}
        return [_ndjson(self._line(received, says) | {"message": thought, "done": False})]

    def piece(self, received: Received, text: str) -> bytes:
        """See `ProviderServer`."""
        message = {"role": "assistant", "content": text}
        return _ndjson(self._line(received, Says()) | {"message": message, "done": False})

    def closing(self, received: Received, says: Says) -> list[bytes]:
        """See `ProviderServer`."""
        return [_ndjson(self._line(received, says) | {"message": {"role": "assistant", "content": ""}} | _end(says))]

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

    def showing(self, received: Received) -> dict[str, Any]:
        """See `ProviderServer`."""
        return {"details": {"family": "llama"}, "model_info": {}, "capabilities": ["completion"]} | self._remote(
            received
        )

    def pulling(self, received: Received) -> list[bytes]:
        """See `ProviderServer`."""
        model = received.body["model"]
        if model not in self.pullable:
            return [
                _ndjson({"status": "pulling manifest"}),
                _ndjson({"error": "pull model manifest: file does not exist"}),
            ]
        self.models = (*(self.models or ()), model)
        layer = {"status": "pulling dde5aa3fc5ff", "digest": "sha256:dde5aa3fc5ff", "total": 2_000_000_000}
        told: tuple[dict[str, int], ...] = ({}, {"completed": 700_000_000}, {"completed": 2_000_000_000})
        layers = [_ndjson(layer | more) for more in told]
        return [_ndjson({"status": "pulling manifest"}), *layers, _ndjson({"status": "success"})]

    def unfinished(self, received: Received, loops: Loops) -> dict[str, Any]:
        """See `ProviderServer`."""
        message = {"role": "assistant", "content": "".join(loops.pieces)}
        return self._line(received, Says()) | {"message": message, "done": False}

    def _line(self, received: Received, says: Says) -> dict[str, Any]:
        return {"model": says.model or received.body["model"], "created_at": _AT} | self._remote(received)

    def _remote(self, received: Received) -> dict[str, Any]:
        model = received.body["model"]
        if model not in self.remote_models:
            return {}
        return {"remote_model": model.removesuffix("-cloud"), "remote_host": "https://ollama.com:443"}


def _objection_to(form: object) -> Fails | None:
    """What becomes of a schema that llama.cpp can make no grammar of: it says so, or the model's process dies."""
    if isinstance(form, list):
        return next((fails for part in cast("list[object]", form) if (fails := _objection_to(part))), None)
    if not isinstance(form, dict):
        return None
    node = cast("dict[str, Any]", form)
    pattern = node.get("pattern", "^$")
    if node.get("$ref") == "#" or not (pattern.startswith("^") and pattern.endswith("$")):
        return Fails(500, message="invalid JSON schema in format")
    if re.search(r"\\[dws]|\(\?", pattern) or max(node.get(key, 0) for key in _REPEATS) > _REPEATS_MAX:
        return Fails(500, message="model runner has unexpectedly stopped, this may be due to resource limitations")
    return _objection_to(list(node.values()))


def _end(says: Says) -> dict[str, Any]:
    counts = {"prompt_eval_count": says.input_tokens, "eval_count": says.output_tokens} if says.counted else {}
    reason = "length" if says.end == "limit" else "stop"
    return {"done": True, "done_reason": reason, "total_duration": 1_000_000, "load_duration": 1_000, **counts}


def _ndjson(line: dict[str, Any]) -> bytes:
    return json.dumps(line).encode() + b"\n"
