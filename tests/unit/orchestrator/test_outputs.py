"""Outputs of workers, looked at again: what a capability gives passes as it is, anything else is a failed attempt."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotilla.capabilities.catalogue import Catalogue
from flotilla.contracts.attempts import Failed, Finished, Usage, decode_reply, encode
from flotilla.contracts.capabilities import BUILT_IN
from flotilla.contracts.failures import FailureKind
from orchestrator.state.outputs import Outputs

SECRET = "top-secret-word"  # noqa: S105  # stands for text of a document
GOOD: dict[str, list[Any]] = {
    "classify": [{"label": "a", "confidence": 0.5}, {"labels": [], "confidence": 1, "rationale": "none"}],
    "extract-entities": [{"entities": []}, {"entities": [{"type": "person", "text": "Åsa 😀", "start": 3, "end": 8}]}],
    "summarize": [{"summary": "short"}, {"summary": "short", "of_a_later_version": [1, 2]}],
    "synthesize": [{"report": "long"}],
    "translate": [{"text": "hola", "source": "en"}],
    "embed": [{"vectors": [[0.5, 1, -2e-7]], "dimensions": 3}, {"vectors": [], "dimensions": 1}],
    "generate-code": [{"code": "x = 1", "language": "python"}],
    "reason": [{"answer": "because"}],
    "chat": [{"message": {"role": "assistant", "content": ""}}],
    "triage": [{"queue": "billing"}],
    "of-its-workers-only": [{"any": "thing"}, [1, None, "x"], "text", 7],
}
BAD: dict[str, list[Any]] = {
    "classify": [
        {"label": SECRET},
        {"confidence": 1},
        {"label": "a", "labels": ["a"], "confidence": 1},
        {"label": "a", "confidence": 1.5},
        {"label": "a", "confidence": SECRET},
        {"label": 1, "confidence": 1},
        {"labels": [SECRET, None], "confidence": 1},
        [SECRET],
        None,
    ],
    "extract-entities": [
        {"entities": SECRET},
        {"entities": [{"type": "person", "text": "Ann", "start": 0, "end": 4}]},
        {"entities": [{"type": "person", "text": "Ann", "start": -1, "end": 2}]},
        {"entities": [{"type": "person", "text": "", "start": 0, "end": 0}]},
    ],
    "summarize": [{"summary": " \n"}, {"summary": ""}, {"summary": [SECRET]}, {SECRET: SECRET}],
    "synthesize": [{"report": {}}],
    "translate": [{"text": "hola"}, {"text": "hola", "source": ""}],
    "embed": [
        {"vectors": [[1.0]], "dimensions": 2},
        {"vectors": [[1.0], [1.0, 2.0]], "dimensions": 1},
        {"vectors": [["1.0"]], "dimensions": 1},
        {"vectors": [[1e308, 1e308]], "dimensions": 2},
        {"vectors": [], "dimensions": 0},
    ],
    "generate-code": [{"code": "", "language": "python"}],
    "reason": [{"answer": None}],
    "chat": [{"message": {"role": "system", "content": SECRET}}, {"message": SECRET}],
    "triage": [{"queue": SECRET}, {}, [], {"queue": "billing", SECRET: 1}],
}
UNREADABLE = [b"1e999", b"9" * 5_000, b'{"x":-1e999}']


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    """
    By the built-in capabilities and one of a user's own.
    """
    folder: Path = tmp_path_factory.mktemp("capabilities")
    text = """
    name = "triage"
    [input]
    type = "object"
    [output]
    type = "object"
    required = ["queue"]
    additionalProperties = false
    [output.properties.queue]
    enum = ["billing", "technical"]
    """
    (folder / "triage.toml").write_text(text)
    return Outputs(Catalogue.load(folder))


def checked(outputs: Outputs, capability: str, output: bytes) -> Finished | Failed:
    """What becomes of an output that a reply brought."""
    finished = Finished(
        output=msgspec.Raw(output), usage=Usage(input_tokens=3), provider="p", model="m", replica="thief"
    )
    return outputs.checked(finished, capability=capability, pool="p")


@pytest.mark.parametrize("capability", [*BUILT_IN, "triage", "of-its-workers-only"])
def test_an_output_of_its_capability_passes_as_it_came(outputs: Outputs, capability: str):
    """
    However it is written: not a byte of it is changed.
    """
    for output in GOOD[capability]:
        for body in (msgspec.json.encode(output), json.dumps(output, indent=2).encode()):
            taken = checked(outputs, capability, body)
            assert isinstance(taken, Finished), (output, taken)
            assert body == bytes(taken.output)


@pytest.mark.parametrize("capability", [*BUILT_IN, "triage"])
def test_an_output_of_anything_else_is_a_failure(outputs: Outputs, capability: str):
    """
    It says where, never what stood there; the tokens were spent all the same, and it can be sent on.
    """
    for output in BAD[capability]:
        failed = checked(outputs, capability, msgspec.json.encode(output))
        assert isinstance(failed, Failed), output
        assert FailureKind.INVALID_OUTPUT is failed.kind
        assert (3, "thief") == (failed.usage.input_tokens, failed.replica)
        assert SECRET not in failed.message
        assert failed == decode_reply(encode(failed))


@pytest.mark.parametrize("number", UNREADABLE, ids=lambda number: number[:8].decode())
@pytest.mark.parametrize("capability", GOOD)
def test_a_number_that_nobody_can_read_is_a_failure(outputs: Outputs, capability: str, number: bytes):
    """
    Also where the capability says nothing of the field, or nothing is known of the capability.
    """
    first = GOOD[capability][0]
    body = msgspec.json.encode(first)[:-1] + b',"extra":' + number + b"}"

    assert isinstance(checked(outputs, capability, body), Failed)
    assert isinstance(checked(outputs, capability, number), Failed)


FIELDS = sorted(set(re.findall(r'"([a-z_]+)":', json.dumps(GOOD))))
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(FIELDS) | st.text(), inner),
    max_leaves=12,
)
"""Any, and now and then of the fields that capabilities have."""


@given(st.sampled_from(sorted(GOOD)), JSON | st.sampled_from([output for each in GOOD.values() for output in each]))
def test_whatever_passes_is_an_output_of_the_capability(outputs: Outputs, capability: str, output: Any):
    """
    And whatever does not is a failure, not an exception.
    """
    body = json.dumps(output).encode()
    try:
        decode_reply(b'{"type":"finished","provider":"p","model":"m","output":%b}' % body)
    except Exception:  # noqa: BLE001  (a lone surrogate: refused before)
        return
    taken = checked(outputs, capability, body)

    if isinstance(taken, Finished):
        msgspec.json.decode(body)
        if capability in BUILT_IN:
            msgspec.json.decode(body, type=BUILT_IN[capability][1])
    else:
        assert FailureKind.INVALID_OUTPUT is taken.kind
