"""Media of a run: what can be logged beside numbers.

Each class takes what people have at hand, turns it into bytes when it is made (so later changes of an array or a figure do
not count; a file is copied when it is logged), and becomes an entry with :meth:`Media.to_entry`. User text is stored as
text; nothing here makes HTML of it.
"""

from __future__ import annotations

import mimetypes
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from headway.domain.metrics import EntryType
from headway.errors import InvalidRequestError, PayloadTooLargeError
from headway.tracking.blobs import KeepBlob

MAX_BYTES = 1 << 30
"""Of one piece of media."""
MAX_TEXT = 16 << 20
MAX_CAPTION = 4096
MAX_PIECES = 1000
"""Media under one name in one call."""
OTHER_TYPE = "application/octet-stream"


class Media(ABC):
    """One piece of media.

    Args:
        caption: A line of text that is shown with it.
    """

    type: ClassVar[EntryType]

    def __init__(self, *, caption: str | None = None) -> None:
        self.caption = _checked_caption(caption)

    @abstractmethod
    def content(self) -> tuple[bytes | Path, str]:
        """The bytes, or the file that holds them, and their media type."""

    def details(self) -> dict[str, Any]:
        """What the type adds to an entry, as JSON values."""
        return {}

    def to_entry(self, keep_blob: KeepBlob) -> dict[str, Any]:
        """Keep the bytes, and answer ``type``, ``digest``, ``size``, ``media_type`` and ``details`` of the entry.

        Raises:
            PayloadTooLargeError: It has more than :data:`MAX_BYTES`.
            InvalidRequestError: The file cannot be read.
            ConflictError: The file was changed meanwhile.
            StorageFullError: No space is left.
        """
        content, media_type = self.content()
        size = len(content) if isinstance(content, bytes) else _size_of(content)
        if size > MAX_BYTES:
            raise PayloadTooLargeError(
                f"{self!r} has {size} bytes, and {MAX_BYTES} is the limit.", hint="Use an artifact for large files."
            )
        blob = keep_blob(content, media_type)
        details = {**self.details(), "caption": self.caption}
        return {
            "type": self.type.value,
            "digest": blob.digest,
            "size": blob.size,
            "media_type": media_type,
            "details": {key: value for key, value in details.items() if value is not None},
        }

    def __repr__(self) -> str:
        told = ", ".join(f"{key}={value!r}" for key, value in list(self.details().items())[:4])
        return f"{type(self).__name__}({told[:200]})"


class Text(Media):
    """A text of any length up to 16 MiB.

    Args:
        text: What to store, exactly.
        markdown: It is written in Markdown; otherwise it is shown as it is.
        caption: A line that is shown with it.
    """

    type = EntryType.TEXT

    def __init__(self, text: str, *, markdown: bool = False, caption: str | None = None) -> None:
        super().__init__(caption=caption)
        if not isinstance(text, str):
            raise InvalidRequestError(f"Text is made of a str, not of {_kind(text)}.")
        self._data = checked_text(text, "A text").encode()
        if len(self._data) > MAX_TEXT:
            raise PayloadTooLargeError(f"A text has at most {MAX_TEXT} bytes, not {len(self._data)}.", hint="Use File.")
        self._media_type = "text/markdown" if markdown else "text/plain"
        self._characters = len(text)

    def content(self) -> tuple[bytes, str]:
        return self._data, f"{self._media_type}; charset=utf-8"

    def details(self) -> dict[str, Any]:
        return {"characters": self._characters}


class File(Media):
    """Any file, as it is when it is logged.

    Args:
        path: Where it lies.
        name: What to call it; the name that it has by default.
        caption: A line that is shown with it.
    """

    type = EntryType.FILE

    def __init__(self, path: str | Path, *, name: str | None = None, caption: str | None = None) -> None:
        super().__init__(caption=caption)
        self._path = existing_file(path, "A file")
        self._name = checked_text(name or self._path.name, "A file's name")[:MAX_CAPTION]

    def content(self) -> tuple[Path, str]:
        return self._path, harmless_type(self._name)

    def details(self) -> dict[str, Any]:
        return {"name": self._name}


_HARMLESS = ("audio/", "video/", "image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "image/tiff")
_ALSO_HARMLESS = {"text/plain", "text/csv", "text/markdown", "application/json", "application/pdf", "application/zip"}


def harmless_type(name: str) -> str:
    """The media type that ``name`` ends with, if it is one that no browser executes."""
    found, encoding = mimetypes.guess_type(name, strict=False)
    if found is not None and encoding is None and (found.startswith(_HARMLESS) or found in _ALSO_HARMLESS):
        return found
    return OTHER_TYPE


def entries_of(value: Any, keep_blob: KeepBlob) -> list[dict[str, Any]] | None:
    """``value`` as entries, if it is media, a figure, a PIL image, a pandas DataFrame, or a list of such; else None.

    In a list each gets its place as ``index`` in its ``details``. What a value is is seen from the name of its class and
    module; nothing is imported for it.

    Raises:
        InvalidRequestError: A list holds media and something else, or too many; see also :meth:`Media.to_entry`.
    """
    if isinstance(value, (list, tuple)):
        pieces = [as_media(item) for item in value[: MAX_PIECES + 1]]
        if not pieces or not any(pieces):
            return None
        _check_pieces(value, pieces)
        entries = [piece.to_entry(keep_blob) for piece in pieces if piece is not None]
        for index, entry in enumerate(entries):
            entry["details"]["index"] = index
        return entries
    media = as_media(value)
    return None if media is None else [media.to_entry(keep_blob)]


def _check_pieces(value: list[Any] | tuple[Any, ...], pieces: list[Media | None]) -> None:
    if len(value) > MAX_PIECES:
        raise PayloadTooLargeError(f"Under one name at most {MAX_PIECES} pieces of media are logged, not {len(value)}.")
    for index, piece in enumerate(pieces):
        if piece is None:
            raise InvalidRequestError(f"In a list of media, item {index} is {_kind(value[index])}, which is none.")


def as_media(value: Any) -> Media | None:
    """``value`` as media, None when it is none."""
    if isinstance(value, Media):
        return value
    kinds = _known_kinds(type(value))
    if "matplotlib.Figure" in kinds or "plotly.BaseFigure" in kinds:
        from headway.tracking.figures import Figure

        return Figure(value)
    if "PIL.Image" in kinds:
        from headway.tracking.images import Image

        return Image(value)
    if "pandas.DataFrame" in kinds:
        from headway.tracking.tables import Table

        return Table(value)
    return None


def _known_kinds(kind: type) -> set[str]:
    """``matplotlib.Figure`` for a class of that name, or one derived from it, anywhere in matplotlib."""
    return {f"{base.__module__.partition('.')[0]}.{base.__name__}" for base in kind.__mro__}


def is_kind(value: Any, *kinds: str) -> bool:
    """Whether ``value`` is of a class ``<top module>.<name>``, or of one derived from it."""
    return not _known_kinds(type(value)).isdisjoint(kinds)


def existing_file(path: str | Path, what: str) -> Path:
    """``path``, absolute, if it is a regular file now."""
    if not isinstance(path, (str, Path)) or "\0" in str(path):
        raise InvalidRequestError(f"{what} is named by its path, not by {path!r}.")
    found = Path(path).absolute()
    if not found.is_file():
        raise InvalidRequestError(f"{what} is to be read from {str(path)!r}, where no file is.")
    return found


def checked_text(text: str, what: str) -> str:
    """``text`` if it is a str without lone surrogates."""
    if not isinstance(text, str):
        raise InvalidRequestError(f"{what} is text, not {_kind(text)}.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidRequestError(f"{what} holds a lone surrogate, which is no text.") from None
    return text


def one_of(word: object, known: Iterable[str], what: str) -> str:
    """``word`` if it is known."""
    from headway.domain.base import did_you_mean

    names = list(known)
    if word not in names:
        hint = did_you_mean(str(word), names) or f"It is one of {', '.join(names)}."
        raise InvalidRequestError(f"{what} cannot be {word!r}.", hint=hint)
    return str(word)


def _checked_caption(caption: str | None) -> str | None:
    if caption is None:
        return None
    if len(checked_text(caption, "A caption")) > MAX_CAPTION:
        raise InvalidRequestError(
            f"A caption has at most {MAX_CAPTION} characters, not {len(caption)}.", hint="Use Text."
        )
    return caption


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise InvalidRequestError(f"Cannot read {str(path)!r}: {error.strerror}.") from error


def _kind(value: object) -> str:
    return f"{type(value).__name__} ({repr(value)[:60]})"
