"""What every blob store promises, as tests."""

from __future__ import annotations

import hashlib
import random
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from headway.domain.uploads import Upload
from headway.errors import ConflictError, InvalidRequestError, NotFoundError, StorageFullError, UnavailableError
from headway.storage.blobs.base import BlobStore, StoredBlob
from headway.testing.factories import digest_of, make_upload, moment

MIB = 1024 * 1024


def upload_of(blobs: BlobStore, data: bytes, *, part: int = 1000) -> Upload:
    """An upload of ``data`` that has begun, in parts of ``part`` bytes."""
    place = blobs.begin(len(data))
    return make_upload(digest=digest_of(data), size=len(data), part_size=part, place=place)


def piece(upload: Upload, data: bytes, number: int) -> bytes:
    return data[number * upload.part_size : number * upload.part_size + upload.length(number)]


def send(blobs: BlobStore, upload: Upload, data: bytes, *numbers: int) -> None:
    """Put parts of ``data``."""
    for number in numbers:
        content = piece(upload, data, number)
        blobs.put_part(upload, number, digest_of(content), [content[:10], content[10:]])


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

    def test_a_blob_may_come_in_parts_in_any_order(self, blobs: BlobStore) -> None:
        data = random.Random(1).randbytes(10_500)
        upload = upload_of(blobs, data)
        numbers = list(range(upload.parts))
        random.Random(2).shuffle(numbers)
        for count, number in enumerate(numbers):
            assert set(blobs.parts(upload)) == set(numbers[:count])
            send(blobs, upload, data, number)
        assert blobs.size(upload.digest) is None
        blobs.verify(upload)
        assert blobs.size(upload.digest) is None
        blobs.publish(upload)
        assert b"".join(blobs.read(upload.digest)) == data
        blobs.publish(upload)
        with pytest.raises(NotFoundError):
            blobs.parts(upload)

    def test_parts_may_come_at_once(self, blobs: BlobStore) -> None:
        data = random.Random(3).randbytes(40 * 5_000 + 1)
        upload = upload_of(blobs, data, part=5_000)
        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(lambda number: send(blobs, upload, data, number), range(upload.parts)))
        blobs.verify(upload)
        blobs.publish(upload)
        assert b"".join(blobs.read(upload.digest)) == data

    def test_an_empty_blob_has_no_parts(self, blobs: BlobStore) -> None:
        upload = upload_of(blobs, b"")
        blobs.verify(upload)
        blobs.publish(upload)
        assert blobs.size(digest_of(b"")) == 0

    def test_a_part_that_was_changed_on_the_way_is_refused_and_can_be_sent_again(self, blobs: BlobStore) -> None:
        data = bytes(range(250)) * 10
        upload = upload_of(blobs, data)
        good = piece(upload, data, 1)
        wrong = [[b"x" + good[1:]], [good[:-1]], [good, b"more"], []]
        for chunks in wrong:
            with pytest.raises(InvalidRequestError):
                blobs.put_part(upload, 1, digest_of(good), chunks)
            assert set(blobs.parts(upload)) == set()
        send(blobs, upload, data, 0, 1, 2)
        blobs.verify(upload)

    @pytest.mark.parametrize("number", [-1, 3, 10_000])
    def test_a_part_that_does_not_exist_is_refused(self, blobs: BlobStore, number: int) -> None:
        upload = upload_of(blobs, b"d" * 2500)
        with pytest.raises(InvalidRequestError, match="parts 0 to 2"):
            blobs.put_part(upload, number, digest_of(b"d"), [b"d"])

    def test_a_part_that_is_there_stays_as_it_is(self, blobs: BlobStore) -> None:
        data = b"a" * 1500
        upload = upload_of(blobs, data)
        send(blobs, upload, data, 0, 0)
        with pytest.raises(ConflictError, match="other bytes"):
            blobs.put_part(upload, 0, digest_of(b"b" * 1000), [b"b" * 1000])
        send(blobs, upload, data, 1)
        blobs.verify(upload)

    def test_missing_parts_are_named(self, blobs: BlobStore) -> None:
        data = b"p" * 4500
        upload = upload_of(blobs, data)
        send(blobs, upload, data, 0, 3)
        with pytest.raises(ConflictError) as caught:
            blobs.verify(upload)
        assert caught.value.details["missing"] == [1, 2, 4]
        send(blobs, upload, data, 1, 2, 4)
        blobs.verify(upload)

    def test_parts_that_do_not_make_the_whole_are_never_a_blob(self, blobs: BlobStore) -> None:
        data, other = b"r" * 2500, b"w" * 2500
        upload = upload_of(blobs, data)
        send(blobs, upload, data, 0, 2)
        send(blobs, upload, other, 1)
        for _ in range(2):
            with pytest.raises(InvalidRequestError, match=upload.digest):
                blobs.verify(upload)
        assert blobs.size(upload.digest) is None

    def test_a_sender_that_breaks_off_loses_no_more_than_its_part(self, blobs: BlobStore) -> None:
        data = b"s" * 2500
        upload = upload_of(blobs, data)
        send(blobs, upload, data, 0)

        def breaking() -> Iterator[bytes]:
            yield b"s" * 500
            raise ConnectionResetError("gone")

        with pytest.raises(ConnectionResetError):
            blobs.put_part(upload, 1, digest_of(b"s" * 1000), breaking())
        assert set(blobs.parts(upload)) == {0}
        send(blobs, upload, data, 1, 2)
        blobs.verify(upload)

    def test_while_a_part_is_received_nobody_else_sends_it_and_the_whole_is_not_checked(self, blobs: BlobStore) -> None:
        data = b"e" * 2500
        upload = upload_of(blobs, data)
        send(blobs, upload, data, 1, 2)
        begun, go_on = threading.Event(), threading.Event()

        def slow() -> Iterator[bytes]:
            yield b"e" * 10
            begun.set()
            assert go_on.wait(30)
            yield b"e" * 990

        sender = threading.Thread(target=blobs.put_part, args=(upload, 0, digest_of(b"e" * 1000), slow()))
        sender.start()
        try:
            assert begun.wait(30)
            with pytest.raises(UnavailableError):
                send(blobs, upload, data, 0)
            with pytest.raises(UnavailableError):
                blobs.verify(upload)
            send(blobs, upload, data, 1)
        finally:
            go_on.set()
            sender.join()
        blobs.verify(upload)

    def test_an_abandoned_upload_is_gone_and_gave_back_its_bytes(self, blobs: BlobStore) -> None:
        data = b"g" * 300_000
        upload = upload_of(blobs, data, part=100_000)
        assert blobs.touched(upload.place) is not None
        send(blobs, upload, data, 0)
        assert blobs.abandon(upload.place) >= 100_000
        assert blobs.abandon(upload.place) == 0
        assert blobs.touched(upload.place) is None
        for use in (blobs.parts, blobs.verify, blobs.publish):
            with pytest.raises(NotFoundError):
                use(upload)
        with pytest.raises(NotFoundError):
            send(blobs, upload, data, 0)

    def test_an_upload_that_cannot_fit_is_refused_before_its_first_byte(self, blobs: BlobStore) -> None:
        with pytest.raises(StorageFullError):
            blobs.begin(1 << 60)

    @pytest.mark.parametrize("place", ["", "..", "up-", "../up-" + "0" * 32, "up-" + "0" * 31 + "/"])
    def test_what_is_no_upload_is_refused(self, blobs: BlobStore, place: str) -> None:
        with pytest.raises(InvalidRequestError):
            blobs.abandon(place)

    def test_old_blobs_are_listed_and_removed_and_young_ones_stay(self, blobs: BlobStore) -> None:
        one, two = b"one", b"two!"
        for data in (one, two):
            blobs.put(digest_of(data), [data])
        assert list(blobs.stored(moment(-60))) == []
        assert set(blobs.stored(moment(60))) == {StoredBlob(digest_of(one), 3), StoredBlob(digest_of(two), 4)}
        assert blobs.delete_older(digest_of(one), moment(-60)) is None
        assert blobs.size(digest_of(one)) == 3
        assert blobs.delete_older(digest_of(one), moment(60)) == 3
        assert blobs.size(digest_of(one)) is None
        assert blobs.delete_older(digest_of(one), moment(60)) is None

    def test_a_published_upload_is_as_young_as_its_publication(self, blobs: BlobStore) -> None:
        data = b"y" * 1500
        upload = upload_of(blobs, data)
        send(blobs, upload, data, 0, 1)
        blobs.verify(upload)
        before = moment() - timedelta(seconds=1)
        blobs.publish(upload)
        assert blobs.delete_older(upload.digest, before) is None

    def test_a_blob_that_is_put_while_garbage_is_collected_is_there_afterwards(self, blobs: BlobStore) -> None:
        data = b"contended"
        digest = digest_of(data)
        ends = threading.Event()

        def collect() -> None:
            while not ends.is_set():
                blobs.delete_older(digest, moment(-3600))

        collector = threading.Thread(target=collect)
        collector.start()
        try:
            for _ in range(200):
                blobs.put(digest, [data])
                assert blobs.size(digest) == len(data)
        finally:
            ends.set()
            collector.join()

    def test_memory_stays_bounded_for_parts(self, blobs: BlobStore) -> None:
        chunk, count = b"m" * MIB, 32
        hasher, part = hashlib.sha256(), hashlib.sha256(chunk * 16).hexdigest()
        for _ in range(count):
            hasher.update(chunk)
        upload = make_upload(
            digest=hasher.hexdigest(), size=count * MIB, part_size=16 * MIB, place=blobs.begin(count * MIB)
        )
        tracemalloc.start()
        try:
            for number in range(2):
                blobs.put_part(upload, number, part, (chunk for _ in range(16)))
            blobs.verify(upload)
            blobs.publish(upload)
            assert tracemalloc.get_traced_memory()[1] < 8 * MIB
        finally:
            tracemalloc.stop()
