"""client.objects: the object area, by addresses ``s3://bucket/key``."""

from __future__ import annotations

import hashlib
import io
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from headway.domain.base import Record, parse_request
from headway.domain.files import FileEntry
from headway.domain.objects import (
    SCHEME,
    Bucket,
    BucketCreate,
    ObjectAddress,
    ObjectListing,
    ObjectPut,
    ObjectsDeleted,
    StoredObject,
    check_key,
    folder_prefix,
    parse_address,
)
from headway.errors import (
    CorruptDataError,
    InvalidRequestError,
    NotFoundError,
    PayloadTooLargeError,
    PlatformError,
)
from headway.sdk import object_files
from headway.sdk.downloads import Download, make_root
from headway.sdk.object_files import LocalPath, ObjectReader
from headway.sdk.progress import progress_bar
from headway.sdk.resources.artifacts import regular_file
from headway.sdk.resources.base import Resource
from headway.sdk.resources.blobs import Blobs
from headway.sdk.resources.projects import Projects
from headway.sdk.session import Query, segment
from headway.sdk.uploads import LocalFile, upload

AT_ONCE = 1000
"""Objects that are named, or listed, with one request."""
MAX_READ = 256 << 20


class _Named(Record):
    items: tuple[StoredObject, ...]


class Objects(Resource):
    """Objects of a project. Keys are kept exactly as they are given; where a verb takes a folder of objects, that is
    everything whose key begins with ``<key>/``."""

    path = "/api/v1/projects"
    noun = "project"

    def buckets(self, *, project: str | None = None, limit: int | None = None) -> Iterator[Bucket]:
        """Buckets, newest first."""
        return self._session.pages(Bucket, self._buckets(project), {}, limit)

    def create_bucket(self, name: str, *, project: str | None = None) -> Bucket:
        """Make a bucket, or get the one that is there. Writing makes one, too."""
        request = parse_request(BucketCreate, {"name": _bucket_name(name)}, what="The bucket")
        return self._session.create(Bucket, self._buckets(project), request)

    def delete_bucket(self, name: str, *, force: bool = False, project: str | None = None) -> None:
        """Delete a bucket.

        Args:
            name: Its name, or ``s3://name``.
            force: Delete its objects, too.
            project: Id or name; the client's own without it.

        Raises:
            ConflictError: It holds objects, and ``force`` is False.
        """
        address = ObjectAddress(_bucket_name(name), "")
        self._session.call("DELETE", self._bucket(address, project), query={"force": force})

    def list(self, address: str, *, project: str | None = None, limit: int | None = None) -> Iterator[StoredObject]:
        """Objects whose keys begin with the key of ``address``, in the order of the bytes of their keys."""
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
            raise InvalidRequestError(f"limit must be a number of items, not {limit!r}.")
        return self._list(_parsed(address), project, limit)

    def _list(self, address: ObjectAddress, project: str | None, limit: int | None) -> Iterator[StoredObject]:
        left, cursor, last = limit, None, ""
        while left is None or left > 0:
            size = AT_ONCE if left is None else min(left, AT_ONCE)
            found = self._page(address, {"limit": size, "cursor": cursor}, project)
            for stored in found.items[:left]:
                if not stored.key.startswith(address.key) or stored.key <= last:
                    raise PlatformError(f"The list of {address.uri!r} is not in order, or holds what is not below it.")
                last = stored.key
                yield stored
            cursor, left = found.next_cursor, None if left is None else left - len(found.items)
            if cursor is None:
                return

    def page(
        self,
        address: str,
        *,
        delimiter: str = "/",
        limit: int = 100,
        cursor: str | None = None,
        project: str | None = None,
    ) -> ObjectListing:
        """One page of what lies directly at ``address``: keys that hold the delimiter after it are folded into
        ``prefixes``. ``limit`` is for both together, 1 to 1000."""
        query = {"delimiter": delimiter or None, "limit": limit, "cursor": cursor}
        return self._page(_parsed(address), query, project)

    def _page(self, address: ObjectAddress, query: Query, project: str | None) -> ObjectListing:
        place = f"{self._bucket(address, project)}/objects"
        return self._session.get(ObjectListing, place, {**query, "prefix": address.key or None})

    def get(self, address: str, *, project: str | None = None) -> StoredObject:
        """What is known of one object, without its bytes."""
        return self._info(_parsed(address, key=True), project)

    def _info(self, address: ObjectAddress, project: str | None) -> StoredObject:
        return self._session.get(StoredObject, f"{self._bucket(address, project)}/object/info", {"key": address.key})

    def read(self, address: str, *, limit: int = MAX_READ, project: str | None = None) -> bytes:
        """The bytes of one object, checked against its digest.

        Raises:
            PayloadTooLargeError: They are more than ``limit``.
            CorruptDataError: They are not what the digest says.
        """
        stored = self.get(address, project=project)
        if stored.size > limit:
            raise PayloadTooLargeError(f"{stored.uri!r} has {stored.size} bytes, and {limit} is the limit.")
        reader = ObjectReader(self._session, self._bucket(ObjectAddress(stored.bucket, ""), project))
        with reader.open(stored.key, stored.digest) as response:
            data = response.read(limit)
        if hashlib.sha256(data).hexdigest() != stored.digest:
            raise CorruptDataError(f"The content of {stored.uri!r} is not what its digest says.")
        return data

    def put(self, address: str, content: bytes | LocalPath, *, project: str | None = None) -> StoredObject:
        """Put one object; one of the same key is replaced, and the bucket is made where it is missing.

        Args:
            address: ``s3://bucket/key``.
            content: Its bytes, or the path of a file.
            project: Id or name; the client's own without it.

        Raises:
            WorkspaceError: The file changed while it was sent; nothing was put.
        """
        found = _parsed(address, key=True)
        if isinstance(content, (bytes, bytearray, memoryview)):
            return self._put_bytes(found, bytes(content), project)
        if not isinstance(content, (str, os.PathLike)):
            raise InvalidRequestError(f"An object is made of bytes or of a file, not of {type(content).__name__}.")
        path = Path(content)
        if path.is_dir():
            raise InvalidRequestError(f"{str(path)!r} is a folder.", hint="Use upload() for it.")
        return self._put_files(found.bucket, [(found.key, regular_file(path, "content"))], project)[0]

    def _put_bytes(self, address: ObjectAddress, data: bytes, project: str | None) -> StoredObject:
        digest = hashlib.sha256(data).hexdigest()
        wanted = _put_request(address.key, FileEntry(path="content", digest=digest, size=len(data)))
        blobs = Blobs(self._session)
        blobs.put(digest, len(data), lambda: io.BytesIO(data), project=project)
        return self._name(address.bucket, [wanted], project)[0]

    def upload(
        self, source: LocalPath, address: str, *, keep_name: bool = False, project: str | None = None
    ) -> Sequence[StoredObject]:
        """Put a file, or every file of a folder.

        A file becomes the object of that key, or, where the key is empty or ends with ``/``, one below it of the file's
        name. A folder's files are put below the key. Symbolic links inside the folder stand for their content.

        Args:
            source: A file or folder.
            address: ``s3://bucket/key``.
            keep_name: Put a folder's files below the folder's own name.
            project: Id or name; the client's own without it.

        Returns:
            What was put, by key. Up to 1,000 objects are there all at once or not at all; more come in such portions.

        Raises:
            InvalidRequestError: A link leads outside of the folder, something is no file, or a key is too long; nothing was
                sent.
        """
        found, path = _parsed(address), Path(source)
        files = [
            (key, regular_file(file, "content"))
            for key, file in object_files.local_keys(path, found.key, keep_name=keep_name)
        ]
        if not files:
            raise InvalidRequestError(f"There is no file in {str(path)!r}.")
        return self._put_files(found.bucket, sorted(files, key=lambda one: one[0]), project)

    def _put_files(
        self, bucket: str, files: Sequence[tuple[str, LocalFile]], project: str | None
    ) -> Sequence[StoredObject]:
        wanted = [_put_request(key, file.entry) for key, file in files]
        blobs, chosen = Blobs(self._session), self._project(project)
        upload(blobs, [file for _, file in files], project=chosen)
        stored: list[StoredObject] = []
        for start in range(0, len(wanted), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            try:
                stored += self._name(bucket, wanted[some], project)
            except InvalidRequestError as error:
                if "missing" not in error.details:
                    raise
                # What the server had was removed between the question and the naming: now it is sent again.
                upload(blobs, [file for _, file in files[some]], project=chosen)
                stored += self._name(bucket, wanted[some], project)
        return stored

    def _name(self, bucket: str, objects: Sequence[ObjectPut], project: str | None) -> Sequence[StoredObject]:
        place = f"{self._bucket(ObjectAddress(bucket, ''), project)}/objects"
        # Naming twice does no more than once, so it may be repeated.
        headers = {"Idempotency-Key": secrets.token_hex(16)}
        return self._session.act(_Named, "POST", place, body={"objects": list(objects)}, headers=headers).items

    def download(self, address: str, to: LocalPath = ".", *, project: str | None = None) -> Sequence[Path]:
        """Bring one object, or everything below a key; contents are checked.

        Files that are there with the same content are left alone, a download that was interrupted goes on, and files of
        other names stay. Keys that end with ``/`` and have no content mark directories, and are left out.

        Args:
            address: The object of that very key; where there is none, everything below it.
            to: For one object the file to write, or the directory to write it to where ``to`` is one or ends with ``/``;
                else the directory.
            project: Id or name; the client's own without it.

        Returns:
            Where the files lie, by key.

        Raises:
            NotFoundError: There is nothing.
            InvalidRequestError: A key cannot be a path below the directory (nothing was written), or a symbolic link lies
                where something would be written.
            CorruptDataError: The server sent something else than the digest says; nothing of that is kept.
        """
        found = _parsed(address)
        single = self._single(found, project)
        if single is not None:
            selection = object_files.select_one(single, to)
        else:
            prefix = folder_prefix(found.key)
            below = self._list(ObjectAddress(found.bucket, prefix), project, None)
            selection = object_files.select_below(below, prefix, to)
        if not selection.files:
            raise NotFoundError(f"There is nothing at {found.uri!r}.", hint=f"See `headway object ls {found.uri}`.")
        root = make_root(selection.root)
        reader = ObjectReader(self._session, self._bucket(found, project), selection.keys)
        with progress_bar("Downloading", sum(entry.size for entry in selection.files)) as advance:
            Download(root, reader, advance).bring_all(selection.files)
        return [root / entry.path for entry in selection.files]

    def _single(self, address: ObjectAddress, project: str | None) -> StoredObject | None:
        if not address.key or address.key.endswith("/"):
            return None
        try:
            return self._info(address, project)
        except NotFoundError:
            return None

    def delete(self, address: str, *, recursive: bool = False, project: str | None = None) -> int:
        """Delete one object, or with ``recursive`` everything below its key; how many are gone. A garbage collection gives
        back their space."""
        found = _parsed(address, key=not recursive)
        query = {"prefix": folder_prefix(found.key)} if recursive else {"key": found.key}
        place = f"{self._bucket(found, project)}/objects"
        return self._session.act(ObjectsDeleted, "DELETE", place, query=query).deleted

    def _buckets(self, project: str | None) -> str:
        return self._address(Projects(self._session).resolve(self._project(project)), "buckets")

    def _bucket(self, address: ObjectAddress, project: str | None) -> str:
        return f"{self._buckets(project)}/{segment(address.bucket, 'a bucket')}"


def _parsed(address: str, *, key: bool = False) -> ObjectAddress:
    """The parts of an address, checked; ``key``: that of an object.

    Raises:
        InvalidRequestError: It is none, or can name no object.
    """
    if not isinstance(address, str):
        raise InvalidRequestError(f"{address!r} is no address of an object.", hint="Write s3://bucket/key.")
    found = parse_address(address)
    _bucket_name(found.bucket)
    if key and not found.key:
        raise InvalidRequestError(f"{address!r} names no object.", hint="Write s3://bucket/key.")
    if found.key:
        try:
            check_key(found.key)
        except ValueError as error:
            raise InvalidRequestError(f"{error}.") from None
    return found


def _bucket_name(name: str) -> str:
    """The name of a bucket, which may be written as an address."""
    plain = name.removeprefix(SCHEME).removesuffix("/") if isinstance(name, str) else name
    return parse_request(BucketCreate, {"name": plain}, what="The bucket").name


def _put_request(key: str, content: FileEntry) -> ObjectPut:
    values = {"key": key, **content.model_dump(exclude={"path"})}
    return parse_request(ObjectPut, values, what="The object")
