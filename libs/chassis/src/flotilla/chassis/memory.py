"""Memory that is free goes back to the system, so that a pod's limit can be held against what a service really holds."""

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
"""Of glibc's `mallopt(3)`."""
MAPPED_BYTES_MIN: Final = 1024 * 1024
"""Above what a socket is read in, so that reading maps nothing."""
KEPT_BYTES_MAX: Final = 8 * 1024 * 1024


def return_large_blocks() -> None:
    """
    Have large blocks mapped on their own, and returned when they are free.

    glibc raises both of its limits with the largest block that it has seen freed: after one message of 8 MiB an
    orchestrator kept 45 MiB that nobody used. Other C libraries have no such call, and are left alone.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES_MIN)
    mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES_MAX)
