"""Vaults encrypted, documents of any shape redacted and restored exactly, and layers that fail closed."""

import base64
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.errors import SettingsError
from flotilla.contracts.failures import FailureKind
from flotilla.contracts.redaction import RedactInput, RedactionPolicy, RedactOutput, RestoreInput, RestoreOutput
from flotilla.inference.backend import Work
from flotilla.inference.redaction.documents import DEPTH_MAX, LENGTH_MAX, TEXTS_MAX, redact_document
from flotilla.inference.redaction.engine import PIECE_LENGTH, RedactionEngine
from flotilla.inference.redaction.vault_keys import VaultKeys, new_key, vault_keys
from flotilla.inference.redaction.vault_records import (
    RECORD_BYTES_MAX,
    FullVaultError,
    UnreadableVaultError,
    VaultRecord,
    entries_of,
    seal,
    unseal,
)
from flotilla.inference.redaction.vaults import Vaults
from flotilla.privacy import Entries, Function, Guarded, Layer, Span, Structured, restore_json
from flotilla.privacy.errors import LayerMissingError
from flotilla.testkit.examples import examples

HANDLE = "abcdefghijklmnopqrstuvwx23"
OTHER = "bbcdefghijklmnopqrstuvwx23"
CANARY = "ann.smith@example.com"
RECORD = VaultRecord(created_unix_ms=1, expires_unix_ms=2, entries=[(1, "EMAIL", CANARY)])
ONE = base64.b64encode(b"a" * 32).decode()
TWO = f"{ONE},{base64.b64encode(b'b' * 32).decode()}"


def keys(text: str | None = None) -> VaultKeys:
    """Keys as a worker has them."""
    return vault_keys(text or new_key(), None)


# --- keys -----------------------------------------------------------------------------------------------------------


def test_a_key_comes_from_the_setting_or_a_file(tmp_path: Path):
    """
    The same keys, in the same order.
    """
    file = tmp_path / "vault.key"
    file.write_text("\n".join(TWO.split(",")) + "\n")

    assert keys(TWO) == vault_keys(None, file)
    assert len({key.id for key in keys(TWO)}) == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "short",
        base64.b64encode(b"x" * 31).decode(),
        f"{TWO},{base64.b64encode(b'c' * 32).decode()}",
        "x" * 44,
        f"{ONE},{ONE}",
    ],
)
def test_what_is_no_key_is_refused_and_not_shown(text: str, tmp_path: Path):
    """
    In the setting and in a file.
    """
    file = tmp_path / "vault.key"
    file.write_text(text)
    for given_text, given_file in ((text, None), (None, file), (text, file), (None, None), (None, tmp_path / "none")):
        with pytest.raises(SettingsError, match="FLOTILLA_VAULT_KEY") as caught:
            vault_keys(given_text, given_file)
        assert not text or text not in str(caught.value)


def test_a_key_shows_its_id_alone():
    """
    Wherever it is printed.
    """
    [key] = keys()

    assert f"VaultKey({key.id.hex()})" == repr(key)


# --- records --------------------------------------------------------------------------------------------------------


def test_a_record_is_read_back_and_is_not_in_what_is_stored():
    """
    Neither the value nor its type; nor does the same record look the same twice.
    """
    own = keys()
    body = seal(own, "acme", HANDLE, RECORD)

    assert unseal(own, "acme", HANDLE, body) == RECORD
    assert CANARY.encode() not in body
    assert b"EMAIL" not in body
    assert body != seal(own, "acme", HANDLE, RECORD)
    assert CANARY not in repr(RECORD)


def test_while_keys_are_changed_both_decrypt():
    """
    The new one encrypts as soon as it stands first; without the old one, what it encrypted cannot be read.
    """
    old, new = TWO.split(",")
    before = seal(keys(old), "acme", HANDLE, RECORD)

    assert unseal(keys(f"{new},{old}"), "acme", HANDLE, before) == RECORD
    after = seal(keys(f"{new},{old}"), "acme", HANDLE, RECORD)
    assert unseal(keys(new), "acme", HANDLE, after) == RECORD
    with pytest.raises(UnreadableVaultError, match="a key that this worker does not have"):
        unseal(keys(new), "acme", HANDLE, before)


@settings(max_examples=examples(60), deadline=None)
@given(st.data())
def test_a_record_that_was_changed_or_moved_is_refused(data: st.DataObject):
    """
    One bit of it, its end, its scope, or its handle; the refusal says nothing of what stands there.
    """
    own = keys()
    body = seal(own, "acme", HANDLE, RECORD)
    place = data.draw(st.integers(0, len(body) * 8 - 1))
    changed = bytearray(body)
    changed[place // 8] ^= 1 << place % 8
    cut = body[: data.draw(st.integers(0, len(body) - 1))]

    for scope, handle, given_body in (
        ("acme", HANDLE, bytes(changed)),
        ("acme", HANDLE, cut),
        ("other", HANDLE, body),
        ("acme", OTHER, body),
    ):
        with pytest.raises(UnreadableVaultError) as caught:
            unseal(own, scope, handle, given_body)
        assert CANARY not in str(caught.value)


def test_a_vault_is_bounded():
    """
    Its record is one message.
    """
    entries = [(number, "EMAIL", f"{number}" * 50_000) for number in range(1, 100)]
    assert sum(len(value) for *_, value in entries) > RECORD_BYTES_MAX

    with pytest.raises(FullVaultError):
        seal(keys(), "acme", HANDLE, VaultRecord(created_unix_ms=1, expires_unix_ms=2, entries=entries))


# --- documents ------------------------------------------------------------------------------------------------------

LAYERS: tuple[Layer, ...] = (Structured(),)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=30) | st.sampled_from(
    (f"write to {CANARY}", "call +49 30 1234567", "192.168.17.4", "[PERSON_1_KQXRT]", "")
)
documents = st.recursive(
    texts
    | st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=examples(150), deadline=None)
@given(documents)
def test_a_document_of_any_shape_comes_back_exactly(document: Any):
    """
    After JSON, too, and with the entries as they were stored; numbers with their type.
    """
    redacted = redact_document(document, Entries.empty(HANDLE), LAYERS, "any")
    stored = VaultRecord(
        created_unix_ms=1,
        expires_unix_ms=2,
        entries=[(entry.number, entry.type, entry.value) for entry in redacted.entries],
    )
    own = keys()
    again = entries_of(HANDLE, unseal(own, "acme", HANDLE, seal(own, "acme", HANDLE, stored)))

    encoded = msgspec.json.encode(redacted.document)
    assert CANARY.encode() not in encoded
    restored = restore_json(msgspec.json.decode(encoded), again)
    assert document == restored
    assert repr(document) == repr(restored)  # 1 is 1.0 and True otherwise


def test_keys_and_values_of_an_object_are_redacted():
    """
    One value has one placeholder, wherever it stands.
    """
    redacted = redact_document({CANARY: [CANARY, "none", 7]}, Entries.empty(HANDLE), LAYERS, "any")

    [placeholder] = redacted.document
    assert {placeholder: [placeholder, "none", 7]} == redacted.document
    assert [2] == list(redacted.counts.values())


def test_a_key_says_what_its_value_is():
    """
    However it is written, and for each value of a list under it; numbers become placeholders, and numbers again.
    """
    document = {
        "account": 12345678,
        "customerId": 4711,
        "patient_record": ["5512", 5513],
        "age": 45,
        "count": 45,
        "flag": True,
        "unknown": 4711,
    }
    redacted = redact_document(document, Entries.empty(HANDLE), LAYERS, "any")

    names = {key: re.findall(r"\[([A-Z]+)_", str(value)) for key, value in redacted.document.items()}
    assert {
        "account": ["ACCOUNT"],
        "customerId": ["ID"],
        "patient_record": ["RECORD", "RECORD"],
        "age": ["AGE"],
        "count": [],
        "flag": [],
        "unknown": ["ID"],  # what is known already is replaced wherever it stands
    } == names
    assert repr(document) == repr(restore_json(redacted.document, redacted.entries))


def test_a_number_in_a_text_is_restored_as_text():
    """
    A model may write the placeholder of a number into a sentence; and a text of the same digits stays a text.
    """
    redacted = redact_document({"account": 12345678, "note": "12345678"}, Entries.empty(HANDLE), LAYERS, "any")
    [number, text] = redacted.document.values()

    assert number != text
    assert {"a": 12345678, "b": "12345678", "c": "Account 12345678."} == restore_json(
        {"a": number.lower(), "b": text, "c": f"Account {number}."}, redacted.entries
    )


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ("x" * (LENGTH_MAX + 1), FailureKind.TOO_LARGE),
        ([""] * (TEXTS_MAX + 1), FailureKind.TOO_LARGE),
    ],
)
def test_a_document_that_is_too_large_is_refused(document: Any, kind: FailureKind):
    """
    Before anything of it goes anywhere.
    """
    with pytest.raises(AttemptError) as caught:
        redact_document(document, Entries.empty(HANDLE), LAYERS, "any")

    assert kind is caught.value.kind


def test_a_document_that_is_too_deep_is_refused():
    """
    Without going down into it.
    """
    document: Any = CANARY
    for _ in range(DEPTH_MAX + 1):
        document = [document]

    with pytest.raises(AttemptError, match="nested deeper"):
        redact_document(document, Entries.empty(HANDLE), LAYERS, "any")


# --- layers that fail -----------------------------------------------------------------------------------------------


class NoVaults:
    """Vaults that hold nothing; what is written to them is written down."""

    def __init__(self) -> None:
        self.written = 0

    async def change(self, _scope: str, work: Any, **_: Any) -> tuple[Any, str, int]:
        """Have the work done on an empty vault."""
        outcome, _entries = await work(Entries.empty(HANDLE))
        self.written += 1
        return outcome, HANDLE, 1


class Missing:
    """A layer whose part cannot be loaded."""

    name = "missing"

    def find(self, text: str, language: str) -> Iterable[Span]:
        """Nothing."""
        del text, language
        raise LayerMissingError(self.name, "is not installed")


def raising(text: str) -> Iterable[Span]:
    """A layer that quotes what it fails at."""
    raise ValueError(text)


def hanging(text: str) -> Iterable[Span]:
    """A layer that does not come back in time."""
    import time  # noqa: PLC0415

    time.sleep(1.0)
    return [Span(start=0, end=len(text), type="PERSON")]


def lying(text: str) -> Iterable[Span]:
    """A layer whose spans are none of the text."""
    return [Span(start=0, end=len(text) + 1, type="PERSON")]


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (Function("raising", raising), FailureKind.CRASHED),
        (Guarded(Function("hanging", hanging), timeout_s=0.05), FailureKind.TIMEOUT),
        (Function("lying", lying), FailureKind.CRASHED),
        (Missing(), FailureKind.CRASHED),
    ],
    ids=["raises", "hangs", "gives no spans", "is missing"],
)
async def test_a_layer_that_fails_fails_the_attempt(layer: Layer, kind: FailureKind):
    """
    The error names the layer and nothing of the text; nothing is stored, and nothing comes out.
    """
    vaults = NoVaults()
    engine = RedactionEngine([Structured(), layer])
    engine.open(cast("Vaults", vaults))

    with pytest.raises(AttemptError) as caught:
        await engine.answer(work({"document": f"write to {CANARY}"}))
    await engine.aclose()

    assert kind is caught.value.kind
    assert layer.name in caught.value.message
    assert CANARY not in repr(caught.value)
    assert CANARY not in str(caught.value.__cause__)
    assert CANARY not in str(caught.value.__context__)
    assert 0 == vaults.written


class OneVault:
    """The vaults of a scope that has one."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries

    async def entries(self, _scope: str, _handle: str) -> Entries:
        """What it holds."""
        return self._entries


async def streamed(document: Any, entries: Entries) -> tuple[Any, list[str]]:
    """A document restored by an engine, and the pieces that its caller heard."""
    pieces: list[str] = []

    async def emit(piece: str) -> None:
        pieces.append(piece)

    engine = RedactionEngine(LAYERS, threads=1)
    engine.open(cast("Vaults", OneVault(entries)))
    given = RestoreInput(document=document, vault=HANDLE)
    answer = await engine.answer(
        Work(task="t", capability="restore", input=given, model="", deadline_s=10.0, emit=emit, scope="acme")
    )
    await engine.aclose()
    return msgspec.json.decode(answer.output, type=RestoreOutput), pieces


@pytest.mark.parametrize("length", [0, 1, PIECE_LENGTH - 5, PIECE_LENGTH, PIECE_LENGTH + 1, 3 * PIECE_LENGTH])
async def test_a_text_is_restored_piece_by_piece(length: int):
    """
    A long one in several pieces, wherever its placeholders lie; together they are the document of the output.
    """
    entries = Entries.empty(HANDLE).with_values({CANARY: "EMAIL", "Zoe": "PERSON"})
    marks = "".join(f"{entries.placeholder_of(entry)}, " for entry in entries)
    text = "x" * length + marks * 200
    expected = text.replace(marks, f"{CANARY}, Zoe, ")

    output, pieces = await streamed(text, entries)

    assert expected == output.document == "".join(pieces)
    assert (400, [], []) == (output.restored, output.unknown, output.missing)
    assert len(pieces) >= len(text) // PIECE_LENGTH
    assert not any("_" in piece for piece in pieces)


async def test_what_is_no_text_is_restored_in_one_piece():
    """
    The output's JSON, as for every capability that gives no text.
    """
    entries = Entries.empty(HANDLE).with_values({CANARY: "EMAIL"})
    [entry] = entries

    output, pieces = await streamed([entries.placeholder_of(entry)], entries)
    short, told = await streamed(entries.placeholder_of(entry), entries)

    assert [CANARY] == output.document == msgspec.json.decode(pieces[0])["document"]
    assert CANARY == short.document
    assert ([CANARY], 1) == (told, len(pieces))


@pytest.mark.parametrize("language", ["en", "en-GB", "DE", "any", None])
async def test_a_language_of_the_lists_is_served(language: str | None):
    """
    By its first part, in any case.
    """
    engine = RedactionEngine(LAYERS)
    engine.open(cast("Vaults", NoVaults()))

    answer = await engine.answer(work({"document": CANARY, "language": language}))
    await engine.aclose()

    output = msgspec.json.decode(answer.output, type=RedactOutput)
    assert CANARY not in output.document
    assert [("EMAIL", 1)] == [(found.type, found.count) for found in output.found]


async def test_another_language_is_refused_unless_the_caller_accepts_it():
    """
    Its names would be missed.
    """
    engine = RedactionEngine(LAYERS)
    engine.open(cast("Vaults", NoVaults()))

    with pytest.raises(AttemptError, match="--language any") as caught:
        await engine.answer(work({"document": CANARY, "language": "fi"}))
    await engine.aclose()

    assert FailureKind.BAD_INPUT is caught.value.kind


async def test_a_task_of_no_scope_is_refused():
    """
    An orchestrator that does not say whose task it is would have one tenant's vault opened for another.
    """
    engine = RedactionEngine(LAYERS)
    engine.open(cast("Vaults", NoVaults()))

    with pytest.raises(AttemptError) as caught:
        await engine.answer(work({"document": CANARY}, scope=""))
    await engine.aclose()

    assert FailureKind.REFUSED is caught.value.kind


@pytest.mark.parametrize(
    ("policy", "left"),
    [
        (RedactionPolicy(), set[str]()),
        (RedactionPolicy(off=["EMAIL"]), {CANARY}),
        (RedactionPolicy(score_min={"EMAIL": 1.0, "IP": 1.0}), set[str]()),
        (RedactionPolicy(score_min={"CASE": 0.9}), {"C-17"}),
        (RedactionPolicy(score_min={"CASE": 0.7}), set[str]()),
    ],
    ids=["every type", "one is off", "no layer is less sure", "too unsure", "sure enough"],
)
async def test_the_operators_policy_switches_types(policy: RedactionPolicy, left: set[str]):
    """
    One that is off stays in the text, and so does what a layer is less sure of than the policy asks.
    """
    text = f"{CANARY} from 192.168.17.4 about C-17"

    def unsure(given: str) -> Iterable[Span]:
        start = given.index("C-17")
        return [Span(start=start, end=start + 4, type="CASE", score=0.8)]

    engine = RedactionEngine([*LAYERS, Function("unsure", unsure)])
    engine.open(cast("Vaults", NoVaults()))

    answer = await engine.answer(msgspec.structs.replace(work({"document": text}), redaction=policy))
    await engine.aclose()

    output = msgspec.json.decode(answer.output, type=RedactOutput)
    assert left == {value for value in (CANARY, "192.168.17.4", "C-17") if value in output.document}


def work(given: dict[str, Any], *, scope: str = "acme") -> Work:
    """An attempt of `redact`."""
    decoded = msgspec.convert(given, RedactInput)
    return Work(task="t", capability="redact", input=decoded, model="", deadline_s=10.0, scope=scope)
