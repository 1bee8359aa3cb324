"""Recorded traffic that lies beside a checkout and is no part of it; what needs it skips where it is absent."""

from pathlib import Path
from typing import Final

_PARENTS: Final = 3
"""How far up from the checkout a folder `shared` is looked for: it may be a worktree in a folder of its own."""


def complaints() -> Path | None:
    """600 labelled complaints with the answers and latencies of 14 models (CSV); None where they are not there."""
    checkout = Path(__file__).resolve().parents[5]
    for parent in checkout.parents[:_PARENTS]:
        found = parent / "shared" / "data" / "complaints" / "complaints.csv"
        if found.is_file():
            return found
    return None
