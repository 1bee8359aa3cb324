"""What counts as the same answer, by capability."""

from pathlib import Path

import pytest

from flotilla.capabilities.agreement import COMPARED_BYTES_MAX, agreement_key
from flotilla.capabilities.catalogue import Catalogue
from flotilla.capabilities.errors import CatalogueError

OWN = """
name = "triage"
agree_on = ["team"]
[input]
type = "object"
[output]
type = "object"
properties = { team = { type = "string" }, note = { type = "string" } }
"""
SAME = [
    ("classify", b'{"label":"a","confidence":0.4}', b'{"label":"a","confidence":0.9,"rationale":"r"}'),
    ("classify", b'{"labels":["a","b"],"confidence":1}', b'{"confidence":0.5,"labels":["b","a"]}'),
    (
        "extract-entities",
        b'{"entities":[{"type":"person","text":"Ann","start":0,"end":3},{"type":"date","text":"May","start":4,"end":7}]}',
        b'{"entities":[{"type":"date","text":"May","start":9,"end":12},{"type":"person","text":"Ann","start":0,"end":3}]}',
    ),
    ("summarize", b'{"summary":"All  is\\nwell. "}', b'{"summary":"all is well."}'),
    ("summarize", '{"summary":"caf\u00e9"}'.encode(), '{"summary":"cafe\u0301"}'.encode()),
    ("translate", b'{"text":"Hallo","source":"en"}', b'{"source":"fr","text":"hallo"}'),
    ("reason", b'{"answer":"42","rationale":"so"}', b'{"answer":"42"}'),
    ("triage", b'{"team":"ops","note":"x"}', b'{"note":"y","team":"Ops"}'),
    ("unknown", b'{"n":1,"confidence":0.1}', b'{"n":1.0,"confidence":0.7}'),
]
DIFFERENT = [
    ("classify", b'{"label":"a","confidence":0.4}', b'{"label":"b","confidence":0.4}'),
    ("classify", b'{"labels":["a"],"confidence":1}', b'{"label":"a","confidence":1}'),
    (
        "extract-entities",
        b'{"entities":[{"type":"person","text":"Ann","start":0,"end":3}]}',
        b'{"entities":[{"type":"place","text":"Ann","start":0,"end":3}]}',
    ),
    ("generate-code", b'{"code":"if a:\\n  b","language":"py"}', b'{"code":"if a:\\n b","language":"py"}'),
    ("triage", b'{"team":"ops"}', b'{"note":"ops"}'),
    ("unknown", b'{"n":[1,2]}', b'{"n":[2,1]}'),
    ("unknown", b"not JSON", b"not json"),
    ("unknown", b'"%s"' % (b"a" * COMPARED_BYTES_MAX), b'"%s"' % (b"A" * COMPARED_BYTES_MAX)),
]


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    """
    With a capability that says what it agrees on.
    """
    folder = tmp_path_factory.mktemp("capabilities")
    (folder / "triage.toml").write_text(OWN)
    return Catalogue.load(folder).including(["unknown"])


def agree(catalogue: Catalogue, name: str, one: bytes, other: bytes) -> bool:
    capability = catalogue.get(name)
    assert capability is not None
    return agreement_key(one, capability.comparison) == agreement_key(other, capability.comparison)


@pytest.mark.parametrize(("name", "one", "other"), SAME)
def test_answers_that_say_the_same_agree(catalogue: Catalogue, name: str, one: bytes, other: bytes) -> None:
    """
    However they are written, and however sure they are.
    """
    assert agree(catalogue, name, one, other)


@pytest.mark.parametrize(("name", "one", "other"), DIFFERENT, ids=range(len(DIFFERENT)))
def test_answers_that_say_something_else_do_not(catalogue: Catalogue, name: str, one: bytes, other: bytes) -> None:
    """
    Code is compared as it stands, and so is what is too long.
    """
    assert not agree(catalogue, name, one, other)


def test_a_field_to_agree_on_is_one_of_the_output(tmp_path: Path) -> None:
    """
    A misspelt one would have everything agree.
    """
    file = tmp_path / "triage.toml"
    file.write_text(OWN.replace('["team"]', '["taem"]'))

    with pytest.raises(CatalogueError) as caught:
        Catalogue.load(tmp_path)

    assert "agree_on: taem is not a property of the output (those are: note, team)" in str(caught.value)
