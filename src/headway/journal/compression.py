"""Stream bodies on the wire: zstd (RFC 8878), with a hard bound on what a body may become."""

from __future__ import annotations

import zstandard

from headway.errors import InvalidRequestError, PayloadTooLargeError

_LEVEL = 1
"""Logs shrink about as well at the fastest level, and compressing must not compete with training."""
_WINDOW = 8 << 20


def compress(data: bytes) -> bytes:
    """``data`` as one zstd frame that names its content's size."""
    return zstandard.ZstdCompressor(level=_LEVEL).compress(data)


def decompress(body: bytes, limit: int) -> bytes:
    """What ``body`` holds; an empty body holds nothing.

    Args:
        body: One zstd frame.
        limit: How many bytes it may become; no more memory than that is used, whatever the body claims.

    Raises:
        PayloadTooLargeError: It would become more than ``limit`` bytes.
        InvalidRequestError: It is no single, whole zstd frame.
    """
    if not body:
        return b""
    try:
        if zstandard.frame_content_size(body) > limit:
            raise _too_large(limit)
        return _bounded(body, limit)
    except zstandard.ZstdError as error:
        raise InvalidRequestError(f"The body is not one whole zstd frame: {error}.") from error


def _bounded(body: bytes, limit: int) -> bytes:
    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    try:
        return decompressor.decompress(body, max_output_size=limit, allow_extra_data=False)
    except zstandard.ZstdError:
        # A frame without a content size fails in the same way when it is too large and when it is damaged.
        if len(decompressor.stream_reader(body).read(limit + 1)) > limit:
            raise _too_large(limit) from None
        raise


def _too_large(limit: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(f"A stream body may hold at most {limit} bytes.", hint="Send it in smaller pieces.")
