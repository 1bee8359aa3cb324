"""Prompts, reading a model's text, the one repair round, and streams."""

import asyncio
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given as every
from hypothesis import strategies

from flotilla.capabilities.catalogue import Catalogue
from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.attempts import Usage
from flotilla.contracts.capabilities import EmbedInput
from flotilla.contracts.failures import FailureKind
from flotilla.contracts.redaction import LOCAL_CAPABILITIES
from flotilla.inference.backend import Answer, Completion, Embedding, Emit, ModelCall, Work
from flotilla.inference.model_habits import THOUGHT_TOKENS
from flotilla.inference.prompted import PromptedBackend
from flotilla.inference.prompts import StructuredReading, has_prompt, prompt_of
from flotilla.inference.prompts.answer_bounds import ANSWER_TOKENS_MAX, CHOICE_TOKENS
from flotilla.inference.prompts.prompt import tagged
from flotilla.inference.prompts.text_filters import Headed, TextFilter, Trimmed, Unfenced, Verbatim

CATALOGUE = Catalogue.load()
ONE_CALL = Usage(input_tokens=10, output_tokens=5, cost_usd=0.25)


class ScriptedModel:
    """
    A model that answers what it was given to answer, in turn, and remembers what it was asked.

    An AttemptError among the answers is raised; streams go out in pieces of `piece_chars`. When it is not `complete`,
    it cuts every answer that was asked for with a bound of less than `tokens_needed`.
    """

    provider = "scripted"

    def __init__(self, *answers: str | AttemptError, complete: bool = True, piece_chars: int = 3) -> None:
        self.answers = list(answers)
        self.calls: list[ModelCall] = []
        self.complete_at_end = complete
        self.tokens_needed = 1_000_000_000
        self.usage = ONE_CALL
        self.piece_chars = piece_chars
        self.vectors: list[list[float]] = []
        self.closed = False

    async def complete(self, call: ModelCall, emit: Emit | None = None) -> Completion:
        self.calls.append(call)
        complete = self.complete_at_end or call.max_output_tokens > self.tokens_needed
        text = self.answers.pop(0)
        if isinstance(text, AttemptError):
            raise text
        if emit is not None:
            for start in range(0, len(text), self.piece_chars):
                await emit(text[start : start + self.piece_chars])
        return Completion(text=text, model=f"{call.model}-0125", usage=self.usage, complete=complete)

    async def embed(self, texts: list[str], *, model: str, timeout_s: float) -> Embedding:
        del texts, timeout_s
        if self.answers and isinstance(self.answers[0], AttemptError):
            raise self.answers[0]
        return Embedding(vectors=self.vectors, model=model, usage=ONE_CALL)

    async def aclose(self) -> None:
        self.closed = True


async def answered(
    model: ScriptedModel, capability: str, given: dict[str, Any], pieces: list[str] | None = None, **options: Any
) -> Answer:
    catalogue: Catalogue = options.pop("catalogue", CATALOGUE)
    known = catalogue.get(capability)
    assert known is not None

    async def emit(text: str) -> None:
        assert text
        assert pieces is not None
        pieces.append(text)

    backend = PromptedBackend(
        model, catalogue, default_model="small", default_embedding_model="vectors", **options.pop("of_backend", {})
    )
    work = Work(
        task="t",
        capability=capability,
        input=known.decode_input(msgspec.json.encode(given)),
        model=options.get("named", ""),
        deadline_s=30.0,
        emit=None if pieces is None else emit,
    )
    return await backend.answer(work)


def data(answer: Answer) -> Any:
    assert isinstance(answer.output, msgspec.Raw)
    return msgspec.json.decode(answer.output)


LONG = "word " * 1000
BOUNDED: list[tuple[str, dict[str, Any], str, int]] = [
    ("classify", {"document": LONG, "labels": ["a", "b"]}, '{"label":"a","confidence":1}', 1024),
    ("classify", {"document": "d", "labels": ["a" * 99, "b"], "multi": True}, '{"labels":[],"confidence":1}', 1124),
    ("extract-entities", {"document": LONG}, '{"entities":[]}', 6024),
    ("extract-entities", {"document": LONG * 100}, '{"entities":[]}', ANSWER_TOKENS_MAX),
    ("summarize", {"document": LONG}, "s", 1512),
    ("summarize", {"document": LONG, "max_words": 20}, "s", 612),
    ("summarize", {"document": LONG, "max_words": 100_000}, "s", ANSWER_TOKENS_MAX),
    ("synthesize", {"sources": [LONG]}, "s", 8192),
    ("translate", {"text": "word", "target": "de", "source": "en"}, "s", 520),
    ("translate", {"text": LONG * 100, "target": "de", "source": "en"}, "s", ANSWER_TOKENS_MAX),
    ("generate-code", {"instruction": "d", "language": "python"}, "x = 1", 8192),
    ("reason", {"question": "d"}, '{"rationale":"r","answer":"a"}', 4096),
    ("chat", {"messages": [{"role": "user", "content": "Hi"}]}, "s", 8192),
    ("chat", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 50_000}, "s", 50_000),
]
TICKET = {"document": "I was charged twice", "labels": ["billing", "sales"]}
GOOD = '{"rationale":"money","label":"billing","confidence":0.9}'


async def test_a_structured_capability_gets_a_schema_and_validated_output() -> None:
    """The model is held to the labels, and the output is checked all the same."""
    model = ScriptedModel(GOOD)

    answer = await answered(model, "classify", TICKET)

    schema = model.calls[0].output_schema
    assert schema is not None
    assert ["billing", "sales"] == schema["properties"]["label"]["enum"]
    assert {"label": "billing", "confidence": 0.9, "rationale": "money"} == data(answer)
    assert ("scripted", "small-0125", ONE_CALL) == (answer.provider, answer.model, answer.usage)


@pytest.mark.parametrize(
    "text",
    [
        f"```json\n{GOOD}\n```",
        f"Sure! Here it is:\n{GOOD}\nAnything else?",
        f"Weighing {{both}}:\n```json\n{GOOD}\n```\nor {{neither}}.",
        f"<think>{{maybe}} sales?</think>\n{GOOD}",
        f"\n\n{GOOD}\n",
    ],
)
async def test_json_is_found_in_what_models_write_around_it(text: str) -> None:
    """Models that no server holds to a schema still answer."""
    model = ScriptedModel(text)

    assert "billing" == data(await answered(model, "classify", TICKET))["label"]
    assert 1 == len(model.calls)


async def test_an_invalid_output_is_repaired_once_with_the_reason() -> None:
    """The model is told what was wrong; both rounds are paid for."""
    model = ScriptedModel('{"label":"refund","confidence":0.9}', GOOD)

    answer = await answered(model, "classify", TICKET)

    assert "billing" == data(answer)["label"]
    assert Usage(input_tokens=20, output_tokens=10, cost_usd=0.5) == answer.usage
    first, echo, demand = model.calls[1].turns
    assert model.calls[0].turns == (first,)
    assert ("assistant", '{"label":"refund","confidence":0.9}') == (echo.role, echo.content)
    assert "$.label" in demand.content
    assert model.calls[1].timeout_s <= model.calls[0].timeout_s


async def test_two_invalid_outputs_fail_the_attempt_with_the_usage_of_both() -> None:
    """There is one repair, not two; what was spent is reported."""
    model = ScriptedModel("no idea", "still none", GOOD)

    with pytest.raises(AttemptError) as caught:
        await answered(model, "classify", TICKET)

    assert FailureKind.INVALID_OUTPUT is caught.value.kind
    assert Usage(input_tokens=20, output_tokens=10, cost_usd=0.5) == caught.value.usage
    assert [GOOD] == model.answers
    assert "no idea" not in str(caught.value)


async def test_a_provider_that_fails_in_the_repair_keeps_its_kind_and_the_usage_before() -> None:
    """The first round's tokens were spent whatever came after."""
    model = ScriptedModel("no idea", AttemptError(FailureKind.RATE_LIMITED, "slow down", retry_after_s=7.0))

    with pytest.raises(AttemptError) as caught:
        await answered(model, "classify", TICKET)

    assert (FailureKind.RATE_LIMITED, 7.0, ONE_CALL) == (
        caught.value.kind,
        caught.value.retry_after_s,
        caught.value.usage,
    )


@pytest.mark.parametrize("capability", ["classify", "embed"])
async def test_a_providers_sentence_is_told_without_the_document(capability: str) -> None:
    """Whoever reads the result or the log knows what to mend, and nothing of the document."""
    said = "You exceeded your current quota, with the text I was charged twice"
    model = ScriptedModel(AttemptError(FailureKind.RATE_LIMITED, "p: HTTP 429", said=said))

    with pytest.raises(AttemptError) as caught:
        await answered(model, capability, TICKET if capability == "classify" else {"texts": [TICKET["document"]]})

    assert caught.value.message.startswith("p: HTTP 429: You exceeded your current quota, with the …")
    assert not re.search("charged|twice", caught.value.message)


async def test_an_empty_text_is_asked_for_again() -> None:
    """Providers refuse an empty turn, so the repair does not echo one."""
    model = ScriptedModel(" \n", "A summary.")

    assert {"summary": "A summary."} == data(await answered(model, "summarize", {"document": "d"}))
    assert all(turn.content.strip() for turn in model.calls[1].turns)


@pytest.mark.parametrize(
    ("capability", "given", "text"),
    [("classify", TICKET, GOOD), ("summarize", {"document": "d"}, "A summary that ends in the mid")],
)
async def test_a_completion_cut_at_the_limit_fails_without_a_second_call(
    capability: str, given: dict[str, Any], text: str
) -> None:
    """A cut answer is never presented as complete, and the same limit would cut it again."""
    model = ScriptedModel(text, text, complete=False)

    with pytest.raises(AttemptError, match="cut at its output limit") as caught:
        await answered(model, capability, given)

    assert (FailureKind.INVALID_OUTPUT, ONE_CALL, 1) == (caught.value.kind, caught.value.usage, len(model.calls))


async def test_a_chat_cut_at_the_callers_own_limit_is_an_answer() -> None:
    """`max_tokens` is the caller's wish; conversation and sampling options reach the model as they are."""
    model = ScriptedModel(" Hel", complete=False)
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "Say hello"},
    ]
    sampling = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 1, "stop": ["\n"]}

    answer = await answered(model, "chat", {"messages": messages, **sampling})

    assert {"message": {"role": "assistant", "content": " Hel"}} == data(answer)
    call = model.calls[0]
    assert "Be brief." == call.system
    assert [("user", "Hi"), ("assistant", "Yes?"), ("user", "Say hello")] == [(t.role, t.content) for t in call.turns]
    assert (0.5, 0.9, 1, ("\n",)) == (call.temperature, call.top_p, call.max_output_tokens, call.stop)


async def test_a_chat_cut_at_a_bound_that_nobody_asked_for_is_none() -> None:
    """The caller could not tell it from a whole answer."""
    given = {"messages": [{"role": "user", "content": "Say hello"}]}
    for changes, of_backend in (({}, {}), ({"max_tokens": 5000}, {"output_tokens_max": {"": 4000}})):
        model = ScriptedModel(" Hello to all", complete=False)
        with pytest.raises(AttemptError, match="cut at its output limit"):
            await answered(model, "chat", given | changes, of_backend=of_backend)


@pytest.mark.parametrize(("capability", "given", "text", "most"), BOUNDED)
async def test_every_answer_is_bounded_by_what_its_capability_takes(
    capability: str, given: dict[str, Any], text: str, most: int
) -> None:
    """No model goes on for minutes, and none is cut in the middle of what was asked for."""
    model = ScriptedModel(text)

    await answered(model, capability, given)

    assert most == model.calls[0].max_output_tokens


def test_every_capability_with_a_prompt_is_among_the_bounded() -> None:
    """One that is added is looked at."""
    prompted = {name for name in CATALOGUE.names() if (known := CATALOGUE.get(name)) and has_prompt(known)}
    assert prompted == {capability for capability, *_ in BOUNDED}


async def test_a_models_own_bound_goes_before_that_of_the_capability() -> None:
    """`FLOTILLA_OUTPUT_TOKENS_MAX`, for one model and for the others."""
    most = {"": 400, "small": 300}
    for name, tokens in (("small", 300), ("large", 400)):
        model = ScriptedModel(GOOD)
        await answered(model, "classify", TICKET, named=name, of_backend={"output_tokens_max": most})
        assert tokens == model.calls[0].max_output_tokens


@pytest.mark.parametrize(
    ("cut", "usage"),
    [("<think>hm, is it", ONE_CALL), ("", ONE_CALL), ('{"ratio', Usage(output_tokens=1024))],
    ids=["in the text", "apart", "apart, and counted"],
)
async def test_a_model_that_was_cut_in_its_thoughts_gets_room_for_them(cut: str, usage: Usage) -> None:
    """Once; afterwards it has that room from the start."""
    model = ScriptedModel(cut, GOOD, GOOD, complete=False)
    model.tokens_needed, model.usage = 5_000, usage
    backend = PromptedBackend(model, CATALOGUE, default_model="small")
    known = CATALOGUE.get("classify")
    assert known is not None
    given = known.decode_input(msgspec.json.encode(TICKET))
    work = Work(task="t", capability="classify", input=given, model="", deadline_s=30.0)

    first = await backend.answer(work)
    await backend.answer(work)

    bounds = [call.max_output_tokens for call in model.calls]
    assert [CHOICE_TOKENS, CHOICE_TOKENS + THOUGHT_TOKENS, CHOICE_TOKENS + THOUGHT_TOKENS] == bounds
    assert usage + usage == first.usage


async def test_a_model_that_thinks_without_end_is_asked_twice_at_the_most() -> None:
    """The larger bound is one, too."""
    model = ScriptedModel("<think>hm", "<think>hm", "<think>hm", complete=False)

    with pytest.raises(AttemptError, match="cut at its output limit") as caught:
        await answered(model, "summarize", {"document": "d"}, [])

    assert (ONE_CALL + ONE_CALL, 2) == (caught.value.usage, len(model.calls))


@pytest.mark.parametrize("written", ["1.2", '"0.9"', '"0,9"', "90", '"90%"', '" 90 %"', "-0.01", '"1.0"'])
async def test_a_confidence_in_another_form_costs_no_second_call(written: str) -> None:
    """What is meant is beyond doubt."""
    model = ScriptedModel(f'{{"label":"billing","confidence":{written}}}')

    assert 0 <= data(await answered(model, "classify", TICKET))["confidence"] <= 1
    assert 1 == len(model.calls)


STREAMED = [
    ("summarize", {"document": "d"}, "  It says so.\n", "summary"),
    ("synthesize", {"sources": ["d"]}, "# Report\n\nAll is well [1].\n\n", "report"),
    ("translate", {"text": "d", "target": "de", "source": "en"}, "\nGuten Tag\n", "text"),
    ("translate", {"text": "d", "target": "de"}, "en\n\nGuten Tag\nund mehr\n", "text"),
    ("generate-code", {"instruction": "d", "language": "python"}, "```python\nx = 1\n\ny = 2\n```\nDone!", "code"),
    ("generate-code", {"instruction": "d", "language": "python"}, "x = 1\n", "code"),
    ("reason", {"question": "d"}, "<think>hm, 41?</think>\n\n42, because.", "answer"),
]


@pytest.mark.parametrize(("capability", "given", "text", "field"), STREAMED)
@pytest.mark.parametrize("piece_chars", [1, 4, 1000])
async def test_pieces_concatenate_to_the_field_of_the_result(
    capability: str, given: dict[str, Any], text: str, field: str, piece_chars: int
) -> None:
    """A stream and its result say the same, however the provider cuts it."""
    pieces: list[str] = []

    answer = await answered(ScriptedModel(text, piece_chars=piece_chars), capability, given, pieces)

    assert data(answer)[field] == "".join(pieces)
    assert not re.search(r"```|think|^\s|\s$|Done", "".join(pieces))


async def test_a_stream_that_began_is_not_repaired(tmp_path: Path) -> None:
    """What the caller has seen cannot be taken back."""
    file = tmp_path / "short.toml"
    file.write_text(
        'name = "short"\ntext_field = "t"\n[input]\ntype = "object"\n[output]\ntype = "object"\n'
        'properties = { t = { type = "string", maxLength = 9 } }\n[prompt]\nuser = "Say something."\n'
    )
    pieces: list[str] = []
    model = ScriptedModel("Too long a text", "Short.")

    with pytest.raises(AttemptError) as caught:
        await answered(model, "short", {}, pieces, catalogue=Catalogue.load(file))

    assert ("Too long a text", 1, FailureKind.INVALID_OUTPUT) == ("".join(pieces), len(model.calls), caught.value.kind)
    model = ScriptedModel("Too long a text", "Short.")
    assert {"t": "Short."} == data(await answered(model, "short", {}, catalogue=Catalogue.load(file)))


async def test_a_stream_of_nothing_is_repaired() -> None:
    """Nothing was seen, so nothing must be taken back."""
    pieces: list[str] = []

    answer = await answered(ScriptedModel("  ", "Second."), "summarize", {"document": "d"}, pieces)

    assert "Second." == data(answer)["summary"] == "".join(pieces)


async def test_a_structured_stream_is_one_piece_of_valid_json() -> None:
    """JSON is shown once it has been validated."""
    pieces: list[str] = []

    answer = await answered(ScriptedModel("nonsense", GOOD), "classify", TICKET, pieces)

    assert [bytes(answer.output).decode()] == pieces


async def test_reasoning_is_structured_unless_it_is_streamed() -> None:
    """Whole, the rationale comes first; streamed, there is only the answer."""
    whole = ScriptedModel('{"rationale":"6*7","answer":"42"}')
    streamed = ScriptedModel("42")

    assert {"answer": "42", "rationale": "6*7"} == data(await answered(whole, "reason", {"question": "q"}))
    assert {"answer": "42"} == data(await answered(streamed, "reason", {"question": "q"}, []))
    assert whole.calls[0].output_schema is not None
    assert streamed.calls[0].output_schema is None


@pytest.mark.parametrize(
    ("text", "source", "translation"),
    [
        ("pt-BR\n\nGuten Tag", "pt-BR", "Guten Tag"),
        ("Language: `en`\nGuten Tag", "en", "Guten Tag"),
        ("Guten Tag\nund mehr", "und", "Guten Tag\nund mehr"),
        ("no", "und", "no"),
    ],
)
async def test_the_language_of_a_translation_is_its_first_line(text: str, source: str, translation: str) -> None:
    """A model that leaves the line out has still translated."""
    made = data(await answered(ScriptedModel(text), "translate", {"text": "d", "target": "de"}))

    assert {"source": source, "text": translation} == made


async def test_entities_need_no_offsets_from_the_model() -> None:
    """The kit counts; the model copies."""
    model = ScriptedModel('{"entities":[{"type":"person","text":"Ann"}]}')

    made = data(await answered(model, "extract-entities", {"document": "I met Ann."}))

    assert [{"type": "person", "text": "Ann", "start": 6, "end": 9}] == made["entities"]


async def test_embeddings_are_checked_against_the_texts() -> None:
    """A provider that loses a text does not shift the vectors of the others."""
    model = ScriptedModel()
    model.vectors = [[1.0, 0.0], [0.0, 1.0]]

    answer = await answered(model, "embed", {"texts": ["a", "b"]})
    with pytest.raises(AttemptError) as caught:
        await answered(model, "embed", {"texts": ["a", "b", "c"]})

    assert {"vectors": [[1.0, 0.0], [0.0, 1.0]], "dimensions": 2} == data(answer)
    assert ("vectors", ONE_CALL) == (answer.model, caught.value.usage)


async def test_vectors_of_another_model_than_the_first_are_refused() -> None:
    """A gateway may have one model stand in for another, under the name that was asked for or its own."""

    class Gateway(ScriptedModel):
        """Answers as this model."""

        named = "vectors-1"

        async def embed(self, texts: list[str], *, model: str, timeout_s: float) -> Embedding:
            del texts, timeout_s
            return Embedding(vectors=self.vectors, model=self.named if model == "vectors" else model, usage=ONE_CALL)

    model = Gateway()
    backend = PromptedBackend(model, CATALOGUE, default_model="small", default_embedding_model="vectors")

    async def embed(*vector: float, asked: str = "vectors") -> Answer:
        model.vectors = [list(vector)]
        given = EmbedInput(texts=["a"])
        return await backend.answer(Work(task="t", capability="embed", input=given, model=asked, deadline_s=30.0))

    assert "vectors-1" == (await embed(1.0, 0.0)).model
    assert "vectors-1" == (await embed(0.0, 1.0)).model
    with pytest.raises(AttemptError, match="another model than before"):
        await embed(1.0, 0.0, 0.0)
    model.named = "vectors-2"
    with pytest.raises(AttemptError, match=r"another model than before \(vectors-1, 2 dimensions\)"):
        await embed(1.0, 0.0)
    assert "other" == (await embed(1.0, 0.0, 0.0, asked="other")).model


async def test_a_users_text_capability_streams() -> None:
    """A TOML file is enough to stream."""
    catalogue = Catalogue.load(Path(__file__).parents[3] / "examples" / "capabilities" / "draft-reply.toml")
    pieces: list[str] = []

    answer = await answered(ScriptedModel(" Dear X "), "draft-reply", {"message": "m"}, pieces, catalogue=catalogue)

    assert {"reply": "Dear X"} == data(answer)
    assert "Dear X" == "".join(pieces)


async def test_only_what_can_be_served_is_announced() -> None:
    """No embedding model, no `embed`; a name that nothing tells a model what to do with is refused at the start."""
    model = ScriptedModel()
    catalogue = CATALOGUE.including(["mine"])

    backend = PromptedBackend(model, catalogue, default_model="m", capabilities=frozenset({"chat"}))

    assert frozenset({"chat"}) == backend.capabilities()
    assert (
        CATALOGUE.names() - {"embed", *LOCAL_CAPABILITIES}
        == PromptedBackend(model, catalogue, default_model="m").capabilities()
    )
    with pytest.raises(ValueError, match="mine"):
        PromptedBackend(model, catalogue, default_model="m", capabilities=frozenset({"mine"}))
    with pytest.raises(AttemptError) as caught:
        await backend.answer(Work(task="t", capability="reason", input=None, model="", deadline_s=1.0))
    assert FailureKind.REFUSED is caught.value.kind
    await backend.aclose()
    assert model.closed


async def test_entities_of_a_long_document_are_looked_up_beside_the_event_loop() -> None:
    """A worker that blocks its loop is taken for dead."""
    document = f"{'lorem ipsum dolor ' * 20_000} Ann"
    entities = [{"type": "person", "text": "Ann"}] * 40
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    model = ScriptedModel(msgspec.json.encode({"entities": entities}).decode())
    made = data(await answered(model, "extract-entities", {"document": document}))
    ticking.cancel()

    assert 1 == len(made["entities"])
    assert ticks > 1


CLASSIFY = CATALOGUE.get("classify")


@pytest.mark.parametrize(
    ("capability", "given"),
    [
        ("classify", {"document": "DOC", "labels": ["LAB", {"name": "NAMED", "description": "DESCR"}]}),
        ("extract-entities", {"document": "DOC", "types": ["LAB"]}),
        ("summarize", {"document": "DOC", "max_words": 77, "style": "LAB"}),
        ("synthesize", {"sources": ["DOC", {"title": "LAB", "text": "DOC"}], "instruction": "DESCR"}),
        ("translate", {"text": "DOC", "target": "LAB"}),
        ("generate-code", {"instruction": "DESCR", "language": "LAB", "context": "DOC"}),
        ("reason", {"question": "DESCR", "context": "DOC"}),
    ],
)
def test_a_prompt_holds_the_whole_input_and_calls_the_document_data(capability: str, given: dict[str, Any]) -> None:
    """Everything that the caller gave reaches the model, and the material stands between tags, away from the rules."""
    known = CATALOGUE.get(capability)
    assert known is not None

    prompt = prompt_of(known, known.decode_input(msgspec.json.encode(given)), streaming=False)

    asked = f"{prompt.system}\n{prompt.turns[0].content}"
    for text in ("DOC", "LAB", "NAMED", "DESCR", "77"):
        assert (text in msgspec.json.encode(given).decode()) <= (text in asked)
    assert re.search(r"<(\w+)>\n(Title: LAB\n\n)?DOC\n</\1>", prompt.turns[0].content)
    assert "DOC" not in prompt.system
    assert re.search(r"instruction", prompt.system)
    if isinstance(prompt.reading, StructuredReading):
        assert prompt.reading.schema["additionalProperties"] is False


@every(strategies.lists(strategies.sampled_from(["<document>", "</document", "< / DOCUMENT-2>", "x", "</document-1>"])))
def test_no_document_can_close_its_own_tag(parts: Sequence[str]) -> None:
    """A document that ends its tag would speak as the prompt."""
    text = " ".join(parts)

    name = re.match(r"<([\w-]+)>", tagged("document", text))

    assert name is not None
    assert not re.search(rf"<\s*/?\s*{name.group(1)}(?![\w-])", text, re.IGNORECASE)


FENCED = ["```", "```py", "\n", "a", " ", "`", "<think>", "</think>", "en", "\nde\n", "<th", "word"]


@every(
    strategies.lists(strategies.sampled_from(FENCED), max_size=12).map("".join),
    strategies.lists(strategies.integers(min_value=0, max_value=40), max_size=6),
    strategies.sampled_from([Trimmed, Unfenced, Headed, Verbatim]),
)
def test_a_filter_reads_pieces_as_it_reads_the_whole(text: str, cuts: list[int], kind: type[TextFilter]) -> None:
    """The result must not depend on how a provider cuts its stream."""
    whole = kind()
    expected = whole.feed(text) + whole.end()
    cut = kind()
    bounds = [0, *sorted(min(at, len(text)) for at in cuts), len(text)]

    made = "".join(cut.feed(text[start:end]) for start, end in pairwise(bounds)) + cut.end()

    assert expected == made


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```python\nx = 1\n```", "x = 1"),
        ("x = 1\n", "x = 1"),
        ("```\nx\n```\n\nThis sets x.", "x"),
        ("````md\n# T\n```sh\nls\n```\nend\n````", "# T\n```sh\nls\n```\nend"),
        ("```go\nfirst\n\nlast", "first\n\nlast"),
        ("a = `b`\n```\n", "a = `b`\n```"),
    ],
)
def test_a_fence_around_code_is_taken_off(text: str, code: str) -> None:
    """Only the one around everything, and what is written after it."""
    unfenced = Unfenced()

    assert code == unfenced.feed(text) + unfenced.end()


@pytest.mark.parametrize("answer", ["", " \n", "<think>hm</think>", "<think>never ends", "hm</think>"])
@pytest.mark.parametrize("capability", ["chat", "summarize", "translate", "generate-code"])
async def test_an_answer_that_says_nothing_is_none(capability: str, answer: str):
    """
    In any capability; the model is asked once more.
    """
    given = {
        "chat": {"messages": [{"role": "user", "content": "hi"}]},
        "summarize": {"document": "d"},
        "translate": {"text": "t", "target": "de"},
        "generate-code": {"instruction": "i", "language": "go"},
    }[capability]
    model = ScriptedModel(answer, answer)

    with pytest.raises(AttemptError) as caught:
        await answered(model, capability, given)

    assert FailureKind.INVALID_OUTPUT is caught.value.kind
    assert 2 == len(model.calls)
    assert ONE_CALL + ONE_CALL == caught.value.usage


async def test_thoughts_stay_out_of_a_chat():
    """
    Whose text is otherwise passed on as it is.
    """
    given = {"messages": [{"role": "user", "content": "hi"}]}
    for text in (
        "<think>hm</think>\n\n yes ",
        "hm\n</think>\n\nyes ",
        "<|channel|>analysis<|message|>hm<|end|>final<|message|>yes ",
    ):
        answer = await answered(ScriptedModel(text), "chat", given)
        assert "yes " == msgspec.json.decode(bytes(answer.output))["message"]["content"].lstrip()


async def test_a_stream_of_thoughts_without_a_beginning_fails_once_and_is_withheld_afterwards():
    """
    What was passed on cannot be taken back; the next stream of this model waits for the end of its thoughts.
    """
    model = ScriptedModel("hm, yes?\n</think>\n\nyes", "hm\n</think>\n\nyes", "yes")
    backend = PromptedBackend(model, CATALOGUE, default_model="small")
    capability = CATALOGUE.get("summarize")
    assert capability is not None
    given = capability.decode_input(b'{"document": "d"}')
    pieces: list[str] = []

    async def emit(text: str) -> None:
        pieces.append(text)

    work = Work(task="t", capability="summarize", input=given, model="m", deadline_s=5.0, emit=emit)
    with pytest.raises(AttemptError) as caught:
        await backend.answer(work)
    assert FailureKind.INVALID_OUTPUT is caught.value.kind

    for _ in range(2):
        pieces.clear()
        answer = await backend.answer(work)
        assert "yes" == "".join(pieces)
        assert b'{"summary":"yes"}' == bytes(answer.output)


@pytest.mark.parametrize(
    "text",
    [
        r'{"label": "a", "confidence": 0.5, "rationale": "half \ud83d"}',
        '{"label": "a", "confidence": 0.5, "rationale": "two\nlines"}',
        'hm {"label": "b"}\n</think>\n{"label": "a", "confidence": 0.5}',
        '<|channel|>final<|message|>{"label": "a", "confidence": 0.5}<|return|>',
    ],
    ids=range(4),
)
async def test_json_that_is_not_quite_json_is_read(text: str):
    """
    And can be sent on.
    """
    answer = await answered(ScriptedModel(text), "classify", {"document": "d", "labels": ["a", "b"]})
    assert "a" == msgspec.json.decode(bytes(answer.output))["label"]
