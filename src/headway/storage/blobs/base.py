"""Files by their SHA-256: what workspaces, models, artifacts and outputs are made of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import NamedTuple, Protocol

from headway.domain.uploads import Upload


class StoredBlob(NamedTuple):
    digest: str
    size: int


class BlobStore(Protocol):
    """Immutable byte strings under their digest.

    Obligations (headway/testing/blobs.py): a blob is either wholly there or not at all, also after a kill -9 in the
    middle of ``put``; memory stays bounded whatever the size; putting a blob that exists is harmless; a digest that
    does not fit the bytes raises InvalidRequestError and stores nothing; a full disk raises StorageFullError and stores
    nothing. ``put`` reads and checks the bytes even when the blob exists: knowing a digest is no proof of having it.

    Large blobs come in parts, in any order and several at once: ``begin``, ``put_part`` for each, ``verify``,
    ``publish``. A part that was put is durable and is never replaced; nothing of an upload can be read as a blob before
    ``publish``, and ``publish`` is called only after ``verify`` found all bytes to have the digest.
    """

    def put(self, digest: str, chunks: Iterable[bytes]) -> int:
        """Store the concatenated ``chunks`` durably, return their length in bytes."""
        ...

    def size(self, digest: str) -> int | None:
        """Bytes, or None when it is not there."""
        ...

    def read(self, digest: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes in chunks of at most 1 MiB. NotFoundError at the call when it is not there."""
        ...

    def delete(self, digest: str) -> None:
        """Remove it and give back the space; harmless when it is not there."""
        ...

    def stored(self, before: datetime) -> Iterator[StoredBlob]:
        """Every blob that was last put before ``before``, in any order."""
        ...

    def delete_older(self, digest: str, before: datetime) -> int | None:
        """Remove it unless it was put since ``before``; its bytes, or None when it is not there or stays. A blob that is
        put at the same time stays."""
        ...

    def begin(self, size: int) -> str:
        """Make room for a blob that comes in parts; what the upload is called here (``Upload.place``).

        Raises:
            StorageFullError: So many bytes are not free now.
        """
        ...

    def put_part(self, upload: Upload, number: int, digest: str, chunks: Iterable[bytes]) -> None:
        """Store part ``number``, whose SHA-256 is ``digest``, durably. The same part again is harmless.

        Raises:
            InvalidRequestError: The bytes do not have that digest or length, or there is no such part.
            ConflictError: Other bytes were put as this part before.
            UnavailableError: The same part is being put at this moment.
            NotFoundError: The upload is not there.
        """
        ...

    def parts(self, upload: Upload) -> Collection[int]:
        """The numbers of the parts that are there. NotFoundError when the upload is not."""
        ...

    def verify(self, upload: Upload) -> None:
        """Nothing, when all parts are there and together have the digest.

        Raises:
            ConflictError: Parts are missing, or were found damaged and dropped; ``details["missing"]`` numbers them.
            InvalidRequestError: Every part is as it was put, and the whole does not have the digest.
            UnavailableError: A part is being put at this moment.
            NotFoundError: The upload is not there.
        """
        ...

    def publish(self, upload: Upload) -> None:
        """Make a verified upload a blob. Again is harmless."""
        ...

    def abandon(self, place: str) -> int:
        """Remove an upload; the bytes that this gave back. Harmless when it is not there."""
        ...

    def touched(self, place: str) -> datetime | None:
        """When the last part of an upload was put, or when it began; None when it is not there."""
        ...
