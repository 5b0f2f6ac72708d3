"""Sounds: arrays as WAV, and files as they are."""

from __future__ import annotations

import io
import wave
from pathlib import Path
from typing import Any

from headway.domain.metrics import EntryType
from headway.errors import InvalidRequestError
from headway.tracking.arrays import as_array, numpy_for
from headway.tracking.media import Media, existing_file

MAX_CHANNELS = 64
MAX_RATE = 10_000_000


class Audio(Media):
    """A sound.

    Args:
        data: An array or tensor (samples,), (samples, channels) or (channels, samples), whichever has fewer channels than
            samples; or the path or the bytes of a WAV, MP3, FLAC, Ogg or MP4 file, which is stored as it is. Arrays are
            stored as WAV: floats from -1 to 1 as 16-bit samples, int16, int32 and uint8 as they are.
        sample_rate: Samples a second, for arrays.
        normalize: Scale floats so that the loudest sample is 1.
        caption: A line that is shown with it.

    Raises:
        InvalidRequestError: It is no sound, the rate is missing, or samples are out of range or not finite.
    """

    type = EntryType.AUDIO

    def __init__(
        self, data: Any, sample_rate: int | None = None, *, normalize: bool = False, caption: str | None = None
    ) -> None:
        super().__init__(caption=caption)
        self._details: dict[str, Any] = {}
        self._content: bytes | Path
        if isinstance(data, (str, Path)):
            self._content = existing_file(data, "A sound")
            with self._content.open("rb") as file:
                self._media_type = _media_type(file.read(64), repr(str(data)))
                file.seek(0)
                self._details = _told_by_wave(file) if self._media_type == "audio/wav" else {}
        elif isinstance(data, (bytes, bytearray, memoryview)):
            self._content = bytes(data)
            self._media_type = _media_type(self._content[:64], f"These {len(self._content)} bytes")
            self._details = _told_by_wave(io.BytesIO(self._content)) if self._media_type == "audio/wav" else {}
        else:
            samples = _shaped(as_array(data, "A sound"))
            rate = _checked_rate(sample_rate)
            self._content, self._media_type = _encoded(_as_samples(samples, normalize), rate), "audio/wav"
            self._details = _described(rate, samples.shape[1], samples.shape[0])

    def content(self) -> tuple[bytes | Path, str]:
        return self._content, self._media_type

    def details(self) -> dict[str, Any]:
        return self._details


def _described(rate: int, channels: int, frames: int) -> dict[str, Any]:
    return {"sample_rate": rate, "channels": channels, "seconds": frames / rate}


def _told_by_wave(file: Any) -> dict[str, Any]:
    try:
        with wave.open(file) as sound:
            return _described(sound.getframerate(), sound.getnchannels(), sound.getnframes())
    except (wave.Error, EOFError, ZeroDivisionError):
        return {}  # compressed, or of floats: players know more kinds than the standard library


_BEGINNINGS = {b"fLaC": "audio/flac", b"OggS": "audio/ogg", b"ID3": "audio/mpeg"}


def _media_type(head: bytes, what: str) -> str:
    if head.startswith(b"RIFF") and head[8:12] == b"WAVE":
        return "audio/wav"
    for beginning, media_type in _BEGINNINGS.items():
        if head.startswith(beginning):
            return media_type
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2:
        return "audio/mpeg"
    if head[4:8] == b"ftyp":
        return "audio/mp4"
    raise InvalidRequestError(f"{what} is no WAV, MP3, FLAC, Ogg or MP4.", hint="Log other formats as File.")


def _checked_rate(rate: object) -> int:
    if isinstance(rate, bool) or not isinstance(rate, int) or not 1 <= rate <= MAX_RATE:
        raise InvalidRequestError(f"sample_rate is a whole number of samples a second, not {rate!r}.")
    return rate


def _shaped(array: Any) -> Any:
    """As (samples, channels)."""
    shape = tuple(array.shape)
    if array.ndim == 1:
        array = array[:, None]
    elif array.ndim == 2 and array.shape[0] < array.shape[1]:
        array = array.T
    if array.ndim != 2 or not array.size or array.shape[1] > MAX_CHANNELS:
        raise InvalidRequestError(
            f"A sound has the shape (samples,) or (samples, channels) with at most {MAX_CHANNELS} channels, not {shape}."
        )
    return array


def _as_samples(samples: Any, normalize: bool) -> Any:
    numpy = numpy_for("A sound")
    if samples.dtype.kind != "f":
        if samples.dtype.name not in ("int16", "int32", "uint8"):
            raise InvalidRequestError(f"Samples are floats, int16, int32 or uint8, not {samples.dtype}.")
        return samples
    loudest = float(numpy.abs(samples).max())
    if not numpy.isfinite(loudest):
        raise InvalidRequestError(
            "A sound cannot hold NaN or infinity.", hint="Replace them, for example by nan_to_num."
        )
    if normalize:
        samples = samples / (loudest or 1)
    elif loudest > 1:
        raise InvalidRequestError(
            f"Samples that are floats lie from -1 to 1, and these go to {loudest}.",
            hint="Scale them, or give normalize=True.",
        )
    return numpy.rint(samples.astype(numpy.float64) * 32767).astype(numpy.int16)


def _encoded(samples: Any, rate: int) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setnchannels(samples.shape[1])
        sound.setsampwidth(samples.dtype.itemsize)
        sound.setframerate(rate)
        sound.writeframes(samples.astype(samples.dtype.newbyteorder("<")).tobytes())
    return buffer.getvalue()
