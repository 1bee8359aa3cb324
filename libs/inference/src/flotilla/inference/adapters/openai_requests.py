"""
What is asked of a server in OpenAI's protocol, and what each model was found not to take.

Servers refuse what they do not know with statuses and words of their own. A refused request is made again without what
the refusal names, and what the model does without is remembered once such a request went well: an error that only quotes
a document cannot teach anything. This is no retry of a failure: the same request would be refused for ever, and nothing
was computed or billed.
"""

import re
from http import HTTPStatus
from typing import Any, Final

import msgspec
from msgspec import Struct

from flotilla.contracts.providers import PROVIDERS
from flotilla.inference.adapters.failures import ROOM_TOKENS_MIN
from flotilla.inference.adapters.schemas import grammar_schema, rooted, strict_schema
from flotilla.inference.backend import ModelCall

LLAMA_CPP: Final = frozenset(provider.name for provider in PROVIDERS if provider.answers_any_name)
"""Servers that are llama.cpp, or may be: they get no schema that it is known to die of."""
REQUESTS_MAX: Final = 8
"""Of one call: one more for each thing that it may do without."""
MODELS_REMEMBERED_MAX: Final = 256
SCHEMAS_REMEMBERED_MAX: Final = 256
SCHEMAS_REFUSED_MAX: Final = 3
"""Different schemas that a model refused, and it took none: then it is asked without one."""
REFUSAL_CHARS_MAX: Final = 10_000

NEW_BOUND: Final = "max_completion_tokens"
OLD_BOUND: Final = "max_tokens"
SCHEMA: Final = "json_schema"
FORMAT: Final = "response_format"

_REFUSING: Final = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.UNSUPPORTED_MEDIA_TYPE, HTTPStatus.UNPROCESSABLE_ENTITY}
)
_REFUSING_FORMATS: Final = _REFUSING | {HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.NOT_IMPLEMENTED}
_NAMED: Final = {
    FORMAT: re.compile(
        r"response.?format|json.?schema|json.?object|json.?mode|grammar|structured.?output", re.IGNORECASE
    ),
    "temperature": re.compile(r"temperature", re.IGNORECASE),
    "top_p": re.compile(r"\btop_?p\b", re.IGNORECASE),
    "stop": re.compile(
        r"[\"'`\[.(]stop(?:_sequences?)?[\"'`\]):]|\bstop (?:parameter|sequences?|words?|is\b|not\b)|stop_sequences"
        r"|(?:parameter|argument|field|option|property|key)s?:? stop\b|[:,]\s?stop\b|^stop\b",
        re.IGNORECASE | re.MULTILINE,
    ),
    "max_tokens": re.compile(r"max_?(?:completion_?|output_?)?tokens", re.IGNORECASE),
    "stream_options": re.compile(r"stream_options|include_usage", re.IGNORECASE),
    "stream": re.compile(r"[\"'`.]stream[\"'`:]|\bstream(?:ing)? (?:is |are |mode )?not\b", re.IGNORECASE),
}
_OF_ONE_SCHEMA: Final = re.compile(r"grammar|schema (?:error|for)|invalid (?:json )?schema|\$ref|#/", re.IGNORECASE)
_TOO_MUCH: Final = re.compile(
    r"too (?:large|big|high|many)|at most|maximum|exceed|range|less than|greater|up to|<=|>", re.IGNORECASE
)
_CONTEXT: Final = re.compile(
    r"(?:context.{0,20}?|n_ctx\D{0,5})(\d{2,9}) tokens|context (?:length|window|size)\D{0,20}(\d{2,9})"
    r"|max_new_tokens\W{0,3} must be <= (\d{2,9})",
    re.IGNORECASE,
)
_PROMPT: Final = re.compile(
    r"(\d{1,9}) (?:input|prompt) tokens|(\d{1,9}) in the (?:messages|prompt|input)"
    r"|prompt (?:contains|has) (?:at least )?(\d{1,9})|(\d{1,9}) tokens from the input|(\d{1,9}) of text input"
    r"|(\d{1,9}) in your prompt|given: (\d{1,9}) .?inputs",
    re.IGNORECASE,
)
_NUMBER: Final = re.compile(r"(?<![\w.\-])\d{1,9}(?![\w.]\d)")
_encode: Final = msgspec.json.Encoder().encode


class Without(Struct, frozen=True):
    """
    What a request does without.

    Attributes:
        names: Of parameters; `json_schema` is the schema within `response_format`.
        schema: This call's own schema.
        output_tokens_max: The most that may be asked for.
        learned: Whether that bound is the model's; else it is only left over by this call's prompt.
    """

    names: frozenset[str] = frozenset()
    schema: bool = False
    output_tokens_max: int | None = None
    learned: bool = True


NOTHING: Final = Without()


class Requests:
    """
    Makes the bodies of requests to one server.

    Structured output is strict where the provider is OpenAI and the schema allows it; elsewhere the schema goes as it
    is, since servers of one's own build their grammar from the whole of it, or without what llama.cpp dies of.
    """

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._models: dict[str, Without] = {}
        self._refused_schemas: dict[tuple[str, bytes], None] = {}
        self._takes_schemas: set[str] = set()
        self._formats: dict[tuple[str, bytes], msgspec.Raw] = {}

    def known(self, call: ModelCall) -> Without:
        """What this call has to do without from the start."""
        known = self._models.get(call.model, NOTHING)
        if self._refused_schemas and call.output_schema is not None:
            return msgspec.structs.replace(
                known, schema=(call.model, _encode(call.output_schema)) in self._refused_schemas
            )
        return known

    def body(self, call: ModelCall, without: Without, *, stream: bool) -> bytes:
        """The request, as JSON."""
        messages: list[dict[str, str]] = [{"role": "system", "content": call.system}] if call.system else []
        messages += [{"role": turn.role, "content": turn.content} for turn in call.turns]
        request: dict[str, Any] = {"model": call.model, "messages": messages}
        names = without.names
        most = call.max_output_tokens
        if bound := self._bound(names):
            request[bound] = most if without.output_tokens_max is None else min(most, without.output_tokens_max)
        if call.temperature is not None and "temperature" not in names:
            request["temperature"] = call.temperature
        if call.top_p is not None and "top_p" not in names:
            request["top_p"] = call.top_p
        if call.stop and "stop" not in names:
            request["stop"] = call.stop
        if call.output_schema is not None and (shape := self._format(call, call.output_schema, without)) is not None:
            request[FORMAT] = shape
        if stream:
            request["stream"] = True
            if "stream_options" not in names:
                request["stream_options"] = {"include_usage": True}
        return _encode(request)

    def went_well(self, call: ModelCall, without: Without) -> None:
        """Remember what a request did without, and was answered."""
        names = without.names
        if call.output_schema is not None:
            if without.schema:
                if self._refuse_schema(call.model, _encode(call.output_schema)):
                    names |= {SCHEMA}
            elif call.model not in self._takes_schemas and not names & {SCHEMA, FORMAT}:
                _room(self._takes_schemas, MODELS_REMEMBERED_MAX)
                self._takes_schemas.add(call.model)
        if not names and without.output_tokens_max is None:
            return
        known = self._models.get(call.model, NOTHING)
        most = without.output_tokens_max if without.learned else known.output_tokens_max
        learned = Without(names=known.names | names, output_tokens_max=most)
        if learned != known:
            _room(self._models, MODELS_REMEMBERED_MAX)
            self._models[call.model] = learned

    def refused(
        self, call: ModelCall, without: Without, status: int, refusal: str, *, param: str = "", stream: bool
    ) -> Without | None:
        """
        What to try the call without, too.

        Args:
            call: As it was made.
            without: What the refused request did without already.
            status: Of the answer.
            refusal: What the error says.
            param: The parameter that it names, if it does so apart.
            stream: Whether a stream was asked for.

        Returns:
            None when nothing that it names was in the request: the refusal stands.
        """
        text = refusal[:REFUSAL_CHARS_MAX]
        if status not in _REFUSING_FORMATS:
            return None
        if (smaller := self._smaller(call, without, text)) is not None:
            return smaller
        sent = self._sent(call, without, stream=stream)
        named = [
            (match.start() if (match := _NAMED[kind].search(text)) else 0, kind)
            for kind, names in sent.items()
            if (status in _REFUSING or kind == FORMAT) and (param in names or _NAMED[kind].search(text))
        ]
        if not named:
            return None
        by_param = [kind for _, kind in named if param in sent[kind]]
        return self._less(without, by_param[0] if by_param else min(named)[1], text)

    def _sent(self, call: ModelCall, without: Without, *, stream: bool) -> dict[str, frozenset[str]]:
        """What a request may lose: by kind, the names that errors use for it."""
        names = without.names
        given = {
            "temperature": call.temperature is not None,
            "top_p": call.top_p is not None,
            "stop": bool(call.stop),
            "stream_options": stream,
            "stream": stream,
        }
        sent = {name: frozenset({name}) for name, here in given.items() if here and name not in names}
        if bound := self._bound(names):
            sent[OLD_BOUND] = frozenset({bound})
        if call.output_schema is not None and self._format(call, call.output_schema, without) is not None:
            sent[FORMAT] = frozenset({FORMAT, SCHEMA, "response_format.type", "response_format.json_schema"})
        return sent

    def _less(self, without: Without, kind: str, text: str) -> Without:
        if kind == OLD_BOUND:
            return _and(without, self._bound(without.names))
        if kind != FORMAT:
            return _and(without, kind)
        if without.schema or SCHEMA in without.names:
            return _and(without, FORMAT)
        if _OF_ONE_SCHEMA.search(text):
            return msgspec.structs.replace(without, schema=True)
        return _and(without, SCHEMA)

    def _smaller(self, call: ModelCall, without: Without, text: str) -> Without | None:
        """With a smaller output bound, where the refusal says what fits."""
        if not self._bound(without.names):
            return None
        asked = call.max_output_tokens
        asked = min(asked, without.output_tokens_max or asked)
        context, prompt = _CONTEXT.search(text), _PROMPT.search(text)
        if context and prompt:
            room = _first(context) - _first(prompt)
            fits = ROOM_TOKENS_MIN <= room < asked
            return msgspec.structs.replace(without, output_tokens_max=room, learned=False) if fits else None
        if not (_NAMED[OLD_BOUND].search(text) and _TOO_MUCH.search(text)):
            return None
        numbers = [number for found in _NUMBER.findall(text) if ROOM_TOKENS_MIN <= (number := int(found)) < asked]
        if not numbers:
            return None
        most = max(numbers) - ("exclusive" in text)
        return msgspec.structs.replace(without, output_tokens_max=most, learned=True)

    def _bound(self, names: frozenset[str]) -> str:
        """How the output's bound is called; "" when the model takes it by no name."""
        # Reasoning models refuse `max_tokens`; many compatible servers know nothing else.
        both = (NEW_BOUND, OLD_BOUND) if self._provider == "openai" else (OLD_BOUND, NEW_BOUND)
        return next((name for name in both if name not in names), "")

    def _format(self, call: ModelCall, schema: dict[str, Any], without: Without) -> msgspec.Raw | None:
        if FORMAT in without.names:
            return None
        if without.schema or SCHEMA in without.names:
            return _OBJECT if rooted(schema).get("type") == "object" else None
        key = (call.schema_name, _encode(schema))
        made = self._formats.get(key)
        if made is None:
            _room(self._formats, SCHEMAS_REMEMBERED_MAX)
            made = self._formats[key] = msgspec.Raw(_encode(self._schema_format(call.schema_name, schema)))
        return made

    def _schema_format(self, name: str, schema: dict[str, Any]) -> dict[str, Any]:
        made = grammar_schema if self._provider in LLAMA_CPP else rooted
        wanted: dict[str, Any] = {"name": name, "schema": made(schema)}
        if self._provider == "openai":
            strict = strict_schema(schema)
            wanted |= {"strict": False} if strict is None else {"schema": strict, "strict": True}
        return {"type": SCHEMA, SCHEMA: wanted}

    def _refuse_schema(self, model: str, schema: bytes) -> bool:
        """Remember a schema; whether the model seems to take none at all."""
        _room(self._refused_schemas, SCHEMAS_REMEMBERED_MAX)
        self._refused_schemas[model, schema] = None
        if model in self._takes_schemas:
            return False
        return sum(name == model for name, _ in self._refused_schemas) >= SCHEMAS_REFUSED_MAX


_OBJECT: Final = msgspec.Raw(b'{"type":"json_object"}')


def _and(without: Without, name: str) -> Without:
    return msgspec.structs.replace(without, names=without.names | {name})


def _first(match: re.Match[str]) -> int:
    return int(next(group for group in match.groups() if group))


def _room(known: set[Any] | dict[Any, Any], most: int) -> None:
    if len(known) >= most:
        known.clear()
