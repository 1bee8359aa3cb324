"""A fleet's directory: private, and for one fleet at a time."""

import fcntl
import os
import stat
from pathlib import Path

import pytest

from flotilla.client.supervisor import directory as module
from flotilla.client.supervisor.directory import Directory
from flotilla.client.supervisor.errors import FleetRunningError


async def test_a_second_fleet_is_refused_and_told_who_is_there(tmp_path: Path):
    """
    At once: the first one's supervisor lives.
    """
    directory = Directory(tmp_path)
    directory.make()
    async with directory.held():
        with pytest.raises(FleetRunningError) as refused:
            async with Directory(tmp_path).held():
                pass

    assert refused.value.pid == os.getpid()
    async with directory.held():
        pass


async def test_a_guard_that_clears_up_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """
    The supervisor is gone, and what holds the lock goes soon; but nobody waits for ever.
    """
    monkeypatch.setattr(module, "LOCK_PATIENCE_S", 0.1)
    directory = Directory(tmp_path)
    directory.make()
    with directory.lock.open("a") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        with pytest.raises(FleetRunningError, match="another process"):
            async with directory.held():
                pass
        fcntl.flock(guard, fcntl.LOCK_UN)
        async with directory.held() as lock_fd:
            assert os.fstat(lock_fd).st_ino == directory.lock.stat().st_ino


def test_it_is_closed_to_others_and_to_git(tmp_path: Path):
    """
    Seeds are in there.
    """
    directory = Directory(tmp_path / "fleet")

    directory.make()

    assert stat.S_IMODE((tmp_path / "fleet").stat().st_mode) == 0o700
    assert (tmp_path / "fleet" / ".gitignore").read_text() == "*\n"
