"""The time as the wire tells it."""

import time


def unix_ms() -> int:
    """Milliseconds since 1970, by this machine's clock."""
    return time.time_ns() // 1_000_000
