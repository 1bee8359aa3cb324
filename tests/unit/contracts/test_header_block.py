"""The header block as its bytes stand: read exactly, or refused; never half of it, and never as something else."""

from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotilla.contracts.errors import BadRequestError
from flotilla.contracts.header_block import BLOCK_BYTES_MAX, HEADERS_MAX, read_block
from flotilla.contracts.headers import READERS, TaskOptions, parse_headers

MARK = "kaspar"
NAMES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=":"), min_size=1, max_size=20)
VALUES = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"), min_codepoint=0x20), max_size=30).map(
    lambda text: text.strip(" ")
)
PRIVATE = (
    b"NATS/1.0\r\nNats-Msg-Id: a\r\nX-Trace: 00-12\r\nFlotilla-Data-Class: restricted\r\n"
    b"Flotilla-Label-Team: blue\r\ntraceparent: 00-1-2-01\r\n\r\n"
)

MALFORMED = {
    "space before the name": b"NATS/1.0\r\n Flotilla-Data-Class: restricted\r\n\r\n",
    "space in the name": b"NATS/1.0\r\nFlotilla-Data Class: restricted\r\n\r\n",
    "space before the colon": b"NATS/1.0\r\nFlotilla-Data-Class : restricted\r\n\r\n",
    "tab before the name": b"NATS/1.0\r\n\tFlotilla-Data-Class: restricted\r\n\r\n",
    "tab before the value": b"NATS/1.0\r\nFlotilla-Data-Class:\trestricted\r\n\r\n",
    "tab behind the value": b"NATS/1.0\r\nFlotilla-Data-Class: restricted\t\r\n\r\n",
    "not ASCII in the name": b"NATS/1.0\r\nFlotilla-Data-Class\xc2\xa0: restricted\r\n\r\n",
    "Cyrillic name": "NATS/1.0\r\nFl\u043etilla-Data-Class: restricted\r\n\r\n".encode(),
    "no colon": b"NATS/1.0\r\nFlotilla-Data-Class restricted\r\n\r\n",
    "no name": b"NATS/1.0\r\n: restricted\r\n\r\n",
    "LF for CR LF": b"NATS/1.0\r\nX: 1\nFlotilla-Data-Class: restricted\r\n\r\n",
    "LF everywhere": b"NATS/1.0\nFlotilla-Data-Class: restricted\n\n",
    "CR for CR LF": b"NATS/1.0\r\nX: 1\rFlotilla-Data-Class: restricted\r\n\r\n",
    "LF CR": b"NATS/1.0\r\nX: 1\n\rFlotilla-Data-Class: restricted\r\n\r\n",
    "folded": b"NATS/1.0\r\nFlotilla-Data-Class:\r\n restricted\r\n\r\n",
    "folded behind another": b"NATS/1.0\r\nX: 1\r\n Flotilla-Data-Class: restricted\r\n\r\n",
    "empty line in between": b"NATS/1.0\r\nX: 1\r\n\r\nFlotilla-Data-Class: restricted\r\n\r\n",
    "empty line before": b"NATS/1.0\r\n\r\nFlotilla-Data-Class: restricted\r\n\r\n",
    "NUL in the value": b"NATS/1.0\r\nFlotilla-Data-Class: restricted\x00\r\n\r\n",
    "NUL in the name": b"NATS/1.0\r\nFlotilla-Data-Class\x00: restricted\r\n\r\n",
    "DEL": b"NATS/1.0\r\nFlotilla-Data-Class: restricted\x7f\r\n\r\n",
    "escape": b"NATS/1.0\r\nX: \x1b[2J\r\nFlotilla-Data-Class: restricted\r\n\r\n",
    "C1": b"NATS/1.0\r\nX: a\xc2\x85b\r\n\r\n",
    "line separator": "NATS/1.0\r\nX: a\u2028Flotilla-Data-Class: restricted\r\n\r\n".encode(),
    "value not UTF-8": b"NATS/1.0\r\nX: \xff\xfe\r\n\r\n",
    "inline status": b"NATS/1.0 503\r\nFlotilla-Data-Class: restricted\r\n\r\n",
    "inline status alone": b"NATS/1.0 503\r\n\r\n",
    "inline header": b"NATS/1.0 Flotilla-Data-Class: restricted\r\n\r\n",
    "another version": b"NATS/1.1\r\nFlotilla-Data-Class: restricted\r\n\r\n",
    "small letters": b"nats/1.0\r\nFlotilla-Data-Class: restricted\r\n\r\n",
    "no version": b"Flotilla-Data-Class: restricted\r\n\r\n",
    "byte order mark": b"\xef\xbb\xbfNATS/1.0\r\nFlotilla-Data-Class: restricted\r\n\r\n",
    "no end": b"NATS/1.0\r\nFlotilla-Data-Class: restricted\r\n",
    "cut": b"NATS/1.0\r\nFlotilla-Data-Class: restr",
    "something behind": b"NATS/1.0\r\nX: 1\r\n\r\nFlotilla-Data-Class: restricted",
    "one byte": b"N",
    "line ends": b"\r\n\r\n",
    "too long": b"NATS/1.0\r\nX: " + b"a" * BLOCK_BYTES_MAX + b"\r\n\r\n",
    "too many": b"NATS/1.0\r\n" + b"X: 1\r\n" * (HEADERS_MAX + 1) + b"\r\n",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_block_that_is_not_of_the_form_is_refused(name: str):
    """
    Some reader would pass over the line that says `restricted`; the refusal says where, and nothing of what stood there.
    """
    with pytest.raises(BadRequestError) as refused:
        read_block(MALFORMED[name])

    assert refused.value.details["path"].startswith("header")
    assert refused.value.details["expected"]
    assert "restricted" not in str(refused.value)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=10))
def test_a_well_formed_block_is_read_as_it_was_written(headers: list[tuple[str, str]]):
    """
    In its order, doubles included, with or without a space behind the colon.
    """
    for space in ("", " ", "   "):
        lines = "".join(f"{name}:{space}{value}\r\n" for name, value in headers)

        assert read_block(f"NATS/1.0\r\n{lines}\r\n".encode()) == tuple(headers)


def test_a_message_without_headers_has_none():
    """
    Most messages are such.
    """
    assert read_block(b"") == ()
    assert read_block(b"NATS/1.0\r\n\r\n") == ()


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw: bytes):
    """
    No other exception.
    """
    try:
        headers = read_block(b"NATS/1.0\r\n" + raw)
    except BadRequestError:
        return
    assert all(name and name.isascii() and ":" not in name and not name.isspace() for name, _ in headers)


@given(
    st.integers(0, len(PRIVATE) - 1),
    st.integers(0, 2),
    st.one_of(st.binary(max_size=2), st.sampled_from([b":", b" ", b"\r\n", b"\n", b"\r", b"\x00", b"=", b"-", b""])),
)
def test_no_slip_of_a_byte_or_two_makes_restricted_data_anything_else(at: int, dropped: int, put: bytes):
    """
    Wherever it happens, the class stays what it was, or the message is refused.
    """
    slipped = PRIVATE[:at] + put + PRIVATE[at + dropped :]
    try:
        options = parse_headers(read_block(slipped))
    except BadRequestError:
        return
    assert options.data_class == "restricted"


@pytest.mark.parametrize(
    "lines",
    [
        "Flotilla-Data-Class: restricted\r\nFlotilla-Data-Class: public\r\n",
        "Flotilla-Data-Class: public\r\nFlotilla-Data-Class: restricted\r\n",
        "Flotilla-Data-Class: restricted\r\nFlotilla-Data-Class: restricted\r\n",
        "Flotilla-Data-Class: restricted\r\nflotilla-data-class: public\r\n",
        "Flotilla-Data-Class: \r\n",
        "Flotilla-Data-Class: restricted public\r\n",
        "Flotilla-Data-Class: restricted, public\r\n",
        "Flotilla-Data-Class: Restricted\r\n",
        "Flotilla-Data-Class: restricted\u200b\r\n",
        "Flotilla-Data-Class: \u00a0restricted\r\n",
        "Flotilla-Data-Class: r\u0435stricted\r\n",
        'Flotilla-Data-Class: "restricted"\r\n',
        "Flotilla-DataClass: restricted\r\n",
        "Flotilla-Data_Class: restricted\r\n",
        "Flotilla_Data_Class: restricted\r\n",
        "Flotilla.Data.Class: restricted\r\n",
        "FlotillaDataClass: restricted\r\n",
        "X-Flotilla-Data-Class: restricted\r\n",
        "Flotila-Data-Class: restricted\r\n",
        "Flotlila-Data-Clas: restricted\r\n",
        "Fl0tilla-Clss: restricted\r\n",
        "Data-Class: restricted\r\n",
        "data_class: restricted\r\n",
        "-Flotilla-Data-Class: restricted\r\n",
        "X: 1 Flotilla-Data-Class: restricted\r\n",
        "Nats-Msg-Id: a\r\nNats-Msg-Id: b\r\n",
        "Flotilla-Route: local\r\nFlotilla-Route: cloud\r\n",
        "Flotilla-Label-A: 1\r\nFlotilla-Label-A: 2\r\n",
        "traceparent: 1\r\ntraceparent: 2\r\n",
    ],
)
def test_whatever_could_have_been_meant_otherwise_is_refused(lines: str):
    """
    Doubles, spellings of the class that are none, and names that look like ours.
    """
    headers = read_block(f"NATS/1.0\r\n{lines}\r\n".encode())

    with pytest.raises(BadRequestError):
        parse_headers(headers)


@pytest.mark.parametrize(
    "lines",
    [
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=1,b=2\r\n",
        "baggage: a=1\r\nbaggage: b=2\r\n",
        "Nats-Expected-Stream: TASKS_default\r\nNats-TTL: 1h\r\n",
        'Nats-Request-Info: {"acc":"ACME","rtt":1000}\r\n',
        "X-Datadog-Trace-Id: 12\r\nUber-Trace-Id: a:b:0:1\r\nb3: 0\r\nUser-Agent: Gr\u00fc\u00dfe/1.0 (fleet)\r\n",
        "X-Empty:\r\nX-Empty-Too: \r\n",
        "Float: 1\r\nTilla: 2\r\nContent-Class: a\r\nX-Data-Classification: 3\r\n",
    ],
)
def test_headers_of_others_are_nobodys_business(lines: str):
    """
    Tracing tools, the server and other readers of the message write their own.
    """
    options = parse_headers(read_block(f"NATS/1.0\r\n{lines}\r\n".encode()))

    assert options.data_class is None
    assert options.labels == TaskOptions().labels


VALUE_OF = {
    "Nats-Msg-Id": "run-1",
    "Flotilla-Deadline-Ms": "60000",
    "Flotilla-Data-Class": "public",
    "Flotilla-Route": "local/m",
    "Flotilla-Stream": "true",
    "Flotilla-Sticky": "ann",
    "Flotilla-Cache": "use",
    "Flotilla-Approval": "e30.c2ln",
    "Flotilla-Resume": "run-1",
    "Flotilla-Accepted": "true",
    "Flotilla-Label-team": "blue",
    "traceparent": "00-1-2-01",
    "tracestate": "a=1",
}
BROKEN: Final[dict[str, Callable[[str, str], str]]] = {
    "twice": lambda name, value: f"{name}: {value}\r\n{name}: {value}\r\n",
    "twice in other capitals": lambda name, value: f"{name}: {value}\r\n{name.swapcase()}: {value}\r\n",
    "space before the name": lambda name, value: f" {name}: {value}\r\n",
    "space in the name": lambda name, value: f"{name[:4]} {name[4:]}: {value}\r\n",
    "space before the colon": lambda name, value: f"{name} : {value}\r\n",
    "no-break space": lambda name, value: f"{name}\u00a0: {value}\r\n",
    "a letter that is not ASCII": lambda name, value: f"{name.replace('a', chr(0x430))}: {value}\r\n",
    "tab": lambda name, value: f"{name}:\t{value}\r\n",
    "line separator": lambda name, value: f"{name}: {value}\u2028\r\n",
    "no colon": lambda name, value: f"{name} {value}\r\n",
    "folded": lambda name, value: f"{name}:\r\n {value}\r\n",
    "LF for CR LF": lambda name, value: f"X: 1\n{name}: {value}\r\n",
}


def test_every_header_of_ours_has_a_value_here():
    """
    Whoever adds an option has it tried in every broken form.
    """
    assert {name.lower() for name in VALUE_OF} == {*READERS, "flotilla-label-team"}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("name", VALUE_OF)
def test_every_header_of_ours_is_refused_in_every_broken_form(name: str, broken: str):
    """
    Not the privacy option alone: what is not understood as it stands is nobody's wish.
    """
    value = VALUE_OF[name]
    whole = parse_headers(read_block(f"NATS/1.0\r\n{name}: {value}\r\n\r\n".encode()))
    assert whole != TaskOptions()
    with pytest.raises(BadRequestError):
        parse_headers(read_block(f"NATS/1.0\r\n{BROKEN[broken](name, value)}\r\n".encode()))
