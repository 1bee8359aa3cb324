"""An OpenAI-compatible server: `/v1/chat/completions` as JSON and SSE, `/v1/embeddings`, `/v1/models`."""

import base64
import struct
from typing import Any, Final, cast

from flotilla.testkit.provider_steps import Fails, FailsInside, Received, Says, sse, vector
from flotilla.testkit.providers import Call, ProviderServer

_FINISH: Final = {"complete": "stop", "limit": "length", "refused": "content_filter"}
_REASONING_REFUSES: Final = {
    "temperature": "unsupported_value",
    "top_p": "unsupported_parameter",
    "max_tokens": "unsupported_parameter",
}
_TYPES: Final = {401: "invalid_request_error", 429: "rate_limit_error", 500: "server_error", 503: "server_error"}


class OpenAIServer(ProviderServer):
    """
    Speaks OpenAI's chat completions.

    Attributes:
        reasoning_models: Which models refuse `temperature`, `top_p` and `max_tokens`, as OpenAI's do.
        base_path: Where the API stands; `/v1` as with OpenAI, something else as with Gemini.
        ends_with_done: Whether a stream ends with `[DONE]`.
    """

    reasoning_models: frozenset[str] = frozenset()
    base_path: str = "/v1"
    ends_with_done: bool = True

    def answers(self, received: Received) -> Call | None:
        """See `ProviderServer`."""
        match received.method, received.path.removeprefix(self.base_path):
            case "POST", "/chat/completions":
                return "chat"
            case "POST", "/embeddings":
                return "embed"
            case "GET", "/models":
                return "list"
            case _:
                return None

    def objection(self, received: Received) -> Fails | None:
        """See `ProviderServer`."""
        body = received.body
        if body["model"] in self.reasoning_models:
            for name, code in _REASONING_REFUSES.items():
                if name in body:
                    return Fails(400, code=code, param=name, message=f"Unsupported: {name!r}")
        wanted = body.get("response_format", {}).get("json_schema", {})
        if wanted.get("strict") and (reason := _violation(wanted["schema"], root=True)):
            return Fails(400, code="invalid_json_schema", param="response_format", message=reason)
        return None

    def whole(self, received: Received, says: Says) -> dict[str, Any]:
        """See `ProviderServer`."""
        message: dict[str, Any] = {"role": "assistant", "content": says.text, "refusal": None}
        usage = {"usage": _usage(says)} if says.counted else {}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(says)}
        return _head(received, says, "chat.completion") | {"choices": [choice]} | usage

    def opening(self, received: Received, says: Says) -> list[bytes]:
        """See `ProviderServer`."""
        return [sse(_chunk(received, says, {"role": "assistant", "content": ""}))]

    def piece(self, received: Received, text: str) -> bytes:
        """See `ProviderServer`."""
        return sse(_chunk(received, Says(), {"content": text}))

    def closing(self, received: Received, says: Says) -> list[bytes]:
        """See `ProviderServer`."""
        frames = [sse(_chunk(received, says, {}, _finish(says)))]
        options: dict[str, Any] = received.body.get("stream_options", {})
        if says.counted and options.get("include_usage"):
            counts: dict[str, Any] = {"choices": [], "usage": _usage(says)}
            frames.append(sse(_head(received, says, "chat.completion.chunk") | counts))
        return [*frames, sse("[DONE]")] if self.ends_with_done else frames

    def failure(self, fails: Fails) -> dict[str, Any]:
        """See `ProviderServer`."""
        return {"error": _error(fails.message, _TYPES.get(fails.status, "invalid_request_error"), fails)}

    def failure_inside(self, fails: FailsInside) -> bytes:
        """See `ProviderServer`."""
        return sse({"error": _error(fails.message, "server_error", Fails(200, code=fails.code))})

    def embedding(self, received: Received, says: Says) -> dict[str, Any]:
        """See `ProviderServer`."""
        body = received.body
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        # OpenAI promises an index, not the order.
        data = [
            {"object": "embedding", "index": index, "embedding": _encoded(vector(text), body.get("encoding_format"))}
            for index, text in reversed(list(enumerate(texts)))
        ]
        usage = {"prompt_tokens": says.input_tokens, "total_tokens": says.input_tokens}
        return {"object": "list", "data": data, "model": says.model or body["model"], "usage": usage}

    def listing(self) -> dict[str, Any]:
        """See `ProviderServer`."""
        models = [{"id": name, "object": "model", "created": 1, "owned_by": "test"} for name in self.models or ()]
        return {"object": "list", "data": models}


def _finish(says: Says) -> str | None:
    return _FINISH[says.end] if says.word is None else says.word or None


def _head(received: Received, says: Says, kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": says.model or received.body["model"]}


def _chunk(received: Received, says: Says, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return _head(received, says, "chat.completion.chunk") | {"choices": [choice]}


def _usage(says: Says) -> dict[str, Any]:
    return {
        "prompt_tokens": says.input_tokens,
        "completion_tokens": says.output_tokens,
        "total_tokens": says.input_tokens + says.output_tokens,
        "prompt_tokens_details": {"cached_tokens": says.cached_tokens},
    }


def _error(message: str, kind: str, fails: Fails) -> dict[str, Any]:
    return {"message": message, "type": kind, "param": fails.param, "code": fails.code}


def _encoded(numbers: list[float], encoding: str | None) -> list[float] | str:
    if encoding == "base64":
        return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
    return numbers


def _violation(node: object, *, root: bool = False) -> str | None:
    """Why OpenAI's strict mode would refuse a schema."""
    if isinstance(node, list):
        return next((reason for item in cast("list[object]", node) if (reason := _violation(item))), None)
    if not isinstance(node, dict):
        return None
    part = cast("dict[str, Any]", node)
    inner = [*part.get("properties", {}).values(), *part.get("$defs", {}).values(), *part.get("anyOf", [])]
    return _own_violation(part, root=root) or _violation([*inner, part.get("items")])


def _own_violation(part: dict[str, Any], *, root: bool) -> str | None:
    is_object = part.get("type") == "object"
    refused = part.keys() & {"minLength", "maxLength", "default", "allOf", "oneOf", "not", "patternProperties"}
    rules = {
        "schema must be of type 'object'": root and not is_object,
        "$ref cannot have keywords beside it": "$ref" in part and len(part) > 1,
        "'additionalProperties' is required to be false": is_object and part.get("additionalProperties") is not False,
        "'required' has to include every property": is_object
        and set(part.get("required", ())) != set(part.get("properties", {})),
        f"not permitted: {sorted(refused)}": bool(refused),
    }
    return next((reason for reason, broken in rules.items() if broken), None)
