"""Blobs as projects hold them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from headway.domain.base import now
from headway.domain.files import FileEntry
from headway.domain.users import Permission
from headway.errors import InvalidRequestError, NotFoundError
from headway.server.actions.lookup import find_project
from headway.server.context import Caller, Platform
from headway.storage.base import Session

SIZE_BYTES = 8
GATHERED_BYTES = 256 << 10


def missing(platform: Platform, caller: Caller, project: str, digests: Collection[str]) -> Sequence[str]:
    """Those of ``digests`` that must still be sent before a manifest may name them. The others are not collected as
    garbage for a while."""
    with platform.storage.read() as session:
        found = find_project(session, caller, project, Permission.WRITE)
        absent = session.blobs.missing(found.id, digests)
    lacking = set(absent)
    held = [digest for digest in digests if digest not in lacking]
    if held:
        with platform.storage.write() as session:
            gone = set(session.blobs.hold(found.id, held, now())) | lacking
            absent = [digest for digest in digests if digest in gone]
    return absent


def check_write(platform: Platform, caller: Caller, project: str) -> str:
    """The project's id, if the caller may add blobs to it: asked before the first byte is read."""
    with platform.storage.read() as session:
        return find_project(session, caller, project, Permission.WRITE).id


def put(platform: Platform, project_id: str, digest: str, chunks: Iterable[bytes]) -> int:
    """Store a blob and note that the project holds it. Whoever names a digest must send its bytes: a digest alone
    gives no access to what another project stored."""
    size = platform.blobs.put(digest, chunks)
    with platform.storage.write() as session:
        session.blobs.add(project_id, digest, size, now())
    return size


def check_read(platform: Platform, caller: Caller, project: str, digest: str) -> None:
    """NotFoundError unless the project holds the blob, and the caller may read it."""
    with platform.storage.read() as session:
        found = find_project(session, caller, project)
        if not session.blobs.has(found.id, digest):
            raise NotFoundError(f"The project {found.name!r} holds no blob {digest}.")


def bundle(platform: Platform, caller: Caller, project: str, digests: Sequence[str]) -> tuple[int, Iterator[bytes]]:
    """How many bytes a bundle of blobs has, and those bytes: of each blob its size as eight bytes, then its content.

    Raises:
        NotFoundError: The project does not hold one of them (``details["missing"]``).
    """
    with platform.storage.read() as session:
        found = find_project(session, caller, project)
        absent = session.blobs.missing(found.id, digests)
    if absent:
        message = f"The project {found.name!r} holds no blob {absent[0]}."
        raise NotFoundError(message, details={"missing": list(absent[:1000])})
    sizes = [size_of(platform, digest) for digest in digests]
    total = sum(sizes) + SIZE_BYTES * len(sizes)
    return total, _gathered(_bundled(platform, digests, sizes))


def _bundled(platform: Platform, digests: Sequence[str], sizes: Sequence[int]) -> Iterator[bytes]:
    for digest, size in zip(digests, sizes, strict=True):
        yield size.to_bytes(SIZE_BYTES, "big")
        yield from platform.blobs.read(digest)


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in larger pieces: each goes from one thread to another on its way out."""
    held, size = [], 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= GATHERED_BYTES:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def size_of(platform: Platform, digest: str) -> int:
    """Bytes of a stored blob; NotFoundError when it is not there."""
    size = platform.blobs.size(digest)
    if size is None:
        raise NotFoundError(f"The blob {digest} is not stored.")
    return size


def open_digest(platform: Platform, digest: str) -> tuple[int, Iterator[bytes]]:
    return size_of(platform, digest), platform.blobs.read(digest)


def check_held(session: Session, project_id: str, files: Iterable[FileEntry]) -> None:
    """InvalidRequestError unless the project holds every file of a manifest. From now on they are in use: garbage
    collection, which looks at the moment that this sets, passes them by."""
    by_digest = {entry.digest: entry for entry in files}
    absent = session.blobs.hold(project_id, list(by_digest), now())
    if absent:
        names = ", ".join(repr(by_digest[digest].path) for digest in absent[:3])
        raise InvalidRequestError(
            f"{len(absent)} file(s) of the manifest were not uploaded: {names}.",
            hint="Send them with PUT …/blobs/{digest} first.",
            details={"missing": list(absent[:1000])},
        )
