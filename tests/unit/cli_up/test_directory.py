"""A fleet's directory: private, and for one fleet at a time."""

import fcntl
import os
import stat
from pathlib import Path

import pytest

from flotilla.cli.supervisor import directory as module
from flotilla.cli.supervisor.directory import Directory
from flotilla.cli.supervisor.errors import FleetRunningError, OptionError


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


@pytest.mark.parametrize(
    "name", ["fleet.json", "fleet.partial", ".gitignore", "logs", "up.lock", "credentials", "nats"]
)
async def test_a_link_in_it_is_refused_and_not_followed(tmp_path: Path, name: str):
    """
    Somebody who could write there before may have left it.
    """
    victim = tmp_path / "victim"
    victim.mkdir()
    path = tmp_path / "fleet"
    path.mkdir(mode=0o700)
    (path / name).symlink_to(victim)

    async def take() -> None:
        directory = Directory(path)
        directory.make()
        async with directory.held():
            pass

    with pytest.raises(OptionError, match=f"{name}: is a symbolic link"):
        await take()

    assert not list(victim.iterdir())


def test_one_that_was_open_to_others_is_closed(tmp_path: Path):
    """
    Made by hand, by an earlier version, or with an open umask; an ignore file of one's own stays.
    """
    path = tmp_path / "fleet"
    (path / "logs").mkdir(parents=True)
    (path / ".gitignore").write_text("mine\n")
    for each in (path, path / "logs"):
        each.chmod(0o777)

    Directory(path).make()

    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, path / "logs")] == [0o700, 0o700]
    assert (path / ".gitignore").read_text() == "mine\n"


def test_a_folder_that_others_use_for_other_things_is_refused(tmp_path: Path):
    """
    `--dir /tmp`, or a project: it would be closed to everybody else.
    """
    tmp_path.chmod(0o755)
    (tmp_path / "README.md").write_text("a project")

    with pytest.raises(OptionError, match="name a folder that is new or empty"):
        Directory(tmp_path).make()

    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert [each.name for each in tmp_path.iterdir()] == ["README.md"]


async def test_what_it_says_of_itself_is_for_its_owner(tmp_path: Path):
    """
    It names the files with the seeds; under any umask.
    """
    before = os.umask(0)
    try:
        directory = Directory(tmp_path / "fleet")
        directory.make()
        async with directory.held():
            directory.write_state(b"{}")
            modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in directory.path.iterdir()}
    finally:
        os.umask(before)

    assert modes == {"fleet.json": 0o600, ".gitignore": 0o600, "up.lock": 0o600, "logs": 0o700}
