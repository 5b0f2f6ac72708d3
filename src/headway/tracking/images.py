"""Images: arrays, tensors, PIL images, files and bytes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from headway.domain.metrics import EntryType
from headway.errors import InvalidRequestError, PayloadTooLargeError
from headway.tracking.arrays import as_array, numpy_for
from headway.tracking.media import Media, existing_file, is_kind
from headway.tracking.pictures import HEAD_BYTES, Picture, encode_png, look

MAX_PIXELS = 100_000_000
MAX_SIDE = 1 << 16
_CHANNELS = (1, 3, 4)
_PIL_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})
"""What PIL writes to PNG without losing anything."""


class Image(Media):
    """A picture.

    ==============================  ==============================================================================
    a path, or ``bytes``            PNG, JPEG, GIF or WebP, stored as it is
    a PIL image                     stored as PNG
    an array (H, W)                 grey
    an array (H, W, C), (C, H, W)   C is 1 (grey), 3 (RGB) or 4 (RGBA); where both fit, the last axis is C, but for
                                    PyTorch tensors the first
    ==============================  ==============================================================================

    Arrays are stored as PNG. ``uint8`` and other whole numbers are 0 to 255, floats 0 to 1 and rounded to 1/255, booleans
    black and white.

    Args:
        data: One of the above.
        normalize: Stretch an array linearly so that its least value is black and its greatest white.
        caption: A line that is shown with it.

    Raises:
        InvalidRequestError: It is no picture, has another shape, or values out of range or not finite.
        PayloadTooLargeError: It has more than :data:`MAX_PIXELS` pixels or a side over :data:`MAX_SIDE`.
    """

    type = EntryType.IMAGE

    def __init__(self, data: Any, *, normalize: bool = False, caption: str | None = None) -> None:
        super().__init__(caption=caption)
        self._content: bytes | Path
        if isinstance(data, (str, Path)):
            self._content = existing_file(data, "An image")
            with self._content.open("rb") as file:
                self._picture = _known(look(file.read(HEAD_BYTES)), repr(str(data)))
        elif isinstance(data, (bytes, bytearray, memoryview)):
            self._content = bytes(data)
            self._picture = _known(look(self._content[:HEAD_BYTES]), f"These {len(self._content)} bytes")
        elif is_kind(data, "PIL.Image"):
            self._content, self._picture = _from_pil(data)
        else:
            self._content, self._picture = _from_array(data, normalize)

    def content(self) -> tuple[bytes | Path, str]:
        return self._content, self._picture.media_type

    def details(self) -> dict[str, Any]:
        return {"width": self._picture.width, "height": self._picture.height}


def _known(picture: Picture | None, what: str) -> Picture:
    if picture is None:
        raise InvalidRequestError(f"{what} is no PNG, JPEG, GIF or WebP.", hint="Log other formats as File.")
    return picture


def _from_pil(image: Any) -> tuple[bytes, Picture]:
    _check_size(image.width, image.height)
    fitting = image if image.mode in _PIL_MODES else image.convert("RGBA" if "A" in image.getbands() else "RGB")
    buffer = io.BytesIO()
    fitting.save(buffer, format="PNG")
    return buffer.getvalue(), Picture("image/png", image.width, image.height)


def _from_array(data: Any, normalize: bool) -> tuple[bytes, Picture]:
    pixels = _shaped(as_array(data, "An image"), channels_first=is_kind(data, "torch.Tensor"))
    height, width, _ = pixels.shape
    _check_size(width, height)
    return encode_png(_as_bytes(pixels, normalize)), Picture("image/png", width, height)


def _shaped(array: Any, *, channels_first: bool) -> Any:
    """As (height, width, channels)."""
    if array.ndim == 2:
        return array[:, :, None]
    if array.ndim == 3:
        first, last = array.shape[0] in _CHANNELS, array.shape[2] in _CHANNELS
        if first and (channels_first or not last):
            return array.transpose(1, 2, 0)
        if last:
            return array
    raise InvalidRequestError(
        f"An image has the shape (height, width), (height, width, channels) or (channels, height, width) with 1, 3 or 4 "
        f"channels, not {tuple(array.shape)}.",
        hint="Log a batch as a list of images." if array.ndim == 4 else None,
    )


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise InvalidRequestError(f"An image of {width} x {height} pixels shows nothing.")
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise PayloadTooLargeError(
            f"An image has at most {MAX_PIXELS} pixels and {MAX_SIDE} on a side, not {width} x {height}.",
            hint="Scale it down, or log it as File.",
        )


def _as_bytes(pixels: Any, normalize: bool) -> Any:
    numpy = numpy_for("An image")
    if pixels.dtype == numpy.uint8 and not normalize:
        return pixels
    if pixels.dtype.kind == "b":
        return pixels.astype(numpy.uint8) * numpy.uint8(255)
    low, high = pixels.min().item(), pixels.max().item()
    if pixels.dtype.kind == "f" and not (numpy.isfinite(low) and numpy.isfinite(high)):
        raise InvalidRequestError(
            "An image cannot show NaN or infinity.", hint="Replace them, for example by nan_to_num."
        )
    if normalize:
        return _scaled(pixels, low, high)
    if pixels.dtype.kind == "f":
        _check_range(low, high, 1)
        return numpy.rint(pixels.astype(numpy.float64) * 255).astype(numpy.uint8)
    _check_range(low, high, 255)
    return pixels.astype(numpy.uint8)


def _scaled(pixels: Any, low: float, high: float) -> Any:
    numpy = numpy_for("An image")
    # Divided first: the difference of two large numbers may be infinite.
    scale = max(abs(low), abs(high)) or 1
    values = pixels.astype(numpy.float64) / scale
    span = high / scale - low / scale
    return numpy.rint((values - low / scale) / (span or 1) * 255).clip(0, 255).astype(numpy.uint8)


def _check_range(low: float, high: float, limit: int) -> None:
    if low < 0 or high > limit:
        kind = "floats" if limit == 1 else "whole numbers"
        raise InvalidRequestError(
            f"An image of {kind} has values from 0 to {limit}, and this one from {low} to {high}.",
            hint="Scale them, or give normalize=True.",
        )
