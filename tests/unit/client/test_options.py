"""What a caller asks for, checked before anything is sent."""

import math
from typing import Any

import msgspec
import pytest

from flotilla.client.addresses import Addresses
from flotilla.client.link import shown
from flotilla.client.options import AskOptions, encode_input, headers_of
from flotilla.contracts.capabilities import SummarizeInput
from flotilla.contracts.errors import BadRequestError


@pytest.mark.parametrize(
    "options",
    [
        {"deadline_s": 0},
        {"deadline_s": -1.0},
        {"deadline_s": math.nan},
        {"deadline_s": math.inf},
        {"data_class": "secret"},
        {"route": "Not A Pool"},
        {"cache": "maybe"},
        {"sticky": ""},
        {"sticky": " padded"},
        {"sticky": "two\r\nFlotilla-Data-Class: public"},
        {"labels": {"team": "a\nb"}},
        {"labels": {"te am": "a"}},
        {"labels": {"": "a"}},
        {"labels": {f"l{n}": "x" for n in range(17)}},
    ],
)
def test_what_the_fleet_would_refuse_is_refused_here(options: dict[str, Any]):
    """
    Line breaks would otherwise be changed by the NATS client, or make a header of their own.
    """
    with pytest.raises(BadRequestError):
        headers_of(AskOptions(**options))


def test_nothing_asked_for_needs_no_headers():
    """
    The common case costs neither side the parsing of headers.
    """
    assert headers_of(AskOptions(deadline_s=None, labels={})) is None


def test_a_deadline_is_rounded_up_to_milliseconds():
    """
    Down would make zero of a short one.
    """
    assert headers_of(AskOptions(deadline_s=0.0001)) == {"Flotilla-Deadline-Ms": "1"}


@pytest.mark.parametrize("task_id", ["seq-1", "", "a b", "a.b", "x" * 65])
def test_a_task_id_follows_the_rule_of_the_wire(task_id: str):
    """
    Ids that begin with seq- belong to the stream.
    """
    with pytest.raises(BadRequestError):
        headers_of(AskOptions(), task_id=task_id)


def test_an_input_may_be_a_mapping_a_struct_or_json():
    """
    All three are the same bytes.
    """
    expected = {"document": "x", "max_words": 3, "style": None}
    struct = SummarizeInput(document="x", max_words=3)

    for given in (expected, struct, msgspec.json.encode(expected), msgspec.Raw(msgspec.json.encode(expected))):
        assert expected == msgspec.json.decode(encode_input(given, payload_bytes_max=10_000))


def test_a_string_is_no_input():
    """
    The mistake is likely, and would travel as a JSON string.
    """
    with pytest.raises(TypeError, match="not a string"):
        encode_input("the document", payload_bytes_max=10_000)  # pyright: ignore[reportArgumentType]


def test_text_that_cannot_be_encoded_is_refused():
    """
    Before anything is sent, as every other input that the fleet cannot take.
    """
    with pytest.raises(BadRequestError, match="surrogate"):
        encode_input({"document": "\ud800"}, payload_bytes_max=10_000)


def test_subjects_of_a_tenant_and_of_the_fleet_account_differ_by_the_scope_alone():
    """
    The tenant's account maps one to the other.
    """
    tenant, admin = Addresses(None), Addresses("ACME")

    assert [tenant.ask("classify"), tenant.tasks("classify", "high"), tenant.api("status")] == [
        "ask.classify",
        "tasks.classify.high",
        "api.status",
    ]
    assert tenant.results() == "results.*.*"
    assert tenant.events() == "events.*.*"
    assert admin.ask("classify") == "scope.ACME.ask.classify"
    assert admin.events("classify") == "scope.ACME.events.classify.*"


@pytest.mark.parametrize("capability", ["", "Classify", "a.b", "a b", "*", ">", "-a"])
def test_a_capability_that_would_not_be_one_token_is_refused(capability: str):
    """
    A wildcard or a dot would reach another subject.
    """
    with pytest.raises(BadRequestError):
        Addresses(None).ask(capability)


def test_a_url_is_shown_without_its_password():
    """
    Every one of several.
    """
    assert shown("nats://u:p@a:4222,tls://t0ken@b:4222,nats://c:1") == "nats://a:4222,tls://b:4222,nats://c:1"
