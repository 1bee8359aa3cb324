"""The embedded engine on letters, notes and contracts, and on text that is none."""

import asyncio
import math
import os
import subprocess
import sys
import time
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import example, strategies
from hypothesis import given as every

from flotilla.capabilities.catalogue import Catalogue
from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.capabilities import EmbedOutput
from flotilla.contracts.failures import FailureKind
from flotilla.inference.backend import Work
from flotilla.inference.engines.embedded import EmbeddedEngine
from flotilla.inference.engines.embedded.classification import classify
from flotilla.inference.engines.embedded.embedding import DIMENSIONS, embed
from flotilla.inference.engines.embedded.engine import MODELS
from flotilla.inference.engines.embedded.entities import ENTITIES_MAX, extract
from flotilla.inference.engines.embedded.summaries import summarize
from flotilla.inference.engines.embedded.synthesis import synthesize
from flotilla.inference.engines.embedded.text import sentences

CATALOGUE = Catalogue.load()

COMPLAINT = """Northwind Traders Ltd.
14 Harbour Street
Bristol BS1 4DJ

12 March 2024

Dear Ms. Eleanor Whitfield,

Re: Invoice INV-2024-0117, customer no. 48213

I am writing to complain about the invoice you sent us on 4 March 2024. We were charged twice for the same delivery of
office chairs. The first payment of £1,250.00 was taken on 1 March and the second on 5 March, although we ordered only
ten chairs. Our bank, Barclays Bank, has confirmed both transactions.

We have been a customer of your company for eight years and this has never happened before. The weather in Bristol has
been lovely this spring. I called your support line at +44 20 7946 0958 three times, but nobody was able to help me.

Therefore, we request a refund of £1,250.00 to our account GB29 NWBK 6016 1331 9268 19 before 31 March 2024. If we do
not receive it by then, we will cancel our contract and refer the matter to our lawyers, Hudson & Clarke LLP.

Please reply to j.okafor@northwind-traders.co.uk or see https://northwind-traders.co.uk/contact.

Yours sincerely,

James Okafor
Head of Procurement
"""

NOTICE = """Sehr geehrte Frau Dr. Schneider,

hiermit kündigen wir den Wartungsvertrag Nr. WV-88213 vom 12. Januar 2021 fristgerecht zum 31.12.2024. Bitte bestätigen
Sie uns den Eingang der Kündigung schriftlich bis zum 15.10.2024. Die letzte Rechnung über 4.980,50 EUR haben wir am
2. September überwiesen; unsere IBAN lautet DE89 3704 0044 0532 0130 00. Die Preise sind seit 2022 um 18,5 % gestiegen,
ohne dass sich der Service verbessert hat. Für Rückfragen erreichen Sie Herrn Markus Lehmann unter 030 1234567 oder
m.lehmann@beispiel-bau.de.

Mit freundlichen Grüßen

Petra Vogel
Beispiel Bau GmbH & Co. KG
Hauptstraße 12, 10115 Berlin
"""

MINUTES = """Meeting minutes - Project Atlas
Date: 2024-05-17, 14:30
Attendees: Maria Gonzalez, Tom Becker, Priya Raman

- Priya reported that the migration of the order database is 80% complete and will finish by June 3.
- Tom raised the problem of slow queries; the team agreed to add two indexes before the release.
- Budget: the remaining budget is $42,000, of which 15k is reserved for load tests.
- Decision: the go-live is moved from June 10 to June 17 because the payment provider needs another week.
- Maria will inform Acme Logistics Inc. about the new date.
- Coffee machine is broken again.
"""

AGREEMENT = """SERVICE AGREEMENT

This Service Agreement ("Agreement") is entered into as of 1 February 2024 between Contoso Systems GmbH, a company
registered in Munich ("Provider"), and Fabrikam Inc., a Delaware corporation ("Client").

1. Services. The Provider shall host and maintain the Client's document archive. The Provider shall keep the service
available 99.5% of each calendar month.

2. Fees. The Client shall pay EUR 3,400 per month, due within 30 days of receipt of the invoice. Late payments bear
interest at 5% per year.

3. Term. This Agreement runs for 24 months and renews automatically for 12 months unless either party gives notice
in writing at least 90 days before the end of the term.

4. Governing law. This Agreement is governed by the laws of Germany; the courts of Munich have jurisdiction.
"""

ALL = (COMPLAINT, NOTICE, MINUTES, AGREEMENT)


def found(document: str, types: list[str] | None = None) -> set[tuple[str, str]]:
    entities = extract(document, types)
    assert all(document[entity.start : entity.end] == entity.text for entity in entities)
    assert [entity.start for entity in entities] == sorted(entity.start for entity in entities)
    assert all(one.end <= other.start for one, other in pairwise(entities))
    return {(entity.type, entity.text) for entity in entities}


# --- entities ------------------------------------------------------------------------------------------------------


def test_the_entities_of_an_english_letter() -> None:
    """Every fact that somebody would act on, and nothing that is none."""
    assert {
        ("organization", "Northwind Traders Ltd."),
        ("address", "14 Harbour Street"),
        ("date", "12 March 2024"),
        ("person", "Eleanor Whitfield"),
        ("identifier", "INV-2024-0117"),
        ("identifier", "48213"),
        ("date", "4 March 2024"),
        ("money", "£1,250.00"),
        ("date", "1 March"),
        ("date", "5 March"),
        ("organization", "Barclays Bank"),
        ("phone", "+44 20 7946 0958"),
        ("iban", "GB29 NWBK 6016 1331 9268 19"),
        ("date", "31 March 2024"),
        ("organization", "Hudson & Clarke LLP"),
        ("email", "j.okafor@northwind-traders.co.uk"),
        ("url", "https://northwind-traders.co.uk/contact"),
        ("person", "James Okafor"),
    } == found(COMPLAINT)


def test_the_entities_of_a_german_letter() -> None:
    """German dates, amounts and legal forms; capitalised nouns are no names."""
    assert {
        ("person", "Schneider"),
        ("identifier", "WV-88213"),
        ("date", "12. Januar 2021"),
        ("date", "31.12.2024"),
        ("date", "15.10.2024"),
        ("money", "4.980,50 EUR"),
        ("date", "2. September"),
        ("iban", "DE89 3704 0044 0532 0130 00"),
        ("percentage", "18,5 %"),
        ("person", "Markus Lehmann"),
        ("phone", "030 1234567"),
        ("email", "m.lehmann@beispiel-bau.de"),
        ("person", "Petra Vogel"),
        ("organization", "Beispiel Bau GmbH & Co. KG"),
        ("address", "Hauptstraße 12, 10115 Berlin"),
    } == found(NOTICE)


@pytest.mark.parametrize(
    ("text", "entity"),
    [
        ("Paid $3.5 million to them.", ("money", "$3.5 million")),
        ("costs 99,90 € net", ("money", "99,90 €")),
        ("CHF 1'200.50 are due", ("money", "CHF 1'200.50")),
        ("on 2024-02-30T10:00", None),
        ("on 03/14/2024 we", ("date", "03/14/2024")),
        ("version 12.31.99.4 is", None),
        ("by Sept. 5th, 2023.", ("date", "Sept. 5th, 2023")),
        ("in Q3 2025 we", ("date", "Q3 2025")),
        ("le 14 juillet 2023 à", ("date", "14 juillet 2023")),
        ("we may 3 times, and the 3 may", None),
        ("on May 3 they", ("date", "May 3")),
        ("call (555) 123-4567 now", ("phone", "(555) 123-4567")),
        ("call 555-123-4567 now", ("phone", "555-123-4567")),
        ("serial 1234567890123456789", ("identifier", "1234567890123456789")),
        ("GB28 NWBK 6016 1331 9268 19 is wrong", None),
        ("IBAN DE89370400440532013000 BIC", ("iban", "DE89370400440532013000")),
        ("at 9:05 pm sharp", ("time", "9:05 pm")),
        ("ticket #48213 is open", ("identifier", "48213")),
        ("meet Prof. Dr. Anna-Lena van der Berg there", ("person", "Anna-Lena van der Berg")),
        ("Sehr geehrte Damen und Herren,", None),
        ("Dear Sir or Madam,", None),
        ("Dear Customer,", None),
        ("the University of Cape Town said", ("organization", "University of Cape Town")),
        ("see www.example.org/a?b=c).", ("url", "www.example.org/a?b=c")),
        ("mail a.b+c@mail.example.com.", ("email", "a.b+c@mail.example.com")),
        ("user@localhost", None),
        ("12.5 percent of", ("percentage", "12.5 percent")),
        ("Alice ran. Bob Dylan sang.", None),
    ],
)
def test_single_patterns(text: str, entity: tuple[str, str] | None) -> None:
    """What looks like one is one, and what only nearly does is none."""
    kinds = {entity} if entity else set[tuple[str, str]]()

    assert kinds == found(text)


def test_types_narrow_and_are_spelt_as_asked() -> None:
    """People call them by many names; a type that is not known finds nothing."""
    asked = ["E-Mail", "PERSONS", "org", "deadline", "Colour"]

    assert {"E-Mail", "PERSONS", "org", "deadline"} == {kind for kind, _ in found(COMPLAINT, asked)}
    assert set[tuple[str, str]]() == found(COMPLAINT, ["Colour"])


def test_offsets_count_characters_before_and_behind_emoji() -> None:
    """Code points, not bytes and not UTF-16 units; over the border of a block too."""
    text = f"😀é {'wörter und ' * 9_000}\nmail 😀 a@example.com"

    assert {("email", "a@example.com")} == found(text)


# --- summaries -----------------------------------------------------------------------------------------------------


def test_a_summary_says_what_the_letter_wants() -> None:
    """The request stays, the small talk goes."""
    summary = " ".join(summarize(COMPLAINT))

    assert "we request a refund of £1,250.00" in summary
    assert "complain about the invoice" in summary
    assert "weather" not in summary
    assert "Dear" not in summary
    assert "sincerely" not in summary


def test_a_summary_of_minutes_holds_the_decision() -> None:
    """List items are sentences, and the coffee machine is not what the meeting was about."""
    summary = " ".join(summarize(MINUTES))

    assert "the go-live is moved from June 10 to June 17" in summary
    assert "Coffee" not in summary


@pytest.mark.parametrize("document", ALL)
@pytest.mark.parametrize("max_words", [1, 5, 20, 40, 100])
def test_a_summary_keeps_its_bound_and_the_order(document: str, max_words: int) -> None:
    """`max_words` holds even when no sentence fits, and what is said is said in the document's order and words."""
    chosen = summarize(document, max_words=max_words)

    assert 1 <= len(" ".join(chosen).split()) <= max_words
    plain = " ".join(document.split()).replace(" - ", " ")
    places = [plain.index(sentence.rstrip("…")) for sentence in chosen]
    assert places == sorted(places)


def test_sentences_end_where_they_end() -> None:
    """Abbreviations, initials, ordinals, wrapped lines, list items, headings, and scripts without spaces."""
    text = (
        "Dear Dr. J. Smith,\nthe price is approx. 3.5 EUR (net). It came am\n2. Mai an. See e.g. Fig. 3! Really?\n\n"
        "1. First item.\n2. Second item.\n- third\n- fourth\n\n今天天气很好。我们去公园。"
    )

    assert [
        "Dear Dr. J. Smith, the price is approx. 3.5 EUR (net).",
        "It came am 2. Mai an.",
        "See e.g. Fig. 3!",
        "Really?",
        "1. First item.",
        "2. Second item.",
        "third",
        "fourth",
        "今天天气很好。",
        "我们去公园。",
    ] == [sentence for sentence, _ in sentences(text)]


def test_a_style_may_ask_for_a_list_or_one_sentence() -> None:
    """The two that extraction can give."""
    assert all(line.startswith("- ") for line in summarize(AGREEMENT, style="bullet points"))
    assert 1 == len(summarize(AGREEMENT, style="one sentence"))
    assert len(summarize(AGREEMENT, max_words=100)) > 1


def test_a_sentence_that_says_the_same_again_is_passed_over() -> None:
    """A summary has no room for repetition."""
    text = "The pump in hall three failed on Monday. " * 3 + "The supplier delivers a new pump on Friday at noon."

    assert 2 == len(summarize(text, max_words=100))


# --- classification ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "labels", "label"),
    [
        (COMPLAINT, ["technical support", "billing", "sales", "other"], "billing"),
        (COMPLAINT, ["contract", "complaint", "meeting notes", "job application"], "complaint"),
        (COMPLAINT, ["positive", "neutral", "negative"], "negative"),
        (NOTICE, ["Lieferung", "Kündigung", "Bewerbung"], "Kündigung"),
        (NOTICE, ["invoice", "cancellation", "job application"], "cancellation"),
        (MINUTES, ["invoice", "contract", "meeting minutes"], "meeting minutes"),
        (AGREEMENT, ["complaint", "meeting minutes", "contract"], "contract"),
        ("The app crashes when I log in.", ["billing", "bug", "praise"], "bug"),
        ("My parcel still has not arrived.", ["billing", "account", "shipping"], "shipping"),
        ("Would be nice to add a dark mode.", ["bug", "feature request", "billing"], "feature request"),
        ("Absolutely love it, great service!", ["negative", "positive", "neutral"], "positive"),
        ("Not good at all. It does not work.", ["positive", "negative", "neutral"], "negative"),
        ("Qwerty uiop asdf.", ["billing", "legal", "other"], "other"),
        ("The violin needs new strings.", ["billing", "instruments"], "billing"),
    ],
)
def test_a_label_follows_from_the_words(document: str, labels: list[str], label: str) -> None:
    """Names alone are enough for common labels; without evidence it is the rest, or the first."""
    made = classify(document, [(name, "") for name in labels], multi=False)

    assert label == made.label


def test_a_description_teaches_an_unknown_label() -> None:
    """The caller's own words count."""
    labels = [("A7", "gardening, plants and soil"), ("B2", "musical instruments: violin, strings, bow")]

    made = classify("The violin needs new strings.", labels, multi=False)

    assert "B2" == made.label
    assert "violin" in (made.rationale or "")


def test_confidence_grows_with_the_evidence() -> None:
    """A guess says that it is one."""
    labels = [("billing", ""), ("shipping", "")]
    guess = classify("Qwerty.", labels, multi=False)
    weak = classify("The invoice of the parcel.", labels, multi=False)
    strong = classify("The invoice charges a fee, the payment is overdue, tax included.", labels, multi=False)

    assert 0.5 == guess.confidence
    assert guess.confidence <= weak.confidence < strong.confidence < 1.0


def test_multi_gives_every_label_with_evidence_and_none_without() -> None:
    """Both may apply, and neither."""
    labels = [("billing", ""), ("complaint", ""), ("medical", "")]

    assert {"billing", "complaint"} == set(classify(COMPLAINT, labels, multi=True).labels or ())
    assert [] == classify("Qwerty.", labels, multi=True).labels


# --- reports and vectors -------------------------------------------------------------------------------------------


def test_a_report_cites_every_source_and_says_only_what_they_say() -> None:
    """Overview, themes, and each source with its number."""
    report = "".join(synthesize([("Letter", COMPLAINT), ("", NOTICE), ("Minutes", MINUTES)], "What is due when?"))

    for part in ("## Overview", "## Common themes", "### [1] Letter", "### [2]\n", "### [3] Minutes"):
        assert part in report
    assert "What is due when?" in report
    everything = " ".join(" ".join(source.split()) for source in (COMPLAINT, NOTICE, MINUTES)).replace(" - ", " ")
    points = [line[2:].rpartition(" [")[0] for line in report.splitlines() if line.startswith("- ") and " " in line[2:]]
    assert all(point in everything for point in points)
    assert not report.endswith("\n")


def test_an_instruction_brings_up_what_it_asks_for() -> None:
    """Sentences with its words count more."""
    text = f"{AGREEMENT}\nThe parking garage may be used by visitors on weekends."

    assert "may be used by visitors" in "".join(synthesize([("", text)], "Where is parking for visitors on weekends?"))
    assert "may be used by visitors" not in "".join(synthesize([("", text)]))


def cosine(one: str, other: str) -> float:
    return sum(left * right for left, right in zip(embed(one), embed(other), strict=True))


def test_vectors_have_length_one_and_are_near_for_texts_with_common_words() -> None:
    """Forms of a word count as near, other subjects as far."""
    near = cosine("The invoice was charged twice, please refund", "We ask for refunds of invoices charged two times")
    far = cosine("The invoice was charged twice, please refund", "Sunny weather in the mountains of Tyrol")

    assert math.isclose(1.0, math.hypot(*embed(COMPLAINT)), abs_tol=1e-4)
    assert near > 0.4
    assert abs(far) < 0.15


# --- the engine ----------------------------------------------------------------------------------------------------

INPUTS: dict[str, dict[str, Any]] = {
    "summarize": {"document": COMPLAINT},
    "synthesize": {"sources": [COMPLAINT, {"title": "Minutes", "text": MINUTES}]},
    "classify": {"document": COMPLAINT, "labels": ["billing", {"name": "sales", "description": "offers"}]},
    "extract-entities": {"document": COMPLAINT},
    "embed": {"texts": ["a b", "c"]},
}


def work(capability: str, given: dict[str, Any], pieces: list[str] | None = None, model: str = "") -> Work:
    known = CATALOGUE.get(capability)
    assert known is not None

    async def emit(text: str) -> None:
        assert text
        assert pieces is not None
        pieces.append(text)

    return Work(
        task="t",
        capability=capability,
        input=known.decode_input(msgspec.json.encode(given)),
        model=model,
        deadline_s=30.0,
        emit=None if pieces is None else emit,
    )


@pytest.mark.parametrize("capability", sorted(INPUTS))
async def test_every_output_is_valid_and_its_pieces_are_its_text(capability: str) -> None:
    """The output passes unread, so it must be right."""
    engine = EmbeddedEngine(threads=1)
    pieces: list[str] = []
    asked = work(capability, INPUTS[capability], pieces)
    known = CATALOGUE.get(capability)
    assert known is not None

    answer = await engine.answer(asked)

    data = msgspec.json.decode(answer.output)
    assert data == msgspec.json.decode(known.check_output(asked.input, data))
    text = bytes(answer.output).decode() if known.text_field is None else data[known.text_field]
    assert text == "".join(pieces)
    assert capability in MODELS[answer.model]
    assert "embedded" == answer.provider
    await engine.aclose()


async def test_it_announces_what_it_does_and_refuses_the_rest() -> None:
    """Translation needs a model, and the engine says so."""
    engine = EmbeddedEngine(threads=1)

    assert set(INPUTS) == engine.capabilities()
    assert set(INPUTS) == {name for card in engine.model_cards() for name in card.capabilities}
    with pytest.raises(AttemptError) as other:
        await engine.answer(work("translate", {"text": "x", "target": "de"}))
    with pytest.raises(AttemptError) as model:
        await engine.answer(work("summarize", INPUTS["summarize"], model="llama3.2"))
    assert FailureKind.REFUSED is other.value.kind
    assert FailureKind.UNKNOWN_MODEL is model.value.kind
    await engine.aclose()


async def test_the_event_loop_goes_on_while_it_computes() -> None:
    """A worker that blocks its loop is taken for dead; a long document must not stop its heartbeats."""
    engine = EmbeddedEngine(threads=1)
    document = "".join(ALL) * 150
    longest_s = 0.0

    async def watch() -> None:
        nonlocal longest_s
        before = time.perf_counter()
        while True:
            await asyncio.sleep(0.005)
            now = time.perf_counter()
            longest_s, before = max(longest_s, now - before), now

    watching = asyncio.create_task(watch())
    began = time.perf_counter()
    await engine.answer(work("extract-entities", {"document": document}))
    whole_s = time.perf_counter() - began
    watching.cancel()
    await engine.aclose()

    assert 0 < longest_s < whole_s / 2


def test_the_same_input_gives_the_same_output_in_every_process() -> None:
    """No order of a set and no salted hash shows."""
    script = (
        "import sys\n"
        "from flotilla.inference.engines.embedded.summaries import summarize\n"
        "from flotilla.inference.engines.embedded.synthesis import synthesize\n"
        "from flotilla.inference.engines.embedded.classification import classify\n"
        "from flotilla.inference.engines.embedded.embedding import embed\n"
        "text = sys.stdin.read()\n"
        "print(summarize(text), synthesize([('', text), ('b', text[:900])]), embed(text)[:9],"
        " classify(text, [('billing', ''), ('complaint', '')], multi=True))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            input=COMPLAINT,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONUTF8": "1"},
        ).stdout
        for seed in ("1", "2")
    }

    assert 1 == len(outputs)


def test_a_document_of_five_megabytes_is_done_in_bounded_time() -> None:
    """Named bounds cap what is compared and what is found."""
    document = ("".join(ALL) * 1_200)[:5_000_000]
    began = time.process_time()

    summary = summarize(document, max_words=50)
    entities = extract(document)
    classify(document, [("billing", ""), ("other", "")], multi=False)
    embed(document)

    assert len(" ".join(summary).split()) <= 50
    assert ENTITIES_MAX == len(entities)
    assert time.process_time() - began < 20


@pytest.mark.parametrize(
    "unit", ["A ", "ABCDE ", "1 ", "1.", "a@", "\n", "-", "A. ", "Abc of ", "Aa-", "http://", "invoice ", "DE89 3704 "]
)
def test_no_text_makes_a_pattern_slow(unit: str) -> None:
    """Every repetition in a pattern is bounded; doubled text takes about double the time, never its square."""
    text = unit * (60_000 // len(unit))
    began = time.process_time()

    extract(text)
    summarize(text)

    assert time.process_time() - began < 2.0


ODD_PARTS = (
    *("Dr. ", "Anna Weber", "GmbH", " & ", "12.", "03.", "2024", "€", "$", "1,", "\n\n", "- ", "@", "x.de", "…", "。"),
    *("\u200b", "\x00", "\u2028", "\u2019", "😀", "İ", "ß", "'", "+49", "(", ")", " ", "not ", "DE89", "%", "ﬁ"),
    *("1" * 30, "日本語"),
)
ODD_TEXT = strategies.text(max_size=300) | strategies.lists(strategies.sampled_from(ODD_PARTS), max_size=40).map(
    "".join
)


@every(ODD_TEXT.filter(lambda text: bool(text) and not text.isspace()), strategies.integers(1, 30))
@example("\x1c.", 1)
@example("\u0345", 1)
def test_no_text_breaks_it(text: str, max_words: int) -> None:
    """Whatever a caller sends, the output is valid; nothing is thrown."""
    chosen = summarize(text, max_words=max_words)
    assert "".join(chosen).strip()
    assert len(" ".join(chosen).split()) <= max_words
    found(text)
    found(text, ["person", "x"])
    made = classify(text, [("billing", ""), (text[:50], text)], multi=False)
    assert 0.0 <= made.confidence <= 1.0
    assert "".join(synthesize([(text, text), ("", text)], text)).strip()
    known = CATALOGUE.get("embed")
    assert known is not None
    known.check_output(
        known.decode_input(msgspec.json.encode({"texts": [text]})),
        EmbedOutput(vectors=[embed(text)], dimensions=DIMENSIONS),
    )
