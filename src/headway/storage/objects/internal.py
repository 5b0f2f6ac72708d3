"""The server's own object area: keys in the database, contents among the project's blobs."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from headway.domain.base import PageRequest, now
from headway.domain.objects import Bucket, ObjectListing, ObjectPut, StoredObject, prefix_end
from headway.errors import InvalidRequestError
from headway.storage.base import Session

FIRST_LOOK = 8
"""Objects that are looked at where the next prefix may be folded: most of it is then never read."""
_FOLLOWING = "\x01"
"""No key holds a control character, so this after a key comes before any other."""


class InternalObjects:
    """A :class:`headway.storage.objects.base.ObjectStore`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def put(self, bucket: Bucket, objects: Sequence[ObjectPut], *, actor: str) -> Sequence[StoredObject]:
        _refuse_twins(objects)
        moment = now()
        self._hold(bucket, objects)
        stored = [
            StoredObject(bucket=bucket.name, updated_at=moment, updated_by=actor, **dict(wanted)) for wanted in objects
        ]
        self._session.objects.put(bucket.id, stored)
        return stored

    def _hold(self, bucket: Bucket, objects: Sequence[ObjectPut]) -> None:
        """Have garbage collection pass by the contents, which looks at the moment that this sets."""
        by_digest = {wanted.digest: wanted for wanted in objects}
        absent = self._session.blobs.hold(bucket.project_id, list(by_digest), now())
        if absent:
            keys = ", ".join(repr(by_digest[digest].key) for digest in absent[:3])
            raise InvalidRequestError(
                f"The contents of {len(absent)} object(s) were not uploaded: {keys}.",
                hint="Send them with PUT …/blobs/{digest} first.",
                details={"missing": list(absent[:1000])},
            )

    def find(self, bucket: Bucket, key: str) -> StoredObject | None:
        return self._session.objects.find(bucket.id, key)

    def list(self, bucket: Bucket, page: PageRequest, *, prefix: str = "", delimiter: str = "") -> ObjectListing:
        start = prefix if page.cursor is None else max(prefix, _decode(page.cursor))
        walk = _Walk(self._session, bucket, prefix, delimiter, start)
        items: list[StoredObject] = []
        prefixes: list[str] = []
        while (found := walk.next(page.limit + 1 - len(items) - len(prefixes))) is not None:
            if len(items) + len(prefixes) == page.limit:
                cursor = _encode(found if isinstance(found, str) else found.key)
                return ObjectListing(items=tuple(items), prefixes=tuple(prefixes), next_cursor=cursor)
            if isinstance(found, str):
                prefixes.append(found)
            else:
                items.append(found)
        return ObjectListing(items=tuple(items), prefixes=tuple(prefixes))

    def delete(self, bucket: Bucket, key: str) -> int:
        return self._session.objects.delete(bucket.id, key)

    def delete_prefix(self, bucket: Bucket, prefix: str) -> int:
        return self._session.objects.delete_prefix(bucket.id, prefix)


class _Walk:
    """Objects and folded prefixes of a bucket one after the other, read in portions. Behind a folded prefix it goes on
    where that ends."""

    def __init__(self, session: Session, bucket: Bucket, prefix: str, delimiter: str, start: str) -> None:
        self._session, self._bucket = session, bucket
        self._prefix, self._delimiter = prefix, delimiter
        self._start: str | None = start
        self._portion = FIRST_LOOK
        self._read: list[StoredObject] = []
        self._more = True

    def next(self, wanted: int) -> StoredObject | str | None:
        """The next object, or prefix into which some are folded; None at the end. ``wanted``: how many may follow."""
        while self._start is not None:
            while self._read:
                stored = self._read.pop()
                if stored.key >= self._start:
                    return self._taken(stored)
            if not self._more:
                return None
            self._fill(wanted)
        return None

    def _taken(self, stored: StoredObject) -> StoredObject | str:
        place = stored.key.find(self._delimiter, len(self._prefix)) if self._delimiter else -1
        if place < 0:
            self._start = stored.key + _FOLLOWING
            return stored
        folded = stored.key[: place + len(self._delimiter)]
        self._start = prefix_end(folded)
        if self._read and self._start is not None and self._read[0].key < self._start:
            # All that was read ahead is folded too: the next portion begins behind it, and is small.
            self._read, self._portion = [], FIRST_LOOK
        return folded

    def _fill(self, wanted: int) -> None:
        assert self._start is not None
        limit = min(self._portion, wanted) if self._delimiter else wanted
        found = self._session.objects.page(self._bucket.id, prefix=self._prefix, start=self._start, limit=limit)
        self._more = len(found) == limit
        self._portion *= 4
        self._read = list(reversed(found))


def _refuse_twins(objects: Sequence[ObjectPut]) -> None:
    seen: set[str] = set()
    for wanted in objects:
        if wanted.key in seen:
            raise InvalidRequestError(f"The key {wanted.key!r} is listed twice.")
        seen.add(wanted.key)


def _encode(start: str) -> str:
    """Where the next page begins, as opaque text."""
    return base64.urlsafe_b64encode(start.encode()).decode().rstrip("=")


def _decode(cursor: str) -> str:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        raise InvalidRequestError(
            f"The cursor {cursor!r} was not given out by this server.",
            hint="Use `next_cursor` of the page before, or none for the first page.",
        ) from None
