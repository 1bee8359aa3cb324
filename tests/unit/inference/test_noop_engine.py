"""The noop engine: valid, instant, and failing as often as it is told."""

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flotilla.capabilities.capability import Capability
from flotilla.capabilities.catalogue import Catalogue
from flotilla.capabilities.errors import AttemptError, CatalogueError
from flotilla.capabilities.json_schema import JsonSchema
from flotilla.contracts.redaction import LOCAL_CAPABILITIES
from flotilla.inference.backend import Answer, Work
from flotilla.inference.engines.instances import instance_of
from flotilla.inference.engines.noop import NoopEngine

EXAMPLES = Path(__file__).parents[3] / "examples" / "capabilities"
CATALOGUE = Catalogue.load(EXAMPLES)
INPUTS: dict[str, dict[str, Any]] = {
    "classify": {"document": "d", "labels": ['a "quoted" label', {"name": "b"}]},
    "extract-entities": {"document": "d"},
    "summarize": {"document": "d"},
    "synthesize": {"sources": ["d"]},
    "translate": {"text": "d", "target": "de", "source": 'e"n'},
    "embed": {"texts": ["a", "b", "c"]},
    "generate-code": {"instruction": "d", "language": 'c"#'},
    "reason": {"question": "d"},
    "chat": {"messages": [{"role": "user", "content": "d"}]},
    "triage-ticket": {"subject": "s", "body": "b"},
    "score-sentiment": {"text": "t"},
    "draft-reply": {"message": "m"},
}


def known(name: str) -> Capability:
    found = CATALOGUE.get(name)
    assert found is not None
    return found


def work(name: str, pieces: list[str] | None = None, **given: Any) -> Work:
    async def emit(text: str) -> None:
        assert text
        assert pieces is not None
        pieces.append(text)

    return Work(
        task="t",
        capability=name,
        input=known(name).decode_input(msgspec.json.encode({**INPUTS[name], **given})),
        model="",
        deadline_s=10.0,
        emit=None if pieces is None else emit,
    )


def at_once(engine: NoopEngine, asked: Work) -> Answer:
    """Run the answer without an event loop: a single await that waits would not come to an end."""
    running = engine.answer(asked)
    try:
        running.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("the engine yielded to the event loop")


def field(data: Any, path: str) -> Any:
    for part in path.split("."):
        data = data[part]
    return data


@pytest.mark.parametrize("name", sorted(INPUTS))
@pytest.mark.parametrize("streaming", [False, True])
def test_every_output_is_valid_and_comes_without_a_wait(name: str, *, streaming: bool) -> None:
    """What is passed through unread must be right; and a benchmark must measure the fleet."""
    pieces: list[str] | None = [] if streaming else None
    asked = work(name, pieces)

    answer = at_once(NoopEngine(capabilities=CATALOGUE), asked)

    data = msgspec.json.decode(answer.output)
    assert data == msgspec.json.decode(known(name).check_output(asked.input, data))
    assert ("noop", "noop-1") == (answer.provider, answer.model)
    if pieces is not None:
        text_field = known(name).text_field
        whole = bytes(answer.output).decode() if text_field is None else field(data, text_field)
        assert "".join(pieces) == whole


def test_it_announces_all_of_the_catalogue_but_redaction() -> None:
    """Tests reach every capability without a model; a document that only looks redacted would be taken for one."""
    engine = NoopEngine(capabilities=CATALOGUE)

    assert set(INPUTS) == CATALOGUE.names() - LOCAL_CAPABILITIES.keys() == engine.capabilities()
    assert [sorted(INPUTS)] == [card.capabilities for card in engine.model_cards()]


def test_multi_gives_labels() -> None:
    """The form of the output follows the input."""
    answer = at_once(NoopEngine(capabilities=CATALOGUE), work("classify", multi=True))

    assert {"labels": ['a "quoted" label'], "confidence": 1.0} == msgspec.json.decode(answer.output)


async def test_the_latency_is_kept_and_a_stream_is_spread_over_it() -> None:
    """Pieces come while the time passes, not at its end."""
    engine = NoopEngine(capabilities=CATALOGUE, latency_ms=80.0)
    at: list[float] = []
    began = time.perf_counter()

    async def emit(_text: str) -> None:
        at.append(time.perf_counter() - began)

    await engine.answer(work("summarize"))
    whole_s = time.perf_counter() - began
    began = time.perf_counter()
    await engine.answer(msgspec.structs.replace(work("summarize"), emit=emit))

    assert whole_s >= 0.08
    assert 0.08 <= at[-1] < 2.0
    assert at[0] < at[-1] / 2


async def test_the_jitter_spreads_the_latency() -> None:
    """With a seed, the same luck again."""
    engine = NoopEngine(capabilities=CATALOGUE, latency_ms=30.0, jitter=1.0, seed=7)
    times: list[float] = []
    for _ in range(8):
        began = time.perf_counter()
        await engine.answer(work("summarize"))
        times.append(time.perf_counter() - began)

    assert max(times) - min(times) > 0.015


async def outcomes(engine: NoopEngine, count: int, *, streaming: bool = False) -> list[str]:
    found: list[str] = []
    for _ in range(count):
        pieces: list[str] | None = [] if streaming else None
        try:
            await engine.answer(work("summarize", pieces))
            found.append("ok")
        except AttemptError as error:
            later = " later" if error.retry_after_s is not None else ""
            found.append(f"{error.kind.value}{later}{' after a piece' if pieces else ''}")
    return found


async def test_it_fails_as_often_as_it_is_told_with_the_same_luck_for_a_seed() -> None:
    """Chaos runs can be repeated."""
    first = await outcomes(NoopEngine(capabilities=CATALOGUE, failure_rate=0.3, seed=1), 1000)
    again = await outcomes(NoopEngine(capabilities=CATALOGUE, failure_rate=0.3, seed=1), 1000)

    assert first == again
    assert {"ok", "unavailable", "rate_limited later"} == set(first)
    assert 230 < 1000 - first.count("ok") < 370
    assert first.count("unavailable") > first.count("rate_limited later")


async def test_failing_streams_break_before_and_after_the_first_piece() -> None:
    """The two need different care, so both occur."""
    found = await outcomes(NoopEngine(capabilities=CATALOGUE, failure_rate=1.0, seed=1), 100, streaming=True)

    assert {"unavailable", "unavailable after a piece"} < set(found)
    assert "ok" not in found


async def test_cancelled_work_ends_at_once() -> None:
    """A slot comes free when nobody waits any more."""
    running = asyncio.create_task(NoopEngine(capabilities=CATALOGUE, latency_ms=60_000).answer(work("summarize")))
    await asyncio.sleep(0)

    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running


def json_nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(depth):
        schema = {"type": "object", "required": ["in"], "properties": {"in": schema}}
    return schema


@pytest.mark.parametrize("options", [{"latency_ms": -1.0}, {"jitter": 1.5}, {"failure_rate": -0.1}])
def test_numbers_out_of_bounds_are_refused(options: dict[str, float]) -> None:
    """A fraction given as a percentage is a mistake."""
    with pytest.raises(ValueError, match="expected"):
        NoopEngine(capabilities=CATALOGUE, **options)  # pyright: ignore[reportArgumentType]  # one of three floats


def test_a_schema_that_no_plain_reading_satisfies_is_said_at_the_start(tmp_path: Path) -> None:
    """Not at the first task."""
    file = tmp_path / "odd.toml"
    file.write_text(
        'name = "odd"\n[input]\ntype = "object"\n[output]\ntype = "object"\nrequired = ["x"]\n'
        'properties = { x = { type = "string", pattern = "^[b-d]{7}Z$" } }\n'
    )

    with pytest.raises(CatalogueError, match=r"odd.*\$\.x.*examples"):
        NoopEngine(capabilities=Catalogue.load(file))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"required": ["a", "b"], "properties": {"a": {"enum": [3]}, "b": {"const": None}}},
        {"type": "object", "minProperties": 3, "properties": {"a": {}}},
        {"type": "array", "minItems": 2, "items": {"type": "integer", "minimum": 3, "multipleOf": 5}},
        {"type": "array", "prefixItems": [{"type": "boolean"}], "minItems": 2, "items": {"type": "null"}},
        {"type": "array", "contains": {"const": 7}},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.5},
        {"type": "integer", "maximum": -3},
        {"type": "number", "minimum": -1, "maximum": 1},
        {"type": "string", "minLength": 20, "maxLength": 22},
        {"type": "string", "maxLength": 2},
        {"type": "string", "format": "date-time"},
        {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4}$"},
        {"type": "string", "pattern": "^fixed$"},
        {"type": ["null", "string"]},
        {
            "$ref": "#/$defs/a",
            "$defs": {
                "a": {"type": "object", "required": ["n"], "properties": {"n": {"$ref": "#/$defs/b"}}},
                "b": {"type": "integer", "minimum": 2},
            },
        },
        {
            "allOf": [
                {"type": "object", "required": ["a"]},
                {"required": ["b"], "properties": {"b": {"type": "integer"}}},
            ]
        },
        {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        json_nested(10),
        {"type": "string", "pattern": "^[b-d]{7}Z$", "examples": ["bcdbcdbZ"]},
        {
            "type": "object",
            "required": ["t"],
            "properties": {"t": {"$ref": "#/$defs/tree"}},
            "$defs": {"tree": {"type": "object", "properties": {"next": {"$ref": "#/$defs/tree"}}}},
        },
    ],
)
def test_an_instance_of_common_schemas_is_found(schema: dict[str, Any]) -> None:
    """It is checked by the validator, not by the one who made it."""
    compiled = JsonSchema(schema)

    assert compiled.flaw(instance_of(compiled)) is None


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}},
        {"not": {}},
        {"type": "string", "pattern": "["},
    ],
)
def test_a_schema_without_a_plain_instance_ends_in_an_error(schema: dict[str, Any]) -> None:
    """Endless references end; nothing is returned that is not valid."""
    with pytest.raises(ValueError):  # noqa: PT011  # two texts, by who refuses first
        instance_of(JsonSchema(schema))
