"""Latencies as histograms that can be added up: over replicas, gateways and time.

Buckets grow by the eighth root of two, so that a quantile read from them is within 9 % of the true one from a microsecond to
an hour, as with HDR histograms (Tene). Counts are sparse: a bucket that nothing fell into is not there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

BUCKETS_PER_DOUBLING = 8
SMALLEST = 1e-6
"""Seconds; everything below is in bucket 0."""
LAST_BUCKET = 256
LONGEST = SMALLEST * 2 ** (LAST_BUCKET / BUCKETS_PER_DOUBLING)
"""Seconds, over an hour; everything above is in the last bucket too."""

Counts = Mapping[int, int]
"""Bucket to how often. Bucket ``n`` holds what is above ``upper_bound(n - 1)`` and not above ``upper_bound(n)``."""


def bucket_of(seconds: float) -> int:
    """The bucket of a latency.

    >>> bucket_of(0.0), bucket_of(1e-6), bucket_of(2e-6), bucket_of(1e9)
    (0, 0, 8, 256)
    """
    if not seconds > SMALLEST:
        return 0
    if seconds >= LONGEST:
        return LAST_BUCKET
    return math.ceil(BUCKETS_PER_DOUBLING * math.log2(seconds / SMALLEST) - 1e-9)


def upper_bound(bucket: int) -> float:
    """The largest latency of a bucket, in seconds.

    >>> upper_bound(8)
    2e-06
    """
    return SMALLEST * math.pow(2.0, bucket / BUCKETS_PER_DOUBLING)


def merged(parts: Iterable[Counts]) -> dict[int, int]:
    """The sum of several histograms."""
    total: dict[int, int] = {}
    for part in parts:
        for bucket, count in part.items():
            total[bucket] = total.get(bucket, 0) + count
    return total


def quantile(counts: Counts, share: float) -> float | None:
    """The latency in seconds that ``share`` of all (0 to 1) do not exceed; None of an empty histogram.

    >>> quantile({8: 99, 80: 1}, 0.5)
    2e-06
    """
    total = sum(counts.values())
    if total == 0:
        return None
    wanted, seen = share * total, 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= wanted and seen > 0:
            return upper_bound(bucket)
    return upper_bound(max(counts))
