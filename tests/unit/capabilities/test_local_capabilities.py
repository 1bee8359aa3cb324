"""The inputs of what redacts and restores: any JSON, and nothing that names two vaults or none."""

from typing import Any

import msgspec
import pytest

from flotilla.capabilities.catalogue import Catalogue
from flotilla.contracts.errors import BadRequestError
from flotilla.contracts.redaction import VAULT_LIFETIME_S_MAX

HANDLE = "abcdefghijklmnopqrstuvwx23"
CATALOGUE = Catalogue.load()


def decoded(name: str, given: Any) -> Any:
    """The input as intake and workers see it."""
    capability = CATALOGUE.get(name)
    assert capability is not None
    return capability.decode_input(msgspec.json.encode(given))


@pytest.mark.parametrize("document", ["Dear Ann", "", {"a": [1, None, "x"]}, [], 7, None])
def test_any_json_is_a_document(document: Any):
    """
    Its shape is kept, so whatever the caller has may come.
    """
    assert document == decoded("redact", {"document": document}).document
    assert document == decoded("restore", {"document": document, "vault": HANDLE}).document


@pytest.mark.parametrize(
    ("name", "given", "path"),
    [
        ("redact", {}, "$"),
        ("redact", {"document": "d", "vault": "../x"}, "$.vault"),
        ("redact", {"document": "d", "vault": HANDLE.upper()}, "$.vault"),
        ("redact", {"document": "d", "vault": HANDLE, "case": "c"}, "$.case"),
        ("redact", {"document": "d", "case": ""}, "$.case"),
        ("redact", {"document": "d", "lifetime_s": VAULT_LIFETIME_S_MAX + 1}, "$.lifetime_s"),
        ("restore", {"document": "d"}, "$"),
        ("restore", {"document": "d", "vault": f"{HANDLE}\n"}, "$.vault"),
        ("vault", {"action": "read"}, "$.action"),
        ("vault", {"action": "forget"}, "$"),
        ("vault", {"action": "forget", "vault": HANDLE, "case": "c"}, "$"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_path(name: str, given: Any, path: str):
    """
    Never with what stood there.
    """
    with pytest.raises(BadRequestError) as caught:
        decoded(name, given)

    assert path == caught.value.details["path"]
