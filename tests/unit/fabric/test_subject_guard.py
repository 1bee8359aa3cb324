"""Nothing that is no subject gets into a line of the protocol, and no header is two."""

import ast
import asyncio
import inspect
import re
import unicodedata
from pathlib import Path

import nats.aio.client
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotilla.fabric.errors import MalformedHeaderError, MalformedSubjectError
from flotilla.fabric.message import HeaderBlock
from flotilla.fabric.prompt_client import PromptClient
from flotilla.fabric.subject_guard import (
    HEADER_VALUE_LENGTH_MAX,
    SUBJECT_BYTES_MAX,
    check_pattern,
    check_queue,
    header_block,
    is_literal,
    literal,
)
from flotilla.fabric.wire_reader import WireReader

SUBJECTS = [
    "ask.classify",
    "_INBOX.attempts.cloud.anthropic.orchestrator-7f3a.9f1c2d3e4",
    "$JS.ACK.TASKS_default.classify_normal.1.7.7.1700000000000000000.0",
    "$KV.presence.local.local.worker-1",
    "$KV.stats.cloud.claude-4=2E5",
    "_R_.abcDEF.xyz",
    "_INBOX.Büro.東京",
]
MALFORMED = [
    "",
    ".",
    "a..b",
    ".a",
    "a.",
    "a b",
    "a\tb",
    "a\rb",
    "a\nb",
    "x 2\r\n{}\r\nPUB $KV.policy.routing 2\r\n{}",
    "a\x00",
    "a\x0bb",
    "a\x0cb",
    "a\x1b[2J",
    "a\x7f",
    "a\x85",
    "a\xa0b",
    "a\u2028",
    "a\u202e",
    "a\ud800",
    "a" * (SUBJECT_BYTES_MAX + 1),
    "é" * (SUBJECT_BYTES_MAX // 2 + 1),
]
hostile = st.text(
    st.sampled_from("a.*> \t\r\n\x00\x0b\x0c\x1b\x85\xa0\u2028\u202e\ufeff\ud800é東:") | st.characters(), max_size=40
)


class _Read:
    """What the reader hands on."""

    def __init__(self) -> None:
        self.messages: list[tuple[object, ...]] = []

    def begin_read(self) -> None: ...

    def end_read(self) -> None: ...

    async def _process_msg(self, *message: object) -> None:
        self.messages.append(message)


def read(data: bytes, *cuts: int) -> list[tuple[object, ...]]:
    """
    The messages that arrive when the server sends these bytes, in pieces.
    """
    client = _Read()

    async def parse() -> None:
        reader = WireReader(client)  # pyright: ignore[reportArgumentType]  # all of a client that it needs
        at = 0
        for cut in (*sorted(cuts), len(data)):
            await reader.parse(data[at:cut])
            at = max(at, cut)

    asyncio.run(parse())
    return client.messages


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_subject_of_the_fleet_is_one(subject: str):
    """
    What the fleet and its callers use today, whatever its letters are.
    """
    check_pattern(subject)
    assert literal(subject) == subject.encode()


@pytest.mark.parametrize("subject", [*MALFORMED, "a.*", "a.>", "*", ">", "a*", "a>b"])
def test_what_is_no_subject_is_not_published_to(subject: str):
    """
    The error's text can be logged.
    """
    with pytest.raises(MalformedSubjectError) as refused:
        literal(subject)

    assert str(refused.value).isascii()
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 1_000


@pytest.mark.parametrize("subject", [*MALFORMED, "a*", "a>", ">.a", "a.>.b", "a.**", "a.*b"])
def test_what_is_no_subject_is_not_subscribed_to(subject: str):
    """
    Wildcards stand for whole tokens, `>` only at the end.
    """
    with pytest.raises(MalformedSubjectError):
        check_pattern(subject)


@pytest.mark.parametrize("subject", [">", "*", "a.>", "*.a", "a.*.b", "a.*.>", "$KV.presence.>"])
def test_wildcards_may_be_subscribed_to(subject: str):
    """
    And nowhere be published to.
    """
    check_pattern(subject)
    assert not is_literal(subject)


@pytest.mark.parametrize("queue", ["", "a b", "a\r\nSUB x 9", "*", "a\ud800", "q" * 257])
def test_a_queue_group_is_one_token(queue: str):
    """
    It stands in the same line.
    """
    with pytest.raises(MalformedSubjectError):
        check_queue(queue)
    check_queue("orchestrators")


@given(subject=hostile, cut=st.integers(0, 60))
def test_a_subject_that_passes_is_one_word_of_the_line(subject: str, cut: int):
    """
    Whoever reads the line finds it as it was, in however many pieces it arrives.
    """
    if not is_literal(subject):
        return
    line = b"MSG %b 7 %b 4\r\nbody\r\nMSG next 8 0\r\n\r\n" % (literal(subject), literal(subject))

    assert all(subject.split("."))
    assert not any(unicodedata.category(letter)[0] in "CZ" for letter in subject)
    assert len(line.split()) == 10
    assert read(line, cut) == [(7, subject.encode(), subject.encode(), b"body", None), (8, b"next", b"", b"", None)]


@given(headers=st.dictionaries(hostile | st.from_regex(r"[A-Za-z-]{1,8}", fullmatch=True), hostile, max_size=4))
def test_headers_that_pass_are_read_as_they_were(headers: dict[str, str]):
    """
    None is two, none is more than its line, and none ends the block.
    """
    try:
        block = header_block(headers)
    except MalformedHeaderError:
        return

    assert HeaderBlock(block).fields == {name: value.strip() for name, value in headers.items()}
    assert block.count(b"\r\n") == len(headers) + 2
    assert block.count(b"\n") == block.count(b"\r") == block.count(b"\r\n")


@pytest.mark.parametrize(
    "headers",
    [
        {"A\r\nB": "c"},
        {"A: b": "c"},
        {" A": "b"},
        {"A ": "b"},
        {"": "b"},
        {"Ä": "b"},
        {"A": "b\r\nC: d"},
        {"A": "b\nC: d"},
        {"A": "b\rC"},
        {"A": "\x00"},
        {"A": "\x85"},
        {"A": "\ud800"},
        {"A": "b" * (HEADER_VALUE_LENGTH_MAX + 1)},
        {"A" * 300: "b"},
        {f"A{number}": "b" * HEADER_VALUE_LENGTH_MAX for number in range(9)},
    ],
)
def test_a_header_that_could_be_read_otherwise_is_refused(headers: dict[str, str]):
    """
    nats-py trims names and turns line ends into spaces: another header, or another value, than was meant.
    """
    with pytest.raises(MalformedHeaderError):
        header_block(headers)


@pytest.mark.parametrize(
    "name", ["Nats-Trace-Dest", "nats-trace-only", "Nats-Schedule-Target", "Nats-New-In-Some-Version"]
)
def test_a_header_that_the_server_acts_on_is_sent_only_if_the_fleet_means_it(name: str):
    """
    The server would copy, trace or schedule a message to a subject of somebody's choice, with the sender's rights.
    """
    with pytest.raises(MalformedHeaderError):
        header_block({name: "$KV.policy.routing"})
    assert b"Nats-Msg-Id: a" in header_block({"Nats-Msg-Id": "a"})


def test_nats_py_writes_subjects_in_no_other_places():
    """
    All of them pass `PromptClient`, which asks the guard; what makes the subscriptions again has had it asked.
    """
    tree = ast.parse(inspect.getsource(nats.aio.client))
    writers = {
        function.name
        for function in ast.walk(tree)
        if isinstance(function, ast.AsyncFunctionDef | ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "prot_command"
    }

    assert writers == {"_send_publish", "_send_subscribe", "_send_unsubscribe", "_attempt_reconnect"}
    for name in ("_send_publish", "_send_subscribe"):
        assert name in vars(PromptClient)


def test_no_part_of_the_product_writes_to_the_server_past_the_client():
    """
    No other module makes commands of the protocol, makes a client of its own, or writes to the client's socket.
    """
    root = Path(__file__).parents[3]
    allowed = {"prompt_client.py", "subject_guard.py", "wire_reader.py"}
    found = [
        f"{path.relative_to(root)}: {ast.unparse(node)}"
        for path in sorted([*root.glob("libs/*/src/**/*.py"), *root.glob("services/*/src/**/*.py")])
        if "testkit" not in path.parts and path.name not in allowed
        for source in [path.read_text(encoding="utf-8")]
        # Without one of these words in its text nothing of it can be found in its tree, whose walk takes long.
        if re.search(r"_send_|_pending\b|_transport\b|connect\(|NATS\(|Client\(|b[\"']", source)
        for node in ast.walk(ast.parse(source))
        if _writes(node)
    ]

    assert found == []


def _writes(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr in {"_send_command", "_pending", "_transport", "_send_publish", "_send_subscribe"}
    if isinstance(node, ast.Call):
        return ast.unparse(node.func) in {"nats.connect", "NATS", "Client"} and bool(node.args or node.keywords)
    return (
        isinstance(node, ast.Constant) and isinstance(node.value, bytes) and node.value.startswith((b"PUB ", b"SUB "))
    )
