"""The catalogue: what goes in is checked, what comes out is valid, and complaints never quote a document."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flotilla.capabilities.capability import Capability
from flotilla.capabilities.catalogue import Catalogue
from flotilla.capabilities.errors import AttemptError, CatalogueError
from flotilla.contracts.capabilities import BUILT_IN, ClassifyInput, EmbedOutput, Entity, ExtractEntitiesOutput
from flotilla.contracts.errors import BadRequestError
from flotilla.contracts.failures import FailureKind
from flotilla.contracts.redaction import LOCAL_CAPABILITIES
from flotilla.inference.prompts import has_prompt, prompt_of

SECRET = "top-secret-word"  # noqa: S105  # stands for text of a document
BUILT_INS = Catalogue.load()


def known(name: str, catalogue: Catalogue = BUILT_INS) -> Capability:
    found = catalogue.get(name)
    assert found is not None
    return found


def refusal(name: str, raw: bytes) -> BadRequestError:
    with pytest.raises(BadRequestError) as caught:
        known(name).decode_input(raw)
    assert SECRET not in str(caught.value)
    assert SECRET not in str(caught.value.details)
    return caught.value


def output(name: str, given: dict[str, Any], made: Any) -> Any:
    capability = known(name)
    return msgspec.json.decode(
        capability.check_output(capability.decode_input(msgspec.json.encode(given)), made),
    )


def complaint(name: str, given: dict[str, Any], made: Any) -> str:
    with pytest.raises(AttemptError) as caught:
        output(name, given, made)
    assert caught.value.kind is FailureKind.INVALID_OUTPUT
    return caught.value.message


def test_every_built_in_capability_is_there() -> None:
    """The catalogue and the wire name the same capabilities."""
    assert frozenset({**BUILT_IN, **LOCAL_CAPABILITIES}) == BUILT_INS.names()


def test_an_input_becomes_its_struct() -> None:
    """Intake and workers see types, not dicts."""
    given = known("classify").decode_input(msgspec.Raw(b'{"document":"d","labels":["a"],"unknown":1}'))

    assert ClassifyInput(document="d", labels=["a"]) == given


@pytest.mark.parametrize(
    ("name", "raw", "path"),
    [
        ("classify", b'{"document":"top-secret-word"', "$"),
        ("classify", b"", "$"),
        ("classify", b'["top-secret-word"]', "$"),
        ("classify", b'{"document":"top-secret-word\xff","labels":["a"]}', "$"),
        ("classify", b'{"document":{"top-secret-word":1},"labels":["a"]}', "$.document"),
        ("classify", b'{"document":"top-secret-word","labels":[7]}', "$.labels[0]"),
        ("classify", b'{"document":"top-secret-word","labels":["a","a"]}', "$.labels[1]"),
        ("classify", b'{"document":"top-secret-word","labels":["a"," "]}', "$.labels[1]"),
        ("classify", b'{"document":" \\n","labels":["a"]}', "$.document"),
        ("summarize", b'{"document":"top-secret-word","max_words":0}', "$.max_words"),
        ("synthesize", b'{"sources":["x",{"title":"top-secret-word","text":" "}]}', "$.sources[1].text"),
        ("embed", b'{"texts":["top-secret-word",""]}', "$.texts[1]"),
        ("chat", b'{"messages":[{"role":"top-secret-word","content":"x"}]}', "$.messages[0].role"),
        ("chat", b'{"messages":[{"role":"system","content":"top-secret-word"}]}', "$.messages"),
        ("extract-entities", b'{"document":"x","types":[""]}', "$.types[0]"),
    ],
)
def test_a_bad_input_is_refused_with_its_place_and_without_its_text(name: str, raw: bytes, path: str) -> None:
    """A caller learns where and what was expected; nobody learns the document."""
    error = refusal(name, raw)

    assert path == error.details["path"]
    assert error.details["expected"]


def test_json_nested_without_end_is_a_bad_request() -> None:
    """A deep nesting is the caller's mistake, not a crash."""
    deep = b'{"document":"x","labels":["a"],"more":' + b"[" * 200_000 + b"]" * 200_000 + b"}"

    error = refusal("classify", deep)

    assert "too deeply" in error.details["expected"]


def test_an_error_carries_no_cause_that_quotes_the_input() -> None:
    """Tracebacks are logged with their causes, and the libraries' own texts quote values."""
    error = refusal("classify", b'{"document":7,"labels":["top-secret-word"]}')

    assert error.__suppress_context__


def test_a_label_in_other_capitals_is_mended() -> None:
    """The intention is beyond doubt."""
    made = output("classify", {"document": "d", "labels": ["Billing", "b"]}, {"label": " billing", "confidence": 1})

    assert {"label": "Billing", "confidence": 1.0} == made


@pytest.mark.parametrize(
    "made",
    [
        {"label": "other", "confidence": 0.5},
        {"labels": ["Billing", "b"], "confidence": 0.5},
        {"confidence": 0.5},
        {"label": "b", "confidence": 1.5},
        {"label": "b"},
        "b",
    ],
)
def test_a_classification_outside_the_labels_is_invalid(made: Any) -> None:
    """A label that the caller did not give never reaches them."""
    assert complaint("classify", {"document": "d", "labels": ["Billing", "b"]}, made)


def test_a_label_that_fits_two_in_other_capitals_is_invalid() -> None:
    """What is ambiguous is not mended."""
    assert "$.label" in complaint(
        "classify", {"document": "d", "labels": ["Billing", "BILLING"]}, {"label": "billing", "confidence": 1}
    )


def test_multi_gives_a_list_with_each_label_once() -> None:
    """One label and many have one form each."""
    given = {"document": "d", "labels": ["a", "b"], "multi": True}

    assert {"labels": ["b", "a"], "confidence": 0.5} == output(
        "classify", given, {"labels": ["b", "a", "B"], "confidence": 0.5}
    )
    assert {"labels": ["a"], "confidence": 0.5} == output("classify", given, {"label": "a", "confidence": 0.5})
    assert {"labels": [], "confidence": 0.5} == output("classify", given, {"labels": [], "confidence": 0.5})
    assert complaint("classify", given, {"confidence": 0.5})


def entities(*found: tuple[str, str, int, int]) -> ExtractEntitiesOutput:
    return ExtractEntitiesOutput(
        entities=[Entity(type=kind, text=text, start=start, end=end) for kind, text, start, end in found]
    )


def test_wrong_offsets_are_put_right_in_characters() -> None:
    """Models count badly; offsets are in code points, so an emoji before the entity counts as one."""
    document = "😀 Ann met Annual Corp and\nAnn again."

    made = output(
        "extract-entities",
        {"document": document},
        entities(("person", "Ann", 0, 0), ("person", "Ann", 99, 102), ("org", "annual corp", 0, 3)),
    )

    assert [("Ann", 2), ("Annual Corp", 10), ("Ann", 26)] == [(e["text"], e["start"]) for e in made["entities"]]
    assert all(document[e["start"] : e["end"]] == e["text"] for e in made["entities"])


def test_a_whole_word_is_meant_before_a_part_of_one() -> None:
    """The first "Ann" that stands there is not an Ann."""
    made = output("extract-entities", {"document": "McAnn met Ann."}, entities(("person", "Ann", 0, 0)))

    assert [10] == [entity["start"] for entity in made["entities"]]


def test_a_text_over_a_line_break_is_found() -> None:
    """Models join broken lines; the document's own text is what comes out."""
    made = output("extract-entities", {"document": "by Ann\n  Lee."}, entities(("person", "Ann Lee", 0, 7)))

    assert [{"type": "person", "text": "Ann\n  Lee", "start": 3, "end": 12}] == made["entities"]


def test_a_few_invented_entities_are_left_out_and_many_fail_the_output() -> None:
    """An entity that stands nowhere has no offsets; an answer that is mostly such is made up."""
    few = output("extract-entities", {"document": "Ann and Bob"}, entities(("p", "Ann", 0, 3), ("p", "Carl", 0, 4)))

    assert ["Ann"] == [entity["text"] for entity in few["entities"]]
    assert "$.entities[1].text" in complaint(
        "extract-entities",
        {"document": "Ann and Bob"},
        entities(("p", "Ann", 0, 3), ("p", "Carl", 0, 4), ("p", "Dora", 0, 4)),
    )


def test_only_the_types_asked_for_come_out() -> None:
    """`types` narrows, and is spelt as the caller spelt it."""
    made = output(
        "extract-entities",
        {"document": "Ann in Rome", "types": ["Person"]},
        entities(("person", "Ann", 0, 3), ("city", "Rome", 7, 11)),
    )

    assert [{"type": "Person", "text": "Ann", "start": 0, "end": 3}] == made["entities"]


@pytest.mark.parametrize(
    ("vectors", "dimensions"),
    [([[1.0]], 1), ([[1.0], [1.0, 2.0]], 1), ([[1.0], [float("nan")]], 1), ([[1.0], [float("inf")]], 1)],
)
def test_vectors_that_do_not_match_the_texts_are_invalid(vectors: list[list[float]], dimensions: int) -> None:
    """One vector per text, of one length, of numbers that JSON has."""
    given = {"texts": ["a", "b"]}

    assert complaint("embed", given, EmbedOutput(vectors=vectors, dimensions=dimensions))
    assert complaint("embed", given, {"vectors": vectors, "dimensions": dimensions})
    assert output("embed", given, EmbedOutput(vectors=[[1.0], [2.0]], dimensions=1))


@pytest.mark.parametrize(
    ("name", "given", "made"),
    [
        ("summarize", {"document": "d"}, {"summary": " \n"}),
        ("synthesize", {"sources": ["d"]}, {"report": ""}),
        ("translate", {"text": "d", "target": "de"}, {"text": "x", "source": " "}),
        ("reason", {"question": "d"}, {"answer": "\t"}),
        ("generate-code", {"instruction": "d", "language": "go"}, {"code": "", "language": "go"}),
        ("chat", {"messages": [{"role": "user", "content": "x"}]}, {"message": {"role": "user", "content": "x"}}),
        ("summarize", {"document": "d"}, {"summary": object()}),
        ("summarize", {"document": "d"}, {"summary": "\ud800"}),
        ("summarize", {"document": "d"}, None),
    ],
)
def test_outputs_without_an_answer_are_invalid(name: str, given: dict[str, Any], made: Any) -> None:
    """Blank text, the wrong speaker, and what is no JSON are no answers."""
    assert complaint(name, given, made)


def test_json_that_was_validated_already_passes_unread() -> None:
    """`Raw` is how a backend says that it has checked."""
    assert b"anything" == bytes(known("summarize").check_output(None, msgspec.Raw(b"anything")))


FILE = """
name = "score"
text_field = "verdict"
[input]
type = "object"
required = ["text", "scale"]
additionalProperties = false
properties = { text = { type = "string" }, scale = { type = "integer", maximum = 10 } }
[output]
type = "object"
properties = { verdict = { type = "string", minLength = 1 } }
[prompt]
system = 'Scale {scale}. Write {"like": "this"} or {{text}}.'
user = "<t>{text}</t>{missing_brace"
[defaults]
scale = 5
"""


def written(tmp_path: Path, content: str, name: str = "score.toml") -> Path:
    file = tmp_path / name
    file.write_text(content, encoding="utf-8")
    return file


def test_a_users_capability_validates_fills_in_defaults_and_asks(tmp_path: Path) -> None:
    """A TOML file is a whole capability; braces in a document stay what they are."""
    written(tmp_path, FILE)
    (tmp_path / "notes.txt").write_text("not a capability")
    capability = known("score", Catalogue.load(tmp_path))

    given = capability.decode_input(b'{"text":"a {scale} {text} }{"}')
    prompt = prompt_of(capability, given, streaming=True)

    assert {"text": "a {scale} {text} }{", "scale": 5} == given
    assert 'Scale 5. Write {"like": "this"} or {text}.' == prompt.system
    assert "<t>a {scale} {text} }{</t>{missing_brace" == prompt.turns[0].content
    assert b'{"verdict":"good"}' == bytes(capability.check_output(given, {"verdict": "good"}))


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b'{"text":"x","scale":11}', "$.scale"),
        (b'{"text":"x","top-secret-word":1}', "$"),
        (b'{"scale":1}', "$"),
        (b"[]", "$"),
        (b'{"text"', "$"),
        (b'{"text":"x","more":' + b"[" * 200_000, "$"),
    ],
)
def test_a_users_schema_refuses_with_a_path_and_without_the_text(tmp_path: Path, raw: bytes, path: str) -> None:
    """A user's own schema complains like a built-in type."""
    capability = known("score", Catalogue.load([written(tmp_path, FILE)]))

    with pytest.raises(BadRequestError) as caught:
        capability.decode_input(raw)

    assert path == caught.value.details["path"]
    assert SECRET not in str(caught.value)


def test_a_value_that_breaks_a_rule_is_not_quoted(tmp_path: Path) -> None:
    """Enum, pattern and key complaints of schema libraries quote; these do not."""
    schema = """
name = "closed"
[input]
type = "object"
properties = { kind = { enum = ["x"] }, map = { type = "object", additionalProperties = { type = "integer" } } }
[output]
type = "object"
"""
    capability = known("closed", Catalogue.load(written(tmp_path, schema)))

    with pytest.raises(BadRequestError) as by_value:
        capability.decode_input(b'{"kind":"top-secret-word"}')
    with pytest.raises(BadRequestError) as by_key:
        capability.decode_input(b'{"map":{"top-secret-word":"x"}}')

    assert 'expected `enum` ["x"]' == by_value.value.details["expected"]
    assert "$.map[...]" == by_key.value.details["path"]
    assert SECRET not in f"{by_value.value}{by_key.value}"


def test_a_users_output_is_checked_as_it_goes_out(tmp_path: Path) -> None:
    """What is validated are the bytes, so a NaN that JSON turns into null does not pass."""
    schema = '\n[output]\ntype = "object"\nproperties = { score = { type = "number" } }\n'
    content = f'name = "num"\n[input]\ntype = "object"{schema}'
    capability = known("num", Catalogue.load(written(tmp_path, content)))

    class Scored(msgspec.Struct):
        score: float

    with pytest.raises(AttemptError) as caught:
        capability.check_output({}, {"score": float("nan")})

    assert "$.score" in caught.value.message
    assert b'{"score":0.5}' == bytes(capability.check_output({}, Scored(score=0.5)))


@pytest.mark.parametrize(
    ("before", "after", "key"),
    [
        ('name = "score"', 'name = "Score it"', "name"),
        ('name = "score"', 'name = "classify"', "name"),
        ('name = "score"', 'name = "redact"', "name"),
        ('name = "score"', "", "name"),
        ('name = "score"', 'name = "score"\nnmae = 1', "nmae"),
        ('text_field = "verdict"', 'text_field = "scale"', "text_field"),
        ("[output]\n", '[output]\nrequired = ["other"]\n', "text_field"),
        ('[input]\ntype = "object"', '[input]\ntype = "array"', "input.type"),
        ('verdict = { type = "string", minLength = 1 }', 'verdict = { type = "sting" }', "output"),
        ('text = { type = "string" }', 'text = { "$ref" = "http://localhost/x" }', "input"),
        ("<t>{text}</t>", "<t>{txet}</t>", "prompt.user"),
        ("Scale {scale}", "Scale {sacle}", "prompt.system"),
        ("[prompt]", "[prompt]\nsytem = 1", "prompt"),
        ("[prompt]", "[prompt]\nmax_output_tokens = 0", "prompt.max_output_tokens"),
        ("scale = 5", "scale = 11", "defaults.scale"),
        ("scale = 5", "slace = 5", "defaults.slace"),
        ("[defaults]", "[defaults", "expected TOML"),
    ],
)
def test_a_mistake_in_a_file_names_the_file_and_the_key(tmp_path: Path, before: str, after: str, key: str) -> None:
    """Somebody who writes a capability can find what is wrong with it."""
    assert before in FILE
    file = written(tmp_path, FILE.replace(before, after))

    with pytest.raises(CatalogueError) as caught:
        Catalogue.load(file)

    # One that is missing, or that nobody knows at the top, has no line.
    place = "" if after in ("", 'name = "score"\nnmae = 1') else ":[0-9]+(:[0-9]+)?"
    assert re.match(rf"{re.escape(str(file))}{place}: .*{re.escape(key)}", str(caught.value))


def test_a_schema_that_refers_to_another_file_is_refused(tmp_path: Path) -> None:
    """Loading a catalogue reads the files it was given, and nothing else, nor the network."""
    other = tmp_path / "other.json"
    other.write_text('{"type":"string"}')
    file = written(tmp_path, FILE.replace('text = { type = "string" }', f'text = {{ "$ref" = "{other.as_uri()}" }}'))

    with pytest.raises(CatalogueError, match="input: expected a JSON Schema without references"):
        Catalogue.load(file)


def test_one_name_in_two_files_is_refused(tmp_path: Path) -> None:
    """Which of the two would serve must not depend on the order of files."""
    written(tmp_path, FILE)
    written(tmp_path, FILE, "again.toml")

    with pytest.raises(CatalogueError, match=r"score\.toml: name: score is already in .*again\.toml"):
        Catalogue.load(tmp_path)


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    """A mistyped folder is no empty catalogue."""
    with pytest.raises(CatalogueError, match="nowhere"):
        Catalogue.load(tmp_path / "nowhere")


def test_an_open_capability_takes_and_gives_any_object() -> None:
    """A handler and a name are enough for a worker of one's own."""
    catalogue = BUILT_INS.including(["mine", "classify"])
    capability = known("mine", catalogue)

    assert {"a": 1} == capability.decode_input(b'{"a":1}')
    assert b'{"b":[2]}' == bytes(capability.check_output({}, {"b": [2]}))
    assert not has_prompt(capability)
    assert known("classify", catalogue).built_in
    with pytest.raises(AttemptError):
        capability.check_output({}, [1])
    with pytest.raises(CatalogueError):
        BUILT_INS.including(["not a name"])


def test_the_examples_are_valid() -> None:
    """What users copy works."""
    catalogue = Catalogue.load(Path(__file__).parents[3] / "examples" / "capabilities")
    triage = known("triage-ticket", catalogue)

    given = triage.decode_input(b'{"subject":"s","body":"{queues}"}')

    assert {"triage-ticket", "score-sentiment", "draft-reply"} <= catalogue.names()
    assert "<ticket>\n{queues}\n</ticket>" in prompt_of(triage, given, streaming=False).turns[0].content


def test_the_catalogue_imports_neither_an_sdk_nor_an_engine() -> None:
    """Orchestrators load it, and hold no SDK."""
    script = (
        "import sys, flotilla.capabilities.catalogue\n"
        "print([name for name in sys.modules if name.split('.')[0] in {'openai', 'anthropic', 'ollama', 'nats'}"
        " or name.startswith(('flotilla.inference.engines', 'flotilla.inference.adapters'))])"
    )

    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert "[]" == found.stdout.strip()
