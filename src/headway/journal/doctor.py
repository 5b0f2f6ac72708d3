"""Looking at journals and mending them: what ``headway doctor`` and ``headway repair`` do."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from headway.errors import ConflictError, CorruptDataError, NotFoundError
from headway.journal.codec import KIND_HEADER, MAGIC, JournalHeader, encode_header
from headway.journal.frames import FRAME_LIMIT, FRAME_OVERHEAD, KIND_FILLER, KIND_ROW, KIND_SCHEMA, Frame, encode_frame
from headway.journal.leftovers import find_journals
from headway.journal.liveness import is_live
from headway.journal.reader import JournalReport, read_frames, read_header
from headway.journal.rows import RowDecoder, decode_schema, row_schema
from headway.paths import full_disk_named, sync_directory

BACKUP_SUFFIX = ".damaged"

_NAME = re.compile(r"(?P<kind>[a-z]{1,16})-(?P<role>.+)-(?P<writer>[A-Za-z0-9_.]+)\.hwj")
_RUNS = "runs"


@dataclass(frozen=True)
class Finding:
    """What one journal holds, and what is wrong with it."""

    path: Path
    header: JournalHeader | None
    """None when it cannot be read: then nobody knows whose stream this is."""
    report: JournalReport
    unreadable: int = 0
    """Frames that are whole and make no sense, among them rows whose schema was lost."""
    live: bool = False
    """Whether somebody is writing it. Its tail may then be torn for a moment."""
    size: int = 0

    @property
    def healthy(self) -> bool:
        """Whether nothing that was ever acknowledged is missing."""
        return self.header is not None and self.report.intact and not self.unreadable

    def describe(self) -> str:
        """One line for people: what is in it, and what is wrong."""
        report = self.report
        counts = [
            f"{number} {what}"
            for number, what in (
                (report.rows, "rows"),
                (report.entries, "media entries"),
                (report.facts, "facts"),
                (report.batches, "log batches"),
            )
            if number
        ]
        state = "being written" if self.live else "closed" if report.closed else "not closed"
        return "; ".join([", ".join(counts) or "empty", state, *self._troubles()])

    def _troubles(self) -> Iterator[str]:
        report = self.report
        if self.header is None:
            yield "its header is not readable"
        if report.damage:
            yield f"{report.damaged_bytes} bytes in {len(report.damage)} places are damaged"
        if report.repeated:
            yield f"{report.repeated} frames are there twice"
        if self.unreadable:
            yield f"{self.unreadable} frames make no sense"
        if report.torn and not self.live:
            yield f"{report.torn} bytes at the end are torn (they were never acknowledged)"


def examine(path: Path) -> list[Finding]:
    """What ``path`` holds: a journal, or a directory with journals at any depth. Nothing is changed.

    Raises:
        NotFoundError: There is nothing there.
    """
    if path.is_dir():
        return [_examine(journal) for directory in _directories(path) for journal in find_journals(directory)]
    return [_examine(path)]


def _directories(path: Path) -> Iterator[Path]:
    for directory, names, _ in os.walk(path):
        names.sort()
        yield Path(directory)


def _examine(path: Path) -> Finding:
    reader, rows = read_frames(path), RowDecoder()
    live = path.exists() and is_live(path)
    for _ in rows.feed(reader):
        pass
    size = path.stat().st_size
    return Finding(path, _header(path), reader.report, rows.unreadable, live, size)


def _header(path: Path) -> JournalHeader | None:
    try:
        return read_header(path)
    except CorruptDataError:
        return None


@dataclass(frozen=True)
class Repair:
    """What a repair did."""

    path: Path
    """The journal that is whole now."""
    backup: Path | None
    """Where the damaged one is kept; None when it was left in place."""
    frames: int
    """Intact frames that were kept, each at its place."""
    filled: int
    """Damaged bytes that were filled in."""
    cut: int
    """Torn bytes that were cut off."""
    header_made: bool
    """Whether the header was lost and made anew, from the names of file and directory."""


def repair(path: Path, target: Path | None = None, *, header: JournalHeader | None = None) -> Repair:
    """Write a journal with every intact frame of ``path``, each at the offset that it had.

    Damaged bytes are replaced by filler frames and a torn tail is cut off, so a stream that the server holds in part goes
    on as before. A schema that stands behind rows of its own is said again in front of them where there is room.

    Args:
        path: A journal that nobody writes.
        target: Where to write; must not exist. None puts the new journal in the place of the old one, which is kept as
            ``<name>.damaged``.
        header: Whose stream it is, if its own header is damaged; by default that is worked out from the names of the
            file (``<kind>-<role>-<writer>.hwj``) and its directory (``runs/<run id>``) and from the journals beside it.

    Raises:
        NotFoundError: There is no such file.
        ConflictError: Somebody writes it, or ``target`` (or the backup) exists.
        CorruptDataError: The header is lost, and nobody knows whose it was.
        StorageFullError: No space is left; the old journal is untouched.
    """
    if not path.exists():
        raise NotFoundError(f"There is no journal {str(path)!r}.")
    if is_live(path):
        raise ConflictError(f"The journal {str(path)!r} is being written.", hint="Repair it when the run has ended.")
    backup = path.with_name(path.name + BACKUP_SUFFIX) if target is None else None
    if backup is not None and backup.exists():
        raise ConflictError(f"{str(backup)!r} exists already.", hint="Move the earlier backup away.")
    place = target or path.with_name(f".{path.name}.repaired")
    survey = _survey(path)
    start = _beginning(path, survey, header)
    with _new_file(place, replace=target is None) as descriptor:
        frames, filled, end = _mend(path, descriptor, survey, start)
    if backup is not None:
        os.link(path, backup)
        place.replace(path)
    sync_directory(place.parent)
    return Repair(target or path, backup, frames, filled, survey.size - end, survey.header is None)


@contextmanager
def _new_file(path: Path, *, replace: bool) -> Iterator[int]:
    if replace:
        path.unlink(missing_ok=True)  # of a repair that was interrupted
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise ConflictError(f"{str(path)!r} exists already.", hint="Name a file that does not.") from None
    try:
        with full_disk_named(f"the repaired journal {path.name}"):
            yield descriptor
            os.fsync(descriptor)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


@dataclass
class _Survey:
    """What a repair has to know before it writes."""

    header: JournalHeader | None
    size: int
    first: int
    """Where the first readable frame begins; the size when there is none."""
    missing: dict[int, list[bytes]]
    """Schema frames to be said again, by the place of the gap that they go into."""


def _survey(path: Path) -> _Survey:
    schemas = {
        decode_schema(frame.payload).id: encode_frame(frame.kind, frame.payload)
        for frame in read_frames(path)
        if _is_schema(frame)
    }
    size = path.stat().st_size
    survey = _Survey(_header(path), size, size, {})
    stated: set[int] = set()
    position, gap = 0, -1
    for frame in read_frames(path):
        survey.first = min(survey.first, frame.offset)
        if frame.offset > max(position, len(MAGIC)):
            gap = max(position, len(MAGIC))
        position = frame.end
        if _is_schema(frame):
            stated.add(decode_schema(frame.payload).id)
        elif frame.kind == KIND_ROW and gap >= 0 and (number := row_schema(frame.payload)) not in stated:
            if number in schemas:
                survey.missing.setdefault(gap, []).append(schemas[number])
            stated.add(number)
    return survey


def _is_schema(frame: Frame) -> bool:
    if frame.kind != KIND_SCHEMA:
        return False
    try:
        decode_schema(frame.payload)
    except CorruptDataError:
        return False
    return True


def _beginning(path: Path, survey: _Survey, given: JournalHeader | None) -> bytes:
    """Magic, and a header frame where there is none, as long as what it stands for (or shorter by a whole frame)."""
    if survey.header is not None:
        return MAGIC
    payload = encode_header(given or guess_header(path))
    room = survey.first - len(MAGIC) - FRAME_OVERHEAD - len(payload)
    if room < 0:
        raise CorruptDataError(
            f"The header of {path.name} is lost, and there is no room for another one.",
            hint="What is left can be read with `headway doctor`.",
        )
    if room < FRAME_OVERHEAD:
        payload += b" " * room
    return MAGIC + encode_frame(KIND_HEADER, payload)


def guess_header(path: Path) -> JournalHeader:
    """Whose stream ``path`` is, by its name (``<kind>-<role>-<writer>.hwj``), its directory, and the journals beside it.

    Raises:
        CorruptDataError: The names do not say.
    """
    match = _NAME.fullmatch(path.name)
    beside = [found for other in find_journals(path.parent) if other != path and (found := _header(other))]
    run = path.parent.name if path.parent.parent.name == _RUNS else next((header.run for header in beside), None)
    if match is None or run is None:
        raise CorruptDataError(
            f"The header of {path.name} is lost, and its name does not say whose stream it was.",
            hint="Give the header, or rename the file as it was: runs/<run id>/<kind>-<role>-<writer>.hwj.",
        )
    kind, role, writer = match["kind"], match["role"], match["writer"]
    return JournalHeader(
        run=run,
        stream=f"{kind}/{role}-{writer}",
        writer=writer,
        attempt=max((header.attempt for header in beside if header.replica == role), default=0),
        replica=role,
        created=datetime.fromtimestamp(path.stat().st_mtime, timezone.utc),
    )


def _mend(path: Path, descriptor: int, survey: _Survey, start: bytes) -> tuple[int, int, int]:
    """Write what is intact, each frame at its place; how many frames, how many filled bytes, and where it ends."""
    position = _put(descriptor, start)
    frames = filled = 0
    for frame in read_frames(path):
        if frame.offset > position:
            schemas = survey.missing.get(position, [])
            _put(descriptor, _filling(path, position, frame.offset - position, schemas))
            filled += frame.offset - position
        position = frame.offset + _put(descriptor, encode_frame(frame.kind, frame.payload))
        frames += 1
    return frames, filled, position


def _filling(path: Path, position: int, length: int, schemas: list[bytes]) -> bytes:
    """``length`` bytes of frames: those of ``schemas`` that fit, and fillers."""
    if length < FRAME_OVERHEAD:
        # Too short for any frame. Readers step over what is there now.
        with path.open("rb") as file:
            file.seek(position)
            return file.read(length)
    found: list[bytes] = []
    for frame in schemas:
        if len(frame) == length or len(frame) + FRAME_OVERHEAD <= length:
            found.append(frame)
            length -= len(frame)
    while length:
        piece = min(length, FRAME_LIMIT)
        if 0 < length - piece < FRAME_OVERHEAD:
            piece -= FRAME_OVERHEAD
        found.append(encode_frame(KIND_FILLER, bytes(piece - FRAME_OVERHEAD)))
        length -= piece
    return b"".join(found)


def _put(descriptor: int, data: bytes) -> int:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    return len(data)
