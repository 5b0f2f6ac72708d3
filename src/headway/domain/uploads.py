"""Uploads of large blobs in parts, which go on where they stopped."""

from __future__ import annotations

from pydantic import Field

from headway.domain.base import Record, Request, Timestamp
from headway.domain.files import Digest

MIB = 1 << 20
LARGE_BYTES = 16 * MIB
"""Blobs above this size are sent in parts; smaller ones in one request."""
MAX_PARTS = 10_000
MAX_BLOB = 1 << 46
"""64 TiB."""


def part_size(size: int) -> int:
    """Bytes of each part of a blob but the last: 16 MiB, and more where that would make too many parts.

    >>> part_size(5 << 30) >> 20, part_size(1 << 40) >> 20
    (16, 105)
    """
    return max(LARGE_BYTES, -(-size // (MAX_PARTS * MIB)) * MIB)


class Upload(Record):
    """A blob on its way into a project. ``place`` is what the blob store calls it."""

    id: str
    project_id: str
    digest: Digest
    size: int
    part_size: int
    place: str
    verified: bool = False
    """Whether all bytes were there and had the digest: then only the last steps are left."""
    created_at: Timestamp
    created_by: str

    @property
    def parts(self) -> int:
        """How many parts there are; an empty blob has none."""
        return -(-self.size // self.part_size)

    def length(self, number: int) -> int:
        """Bytes of part ``number``, counted from 0."""
        return min(self.part_size, self.size - number * self.part_size)


class UploadCreate(Request):
    """Begin to send a blob in parts, or find out how far it is."""

    digest: Digest
    size: int = Field(ge=0, le=MAX_BLOB)


class UploadState(Record):
    """What is there of an upload: a flag a part. ``held`` means that the project has the blob, and nothing is to do."""

    held: bool = False
    id: str | None = None
    part_size: int = 0
    parts: tuple[bool, ...] = ()
