"""Files by their SHA-256: what workspaces, models and outputs are made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol


class BlobStore(Protocol):
    """Immutable byte strings under their digest.

    Obligations (headway/testing/blobs.py): a blob is either wholly there or not at all, also after a kill -9 in the
    middle of ``put``; memory stays bounded whatever the size; putting a blob that exists is harmless; a digest that
    does not fit the bytes raises InvalidRequestError and stores nothing; a full disk raises StorageFullError and stores
    nothing. ``put`` reads and checks the bytes even when the blob exists: knowing a digest is no proof of having it.
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
