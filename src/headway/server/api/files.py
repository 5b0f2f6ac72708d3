"""How a user's file leaves the server: as an attachment in a sandbox, never as a page."""

from __future__ import annotations

from urllib.parse import quote

from starlette.responses import StreamingResponse

from headway.domain.files import FileEntry
from headway.server.actions.blobs import open_digest
from headway.server.context import Platform


def attachment(name: str, size: int) -> dict[str, str]:
    """Headers with which no browser shows the content, whatever it is."""
    plain = quote(name.rpartition("/")[2], safe="")
    return {
        "Content-Disposition": f"attachment; filename*=UTF-8''{plain}",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Content-Length": str(size),
    }


def send_file(platform: Platform, entry: FileEntry) -> StreamingResponse:
    size, chunks = open_digest(platform, entry.digest)
    headers = attachment(entry.path, size) | {"ETag": f'"{entry.digest}"'}
    return StreamingResponse(chunks, media_type="application/octet-stream", headers=headers)
