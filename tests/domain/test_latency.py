"""Histograms of latencies: what is read from them is near the truth, and they add up in any order."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.domain.latency import LAST_BUCKET, SMALLEST, Counts, bucket_of, merged, quantile, upper_bound

quick = settings(deadline=None, database=None)

GROWTH = 2 ** (1 / 8)
"""How much wider each bucket is than the one before: what a quantile may be too large by."""

latencies = st.floats(min_value=SMALLEST, max_value=3600.0)
histograms = st.dictionaries(st.integers(0, LAST_BUCKET), st.integers(1, 10**9), max_size=30)


def counted(values: list[float]) -> dict[int, int]:
    return merged({bucket_of(value): 1} for value in values)


@quick
@given(st.lists(latencies, min_size=1, max_size=200), st.floats(0, 1))
def test_a_quantile_is_never_below_the_true_one_and_at_most_nine_percent_above(
    values: list[float], share: float
) -> None:
    found = quantile(counted(values), share)
    true = float(np.quantile(values, share, method="inverted_cdf"))
    assert found is not None
    assert true * (1 - 1e-9) <= found <= true * GROWTH * (1 + 1e-9)
    assert GROWTH < 1.091


@quick
@given(latencies)
def test_a_latency_lies_within_its_bucket(seconds: float) -> None:
    bucket = bucket_of(seconds)
    assert seconds <= upper_bound(bucket) * (1 + 1e-9)
    assert bucket == 0 or seconds > upper_bound(bucket - 1) * (1 - 1e-9)


@pytest.mark.parametrize("bucket", range(LAST_BUCKET + 1))
def test_the_bound_of_a_bucket_lies_in_it(bucket: int) -> None:
    assert bucket_of(upper_bound(bucket)) == bucket


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [
        (0.0, 0),
        (-1.0, 0),
        (SMALLEST, 0),
        (SMALLEST * 1.001, 1),
        (math.nan, 0),
        (4294.967296, 256),
        (1e12, 256),
        (math.inf, 256),
    ],
)
def test_what_no_clock_should_say_has_a_bucket_all_the_same(seconds: float, bucket: int) -> None:
    assert bucket_of(seconds) == bucket


@quick
@given(histograms, histograms, histograms)
def test_sums_do_not_depend_on_order_or_grouping(first: Counts, second: Counts, third: Counts) -> None:
    together = merged([first, second, third])
    assert merged([third, merged([second, first])]) == together
    assert sum(together.values()) == sum(sum(part.values()) for part in (first, second, third))


@quick
@given(st.lists(latencies, max_size=50), st.lists(latencies, max_size=50), st.floats(0, 1))
def test_two_gateways_together_say_what_one_would_have_said(
    first: list[float], second: list[float], share: float
) -> None:
    apart = merged([counted(first), counted(second)])
    assert quantile(apart, share) == quantile(counted(first + second), share)


@quick
@given(histograms, st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_is_never_quicker(counts: Counts, one: float, other: float) -> None:
    low, high = quantile(counts, min(one, other)), quantile(counts, max(one, other))
    assert (low is None) == (high is None) == (not counts)
    assert low is None or high is None or low <= high


def test_nothing_has_no_quantile() -> None:
    assert quantile({}, 0.5) is None
    assert quantile({3: 0}, 0.5) is None
    assert merged([]) == {}
