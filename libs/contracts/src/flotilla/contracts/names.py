"""
Names that appear in subjects and KV keys, and the reversible encoding of those that come from outside.

A NATS subject token may not hold dots, spaces, `*` or `>`; a KV key allows only `-/_=.a-zA-Z0-9`. Names that Flotilla
hands out (capabilities, pools, scopes, task ids) are restricted to a safe alphabet; names it is given (models such as
`llama3.1:8b`) are encoded.
"""

import re

from flotilla.contracts.errors import BadRequestError

NAME_LENGTH_MAX = 63
TASK_ID_LENGTH_MAX = 64
SEQUENCE_ID_PREFIX = "seq-"
UNKNOWN_CAPABILITY = "unknown"
"""Stands in the subjects of results and dead letters for a capability whose name cannot."""
DEFAULT_SCOPE = "default"
POOLS_MAX = 256
"""Of a fleet."""
OBSERVER_ACCOUNT = "FLEET.observer"
VAULT_ACCOUNT = "FLEET.vault"
SEALED_ACCOUNT = "FLEET.sealed"
SEALED_PREFIX = "sealed."
"""Before a tenant's subjects where they are those of the sealed lane."""
REDACTION_POOL = "redaction"
"""The pool that `flotilla up` and the manifests let at the vaults."""
ORCHESTRATOR = "orchestrator"
SEALED_ORCHESTRATOR = "orchestrator-sealed"
"""The user of the role; so are the one before and the next two."""
OBSERVER = "observer"
ADMIN = "admin"

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SCOPE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62})")
_REPLICA = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62})")
_TASK_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


def is_name(text: str) -> bool:
    """Say whether `text` can name a capability or a pool: 1 to 63 of `a-z0-9-`, no hyphen at either end."""
    return _NAME.fullmatch(text) is not None


def is_scope(text: str) -> bool:
    """Say whether `text` can name a scope: 1 to 63 of `A-Za-z0-9_-`, beginning with a letter or digit."""
    return _SCOPE.fullmatch(text) is not None


def is_replica(text: str) -> bool:
    """Say whether `text` can name a replica: 1 to 63 of `A-Za-z0-9_-`, beginning with a letter or digit."""
    return _REPLICA.fullmatch(text) is not None


def is_task_id(text: str) -> bool:
    """Say whether a caller may use `text` as a task id; ids that begin with `seq-` belong to the stream."""
    return _TASK_ID.fullmatch(text) is not None and not text.startswith(SEQUENCE_ID_PREFIX)


def is_stored_task_id(text: str) -> bool:
    """Say whether `text` can be the id of an accepted task, one derived from the stream sequence included."""
    return _TASK_ID.fullmatch(text) is not None


def task_id_of(given: str | None, sequence: int) -> str:
    """
    The id of a durable task: the one it was given, else `seq-` and its sequence in the task stream.

    Raises:
        BadRequestError: The given id is not 1 to 64 of `A-Za-z0-9_-`, or begins with `seq-`.
    """
    if given is None:
        return f"{SEQUENCE_ID_PREFIX}{sequence}"
    check_task_id(given)
    return given


def check_task_id(given: str) -> None:
    """
    Refuse an id that cannot stand in a subject, or that could be mistaken for a derived one.

    Raises:
        BadRequestError: As the rule in `task_id_of`.
    """
    if not is_task_id(given):
        raise BadRequestError(
            "the task id (header Nats-Msg-Id) must be 1 to 64 of A-Za-z0-9_- and not begin with seq-",
            path="header Nats-Msg-Id",
            expected="1 to 64 of A-Za-z0-9_-, not beginning with seq-",
        )


def token_of(name: str) -> str:
    """
    Encode any text as one subject token that is also a legal KV key part; `name_of` turns it back.

    Letters, digits, `-` and `_` stand for themselves; every other byte of the UTF-8 form becomes `=XX` (upper-case hex).
    """
    return "".join(chr(byte) if byte in _PLAIN else f"={byte:02X}" for byte in name.encode())


def name_of(token: str) -> str:
    """
    Decode what `token_of` encoded.

    Raises:
        ValueError: `token` is not an encoding.
    """
    head, *rest = token.split("=")
    raw = bytearray(head.encode("ascii"))
    for part in rest:
        raw.append(int(part[:2], 16))
        raw += part[2:].encode("ascii")
    return raw.decode()
