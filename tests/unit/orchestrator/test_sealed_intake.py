"""In the sealed lane every task is restricted."""

from typing import cast, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotilla.capabilities.catalogue import Catalogue
from flotilla.contracts.headers import DataClass
from orchestrator.ways_in.intake import Intake, Limits

CLASSES: tuple[DataClass, ...] = get_args(DataClass)


def intake(*, sealed: bool) -> Intake:
    return Intake(Catalogue.load(), Limits(payload_bytes_max=1_000_000), sealed=sealed)


@given(
    capability=st.sampled_from(["classify", "redact", "chat", "somebodys-own"]),
    said=st.none() | st.sampled_from(CLASSES),
    default=st.sampled_from(CLASSES),
)
def test_whatever_its_headers_and_the_policy_say(capability: str, said: DataClass | None, default: DataClass):
    """Nobody lowers it."""
    assert "restricted" == intake(sealed=True).data_class(capability, said, default)


@pytest.mark.parametrize("said", CLASSES)
def test_elsewhere_the_caller_says(said: str):
    """The lane alone makes the difference."""
    assert said == intake(sealed=False).data_class("classify", cast("DataClass", said), "internal")
