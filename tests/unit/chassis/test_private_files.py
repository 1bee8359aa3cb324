"""Files of one user alone: never through a link, never somebody else's, never open to others."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flotilla.chassis.errors import PrivateFileError
from flotilla.chassis.private_files import close_tree, make_directory, open_file, own_place, replace_file

NOBODY = 65_534


@pytest.fixture(params=[0o000, 0o022], ids=["umask-000", "umask-022"], autouse=True)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    """
    Whatever the shell says that new files may be.
    """
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """
    A file elsewhere, which must stay as it is.
    """
    path = tmp_path / "victim"
    path.write_text("keep")
    path.chmod(0o644)
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def hard_link(path: Path, victim: Path) -> None:
    path.hardlink_to(victim)


def pipe(path: Path, _: Path) -> None:
    os.mkfifo(path)


def folder(path: Path, _: Path) -> None:
    path.mkdir()


def foreign(path: Path, _: Path) -> None:
    path.write_text("keep")
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(path, NOBODY, NOBODY)


PLANTED = [link, hard_link, pipe, folder, foreign]


@pytest.mark.parametrize("plant", PLANTED)
@pytest.mark.parametrize("flags", [os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND, os.O_RDWR])
def test_what_is_not_a_file_of_ones_own_is_not_written_to(
    tmp_path: Path, victim: Path, plant: Callable[[Path, Path], None], flags: int
):
    """
    At once, and with a line that names it; where a link leads nothing changes.
    """
    path = tmp_path / "planted"
    plant(path, victim)

    with pytest.raises(PrivateFileError, match=str(path)):
        open_file(path, flags)

    assert victim.read_text() == "keep"
    assert mode(victim) == 0o644


@pytest.mark.parametrize("plant", [link, hard_link, foreign])
def test_a_file_is_put_in_place_of_whatever_stood_there(
    tmp_path: Path, victim: Path, plant: Callable[[Path, Path], None]
):
    """
    And is its owner's alone from the first byte; nothing is left beside it.
    """
    path = tmp_path / "planted"
    plant(path, victim)

    replace_file(path, b"new")

    assert (path.read_text(), mode(path), path.is_symlink()) == ("new", 0o600, False)
    assert victim.read_text() == "keep"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["planted", "victim"]


def test_a_file_that_was_open_to_others_is_closed(tmp_path: Path):
    """
    One that is missing is made so; only what is one's own is emptied.
    """
    path = tmp_path / "log"
    path.write_text("old")
    path.chmod(0o666)

    os.close(open_file(path, os.O_WRONLY | os.O_APPEND))
    assert (path.read_text(), mode(path)) == ("old", 0o600)
    os.close(open_file(path, os.O_WRONLY | os.O_TRUNC))
    assert path.read_text() == ""
    os.close(open_file(tmp_path / "other", os.O_WRONLY))
    assert mode(tmp_path / "other") == 0o600


def test_a_folder_is_made_for_its_owner_alone_with_those_above_it(tmp_path: Path):
    """
    Whoever could write to one above could put another in its place.
    """
    make_directory(tmp_path / "a" / "b")

    assert (mode(tmp_path / "a"), mode(tmp_path / "a" / "b")) == (0o700, 0o700)


def test_a_folder_that_is_there_is_closed_unless_it_is_only_used(tmp_path: Path):
    """
    A folder for results may be shared.
    """
    path = tmp_path / "open"
    path.mkdir()
    path.chmod(0o777)

    make_directory(path, close=False)
    assert mode(path) == 0o777
    make_directory(path)
    assert mode(path) == 0o700


@pytest.mark.parametrize("plant", [link, foreign, pipe])
def test_what_is_not_a_folder_of_ones_own_is_refused(tmp_path: Path, victim: Path, plant: Callable[[Path, Path], None]):
    """
    A link to a folder included.
    """
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    elsewhere.chmod(0o755)
    path = tmp_path / "planted"
    plant(path, elsewhere)

    with pytest.raises(PrivateFileError, match=str(path)):
        make_directory(path)

    assert mode(elsewhere) == 0o755


def test_a_link_of_ones_own_may_name_the_place_and_nobody_elses(tmp_path: Path):
    """
    Disks are laid out so; but not by strangers.
    """
    elsewhere = tmp_path / "disk"
    elsewhere.mkdir()
    (tmp_path / "mine").symlink_to(elsewhere)

    assert own_place(tmp_path / "mine") == elsewhere
    if os.geteuid() == 0:
        os.chown(tmp_path / "mine", NOBODY, NOBODY, follow_symlinks=False)
        with pytest.raises(PrivateFileError, match="symbolic link"):
            make_directory(own_place(tmp_path / "mine"))


@pytest.mark.parametrize("plant", [link, foreign, pipe])
@pytest.mark.parametrize("depth", [0, 3])
def test_a_tree_with_something_strange_in_it_is_refused(
    tmp_path: Path, victim: Path, plant: Callable[[Path, Path], None], depth: int
):
    """
    However deep it lies.
    """
    root = tmp_path / "root"
    folder = root.joinpath(*"abc"[:depth])
    folder.mkdir(parents=True)
    plant(folder / "planted", victim)

    with pytest.raises(PrivateFileError, match="planted"):
        close_tree(root)


def test_a_tree_of_ones_own_is_closed(tmp_path: Path):
    """
    Every file and folder, and nobody loses a right of their own.
    """
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "a").chmod(0o777)
    (root / "a" / "file").write_text("x")
    (root / "a" / "file").chmod(0o644)

    close_tree(root)

    assert (mode(root / "a"), mode(root / "a" / "file")) == (0o700, 0o600)
