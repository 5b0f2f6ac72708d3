"""The blob that lists an artifact version: a line of JSON an entry, sorted by path. It is read piece by piece."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from headway.domain.artifacts import MAX_ENTRIES, ArtifactEntry, PathOrder
from headway.errors import CorruptDataError, InvalidRequestError, NotFoundError
from headway.server.actions.blobs import size_of
from headway.server.context import Platform

MAX_LINE = 256 << 10
WINDOW = 64 << 10
DIGESTS_AT_ONCE = 500


@dataclass(frozen=True)
class Summary:
    """What a manifest comes to. ``files`` holds the digests of its files, 32 bytes each."""

    digest: str
    """:func:`headway.domain.artifacts.artifact_digest`."""
    entries: int
    size: int
    files: bytes

    def batches(self) -> Iterator[list[str]]:
        """The digests of the files in ascending order, in lists of a bounded length."""
        digests = sorted(self.files[at : at + 32] for at in range(0, len(self.files), 32))
        for start in range(0, len(digests), DIGESTS_AT_ONCE):
            yield [digest.hex() for digest in digests[start : start + DIGESTS_AT_ONCE]]


def summarise(platform: Platform, manifest: str) -> Summary:
    """Read and check a manifest that a client sent.

    Raises:
        InvalidRequestError: A line is no entry, the order is wrong, a path is there twice or lies below a file, or there
            are too many.
    """
    hasher, count, size = hashlib.sha256(), 0, 0
    files = bytearray()
    order = PathOrder()
    for number, line in enumerate(lines(platform, manifest), 1):
        if number > MAX_ENTRIES:
            raise InvalidRequestError(f"The manifest has more than {MAX_ENTRIES} entries.")
        entry = _parse(line, number)
        order.check(entry.path)
        mark = "x" if entry.executable else "-"
        hasher.update(f"{entry.digest or entry.uri} {mark} {entry.path}\n".encode())
        count, size = number, size + (entry.size or 0)
        if entry.digest is not None:
            files += bytes.fromhex(entry.digest)
    return Summary(hasher.hexdigest(), count, size, bytes(files))


def _parse(line: bytes, number: int) -> ArtifactEntry:
    try:
        return ArtifactEntry.model_validate_json(line)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        raise InvalidRequestError(f"Line {number} of the manifest: {where + ': ' if where else ''}{message}.") from None


def lines(platform: Platform, manifest: str, *, offset: int = 0) -> Iterator[bytes]:
    """The lines from ``offset`` on, without their ends."""
    rest = b""
    for chunk in platform.blobs.read(manifest, offset=offset):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
        if len(rest) > MAX_LINE:
            raise InvalidRequestError(f"The manifest has a line of more than {MAX_LINE} bytes.")
    if rest:
        yield rest


def page(platform: Platform, manifest: str, offset: int, limit: int) -> tuple[list[ArtifactEntry], int | None]:
    """Up to ``limit`` entries from the line at ``offset``, and where the next one begins (None: there is none).

    Raises:
        InvalidRequestError: No line begins at ``offset``.
    """
    size = size_of(platform, manifest)
    if not 0 <= offset <= size or (offset and _bytes(platform, manifest, offset - 1, 1) != b"\n"):
        raise InvalidRequestError(
            f"The cursor {offset} was not given out by this server.", hint="Begin without a cursor."
        )
    found: list[ArtifactEntry] = []
    for line in lines(platform, manifest, offset=offset):
        if len(found) == limit:
            return found, offset
        found.append(_stored(line))
        offset += len(line) + 1
    return found, None


def find_entry(platform: Platform, manifest: str, path: str) -> ArtifactEntry:
    """The entry with this path, found by halves. NotFoundError when there is none."""
    low, high = 0, size_of(platform, manifest)
    while low < high:
        start, line = _line_around(platform, manifest, (low + high) // 2)
        entry = _stored(line)
        if entry.path == path:
            return entry
        if entry.path < path:
            low = start + len(line) + 1
        else:
            high = start
    raise NotFoundError(f"The artifact has no file {path!r}.")


def _line_around(platform: Platform, manifest: str, place: int) -> tuple[int, bytes]:
    """Where the line begins that has the byte at ``place``, and the line."""
    start = _line_start(platform, manifest, place)
    return start, next(lines(platform, manifest, offset=start))


def _line_start(platform: Platform, manifest: str, place: int) -> int:
    while place > 0:
        first = max(0, place - WINDOW)
        cut = _bytes(platform, manifest, first, place - first).rfind(b"\n")
        if cut >= 0:
            return first + cut + 1
        place = first
    return 0


def _bytes(platform: Platform, manifest: str, offset: int, length: int) -> bytes:
    return b"".join(platform.blobs.read(manifest, offset=offset, length=length))


def _stored(line: bytes) -> ArtifactEntry:
    try:
        return ArtifactEntry.model_validate_json(line)
    except ValidationError as error:
        raise CorruptDataError(f"A stored manifest cannot be read: {line[:100]!r}.") from error


def file_digests(platform: Platform, manifest: str) -> Iterator[str]:
    """The digests of the files of a stored manifest."""
    for line in lines(platform, manifest):
        digest = _stored(line).digest
        if digest is not None:
            yield digest
