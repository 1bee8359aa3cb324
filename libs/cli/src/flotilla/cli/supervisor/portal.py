"""The portal of a fleet on one machine: its port, and the files that say who may sign in. Made once, then its user's."""

import asyncio
import errno
import getpass
import json
import os
import secrets
import socket
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from flotilla.chassis.private_files import make_directory, replace_file
from flotilla.cli.supervisor.errors import OptionError
from flotilla.contracts.fields import WORD_LENGTH_MAX, printable

HOST: Final = "127.0.0.1"
PORT_DEFAULT: Final = 8642
NEEDED: Final = ("portal", "starlette", "uvicorn")
SECRET_BYTES: Final = 32

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


def hold_port(wanted: int | None) -> socket.socket:
    """
    A socket that listens on a port of loopback: the one that is wanted, else PORT_DEFAULT or any that is free.

    Its owner gives it to each portal that it starts, so that nobody else gets the port before, or between two of them:
    whoever had it would be taken for this fleet's portal, and signed in at.

    Raises:
        OptionError: The one that is wanted is in use.
    """
    listening = _listen(PORT_DEFAULT if wanted is None else wanted)
    if listening is None and wanted:
        raise OptionError(f"--portal-port {wanted}: in use on {HOST}; name another, or leave it out for a free one")
    if listening is None:
        listening = _listen(0)
    if listening is None:
        raise OptionError("--portal-port: no free port was found; name one, or leave the portal out with --no-portal")
    return listening


async def answers(port: int) -> bool:
    """Whether the portal there answers; waits until it takes the connection, since its port is held already."""
    with suppress(OSError):
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            writer.write(f"GET / HTTP/1.1\r\nHost: {HOST}:{port}\r\nConnection: close\r\n\r\n".encode())
            return (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        finally:
            writer.close()
    return False


def _listen(port: int) -> socket.socket | None:
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            return None
        raise


def _user() -> str:
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):
        name = ""
    return printable(name, WORD_LENGTH_MAX) or "owner"
