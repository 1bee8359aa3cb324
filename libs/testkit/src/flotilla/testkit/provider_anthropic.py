"""An Anthropic server: `/v1/messages` as JSON and as its sequence of events, `/v1/models`."""

from typing import Any, Final, Literal

from flotilla.testkit.provider_steps import Fails, FailsInside, Received, Says, sse
from flotilla.testkit.providers import Call, ProviderServer

_STOP: Final = {"complete": "end_turn", "limit": "max_tokens", "refused": "refusal"}
_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_PATHS: Final[dict[tuple[str, str], Literal["chat", "list"]]] = {
    ("POST", "/v1/messages"): "chat",
    ("GET", "/v1/models"): "list",
}


class AnthropicServer(ProviderServer):
    """Speaks the Messages API, version 2026-10-21: sampling parameters are refused."""

    def answers(self, received: Received) -> Call | None:
        """See `ProviderServer`."""
        return _PATHS.get((received.method, received.path))

    def objection(self, received: Received) -> Fails | None:
        """See `ProviderServer`."""
        body = received.body
        if "anthropic-version" not in received.headers:
            return Fails(400, message="anthropic-version: header is required")
        if "max_tokens" not in body:
            return Fails(400, message="max_tokens: Field required")
        if sampling := body.keys() & {"temperature", "top_p", "top_k"}:
            return Fails(400, message=f"{min(sampling)}: not supported in this API version")
        return None

    def whole(self, received: Received, says: Says) -> dict[str, Any]:
        """See `ProviderServer`."""
        thought = [{"type": "thinking", "thinking": says.thinking, "signature": "s"}] if says.thinking else []
        text = [{"type": "text", "text": says.text, "citations": None}]
        ended = {"stop_reason": _STOP[says.end], "usage": _usage(says, says.output_tokens)}
        return _message(received, says) | {"content": [*thought, *text]} | ended

    def opening(self, received: Received, says: Says) -> list[bytes]:
        """See `ProviderServer`."""
        unfinished: dict[str, Any] = {"content": [], "stop_reason": None, "usage": _usage(says, 1)}
        message = _message(received, says) | unfinished
        start = [_event("message_start", message=message), _event("ping")]
        if not says.thinking:
            return [*start, _block_start(0, {"type": "text", "text": ""})]
        thought = {"type": "thinking_delta", "thinking": says.thinking}
        return [
            *start,
            _block_start(0, {"type": "thinking", "thinking": "", "signature": ""}),
            _event("content_block_delta", index=0, delta=thought),
            _event("content_block_stop", index=0),
            _block_start(1, {"type": "text", "text": ""}),
        ]

    def piece(self, received: Received, text: str) -> bytes:
        """See `ProviderServer`."""
        del received
        return _event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})

    def closing(self, received: Received, says: Says) -> list[bytes]:
        """See `ProviderServer`."""
        del received
        delta = {"stop_reason": _STOP[says.end], "stop_sequence": None}
        return [
            _event("content_block_stop", index=0),
            _event("message_delta", delta=delta, usage={"output_tokens": says.output_tokens}),
            _event("message_stop"),
        ]

    def failure(self, fails: Fails) -> dict[str, Any]:
        """See `ProviderServer`."""
        kind = _TYPES.get(fails.status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": fails.message}, "request_id": "req_1"}

    def failure_inside(self, fails: FailsInside) -> bytes:
        """See `ProviderServer`."""
        return _event("error", error={"type": fails.code or "overloaded_error", "message": fails.message})

    def embedding(self, received: Received, says: Says) -> dict[str, Any]:
        """Anthropic has none."""
        raise NotImplementedError

    def listing(self) -> dict[str, Any]:
        """See `ProviderServer`."""
        models = [{"type": "model", "id": name, "display_name": name} for name in self.models or ()]
        return {"data": models, "has_more": False, "first_id": None, "last_id": None}


def _message(received: Received, says: Says) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": says.model or received.body["model"],
        "stop_sequence": None,
    }


def _usage(says: Says, output_tokens: int) -> dict[str, Any]:
    return {
        "input_tokens": says.input_tokens - says.cached_tokens,
        "cache_read_input_tokens": says.cached_tokens,
        "cache_creation_input_tokens": 0,
        "output_tokens": output_tokens,
    }


def _block_start(index: int, block: dict[str, Any]) -> bytes:
    return _event("content_block_start", index=index, content_block=block)


def _event(kind: str, **fields: Any) -> bytes:
    return sse({"type": kind, **fields}, event=kind)
