"""What metrics endpoints show after a run."""

import http.client
import urllib.parse
import urllib.request
from collections.abc import Sequence
from typing import Final

from flotilla.cli.prove.places import METRICS
from flotilla.cli.prove.watch import Watch

TIMEOUT_S: Final = 10.0
BODY_BYTES_MAX: Final = 64 * 1024 * 1024
SCHEMES: Final = ("http", "https")


def is_endpoint(url: str) -> bool:
    """Whether it is an address that can be read."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in SCHEMES and bool(parts.hostname)


def read_metrics(urls: Sequence[str], watch: Watch) -> list[str]:
    """
    Look through what each endpoint answers; blocks: to be run in a thread. Past no proxy: they are the fleet's own.

    Returns:
        Those that could not be read as a whole.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    unread: list[str] = []
    for url in urls:
        try:
            with opener.open(url, timeout=TIMEOUT_S) as answer:
                body: bytes = answer.read(BODY_BYTES_MAX + 1)
        except (OSError, ValueError, http.client.HTTPException):  # urllib's own errors are OSErrors
            unread.append(url)
            continue
        watch.see(METRICS, body, count=body.count(b"\n"))
        if len(body) > BODY_BYTES_MAX:
            unread.append(url)
    return unread
