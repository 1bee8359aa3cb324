"""A pool with a model: what it finds is added to what patterns and lists find, and when it fails nothing is redacted."""

import asyncio
from typing import Any, cast

import msgspec
import pytest

from flotilla.capabilities.catalogue import Catalogue
from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.capabilities import Entity, ExtractEntitiesInput, ExtractEntitiesOutput
from flotilla.contracts.failures import FailureKind
from flotilla.contracts.presence import ModelCard
from flotilla.contracts.redaction import LOCAL_CAPABILITIES, RedactInput, RedactOutput
from flotilla.inference.backend import Answer, Work
from flotilla.inference.redaction.detection import Detection
from flotilla.inference.redaction.engine import RedactionEngine
from flotilla.inference.redaction.model_layer import PIECE_LENGTH_MAX, ModelLayer
from flotilla.inference.redaction.serving import with_redaction
from flotilla.inference.redaction.vault_keys import new_key, vault_keys
from flotilla.inference.redaction.vaults import Vaults
from flotilla.inference.serving import Serving
from flotilla.inference.settings import WorkerSettings
from flotilla.privacy import Entries, Structured

HANDLE = "abcdefghijklmnopqrstuvwx23"
MAIL = "zaphod@example.com"
WORD = "quuxly"


class Models:
    """A backend whose model calls one word a person, wherever it stands, and otherwise fails as it is told."""

    provider = "scripted"

    def __init__(self, *, fails: FailureKind | None = None, hangs: bool = False) -> None:
        self.asked: list[str] = []
        self.closed = False
        self._fails = fails
        self._hangs = hangs

    def capabilities(self) -> frozenset[str]:
        """What it serves."""
        return frozenset({"extract-entities", "chat"})

    async def answer(self, work: Work) -> Answer:
        """The entities of a text."""
        if work.capability != "extract-entities":
            return Answer(output=msgspec.Raw(b'{"chatted":true}'), provider=self.provider, model="m")
        given: ExtractEntitiesInput = work.input
        self.asked.append(given.document)
        if self._hangs:
            await asyncio.Event().wait()
        if self._fails is not None:
            raise AttemptError(self._fails, f"the model could not read {given.document}")
        found: list[Entity] = []
        start = given.document.find(WORD)
        while start >= 0:
            found.append(Entity(type="person", text=WORD, start=start, end=start + len(WORD)))
            start = given.document.find(WORD, start + 1)
        output = ExtractEntitiesOutput(entities=found)
        return Answer(output=msgspec.Raw(msgspec.json.encode(output)), provider=self.provider, model="m")

    async def aclose(self) -> None:
        """It is closed."""
        self.closed = True


class NoVaults:
    """Vaults that hold nothing."""

    async def change(self, _scope: str, work: Any, **_: Any) -> tuple[Any, str, int]:
        """Have the work done on an empty vault."""
        outcome, _entries = await work(Entries.empty(HANDLE))
        return outcome, HANDLE, 1


async def redacted(models: Models, document: str, *, timeout_s: float = 10.0, deadline_s: float = 10.0) -> RedactOutput:
    """What an engine makes of a document that has this model beside its patterns."""
    layer = ModelLayer(models, timeout_s=timeout_s)
    layer.open(asyncio.get_running_loop())
    engine = RedactionEngine([Structured(), layer], threads=2)
    engine.open(cast("Vaults", NoVaults()))
    given = RedactInput(document=document, language="any")
    work = Work(task="t", capability="redact", input=given, model="", deadline_s=deadline_s, scope="acme")
    try:
        return msgspec.json.decode((await engine.answer(work)).output, type=RedactOutput)
    finally:
        await engine.aclose()


async def test_what_the_model_finds_is_added():
    """
    What it does not find stays redacted.
    """
    output = await redacted(Models(), f"{WORD} has {MAIL}")

    assert {("EMAIL", 1), ("PERSON", 1)} == {(found.type, found.count) for found in output.found}
    assert WORD not in output.document
    assert MAIL not in output.document


async def test_a_long_document_is_read_piece_by_piece():
    """
    Cut between words, with offsets of the whole.
    """
    models = Models()
    document = f"{WORD} some ordinary words\n" * (3 * PIECE_LENGTH_MAX // 28)

    output = await redacted(models, document)

    assert len(models.asked) > 2
    assert max(map(len, models.asked)) <= PIECE_LENGTH_MAX
    assert document == "".join(models.asked)
    assert WORD not in output.document
    assert document.count(WORD) == output.document.count("[PERSON_1_")


@pytest.mark.parametrize(
    ("models", "kind"),
    [
        (Models(fails=FailureKind.RATE_LIMITED), FailureKind.RATE_LIMITED),
        (Models(fails=FailureKind.LOADING), FailureKind.LOADING),
        (Models(fails=FailureKind.BAD_INPUT), FailureKind.CRASHED),
        (Models(fails=FailureKind.INVALID_OUTPUT), FailureKind.CRASHED),
        (Models(hangs=True), FailureKind.TIMEOUT),
    ],
    ids=["is overloaded", "is loaded", "refuses", "gives rubbish", "hangs"],
)
async def test_a_model_that_fails_fails_the_attempt(models: Models, kind: FailureKind):
    """
    The error names the layer, and nothing of what the model was given; what passes is waited for.
    """
    with pytest.raises(AttemptError, match="'model'") as caught:
        await redacted(models, f"{WORD} has {MAIL}", timeout_s=0.2)

    assert kind is caught.value.kind
    assert MAIL not in caught.value.message
    assert MAIL not in str(caught.value.__context__)


async def test_a_pool_serves_its_models_and_redaction():
    """
    Each by its own backend; both are closed in the end.
    """
    models = Models()
    card = ModelCard(name="m", capabilities=["chat", "extract-entities"])
    serving = Serving(backend=models, catalogue=Catalogue.load(), models=[card])
    settings = WorkerSettings(zone="local", pool="redaction", provider="scripted", nats_url="nats://127.0.0.1:1")

    async def make_bucket(_: object) -> None:
        raise AssertionError("nobody is connected")

    both = with_redaction(serving, settings, Detection(), vault_keys(new_key(), None), make_bucket)

    assert frozenset({"chat", "extract-entities", *LOCAL_CAPABILITIES}) == both.backend.capabilities()
    assert both.backend.capabilities() == {name for each in both.models for name in each.capabilities}
    assert "scripted" == both.backend.provider
    chatted = await both.backend.answer(Work(task="t", capability="chat", input=None, model="", deadline_s=1.0))
    assert b'{"chatted":true}' == bytes(chatted.output)
    with pytest.raises(AttemptError):  # it has no vaults until the worker is connected
        await both.backend.answer(
            Work(task="t", capability="redact", input=RedactInput(document="d"), model="", deadline_s=1.0, scope="acme")
        )
    await both.backend.aclose()
    assert models.closed


async def test_a_layer_that_fails_closes_no_route_to_the_vaults():
    """
    Breakers and guards know a pool's model: what restores is another one than what redacts.
    """
    engine = RedactionEngine([Structured()])
    cards = {card.name: set(card.capabilities) for card in engine.model_cards()}
    await engine.aclose()

    assert {*LOCAL_CAPABILITIES} == set[str]().union(*cards.values())
    assert [{"redact"}] == [served for served in cards.values() if "redact" in served]


async def test_a_model_that_hangs_holds_a_thread_no_longer_than_its_task():
    """
    Threads are as many as slots: the next documents need them.
    """
    async with asyncio.timeout(60):
        with pytest.raises(AttemptError, match="'model'") as caught:
            await redacted(Models(hangs=True), f"{WORD} has {MAIL}", timeout_s=600.0, deadline_s=0.2)

    assert FailureKind.TIMEOUT is caught.value.kind
