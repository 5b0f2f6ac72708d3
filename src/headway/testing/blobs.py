"""What every blob store promises, as tests."""

from __future__ import annotations

import hashlib
import threading
import tracemalloc
from collections.abc import Iterator

import pytest

from headway.errors import InvalidRequestError, NotFoundError
from headway.storage.blobs.base import BlobStore
from headway.testing.factories import digest_of

MIB = 1024 * 1024


class BlobContract:
    """Subclass it, and override the fixture ``blobs`` with an empty store."""

    @pytest.fixture
    def blobs(self) -> BlobStore:
        raise NotImplementedError("override the fixture `blobs`")

    def test_a_blob_comes_back_as_it_was_put(self, blobs: BlobStore) -> None:
        data = bytes(range(256)) * 10
        assert blobs.put(digest_of(data), [data[:7], b"", data[7:]]) == len(data)
        assert b"".join(blobs.read(digest_of(data))) == data
        assert blobs.size(digest_of(data)) == len(data)

    def test_an_empty_blob_is_a_blob(self, blobs: BlobStore) -> None:
        assert blobs.put(digest_of(b""), []) == 0
        assert blobs.size(digest_of(b"")) == 0
        assert list(blobs.read(digest_of(b""))) == []

    def test_an_absent_blob_has_no_size_and_cannot_be_read(self, blobs: BlobStore) -> None:
        absent = digest_of(b"absent")
        assert blobs.size(absent) is None
        with pytest.raises(NotFoundError, match=absent):
            blobs.read(absent)

    def test_any_part_can_be_read(self, blobs: BlobStore) -> None:
        data = bytes(i % 251 for i in range(3 * MIB + 5))
        digest = digest_of(data)
        blobs.put(digest, [data])
        for offset, length in [
            (0, 10),
            (MIB - 1, 2),
            (5, None),
            (len(data) - 1, 100),
            (len(data), 1),
            (9**9, 1),
            (7, 0),
        ]:
            end = None if length is None else offset + length
            assert b"".join(blobs.read(digest, offset=offset, length=length)) == data[offset:end]

    def test_chunks_are_at_most_one_mebibyte(self, blobs: BlobStore) -> None:
        data = b"x" * (2 * MIB + 1)
        blobs.put(digest_of(data), [data])
        assert all(0 < len(chunk) <= MIB for chunk in blobs.read(digest_of(data)))

    @pytest.mark.parametrize(("offset", "length"), [(-1, None), (0, -1)])
    def test_a_negative_part_is_refused(self, blobs: BlobStore, offset: int, length: int | None) -> None:
        blobs.put(digest_of(b"x"), [b"x"])
        with pytest.raises(ValueError, match="negative"):
            blobs.read(digest_of(b"x"), offset=offset, length=length)

    def test_putting_a_blob_again_is_harmless(self, blobs: BlobStore) -> None:
        digest = digest_of(b"twice")
        assert blobs.put(digest, [b"twice"]) == blobs.put(digest, [b"twi", b"ce"]) == 5
        assert b"".join(blobs.read(digest)) == b"twice"

    def test_bytes_that_do_not_fit_the_digest_are_refused_and_not_stored(self, blobs: BlobStore) -> None:
        digest = digest_of(b"right")
        with pytest.raises(InvalidRequestError, match=digest):
            blobs.put(digest, [b"wrong"])
        assert blobs.size(digest) is None
        assert blobs.size(digest_of(b"wrong")) is None

    def test_knowing_the_digest_of_a_stored_blob_does_not_replace_its_bytes(self, blobs: BlobStore) -> None:
        digest = digest_of(b"right")
        blobs.put(digest, [b"right"])
        with pytest.raises(InvalidRequestError):
            blobs.put(digest, [b"wrong"])
        assert b"".join(blobs.read(digest)) == b"right"

    def test_a_sender_that_breaks_off_leaves_nothing(self, blobs: BlobStore) -> None:
        digest = digest_of(b"abc")

        def breaking() -> Iterator[bytes]:
            yield b"abc"
            raise ConnectionResetError("gone")

        with pytest.raises(ConnectionResetError):
            blobs.put(digest, breaking())
        assert blobs.size(digest) is None

    def test_delete_removes_a_blob_and_may_be_repeated(self, blobs: BlobStore) -> None:
        digest = digest_of(b"gone")
        blobs.put(digest, [b"gone"])
        blobs.delete(digest)
        blobs.delete(digest)
        assert blobs.size(digest) is None

    def test_a_reader_finishes_what_is_deleted_meanwhile(self, blobs: BlobStore) -> None:
        data = b"r" * (3 * MIB)
        blobs.put(digest_of(data), [data])
        reader = blobs.read(digest_of(data))
        first = next(reader)
        blobs.delete(digest_of(data))
        assert first + b"".join(reader) == data

    @pytest.mark.parametrize(
        "digest", ["", "abc", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 65, "a" * 64 + "\n", "g" * 64, "a/" * 32]
    )
    def test_what_is_no_digest_is_refused_everywhere(self, blobs: BlobStore, digest: str) -> None:
        with pytest.raises(InvalidRequestError):
            blobs.put(digest, [b"x"])
        with pytest.raises(InvalidRequestError):
            blobs.size(digest)
        with pytest.raises(InvalidRequestError):
            blobs.read(digest)
        with pytest.raises(InvalidRequestError):
            blobs.delete(digest)

    def test_memory_stays_bounded_whatever_the_size(self, blobs: BlobStore) -> None:
        chunk, count = b"m" * MIB, 64
        hasher = hashlib.sha256()
        for _ in range(count):
            hasher.update(chunk)
        digest = hasher.hexdigest()
        tracemalloc.start()
        try:
            blobs.put(digest, (chunk for _ in range(count)))
            assert sum(len(part) for part in blobs.read(digest)) == count * MIB
            assert tracemalloc.get_traced_memory()[1] < 8 * MIB
        finally:
            tracemalloc.stop()

    def test_many_threads_may_put_the_same_blob(self, blobs: BlobStore) -> None:
        data = b"shared" * 50_000
        digest, sizes = digest_of(data), []
        threads = [threading.Thread(target=lambda: sizes.append(blobs.put(digest, [data]))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sizes == [len(data)] * 8
        assert b"".join(blobs.read(digest)) == data
