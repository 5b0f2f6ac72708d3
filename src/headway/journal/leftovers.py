"""Shipping what a run left behind in its directory: after a crash, without a network, or beside a run that goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from headway.errors import AuthenticationError, CorruptDataError, HeadwayError, PermissionDeniedError
from headway.journal.codec import JournalHeader
from headway.journal.decoding import FrameDecoder
from headway.journal.frames import KIND_END, encode_frame
from headway.journal.liveness import is_live
from headway.journal.reader import read_header
from headway.journal.shipper import RETRYABLE, Shipper, StreamSink

__all__ = ["LeftoverReport", "ShippedJournal", "find_journals", "is_ended", "is_live", "ship_directory", "whole_length"]

SUFFIX = ".hwj"
_GENERAL = (*RETRYABLE, AuthenticationError, PermissionDeniedError)
"""Errors that would meet every other journal, too."""
_PIECE = 1 << 20


@dataclass(frozen=True)
class ShippedJournal:
    """One journal that the server holds, as far as it is written."""

    path: Path
    header: JournalHeader
    bytes: int
    live: bool
    """Whether it is still being written."""
    closed: bool
    """Whether the server knows that nothing follows."""


@dataclass
class LeftoverReport:
    """What became of the journals of a directory."""

    shipped: list[ShippedJournal] = field(default_factory=list)
    failed: list[tuple[Path, HeadwayError]] = field(default_factory=list)
    """Journals that cannot be shipped, and why. They stay as they are."""

    @property
    def complete(self) -> bool:
        """Whether the server holds all that was ever written here, and nobody writes any more."""
        return not self.failed and not any(journal.live for journal in self.shipped)


def find_journals(directory: Path) -> list[Path]:
    """The journals that lie in ``directory`` itself, sorted by name."""
    return sorted(path for path in directory.glob(f"*{SUFFIX}") if path.is_file() and not path.is_symlink())


def ship_directory(
    directory: Path,
    sink_for: Callable[[JournalHeader], StreamSink],
    *,
    abandoned: bool = False,
    on_progress: Callable[[Path, int, int], None] | None = None,
) -> LeftoverReport:
    """Send every journal in ``directory``, or, of one that is still being written, what is whole of it.

    A stream is closed when its writer closed the journal. One that just ends may be half a copy, of which more comes later.

    Doing it again sends what is missing, so it may be interrupted at any point and repeated. A journal that cannot be
    sent is reported and the others go on; empty files, which a process leaves that died before it wrote anything, are
    passed over.

    Args:
        directory: A run's directory.
        sink_for: Where the stream with this header goes. It may raise for one that must not be sent.
        abandoned: The writers are dead and these are no copies: close every stream that nobody is writing.
        on_progress: Called with journal, bytes that the server holds, and bytes in all, after each piece.

    Raises:
        ConnectionFailedError, PlatformError, RateLimitedError: The server is away or overloaded; try again.
        AuthenticationError, PermissionDeniedError: It refuses the token.
    """
    report = LeftoverReport()
    for path in find_journals(directory):
        try:
            if shipped := _ship(path, sink_for, abandoned, on_progress):
                report.shipped.append(shipped)
        except _GENERAL:
            raise
        except HeadwayError as error:
            report.failed.append((path, error))
        except OSError as error:
            report.failed.append((path, CorruptDataError(f"The journal {path.name} cannot be read: {error.strerror}.")))
    return report


def _ship(
    path: Path,
    sink_for: Callable[[JournalHeader], StreamSink],
    abandoned: bool,
    on_progress: Callable[[Path, int, int], None] | None,
) -> ShippedJournal | None:
    if not path.stat().st_size:
        return None
    header = read_header(path)
    # In this order: a header is written under the writer's lock, so a file that has one and no lock is nobody's any more.
    live = is_live(path)
    length = whole_length(path) if live else path.stat().st_size
    close = not live and (abandoned or is_ended(path))
    sink = sink_for(header)
    if on_progress:
        sink = _Watched(sink, lambda held: on_progress(path, held, length))
    shipper = Shipper(path, sink, limit=lambda: length)
    try:
        shipper.ship(close=close)
    finally:
        shipper.release()
    return ShippedJournal(path, header, length, live, close)


def whole_length(path: Path) -> int:
    """Up to where ``path`` holds whole frames: the last one may be half written just now, and be taken back."""
    decoder = FrameDecoder()
    with path.open("rb", buffering=0) as file:
        while data := file.read(_PIECE):
            decoder.feed(data)
    return decoder.offset


def is_ended(path: Path) -> bool:
    """Whether the writer said that nothing follows. Half a copy does not, and may be completed later."""
    end = encode_frame(KIND_END, b"")
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(end)))
        return file.read() == end


class _Watched:
    """Tells somebody how far a stream is."""

    def __init__(self, sink: StreamSink, tell: Callable[[int], None]) -> None:
        self._sink, self._tell = sink, tell

    def send(self, offset: int, data: bytes, *, close: bool) -> int:
        held = self._sink.send(offset, data, close=close)
        self._tell(held)
        return held
