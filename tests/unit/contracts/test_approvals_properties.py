"""Grants: what is signed is what may go, and nothing that differs from it in anything."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotilla.contracts.approvals import Grant, Payload, flaw_of, payload_digest, read_grant
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.headers import APPROVAL_LENGTH_MAX
from flotilla.fabric.approver_keys import ApproverKey, is_public_key, is_signed, new_approver_seed
from flotilla.fabric.seed_files import public_key_of
from flotilla.provisioning.credentials import new_seed

KEY = ApproverKey(new_approver_seed())
NOW = 1_800_000_000_000
BODY = b'{"document":"a contract","labels":["x","y"]}'
PAYLOAD = Payload(scope="acme", capability="classify", data_class="internal", zone="cloud", input=BODY)
GRANT = Grant(
    scope="acme",
    capability="classify",
    data_class="internal",
    zones=["cloud"],
    input_sha256=payload_digest(BODY),
    expires_unix_ms=NOW + 1,
    nonce="0" * 32,
    approver=KEY.public_key,
)
TOKEN = KEY.sign(GRANT)

SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.floats(-1e9, 1e9)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)


def shuffled(value: Any) -> Any:
    """The same JSON with the keys of its objects the other way round."""
    if isinstance(value, dict):
        return {key: shuffled(item) for key, item in reversed(list(value.items()))}  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return [shuffled(item) for item in value] if isinstance(value, list) else value  # pyright: ignore[reportUnknownVariableType]


def test_what_was_granted_may_go():
    """
    The signature is good, and there is no flaw; nor with keys in another order.
    """
    read = read_grant(TOKEN)

    assert read.grant == GRANT
    assert is_signed(read)
    assert flaw_of(read.grant, PAYLOAD, now_unix_ms=NOW) is None
    other = msgspec.structs.replace(PAYLOAD, input=b'{ "labels": ["x", "y"], "document": "a contract" }')
    assert flaw_of(read.grant, other, now_unix_ms=NOW) is None


@pytest.mark.parametrize(
    ("change", "flaw"),
    [
        ({"scope": "umbrella"}, "it is for the scope acme, not umbrella"),
        ({"scope": ""}, "it is for the scope acme, not none"),
        ({"capability": "summarize"}, "it is for the capability classify, not summarize"),
        ({"data_class": "public"}, "it is for the data class internal, not public"),
        ({"data_class": "restricted"}, "it is for the data class internal, not restricted"),
        ({"zone": "local"}, "it does not allow the local zone"),
        ({"input": b'{"document":"A contract","labels":["x","y"]}'}, "it is for another input"),
        ({"input": b'{"document":"a contract","labels":["y","x"]}'}, "it is for another input"),
        ({"input": b'{"document":"a contract","labels":["x","y"],"more":1}'}, "it is for another input"),
        ({"input": b'{"document":"a contract","labels":["x","y"],"document":"b"}'}, "it is for another input"),
        ({"input": BODY[:-1]}, "it is for another input"),
        ({"input": b'{"n":' + b"9" * 400 + b"}"}, "it is for another input"),
    ],
)
def test_whatever_differs_from_what_was_granted_is_a_flaw(change: dict[str, Any], flaw: str):
    """
    Edited after it was shown, or used for another run's input, scope, class or zone.
    """
    assert flaw_of(GRANT, msgspec.structs.replace(PAYLOAD, **change), now_unix_ms=NOW) == flaw


def test_a_grant_is_good_until_it_expires():
    """
    The moment itself is too late.
    """
    assert flaw_of(GRANT, PAYLOAD, now_unix_ms=NOW) is None
    assert flaw_of(GRANT, PAYLOAD, now_unix_ms=NOW + 1) == "it has expired"


@given(JSON, JSON)
def test_two_inputs_have_one_digest_exactly_when_they_are_the_same_json(one: Any, other: Any):
    """
    Whatever the order of keys and the white space.
    """
    first = payload_digest(json.dumps(one).encode())

    assert first == payload_digest(json.dumps(shuffled(one), indent=1, ensure_ascii=False).encode())
    assert (first == payload_digest(json.dumps(other).encode())) == (
        json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    )


@given(st.integers(0, len(TOKEN) - 1), st.characters(codec="ascii"))
def test_a_grant_with_another_character_is_none_or_the_same(at: int, character: str):
    """
    It does not decode, its signature is wrong, or it is the very claims that were signed.
    """
    changed = TOKEN[:at] + character + TOKEN[at + 1 :]
    try:
        read = read_grant(changed)
    except DecodeFailedError:
        return
    assert not is_signed(read) or read.grant == GRANT


@given(st.integers(0, len(TOKEN) - 1))
def test_a_grant_that_was_cut_is_none(length: int):
    """
    Wherever it was cut.
    """
    with pytest.raises(DecodeFailedError):
        read_grant(TOKEN[:length])


@given(st.text(max_size=APPROVAL_LENGTH_MAX + 10))
def test_whatever_comes_in_a_grants_place_is_refused_as_none(text: str):
    """
    With one error, whatever it is.
    """
    with pytest.raises(DecodeFailedError):
        read_grant(text)


@pytest.mark.parametrize("more", [{"model": "x"}, {"format": 2}, {"zones": []}, {"zones": ["moon"]}, {"nonce": "1"}])
def test_a_grant_that_says_what_is_not_understood_is_none(more: dict[str, Any]):
    """
    It might narrow what is allowed, though its signature is good.
    """
    claims = msgspec.json.encode({**msgspec.to_builtins(GRANT), **more})
    text = KEY.sign(msgspec.Raw(claims))  # pyright: ignore[reportArgumentType]  # encodes as it is
    with pytest.raises(DecodeFailedError):
        read_grant(text)


def test_a_grant_in_anothers_name_is_not_signed():
    """
    Who signs is who the grant says.
    """
    assert not is_signed(read_grant(ApproverKey(new_approver_seed()).sign(GRANT)))


def test_approvers_and_connections_have_keys_of_different_kinds():
    """
    No client connects with an approver's, so no server has a grant signed as a nonce; nor is a user's key taken here.
    """
    seed, user_seed = new_approver_seed(), new_seed()

    with pytest.raises(ValueError, match="not the seed of a user"):
        public_key_of(seed)
    with pytest.raises(ValueError, match="begins with SA"):
        ApproverKey(user_seed)
    assert is_public_key(ApproverKey(seed).public_key)
    assert not is_public_key(public_key_of(user_seed))


@given(st.integers(0, 55), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567a1 "))
def test_a_public_key_with_another_character_is_none(at: int, character: str):
    """
    Its checksum finds a slip before a worker refuses everything.
    """
    changed = KEY.public_key[:at] + character + KEY.public_key[at + 1 :]

    assert is_public_key(changed) == (changed == KEY.public_key)
