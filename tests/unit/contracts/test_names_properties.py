"""Names and tokens, for any text that the world may bring."""

import re
import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotilla.contracts.errors import BadRequestError
from flotilla.contracts.names import (
    is_name,
    is_replica,
    is_scope,
    is_stored_task_id,
    is_task_id,
    name_of,
    task_id_of,
    token_of,
)

TOKEN = re.compile(r"[-=_A-Za-z0-9]*")
TASK_ID_LETTERS = string.ascii_letters + string.digits + "_-"


@given(st.text())
def test_any_name_survives_its_encoding(name: str):
    """
    Encoded, it is one token of a subject and a legal part of a KV key; decoded, it is what it was.
    """
    token = token_of(name)

    assert TOKEN.fullmatch(token)
    assert name_of(token) == name


@given(st.text(), st.text())
def test_two_names_never_share_a_token(one: str, other: str):
    """
    Statistics of one model are never those of another.
    """
    assert (token_of(one) == token_of(other)) == (one == other)


@given(st.text(alphabet=TASK_ID_LETTERS, min_size=1, max_size=64))
def test_names_of_the_safe_alphabet_stand_for_themselves(name: str):
    """
    What need not be encoded stays readable.
    """
    assert token_of(name) == name


@given(st.text())
def test_what_is_no_encoding_is_refused_not_guessed(token: str):
    """
    Decoding gives a name whose encoding decodes to the same, or a ValueError.
    """
    try:
        name = name_of(token)
    except ValueError:
        return
    assert name_of(token_of(name)) == name


@given(st.text())
def test_a_name_that_is_accepted_is_safe_in_a_subject(text: str):
    """
    No dot, no wildcard, no space, no line end gets through any of the rules.
    """
    for accepts in (is_name, is_scope, is_replica, is_task_id, is_stored_task_id):
        if accepts(text):
            assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text)


@pytest.mark.parametrize("accepts", [is_name, is_scope, is_replica, is_task_id, is_stored_task_id])
@pytest.mark.parametrize("text", ["", "a\n", "\na", "a.b", "a b", "*", ">", "\uff41", "a\x00", "a" * 65, "é"])
def test_no_rule_takes_what_breaks_a_subject(accepts: Callable[[str], bool], text: str):
    """
    The line end after a name is the one that a careless pattern lets through.
    """
    assert not accepts(text)


@given(st.text(), st.integers(min_value=1, max_value=2**63))
def test_a_task_id_is_the_given_one_or_the_sequence(given_id: str, sequence: int):
    """
    A derived id can be told from a given one, whatever is given.
    """
    assert task_id_of(None, sequence) == f"seq-{sequence}"
    assert not is_task_id(f"seq-{sequence}")
    if is_task_id(given_id):
        assert task_id_of(given_id, sequence) == given_id
    else:
        with pytest.raises(BadRequestError) as refused:
            task_id_of(given_id, sequence)
        assert refused.value.details["path"] == "header Nats-Msg-Id"
