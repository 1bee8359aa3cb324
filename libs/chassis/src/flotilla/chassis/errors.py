"""
What can go wrong in a deployable before it serves.

    flotilla.contracts.errors.FlotillaError
     └─ PrivateFileError          a file or folder is not its user's alone
"""

from pathlib import Path

from flotilla.contracts.errors import FlotillaError


class PrivateFileError(FlotillaError):
    """The file or folder at `path` is not its user's alone, or cannot be written; the text says what to do."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason
