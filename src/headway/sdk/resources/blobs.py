"""client.blobs: content-addressed bytes of a project."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import BinaryIO

from headway.domain.uploads import UploadCreate, UploadState
from headway.errors import PlatformError, WorkspaceError
from headway.sdk.resources.base import Resource
from headway.sdk.resources.projects import Projects
from headway.sdk.session import segment
from headway.sdk.transport import Response

CHUNK = 256 * 1024
ASK_AT_ONCE = 1000
OCTETS = "application/octet-stream"
CHECK_SECONDS = 60.0
SLOWEST_CHECK = 50e6
"""Bytes a second that a server digests at least."""


class Blobs(Resource):
    path = "/api/v1/projects"
    noun = "project"

    def missing(self, digests: Collection[str], *, project: str | None = None) -> set[str]:
        """Those of ``digests`` (SHA-256, hex) that the project does not hold yet."""
        path = self._place(project, "missing")
        ordered, found = sorted(set(digests)), set[str]()
        for start in range(0, len(ordered), ASK_AT_ONCE):
            body = {"digests": ordered[start : start + ASK_AT_ONCE]}
            answer = self._session.call("POST", path, body=body, headers=_repeatable())
            found.update(answer.get("missing", ()) if isinstance(answer, dict) else ())
        return found & set(ordered)

    def put(self, digest: str, size: int, open_content: Callable[[], BinaryIO], *, project: str | None = None) -> None:
        """Send ``size`` bytes whose SHA-256 is ``digest``; sending them again changes nothing.

        Raises:
            WorkspaceError: What ``open_content`` gives is not those bytes any more.
        """
        headers = {"Content-Type": OCTETS, "Content-Length": str(size)}
        path = self._place(project, digest)
        with self._session.open(
            "PUT", path, headers=headers, content=lambda: _checked(open_content, digest, size)
        ) as answer:
            answer.read(CHUNK)

    def open(self, digest: str, *, offset: int = 0, length: int | None = None, project: str | None = None) -> Response:
        """The bytes of a blob as they come, or ``length`` of them from ``offset`` on; the caller closes and checks them.

        Raises:
            PlatformError: The server answered with another part than was asked for.
        """
        headers = {"Accept": "*/*"}
        partial = offset > 0 or length is not None
        if partial:
            headers["Range"] = f"bytes={offset}-" + ("" if length is None else str(offset + length - 1))
        answer = self._session.open("GET", self._place(project, digest), headers=headers)
        if partial and not (answer.status == 206 and _begins_at(answer, offset)):
            answer.close()
            raise PlatformError(f"The server did not send the bytes from {offset} on of the blob {digest}.")
        return answer

    def begin(self, digest: str, size: int, *, project: str | None = None) -> UploadState:
        """Begin to send a blob in parts, or learn how far it is; see :mod:`headway.sdk.parts`."""
        body = UploadCreate(digest=digest, size=size)
        return self._session.act(UploadState, "POST", self._uploads(project), body=body, headers=_repeatable())

    def put_part(
        self,
        upload: str,
        number: int,
        digest: str,
        length: int,
        content: Callable[[], Iterable[bytes]],
        *,
        project: str | None = None,
    ) -> None:
        """Send part ``number``: ``length`` bytes whose SHA-256 is ``digest``."""
        headers = {"Content-Type": OCTETS, "Content-Length": str(length), "Digest-SHA256": digest}
        path = f"{self._uploads(project)}/{segment(upload, 'an upload')}/parts/{number}"
        with self._session.open("PUT", path, headers=headers, content=content) as answer:
            answer.read(CHUNK)

    def finish(self, upload: str, size: int, *, project: str | None = None) -> None:
        """Have an upload of ``size`` bytes checked and stored."""
        path = f"{self._uploads(project)}/{segment(upload, 'an upload')}/finish"
        patience = CHECK_SECONDS + size / SLOWEST_CHECK
        with self._session.open("POST", path, headers=_repeatable(), timeout=patience) as answer:
            answer.read(CHUNK)

    def _place(self, project: str | None, name: str) -> str:
        reference = Projects(self._session).resolve(self._project(project))
        return self._address(reference, "blobs", segment(name, "a blob"))

    def _uploads(self, project: str | None) -> str:
        return self._address(Projects(self._session).resolve(self._project(project)), "uploads")


def _repeatable() -> dict[str, str]:
    """What says that a POST may be sent again: asking, beginning and finishing an upload twice do no more than once."""
    return {"Idempotency-Key": secrets.token_hex(16)}


def _begins_at(answer: Response, offset: int) -> bool:
    return answer.headers.get("content-range", "").startswith(f"bytes {offset}-")


def _checked(open_content: Callable[[], BinaryIO], digest: str, size: int) -> Iterable[bytes]:
    """The bytes, with the last one held back until all of them are known to be what was promised."""
    hasher, sent = hashlib.sha256(), 0
    with open_content() as file:
        for chunk in _pieces(file):
            hasher.update(chunk)
            sent += len(chunk)
            if sent >= size and (sent > size or hasher.hexdigest() != digest):
                raise WorkspaceError(
                    "A file changed while it was sent.", hint="Submit again once nothing writes to it."
                )
            yield chunk
    if sent != size:
        raise WorkspaceError("A file changed while it was sent.", hint="Submit again once nothing writes to it.")


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk
