"""What a place for buckets promises.

Today there is one, the server's own object area (internal.py). Which bucket lives where is known to
:mod:`headway.server.actions.stores` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from headway.domain.base import PageRequest
from headway.domain.objects import Bucket, ObjectListing, ObjectPut, StoredObject


class ObjectStore(Protocol):
    """The objects of buckets, within one session.

    Obligations of every implementation (headway/testing/storage/object_stores.py):

    - A key is kept exactly as it was given: keys are one where their bytes are, whatever they would mean as paths or as
      text.
    - ``put`` names contents that were uploaded before (blobs that the bucket's project holds): all of them or none, and
      from then on a reader finds the new content or the former one, never part of either. Contents that an object names
      stay for as long as it does.
    - Keys are listed in the order of their bytes. Pages neither repeat nor skip an object that exists throughout, and a
      prefix below which much lies is not gone through when it is folded.
    - Deleting what is not there does nothing.
    """

    def put(self, bucket: Bucket, objects: Sequence[ObjectPut], *, actor: str) -> Sequence[StoredObject]:
        """Name contents; an object of the same key is replaced.

        Raises:
            InvalidRequestError: A content was not uploaded (``details["missing"]`` has the digests), or a key is there
                twice.
        """
        ...

    def find(self, bucket: Bucket, key: str) -> StoredObject | None: ...
    def list(self, bucket: Bucket, page: PageRequest, *, prefix: str = "", delimiter: str = "") -> ObjectListing:
        """Objects whose keys begin with ``prefix``. With a delimiter, keys that hold it after the prefix are folded into
        one of ``prefixes``, which ends with it. A page has at most ``page.limit`` of both together."""
        ...

    def delete(self, bucket: Bucket, key: str) -> int:
        """How many objects are gone: 0 or 1."""
        ...

    def delete_prefix(self, bucket: Bucket, prefix: str) -> int:
        """Remove those whose keys begin with ``prefix``, with an empty one all; how many are gone."""
        ...
