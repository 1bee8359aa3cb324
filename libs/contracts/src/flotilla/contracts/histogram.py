"""
Latencies counted in logarithmic buckets: mergeable by addition, within 5 % of the truth from 1 ms to 10 minutes.

Bucket 0 holds everything up to 1 ms; bucket `i` holds what lies above `1.1 ** (i - 1)` and up to `1.1 ** i` ms; the last
also what is longer. Counts are sparse (`{bucket: count}`), so a quiet route costs a few bytes.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Final

from msgspec import Meta

COUNT_MAX: Final = 2**40
INDEX_MAX: Final = 1_000
"""A bucket of a newer writer, of finer or longer buckets, counts as the nearest known one."""

Natural = Annotated[int, Meta(ge=0, le=COUNT_MAX)]
Counts = Annotated[dict[Annotated[int, Meta(ge=0, le=INDEX_MAX)], Natural], Meta(max_length=INDEX_MAX)]

GROWTH: Final = 1.1
LATENCY_MS_MAX: Final = 600_000.0
BUCKET_LAST: Final = math.ceil(math.log(LATENCY_MS_MAX) / math.log(GROWTH))
RELATIVE_ERROR_MAX: Final = math.sqrt(GROWTH) - 1.0

_LOG_GROWTH: Final = math.log(GROWTH)
_MIDDLES_MS: Final = (1.0, *(GROWTH ** (index - 0.5) for index in range(1, BUCKET_LAST + 1)))


def bucket_of(latency_ms: float) -> int:
    """The bucket of a latency, 0 to `BUCKET_LAST`."""
    if latency_ms <= 1.0:
        return 0
    return min(BUCKET_LAST, math.ceil(math.log(latency_ms) / _LOG_GROWTH))


def middle_ms(bucket: int) -> float:
    """The latency that stands for a bucket: its geometric middle. Foreign indexes count as the nearest known one."""
    return _MIDDLES_MS[min(max(bucket, 0), BUCKET_LAST)]


def added(one: Mapping[int, int], other: Mapping[int, int]) -> dict[int, int]:
    """The sum of two sparse counts."""
    if not other:
        return dict(one)
    total = dict(one)
    for bucket, count in other.items():
        total[bucket] = total.get(bucket, 0) + count
    return total


def quantile_ms(counts: Mapping[int, int], share: float) -> float | None:
    """
    The nearest-rank quantile, within `RELATIVE_ERROR_MAX` of the exact one; None when nothing was counted.

    `share` lies above 0 and up to 1: 0.95 gives the p95.
    """
    total = sum(counts.values())
    if total == 0:
        return None
    rank = max(1, math.ceil(share * total - 1e-9))
    seen = 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= rank:
            return middle_ms(bucket)
    raise AssertionError


def mean_ms(counts: Mapping[int, int]) -> float | None:
    """The mean, within `RELATIVE_ERROR_MAX`; None when nothing was counted."""
    total = sum(counts.values())
    return sum(middle_ms(bucket) * count for bucket, count in counts.items()) / total if total else None


def above(counts: Mapping[int, int], limit_ms: float) -> int:
    """How many of the counted latencies lie above a limit, judged by the middles of their buckets."""
    return sum(count for bucket, count in counts.items() if middle_ms(bucket) > limit_ms)
