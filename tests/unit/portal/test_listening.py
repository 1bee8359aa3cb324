"""The socket of a portal that was made by who starts it."""

import os
import socket
from pathlib import Path

import pytest

from flotilla.contracts.errors import SettingsError
from portal.web.server import listen


def test_an_inherited_socket_listens_where_the_settings_say(tmp_path: Path):
    """
    Any other is refused: whether everybody may look is decided by the address that is set.
    """
    with socket.create_server(("127.0.0.1", 0)) as held, (tmp_path / "file").open("w") as file:
        port = held.getsockname()[1]
        with listen("127.0.0.1", port, os.dup(held.fileno())) as listening:
            assert held.getsockname() == listening.getsockname()
        for host, other in (("127.0.0.1", port - 1), ("0.0.0.0", port)):  # noqa: S104
            with pytest.raises(SettingsError, match="FLOTILLA_PORTAL_FD"):
                listen(host, other, os.dup(held.fileno()))
        with pytest.raises(SettingsError, match="FLOTILLA_PORTAL_FD"):
            listen("127.0.0.1", port, file.fileno())
