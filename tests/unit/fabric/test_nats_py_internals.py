"""
The parts of nats-py that the fabric replaces, calls or reads although they are private, as they were when it was written.

nats-py is pinned to one version. After raising the pin these tests say which parts have changed and what has to be read
again; when the fabric is right with the new ones, put the new fingerprints here.
"""

import ast
import hashlib
import inspect
import tomllib
from pathlib import Path
from typing import Final

import pytest
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport
from nats.protocol.parser import Parser

import flotilla.fabric
from flotilla.testkit.manifests import REPOSITORY

FABRIC: Final = Path(flotilla.fabric.__file__).parent
OWNERS: Final[tuple[type, ...]] = (Client, Subscription, Parser, TcpTransport)

WRITING: Final = (
    "what is published is gathered in `_pending` and written by `PromptClient.write` and by nats-py's flusher"
)
READING: Final = "`_Arrivals` takes what the socket hands over before nats-py's read loop sees it"
HANDLING: Final = "`PromptClient._process_msg` stands in its place, and calls it for subscriptions that are nats-py's"
ENDING: Final = "`PromptClient.parse` ends a connection as nats-py's own read loop does"
PARSING: Final = "`WireReader` stands in the parser's place and calls the client where the parser does"
SUBSCRIBING: Final = "`PromptClient.handle` makes a subscription without nats-py's task for it"
LEAVING: Final = (
    "`groups.leave` sends the UNSUB, flushes twice and forgets the subscription itself; `PromptClient.step_out` and "
    "`step_in` write UNSUB and SUB themselves, and take it out of `_subs` meanwhile"
)
GUARDING: Final = "every subject and header passes `PromptClient._send_publish` and `_send_subscribe`"

PARTS: Final = {
    "Client.__init__": ("5e75592e0d54b241", f"{WRITING}; `_ps`, `_sid`, `_subs` and `_transport` are replaced or read"),
    "Client.publish": ("97d776c391adfd8b", GUARDING),
    "Client.request": ("5b1b97e620daed80", GUARDING),
    "Client._send_publish": ("300b534f8eabee74", f"{GUARDING}; {WRITING}"),
    "Client.subscribe": ("30bf1c4cc1c94806", SUBSCRIBING),
    "Client._send_subscribe": ("d265ae9f821a007f", f"{GUARDING}; {SUBSCRIBING}"),
    "Client._send_unsubscribe": ("457a4657eeb16510", LEAVING),
    "Client._remove_sub": ("0791939ce078f393", f"{SUBSCRIBING}; {LEAVING}"),
    "Client._send_command": ("ed57e8e86389cf94", WRITING),
    "Client._flush_pending": ("317c8d7ef54b90b7", WRITING),
    "Client._flusher": ("43957ffb357d6d94", WRITING),
    "Client._send_ping": (
        "d57b2f820443afb4",
        f"{WRITING}; its PING overtakes what is pending, so `Connection.settle` flushes twice",
    ),
    "Client.flush": ("b410d7515bcc7800", "its PING overtakes what is pending, so `Connection.settle` flushes twice"),
    "Client._read_loop": ("b44b9401f436dd0e", READING),
    "Client._process_op_err": ("d4257cb1203cdbcb", ENDING),
    "Client._attempt_reconnect": (
        "2bbc96e0f2f765ec",
        f"{SUBSCRIBING}, and a reconnect restores it from `_subs`; `_ps` is reset",
    ),
    "Client._process_connect_init": ("e1ed2da075c82ab0", f"{READING}; it starts the read loop and the flusher"),
    "Client._process_msg": ("6cff75947e97717a", HANDLING),
    "Client._build_message": ("13cbe7b7f8cbe0fb", f"{HANDLING}; `PlainClient` adds the header block to the message"),
    "Client._process_headers": (
        "fe656f61147df989",
        "`PromptClient._process_headers` gives the server's status and nothing else",
    ),
    "Client._process_ping": ("7dfc2df74827d201", PARSING),
    "Client._process_pong": ("ee4c4d01a16de074", PARSING),
    "Client._process_err": ("ceb70f44e38fa728", PARSING),
    "Client._process_info": ("ecca7bb931308fff", PARSING),
    "Parser.__init__": ("2c12c26af28f225b", PARSING),
    "Parser.reset": ("0f304f3f8691385f", PARSING),
    "Parser.parse": ("7d6165f1766cccd1", PARSING),
    "Subscription.__init__": ("2802b4167b601689", f"{SUBSCRIBING}; `_id` and `_closed` are used"),
    "Subscription._stop_processing": ("1d33b92c0ed85225", SUBSCRIBING),
    "Subscription._drain": ("e278c0ffc3ea94ce", f"{LEAVING}, because this loses messages: is that still so?"),
    "Subscription.unsubscribe": ("d33eb1b5720c9588", LEAVING),
    "TcpTransport.__init__": ("b1c1dae433b842e3", f"{READING}; `_io_reader` and `_io_writer` are read"),
    "TcpTransport.connect": ("96c97f9bad0501da", READING),
    "TcpTransport.connect_tls": ("6688ffffefa25d6b", READING),
    "TcpTransport.write": ("70127868971b6023", WRITING),
}
"""Each part, its fingerprint, and what to check when it has changed."""


def fingerprint(part: str) -> str:
    """Of a method's source; the same whatever Python runs it. "" when there is no such method."""
    owner, _, name = part.partition(".")
    method = vars(next(each for each in OWNERS if each.__name__ == owner)).get(name)
    return "" if method is None else hashlib.sha256(inspect.getsource(method).encode()).hexdigest()[:16]


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_nats_py_that_the_fabric_leans_on_is_as_it_was(part: str):
    """
    Otherwise the fabric may lose messages without any other test noticing: these are races and orders of calls.
    """
    known, check = PARTS[part]

    assert known == fingerprint(part), (
        f"nats-py's {part} has changed. Read it again: {check}. Then run tests/integration/fabric and "
        f"`flotilla bench`, and put {fingerprint(part)} here."
    )


def test_every_private_part_of_nats_py_that_the_fabric_uses_is_watched():
    """
    A method by its own fingerprint, an attribute by that of the `__init__` which makes it.
    """
    watched = {part.partition(".")[2] for part in PARTS}
    made = {name for owner in OWNERS for name in _assigned(owner)}
    used = {
        (path.name, name)
        for path in FABRIC.glob("*.py")
        for name in _private_names(ast.parse(path.read_text(encoding="utf-8")))
    }

    methods = {(file, name) for file, name in used if any(name in vars(owner) for owner in OWNERS)}
    unwatched = {(file, name) for file, name in methods if name not in watched}

    assert ("prompt_client.py", "_process_msg") in methods
    assert set[tuple[str, str]]() == unwatched, "add these methods to PARTS"
    assert {"_ps", "_sid", "_subs", "_pending", "_pending_data_size", "_flush_queue", "_transport"} <= made
    assert {"_id", "_closed", "_io_reader", "_io_writer"} <= made


def test_nats_py_is_pinned_to_the_version_that_the_fabric_was_written_for():
    """
    A range would let an installation without the lock file have parts that nobody has read.
    """
    project = tomllib.loads((REPOSITORY / "libs" / "fabric" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (pinned,) = [each for each in project["dependencies"] if each.startswith("nats-py")]
    lock = tomllib.loads((REPOSITORY / "uv.lock").read_text(encoding="utf-8"))
    (locked,) = [package["version"] for package in lock["package"] if package["name"] == "nats-py"]

    assert f"nats-py[nkeys]=={locked}" == pinned


def _private_names(tree: ast.AST) -> set[str]:
    """Attributes that are used, and methods that are defined, with one underscore."""
    found = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    found |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    return {name for name in found if name.startswith("_") and not name.startswith("__")}


def _assigned(owner: type) -> set[str]:
    """The attributes that `__init__` gives to `self`."""
    source = ast.parse(inspect.getsource(owner))
    first = next(node for node in ast.walk(source) if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    return {
        node.attr for node in ast.walk(first) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }
