"""The portal of a fleet on one machine: its port, and the files that say who may sign in. Made once, then its user's."""

import errno
import getpass
import json
import os
import random
import secrets
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from flotilla.chassis.private_files import make_directory, replace_file
from flotilla.cli.supervisor.errors import OptionError
from flotilla.contracts.fields import WORD_LENGTH_MAX, printable

HOST: Final = "127.0.0.1"
PORT_DEFAULT: Final = 8642
PORTS: Final = range(10_000, 32_000)
"""Below those that the kernel gives to outgoing connections: one of them stays free until the portal has it."""
TRIES_MAX: Final = 100
NEEDED: Final = ("portal", "starlette", "uvicorn")
SECRET_BYTES: Final = 32

_random: Final = random.SystemRandom()
_PEOPLE: Final = """\
# Who may sign in to the portal, and what they may do there: docs/portal.md.
[[person]]
name = {name}
role = "admin"
token_file = "token"
approver_creds = {approver}
documents = true
"""


class PortalFiles:
    """
    Where a fleet's portal has its files.

    Attributes:
        token: What whoever started the fleet signs in with.
    """

    def __init__(self, folder: Path) -> None:
        self.folder: Final = folder
        self.people: Final = folder / "people.toml"
        self.token: Final = folder / "token"
        self.session_key: Final = folder / "session.key"

    def make(self, approver_creds: Path) -> None:
        """
        Make those that are missing, whoever started the fleet being who approves; the fleet's lock is held.

        Raises:
            PrivateFileError: They cannot be made, or are not this user's alone.
        """
        make_directory(self.folder)
        contents = {
            self.token: f"{secrets.token_urlsafe(SECRET_BYTES)}\n".encode(),
            self.session_key: secrets.token_bytes(SECRET_BYTES),
            self.people: _PEOPLE.format(name=json.dumps(_user()), approver=json.dumps(str(approver_creds))).encode(),
        }
        for path, content in contents.items():
            if not os.path.lexists(path):
                replace_file(path, content)


def can_serve() -> bool:
    """Whether what a portal needs is installed."""
    return all(find_spec(name) is not None for name in NEEDED)


def choose_port(wanted: int | None) -> int:
    """
    A port of loopback that is free now: the one that is wanted, else PORT_DEFAULT or any.

    Raises:
        OptionError: The one that is wanted is in use, or none was found.
    """
    if wanted:
        if not _is_free(wanted):
            raise OptionError(f"--portal-port {wanted}: in use on {HOST}; name another, or leave it out for a free one")
        return wanted
    tries = (PORT_DEFAULT if wanted is None else 0, *(_random.choice(PORTS) for _ in range(TRIES_MAX)))
    for port in tries:
        if port and _is_free(port):
            return port
    raise OptionError("--portal-port: no free port was found; name one, or leave the portal out with --no-portal")


def _is_free(port: int) -> bool:
    try:
        socket.create_server((HOST, port)).close()
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            return False
        raise
    return True


def _user() -> str:
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):
        name = ""
    return printable(name, WORD_LENGTH_MAX) or "owner"
