from __future__ import annotations

import tracemalloc

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.errors import InvalidRequestError, PayloadTooLargeError
from headway.journal.compression import compress, decompress

LIMIT = 4 << 20


@settings(deadline=None, database=None)
@given(st.binary(max_size=5000))
def test_round_trip(data: bytes) -> None:
    assert decompress(compress(data), LIMIT) == data


def test_exactly_the_limit_fits() -> None:
    data = bytes(LIMIT)
    assert decompress(compress(data), LIMIT) == data
    with pytest.raises(PayloadTooLargeError):
        decompress(compress(data + b"x"), LIMIT)


def test_an_empty_body_holds_nothing() -> None:
    assert decompress(b"", LIMIT) == b""


def unsized(data: bytes) -> bytes:
    """A frame that does not say how large its content is."""
    compressor = zstandard.ZstdCompressor().compressobj()
    return compressor.compress(data) + compressor.flush()


def test_a_frame_without_a_content_size() -> None:
    assert decompress(unsized(b"x" * 100_000), LIMIT) == b"x" * 100_000


@pytest.mark.parametrize("pack", [compress, unsized])
def test_a_bomb_costs_no_memory(pack: object) -> None:
    body = pack(bytes(200 << 20))  # type: ignore[operator]
    tracemalloc.start()
    try:
        with pytest.raises(PayloadTooLargeError, match="at most"):
            decompress(body, LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 3 * LIMIT
    finally:
        tracemalloc.stop()


def test_a_frame_that_lies_about_its_size() -> None:
    honest = bytearray(compress(b"x" * 1000))
    at = honest.index((1000 - 256).to_bytes(2, "little"))
    honest[at : at + 2] = (900 - 256).to_bytes(2, "little")
    with pytest.raises(InvalidRequestError):
        decompress(bytes(honest), LIMIT)


@pytest.mark.parametrize(
    "body", [b"garbage", b"\x00", compress(b"abc" * 1000)[:-3], compress(b"abc") + b"more", compress(b"a") * 2]
)
def test_anything_else_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="zstd"):
        decompress(body, LIMIT)


@settings(deadline=None, database=None)
@given(st.binary(min_size=1, max_size=200))
def test_no_body_raises_anything_else(body: bytes) -> None:
    for candidate in (body, b"\x28\xb5\x2f\xfd" + body):
        try:
            assert len(decompress(candidate, 1000)) <= 1000
        except (InvalidRequestError, PayloadTooLargeError):
            pass
