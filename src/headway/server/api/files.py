"""How a user's file leaves the server: as an attachment in a sandbox, never as a page."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import quote

from fastapi import Header
from starlette.responses import Response, StreamingResponse

from headway.domain.files import FileEntry
from headway.server.actions.blobs import size_of
from headway.server.context import Platform

OCTETS = "application/octet-stream"
RangeHeader = Annotated[str | None, Header(max_length=200, alias="range")]
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


def attachment(name: str, size: int) -> dict[str, str]:
    """Headers with which no browser shows the content, whatever it is."""
    plain = quote(name.rpartition("/")[2], safe="")
    return {
        "Content-Disposition": f"attachment; filename*=UTF-8''{plain}",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Content-Length": str(size),
    }


def send_file(platform: Platform, entry: FileEntry, range_header: str | None = None) -> Response:
    """A file of a manifest, under its own name."""
    return send_blob(platform, entry.digest, entry.path, range_header)


def send_blob(platform: Platform, digest: str, name: str, range_header: str | None = None) -> Response:
    """A blob, or the part of it that the header Range asks for (RFC 9110, 14: one range of bytes)."""
    size = size_of(platform, digest)
    headers = attachment(name, size) | {"ETag": f'"{digest}"', "Accept-Ranges": "bytes"}
    found = read_range(range_header, size)
    if found is None:
        chunks = platform.blobs.read(digest)
        return StreamingResponse(chunks, media_type=OCTETS, headers=headers)
    offset, length = found
    if length == 0:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
    headers |= {"Content-Length": str(length), "Content-Range": f"bytes {offset}-{offset + length - 1}/{size}"}
    chunks = platform.blobs.read(digest, offset=offset, length=length)
    return StreamingResponse(chunks, 206, media_type=OCTETS, headers=headers)


def read_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Offset and length of what a Range header asks for; None for the whole, which also answers several ranges and what
    is no range of bytes. The length is 0 when nothing of it is there.

    >>> read_range("bytes=2-4", 10), read_range("bytes=8-", 10), read_range("bytes=-3", 10), read_range("bytes=10-", 10)
    ((2, 3), (8, 2), (7, 3), (10, 0))
    """
    match = _RANGE.fullmatch(header.strip()) if header is not None else None
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        length = min(int(last), size)
        return size - length, length
    if last and int(last) < int(first):
        return None
    offset = min(int(first), size)
    end = min(int(last) + 1, size) if last else size
    return offset, max(0, end - offset)
