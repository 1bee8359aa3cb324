"""
Files and folders that belong to one user alone: seeds, streams, logs, and what a fleet says of itself.

Written where others may have been before: a symbolic link, a hard link to another file, or anything that belongs to
somebody else is refused, never followed, and modes are closed even where they were open.
"""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from flotilla.chassis.errors import PrivateFileError

DIRECTORY_MODE: Final = 0o700
FILE_MODE: Final = 0o600
OTHERS: Final = 0o077
UMASK: Final = 0o077
"""For a child that makes files of its own."""

_SAFELY: Final = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""Without waiting: a pipe in a file's place would hold up whoever opens it."""


def own_place(path: Path) -> Path:
    """The absolute path, and where a link of one's own leads; the link of somebody else is left for others to refuse."""
    path = path.absolute()
    with suppress(OSError):
        if path.is_symlink() and path.lstat().st_uid == os.geteuid():
            return path.resolve()
    return path


def make_directory(path: Path, *, close: bool = True) -> None:
    """
    Make a folder that only its owner may enter, with those above it that are missing.

    One that is there is closed to others, unless `close` is False.

    Raises:
        PrivateFileError: It is a link, no folder, or somebody else's, or cannot be made.
    """
    try:
        _make_missing(path.parent)
        try:
            path.mkdir(mode=DIRECTORY_MODE)
        except FileExistsError:
            _refuse_others(path, path.lstat(), kind=stat.S_IFDIR)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _SAFELY)
        try:
            found = os.fstat(descriptor)
            _refuse_others(path, found, kind=stat.S_IFDIR)
            if close and found.st_mode & OTHERS:
                os.fchmod(descriptor, DIRECTORY_MODE)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _failed(path, error) from error


def open_file(path: Path, flags: int) -> int:
    """
    Open a file of one's own, made if it is missing, and close it to others; gives its descriptor.

    `flags` are those of `os.open` for access; a file is emptied only when it has been found to be one's own.

    Raises:
        PrivateFileError: It is a link, no file, or somebody else's, or cannot be opened.
    """
    try:
        descriptor = os.open(path, (flags & ~os.O_TRUNC) | os.O_CREAT | _SAFELY, FILE_MODE)
    except OSError as error:
        if path.is_symlink():
            _refuse_others(path, path.lstat(), kind=stat.S_IFREG)
        raise _failed(path, error) from error
    try:
        found = os.fstat(descriptor)
        _refuse_others(path, found, kind=stat.S_IFREG)
        if flags & (os.O_WRONLY | os.O_RDWR):
            _refuse_links(path, found)
        if found.st_mode & OTHERS:
            os.fchmod(descriptor, FILE_MODE)
        if flags & os.O_TRUNC:
            os.ftruncate(descriptor, 0)
        os.set_blocking(descriptor, True)
    except OSError as error:
        os.close(descriptor)
        raise _failed(path, error) from error
    except PrivateFileError:
        os.close(descriptor)
        raise
    return descriptor


def replace_file(path: Path, content: bytes) -> None:
    """
    Put a file in place in one step, whatever stood there; a link is replaced, not followed.

    Raises:
        PrivateFileError: It cannot be written; nothing has changed.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFELY, FILE_MODE)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _failed(path, error) from error


def close_tree(root: Path) -> None:
    """
    Make sure that everything below a folder of one's own is one's own too, and closed to others.

    Raises:
        PrivateFileError: There is a link, or something of somebody else's; names the first.
    """
    try:
        for path, found in _below(root):
            kind = stat.S_IFDIR if stat.S_ISDIR(found.st_mode) else stat.S_IFREG
            _refuse_others(path, found, kind=kind)
            if found.st_mode & OTHERS:
                path.chmod(stat.S_IMODE(found.st_mode) & ~OTHERS)
    except OSError as error:
        raise _failed(root, error) from error


def _below(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    folders = [root]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                path = Path(entry.path)
                with suppress(FileNotFoundError):
                    yield path, entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    folders.append(path)


def _refuse_others(path: Path, found: os.stat_result, *, kind: int) -> None:
    actual = stat.S_IFMT(found.st_mode)
    if actual == stat.S_IFLNK:
        raise PrivateFileError(path, "is a symbolic link; remove it, or name another folder")
    if actual != kind:
        expected = "folder" if kind == stat.S_IFDIR else "file"
        raise PrivateFileError(path, f"is no {expected}; remove it, or name another folder")
    if found.st_uid != os.geteuid():
        raise PrivateFileError(path, "belongs to another user; remove it, or name another folder")


def _refuse_links(path: Path, found: os.stat_result) -> None:
    if found.st_nlink > 1:
        raise PrivateFileError(path, "has another name elsewhere (a hard link); remove this one")


def _make_missing(folder: Path) -> None:
    for missing in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
        missing.mkdir(mode=DIRECTORY_MODE, exist_ok=True)


def _failed(path: Path, error: OSError) -> PrivateFileError:
    return PrivateFileError(path, error.strerror or type(error).__name__)
