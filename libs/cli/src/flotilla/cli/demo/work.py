"""What the demo has done: interactive tasks, durable batches in both zones, one refusal, and a streamed report."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

from msgspec import Struct

from flotilla.cli.demo.documents import LABELS, Document
from flotilla.client.answers import Answer
from flotilla.client.errors import TaskFailedError
from flotilla.client.fleet import Fleet
from flotilla.contracts.errors import TaskError
from flotilla.contracts.headers import DataClass
from flotilla.contracts.subjects import Zone

DEADLINE_S: Final = 600.0
SUMMARY_WORDS_MAX: Final = 80
HEADLINE_WORDS_MAX: Final = 20

DOCUMENT_CLASSES: Final = "document classes"
PASSAGE_CLASSES: Final = "passage classes"
DOCUMENT_ENTITIES: Final = "document entities"
PASSAGE_ENTITIES: Final = "passage entities"
SUMMARIES: Final = "summaries"
HEADLINES: Final = "headlines"
REPORT: Final = "streamed report"

TITLES: Final = (
    DOCUMENT_CLASSES,
    PASSAGE_CLASSES,
    DOCUMENT_ENTITIES,
    PASSAGE_ENTITIES,
    SUMMARIES,
    HEADLINES,
    REPORT,
)
"""The kinds of work, in the order in which they are shown."""

Way = Literal["interactive", "durable"]


class Item(Struct, frozen=True, kw_only=True):
    """
    One task to be done.

    Attributes:
        document: The name of the document that it is about.
        passage: Which part of it, from 0; None for the whole.
    """

    document: str
    passage: int | None
    input: dict[str, Any]


class Batch(Struct, frozen=True, kw_only=True):
    """
    Durable tasks of one capability, in one zone, of one data class.

    Attributes:
        title: For people.
    """

    title: str
    capability: str
    zone: Zone
    data_class: DataClass
    items: tuple[Item, ...]


class Ran(Struct, frozen=True, kw_only=True):
    """One task that was done, or failed."""

    way: Way
    title: str
    item: Item
    answer: Answer


def batches(
    documents: list[Document], passages_max: int, *, near: Zone = "local", cloud: Zone = "cloud"
) -> list[Batch]:
    """
    The durable work: at most `passages_max` passages of each document, restricted data in the local zone only.

    `near` and `cloud` are the zones of what is done at home and far away, where both run; else one takes the other's.
    """
    found: list[Batch] = []
    classes: tuple[DataClass, ...] = ("internal", "restricted")
    for data_class in classes:
        own = [document for document in documents if document.data_class == data_class]
        home: Zone = "local" if data_class == "restricted" else near
        far: Zone = "local" if data_class == "restricted" else cloud
        label = [_for_labels(item) for item in _passages(own, passages_max)]
        found += [
            _batch(PASSAGE_CLASSES, "classify", home, data_class, label),
            _batch(DOCUMENT_ENTITIES, "extract-entities", home, data_class, _wholes(own)),
            _batch(PASSAGE_ENTITIES, "extract-entities", home, data_class, _passages(own, passages_max)),
            _batch(SUMMARIES, "summarize", far, data_class, _short(_wholes(own), SUMMARY_WORDS_MAX)),
            _batch(HEADLINES, "summarize", far, data_class, _short(_passages(own, passages_max), HEADLINE_WORDS_MAX)),
        ]
    return [batch for batch in found if batch.items]


async def run_batches(fleet: Fleet, work: list[Batch], on_done: Callable[[Batch, Ran], None]) -> None:
    """Do all batches side by side; raises FlotillaError when the fleet goes away."""

    async def run(batch: Batch) -> None:
        inputs = (item.input for item in batch.items)
        options = {"route": batch.zone, "data_class": batch.data_class, "deadline_s": DEADLINE_S}
        async for done in fleet.run_many(batch.capability, inputs, **options):  # pyright: ignore[reportArgumentType]
            ran = Ran(way="durable", title=batch.title, item=batch.items[done.index], answer=done.answer)
            on_done(batch, ran)

    await asyncio.gather(*(run(batch) for batch in work))


async def classify(fleet: Fleet, document: Document, zone: Zone = "local") -> Ran:
    """Ask which kind of document it is, interactively, at home where something runs there."""
    item = _for_labels(Item(document=document.name, passage=None, input={"document": document.text}))
    try:
        answer = await fleet.ask(
            "classify", item.input, route=zone, data_class=document.data_class, deadline_s=DEADLINE_S
        )
    except TaskFailedError as error:
        answer = error.answer
    return Ran(way="interactive", title=DOCUMENT_CLASSES, item=item, answer=answer)


async def try_the_cloud(fleet: Fleet, document: Document) -> TaskError | None:
    """Ask for the cloud with restricted data; gives the refusal, None when there was none (which must not be)."""
    try:
        await fleet.ask("summarize", {"document": document.text}, route="cloud", data_class="restricted")
    except TaskError as error:
        return error
    return None


async def report(
    fleet: Fleet, sources: list[dict[str, str]], on_piece: Callable[[str], None], zone: Zone = "cloud"
) -> Ran:
    """Have one report written from summaries, read as it comes."""
    body: dict[str, Any] = {
        "sources": sources,
        "instruction": "What came in this week, and what needs an answer first?",
    }
    item = Item(document="report", passage=None, input=body)
    async with fleet.stream("synthesize", body, route=zone, deadline_s=DEADLINE_S) as stream:
        async for piece in stream:
            on_piece(piece)
    return Ran(way="interactive", title=REPORT, item=item, answer=stream.answer)


def _batch(title: str, capability: str, zone: Zone, data_class: DataClass, items: Iterable[Item]) -> Batch:
    return Batch(title=title, capability=capability, zone=zone, data_class=data_class, items=tuple(items))


def _wholes(documents: list[Document]) -> list[Item]:
    return [Item(document=each.name, passage=None, input={"document": each.text}) for each in documents]


def _passages(documents: list[Document], passages_max: int) -> list[Item]:
    return [
        Item(document=document.name, passage=index, input={"document": passage})
        for document in documents
        for index, passage in enumerate(document.passages[:passages_max])
    ]


def _for_labels(item: Item) -> Item:
    return Item(document=item.document, passage=item.passage, input=item.input | {"labels": LABELS})


def _short(items: list[Item], words_max: int) -> list[Item]:
    return [
        Item(document=item.document, passage=item.passage, input=item.input | {"max_words": words_max})
        for item in items
    ]
