"""Arrays as bytes: what version 1 wrote is read for ever, and what is damaged is never taken for numbers."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from headway.errors import CorruptDataError
from headway.storage.series import arrays
from headway.storage.series.arrays import pack_floats, pack_integers, unpack
from headway.storage.series.axes import Axes, PackedAxes, extent_of, pack_axes

INTEGERS = st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-300, 300)), max_size=300)
FLOATS = st.lists(
    st.one_of(
        st.floats(allow_nan=False),
        st.floats(width=32, allow_nan=False),
        st.integers(-(10**6), 10**6).map(lambda n: n / 1000),
        st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, 1e308]),
    ),
    max_size=300,
)


def floats(*numbers: float) -> NDArray[np.uint64]:
    return np.array(numbers, np.float64).view(np.uint64)


def integers(*numbers: int) -> NDArray[np.uint64]:
    return np.array(numbers, np.int64).view(np.uint64)


@settings(max_examples=300, deadline=None)
@given(INTEGERS)
def test_integers_come_back_exactly(numbers: list[int]) -> None:
    packed = pack_integers(np.array(numbers, np.int64))
    assert unpack(packed).view(np.int64).tolist() == numbers


@settings(max_examples=300, deadline=None)
@given(FLOATS)
def test_floats_come_back_bit_for_bit(numbers: list[float]) -> None:
    bits = floats(*numbers)
    assert unpack(pack_floats(bits)).tolist() == bits.tolist()


@pytest.mark.parametrize(
    ("numbers", "mode"),
    [
        ([0.5] * 9, arrays.CONSTANT),
        ([0.5, 0.25, 1.5 * 2.0**100], arrays.FLOAT32),
        ([0.1, 0.25, -3.125], arrays.DECIMAL),
        ([1e9 + 1, 2.0, 3.0], arrays.DECIMAL),
        ([math.pi, math.e, 1e300], arrays.PLAIN),
        ([0.1, -0.0], arrays.PLAIN),
        ([], arrays.EMPTY),
    ],
)
def test_floats_are_written_in_the_shortest_exact_way(numbers: list[float], mode: int) -> None:
    assert pack_floats(floats(*numbers))[0] == mode


@pytest.mark.parametrize(
    ("numbers", "mode"),
    [
        ([7], arrays.CONSTANT),
        ([7, 7, 7], arrays.CONSTANT),
        ([5, 10, 15], arrays.REGULAR),
        ([2**63 - 1, -(2**63), -(2**63) + 1], arrays.REGULAR),
        ([1000, 1090, 1300, 1401], arrays.DELTAS),
        ([9, 1, 8, 2], arrays.OFFSETS),
        ([], arrays.EMPTY),
    ],
)
def test_integers_are_written_in_the_shortest_way(numbers: list[int], mode: int) -> None:
    packed = pack_integers(np.array(numbers, np.int64))
    assert packed[0] == mode
    assert unpack(packed).view(np.int64).tolist() == numbers


WRITTEN = {
    "empty": ("0000000000", integers()),
    "constant": ("0103000000000000000000e03f", floats(0.5, 0.5, 0.5)),
    "regular": ("020400000005000000000000000a00000000000000", integers(5, 15, 25, 35)),
}
"""Bytes of version 1 without a compressed body."""
BODIES = {
    "offsets": ("03", "010000000000000001", bytes([8, 0, 7, 1]), integers(9, 1, 8, 2)),
    "deltas": ("04", "e8030000000000005a0000000000000001", bytes([0, 120, 11]), integers(1000, 1090, 1300, 1401)),
    "float32": ("05", "", bytes.fromhex("0000000000803fbf"), floats(0.5, -1.0)),
    "plain": ("06", "", bytes.fromhex("18692d574414548bfb0a21bf09054040"), floats(math.pi, math.e)),
    "decimal": ("07", "fbffffffffffffff0101", bytes([6, 0]), floats(0.1, -0.5)),
}
"""The same with one: mode, what stands before the body, the body unpacked, the numbers."""


@pytest.mark.parametrize("name", WRITTEN)
def test_bytes_of_version_1_are_read_and_written(name: str) -> None:
    data, numbers = bytes.fromhex(WRITTEN[name][0]), WRITTEN[name][1]
    assert unpack(data).tolist() == numbers.tolist()
    again = pack_floats(numbers) if name == "constant" else pack_integers(numbers.view(np.int64))
    assert again == data


@pytest.mark.parametrize("name", BODIES)
def test_bodies_of_version_1_are_read_whoever_compressed_them(name: str) -> None:
    import zstandard

    mode, head, body, numbers = BODIES[name]
    width = bytes.fromhex(head)[-1:] if name in ("offsets", "deltas") else b""
    for level in (1, 19):
        start = bytes.fromhex(mode) + len(numbers).to_bytes(4, "little") + bytes.fromhex(head)
        data = start + zstandard.ZstdCompressor(level=level).compress(body)
        assert unpack(data).tolist() == numbers.tolist(), width
    is_float = name in ("float32", "plain", "decimal")
    again = pack_floats(numbers) if is_float else pack_integers(numbers.view(np.int64))
    assert again.startswith(start)
    assert zstandard.ZstdDecompressor().decompress(again[len(start) :]) == body


def test_a_damaged_array_is_an_error_or_the_same_numbers() -> None:
    rng = np.random.default_rng(0)
    for packed in (
        pack_floats(rng.standard_normal(500).view(np.uint64)),
        pack_integers(rng.integers(0, 10**6, 500)),
        pack_integers(np.cumsum(rng.integers(0, 99, 500))),
    ):
        whole = unpack(packed).tolist()
        head = 5 + 17
        for place in range(head, len(packed), 7):
            for bit in (1, 128):
                damaged = bytearray(packed)
                damaged[place] ^= bit
                try:
                    found = unpack(bytes(damaged)).tolist()
                except CorruptDataError:
                    continue
                assert found == whole
        for cut in range(0, len(packed), 11):
            with pytest.raises(CorruptDataError):
                unpack(packed[:cut])


def test_an_unknown_way_of_writing_names_itself() -> None:
    with pytest.raises(CorruptDataError, match="way 99"):
        unpack(bytes([99, 1, 0, 0, 0]) + bytes(20))
    with pytest.raises(CorruptDataError, match="claims"):
        unpack(bytes([1, 255, 255, 255, 255]) + bytes(8))


AXES = st.lists(
    st.tuples(
        st.integers(1, 9),
        st.integers(-(10**13), 10**13),
        st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(0, 5)),
        st.one_of(st.none(), st.floats(-5, 5)),
    ),
    min_size=1,
    max_size=60,
)


def make_axes(rows: list[tuple[int, int, int | None, float | None]]) -> Axes:
    return Axes(
        np.cumsum([row[0] for row in rows]),
        np.array([row[1] for row in rows]),
        np.array([row[2] or 0 for row in rows], np.int64),
        np.array([row[2] is not None for row in rows]),
        np.array([row[3] or 0.0 for row in rows]),
        np.array([row[3] is not None for row in rows]),
    )


@settings(max_examples=100, deadline=None)
@given(AXES)
def test_axes_come_back_and_their_extent_is_theirs(rows: list[tuple[int, int, int | None, float | None]]) -> None:
    axes = make_axes(rows)
    again = PackedAxes(pack_axes(axes), len(axes)).whole()
    for name in vars(axes):
        assert getattr(again, name).tolist() == getattr(axes, name).tolist(), name
    extent = extent_of(axes)
    steps = [row[2] for row in rows if row[2] is not None]
    epochs = [row[3] for row in rows if row[3] is not None]
    assert extent.steps == len(steps)
    assert extent.epochs == len(epochs)
    if steps:
        assert (extent.low_step, extent.high_step) == (min(steps), max(steps))
    if epochs:
        assert (extent.low_epoch, extent.high_epoch) == (min(epochs), max(epochs))
    assert extent.steps_ascend == (steps == sorted(steps))
    assert extent.times_ascend == all(a[1] <= b[1] for a, b in pairwise(rows))
