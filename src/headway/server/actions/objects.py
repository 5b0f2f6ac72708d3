"""Objects of a project by bucket and key; see domain/objects.py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from headway.domain.base import Page, PageRequest, parse_request
from headway.domain.files import FileEntry, check_path
from headway.domain.objects import (
    Bucket,
    BucketCreate,
    ObjectAddress,
    ObjectListing,
    ObjectPut,
    ObjectsDeleted,
    StoredObject,
    folder_prefix,
    parse_address,
)
from headway.domain.users import Permission
from headway.errors import ConflictError, InvalidRequestError, NotFoundError
from headway.server.actions import stores
from headway.server.actions.lookup import find_project
from headway.server.actions.recording import record
from headway.server.context import Caller, Platform
from headway.storage.base import Session
from headway.storage.objects.base import ObjectStore

MAX_FILES = 250_000
"""Objects below one prefix that a job's input, a workspace or a model may have."""
AT_ONCE = 1000


def create_bucket(platform: Platform, caller: Caller, project: str, request: BucketCreate) -> tuple[Bucket, bool]:
    """Make a bucket, or get the one that is there; whether it was made."""
    with platform.storage.write() as session:
        found = find_project(session, caller, project, Permission.WRITE)
        place, made = stores.make(session, found.id, request.name, actor=caller.user.id)
        if made:
            _tell(session, "bucket.created", place.bucket, caller.user.id)
        return place.bucket, made


def list_buckets(platform: Platform, caller: Caller, project: str, page: PageRequest) -> Page[Bucket]:
    with platform.storage.read() as session:
        return session.buckets.list(page, project_ids=[find_project(session, caller, project).id])


def get_bucket(platform: Platform, caller: Caller, project: str, name: str) -> Bucket:
    with platform.storage.read() as session:
        return stores.find(session, find_project(session, caller, project).id, name).bucket


def delete_bucket(platform: Platform, caller: Caller, project: str, name: str, *, force: bool) -> None:
    """Remove a bucket; with ``force`` together with its objects.

    Raises:
        ConflictError: It holds objects.
    """
    with platform.storage.write() as session:
        found = find_project(session, caller, project, Permission.WRITE)
        bucket, store = stores.find(session, found.id, name)
        deleted = store.delete_prefix(bucket, "") if force else 0
        if not force and store.list(bucket, PageRequest(limit=1)).items:
            raise ConflictError(
                f"The bucket {name!r} holds objects.", hint="Delete them first, or with the bucket: --force."
            )
        session.buckets.delete(bucket.id)
        _tell(session, "bucket.deleted", bucket, caller.user.id, objects=deleted)


def list_objects(
    platform: Platform, caller: Caller, project: str, name: str, page: PageRequest, *, prefix: str, delimiter: str
) -> ObjectListing:
    with platform.storage.read() as session:
        bucket, store = stores.find(session, find_project(session, caller, project).id, name)
        return store.list(bucket, page, prefix=prefix, delimiter=delimiter)


def get(platform: Platform, caller: Caller, project: str, name: str, key: str) -> StoredObject:
    with platform.storage.read() as session:
        bucket, store = stores.find(session, find_project(session, caller, project).id, name)
        found = store.find(bucket, key)
        if found is None:
            raise NotFoundError(f"There is no object {ObjectAddress(name, key).uri!r}.")
        return found


def put(
    platform: Platform, caller: Caller, project: str, name: str, objects: Sequence[ObjectPut]
) -> Sequence[StoredObject]:
    """Name blobs that were uploaded before: all or none. The bucket is made where it is missing.

    Raises:
        InvalidRequestError: A content was not uploaded or has another size, or a key is there twice.
    """
    with platform.storage.read() as session:
        project_id = find_project(session, caller, project, Permission.WRITE).id
        held = _held(session, project_id, objects)
    _check_sizes(platform, held)
    with platform.storage.write() as session:
        find_project(session, caller, project_id, Permission.WRITE)
        return _name(session, project_id, name, objects, actor=caller.user.id)


def _held(session: Session, project_id: str, objects: Sequence[ObjectPut]) -> Sequence[ObjectPut]:
    """Those whose contents the project has: of others not even the size may be told."""
    absent = set(session.blobs.missing(project_id, [wanted.digest for wanted in objects]))
    return [wanted for wanted in objects if wanted.digest not in absent]


def _check_sizes(platform: Platform, objects: Iterable[ObjectPut]) -> None:
    for wanted in objects:
        size = platform.blobs.size(wanted.digest)
        if size is not None and size != wanted.size:
            raise InvalidRequestError(f"The content of {wanted.key!r} has {size} bytes, not {wanted.size}.")


def _name(
    session: Session, project_id: str, name: str, objects: Sequence[ObjectPut], *, actor: str
) -> Sequence[StoredObject]:
    (bucket, store), made = stores.make(session, project_id, name, actor=actor)
    stored = store.put(bucket, objects, actor=actor)
    # Told only now: events come one transaction after the other, and whoever waits for a bucket or content holds none up.
    if made:
        _tell(session, "bucket.created", bucket, actor)
    message = f"{len(stored)} object(s), first {stored[0].uri}"
    size = sum(one.size for one in stored)
    _tell(session, "bucket.objects_put", bucket, actor, message, objects=len(stored), bytes=size)
    return stored


def _tell(session: Session, type: str, bucket: Bucket, actor: str, message: str = "", **data: int) -> None:
    project_id = bucket.project_id
    record(session, type, bucket.id, project_id=project_id, actor=actor, message=message, name=bucket.name, **data)


def delete(
    platform: Platform, caller: Caller, project: str, name: str, *, key: str | None, prefix: str | None
) -> ObjectsDeleted:
    """Remove the object ``key``, or all that begin with ``prefix``."""
    if (key is None) == (prefix is None):
        raise InvalidRequestError("Either a key or a prefix says what to delete.")
    with platform.storage.write() as session:
        found = find_project(session, caller, project, Permission.WRITE)
        bucket, store = stores.find(session, found.id, name)
        deleted = store.delete(bucket, key) if key is not None else store.delete_prefix(bucket, prefix or "")
        if deleted:
            uri = ObjectAddress(name, key if key is not None else prefix or "").uri
            message = f"{deleted} object(s) of {uri}"
            _tell(session, "bucket.objects_deleted", bucket, caller.user.id, message, objects=deleted)
        return ObjectsDeleted(deleted=deleted)


def manifest(session: Session, project_id: str, address: ObjectAddress | str) -> Sequence[FileEntry]:
    """The files that an address means, sorted by path: the object of that very key (called as the last part of it), or
    everything below it, called as what comes after ``<key>/``. Keys that end with ``/`` and have no content mark
    directories, and are left out.

    Raises:
        NotFoundError: No such bucket, or nothing there.
        InvalidRequestError: A key cannot be the path of a file, or cannot beside another one; or they are too many.
    """
    address = parse_address(address) if isinstance(address, str) else address
    bucket, store = stores.find(session, project_id, address.bucket)
    if address.key and not address.key.endswith("/"):
        single = store.find(bucket, address.key)
        if single is not None:
            return [_file(single, address.key.rpartition("/")[2])]
    prefix = folder_prefix(address.key)
    found: list[FileEntry] = []
    for stored in _every(store, bucket, prefix):
        if not stored.marks_directory:
            found.append(_file(stored, stored.key[len(prefix) :]))
        if len(found) > MAX_FILES:
            raise InvalidRequestError(f"There are more than {MAX_FILES} objects below {address.uri!r}.")
    if not found:
        raise NotFoundError(f"There is nothing at {address.uri!r}.", hint=f"See `headway object ls {address.uri}`.")
    _refuse_nested(found)
    return found


def _every(store: ObjectStore, bucket: Bucket, prefix: str) -> Iterator[StoredObject]:
    cursor: str | None = None
    while True:
        page = store.list(bucket, PageRequest(limit=AT_ONCE, cursor=cursor), prefix=prefix)
        yield from page.items
        cursor = page.next_cursor
        if cursor is None:
            return


def _file(stored: StoredObject, path: str) -> FileEntry:
    try:
        check_path(path)
    except ValueError as error:
        raise InvalidRequestError(f"{stored.uri!r} cannot be a file: {error}.") from None
    return FileEntry(path=path, digest=stored.digest, size=stored.size, executable=stored.executable)


def _refuse_nested(files: Sequence[FileEntry]) -> None:
    """InvalidRequestError where one path is a file and the directory of another."""
    paths = {entry.path for entry in files}
    for entry in files:
        above = entry.path.rpartition("/")[0]
        while above:
            if above in paths:
                raise InvalidRequestError(f"The key {above!r} is a file and the directory of {entry.path!r}.")
            above = above.rpartition("/")[0]


def name_files(
    session: Session, project_id: str, address: ObjectAddress | str, files: Sequence[FileEntry], *, actor: str
) -> Sequence[StoredObject]:
    """Name files that the project holds as objects below an address, in the caller's transaction. The bucket is made
    where it is missing; objects of the same keys are replaced. Call it before the transaction records an event.

    Raises:
        InvalidRequestError: A key would be too long, or a content is not held by the project.
    """
    address = parse_address(address) if isinstance(address, str) else address
    name = parse_request(BucketCreate, {"name": address.bucket}, what="The bucket").name
    prefix = folder_prefix(address.key)
    objects = [parse_request(ObjectPut, _named(entry, prefix), what="The object") for entry in files]
    return _name(session, project_id, name, objects, actor=actor) if objects else []


def _named(entry: FileEntry, prefix: str) -> dict[str, object]:
    fields = entry.model_dump(exclude={"path"})
    return {"key": prefix + entry.path, **fields}
