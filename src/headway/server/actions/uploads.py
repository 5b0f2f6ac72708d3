"""Blobs that come in parts: begin, put the parts, finish. Everything may be repeated, and each step may be the last one
before a crash.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import timedelta

from headway.domain.base import new_id, now
from headway.domain.uploads import Upload, UploadCreate, UploadState, part_size
from headway.domain.users import Permission
from headway.errors import ConflictError, HeadwayError, InvalidRequestError, NotFoundError
from headway.server.actions.lookup import find_project
from headway.server.context import Caller, Platform
from headway.storage.base import Session

logger = logging.getLogger("headway.uploads")

ABANDONED = timedelta(days=1)
"""An upload to which no part was added for so long is removed."""


def begin(platform: Platform, caller: Caller, project: str, request: UploadCreate) -> UploadState:
    """The upload of a blob, new or under way: two senders of one blob share it."""
    with platform.storage.read() as session:
        project_id = find_project(session, caller, project, Permission.WRITE).id
        held = session.blobs.has(project_id, request.digest)
        upload = session.uploads.by_digest(project_id, request.digest)
    if held and _hold(platform, project_id, request.digest):
        return UploadState(held=True)
    if upload is not None:
        state = _resume(platform, upload, request)
        if state is not None:
            return state
    return _create(platform, caller, project_id, request)


def _hold(platform: Platform, project_id: str, digest: str) -> bool:
    with platform.storage.write() as session:
        return not session.blobs.hold(project_id, [digest], now())


def _resume(platform: Platform, upload: Upload, request: UploadCreate) -> UploadState | None:
    """How far it is; None when nothing of it is left and it has to begin anew."""
    if upload.size != request.size:
        raise InvalidRequestError(
            f"The blob {upload.digest} is being uploaded with {upload.size} bytes, not {request.size}."
        )
    try:
        if upload.verified:
            _conclude(platform, upload)
            return UploadState(held=True)
        present = set(platform.blobs.parts(upload))
    except NotFoundError:
        with platform.storage.write() as session:
            session.uploads.delete(upload.id)
        return None
    return _state(upload, present)


def _create(platform: Platform, caller: Caller, project_id: str, request: UploadCreate) -> UploadState:
    upload = Upload(
        id=new_id("up"),
        project_id=project_id,
        digest=request.digest,
        size=request.size,
        part_size=part_size(request.size),
        place=platform.blobs.begin(request.size),
        created_at=now(),
        created_by=caller.user.id,
    )
    try:
        with platform.storage.write() as session:
            session.uploads.add(upload)
    except HeadwayError as error:
        platform.blobs.abandon(upload.place)
        if not isinstance(error, ConflictError):
            raise
        with platform.storage.read() as session:
            other = session.uploads.by_digest(project_id, request.digest)
        state = _resume(platform, other, request) if other is not None else None
        if state is None:
            raise
        return state
    return _state(upload, set())


def _state(upload: Upload, present: set[int]) -> UploadState:
    parts = tuple(number in present for number in range(upload.parts))
    return UploadState(id=upload.id, part_size=upload.part_size, parts=parts)


def find(platform: Platform, caller: Caller, project: str, upload_id: str) -> Upload:
    """The upload, if the caller may go on with it: asked before the first byte is read."""
    with platform.storage.read() as session:
        return _find(session, find_project(session, caller, project, Permission.WRITE).id, upload_id)


def _find(session: Session, project_id: str, upload_id: str) -> Upload:
    upload = session.uploads.find(upload_id)
    if upload is None or upload.project_id != project_id:
        raise NotFoundError(f"There is no upload {upload_id!r}.", hint="It was finished or given up: begin it anew.")
    return upload


def put_part(platform: Platform, upload: Upload, number: int, digest: str, chunks: Iterable[bytes]) -> None:
    platform.blobs.put_part(upload, number, digest, chunks)


def finish(platform: Platform, upload: Upload) -> None:
    """Check the whole and make it a blob of the project.

    Raises:
        ConflictError: Parts are missing; ``details["missing"]`` says which.
        InvalidRequestError: It is not what its digest says. The upload is gone.
    """
    if not upload.verified:
        try:
            platform.blobs.verify(upload)
        except InvalidRequestError:
            _forget(platform, upload)
            raise
        upload = upload.evolve(verified=True)
        with platform.storage.write() as session:
            session.uploads.put(upload)
    _conclude(platform, upload)


def _conclude(platform: Platform, upload: Upload) -> None:
    """The last steps of a verified upload, from wherever a crash left them."""
    platform.blobs.publish(upload)
    with platform.storage.write() as session:
        session.blobs.add(upload.project_id, upload.digest, upload.size, now())
        session.uploads.delete(upload.id)


def _forget(platform: Platform, upload: Upload) -> int:
    with platform.storage.write() as session:
        session.uploads.delete(upload.id)
    return platform.blobs.abandon(upload.place)


def remove_abandoned(platform: Platform, *, dry_run: bool = False) -> tuple[int, int]:
    """Give up uploads that nobody went on with for a day; how many, and the bytes that they held."""
    oldest = now() - ABANDONED
    with platform.storage.read() as session:
        begun = session.uploads.begun_before(oldest)
    count = size = 0
    for upload in begun:
        touched = platform.blobs.touched(upload.place)
        if touched is not None and touched >= oldest:
            continue
        count += 1
        if not dry_run:
            size += _forget(platform, upload)
            logger.info("the upload %s of the blob %s was given up", upload.id, upload.digest)
    return count, size
