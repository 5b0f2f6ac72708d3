"""client.blobs: content-addressed bytes of a project."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import BinaryIO

from headway.errors import WorkspaceError
from headway.sdk.resources.base import Resource
from headway.sdk.resources.projects import Projects
from headway.sdk.session import segment
from headway.sdk.transport import Response

CHUNK = 256 * 1024
ASK_AT_ONCE = 1000


class Blobs(Resource):
    path = "/api/v1/projects"
    noun = "project"

    def missing(self, digests: Collection[str], *, project: str | None = None) -> set[str]:
        """Those of ``digests`` (SHA-256, hex) that the project does not hold yet."""
        path = self._place(project, "missing")
        ordered, found = sorted(set(digests)), set[str]()
        for start in range(0, len(ordered), ASK_AT_ONCE):
            answer = self._session.call("POST", path, body={"digests": ordered[start : start + ASK_AT_ONCE]})
            found.update(answer.get("missing", ()) if isinstance(answer, dict) else ())
        return found & set(ordered)

    def put(self, digest: str, size: int, open_content: Callable[[], BinaryIO], *, project: str | None = None) -> None:
        """Send ``size`` bytes whose SHA-256 is ``digest``; sending them again changes nothing.

        Raises:
            WorkspaceError: What ``open_content`` gives is not those bytes any more.
        """
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        path = self._place(project, digest)
        with self._session.open(
            "PUT", path, headers=headers, content=lambda: _checked(open_content, digest, size)
        ) as answer:
            answer.read(CHUNK)

    def open(self, digest: str, *, project: str | None = None) -> Response:
        """The bytes of a blob as they come; the caller closes and checks them."""
        return self._session.open("GET", self._place(project, digest), headers={"Accept": "*/*"})

    def _place(self, project: str | None, name: str) -> str:
        reference = Projects(self._session).resolve(self._project(project))
        return self._address(reference, "blobs", segment(name, "a blob"))


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
