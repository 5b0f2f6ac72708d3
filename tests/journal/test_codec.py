from __future__ import annotations

import random
import struct
import zlib
from datetime import datetime, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.errors import CorruptDataError, PayloadTooLargeError
from headway.journal.codec import (
    FRAME_LIMIT,
    KIND_END,
    KIND_HEADER,
    KIND_LOG,
    MAGIC,
    PAYLOAD_LIMIT,
    Frame,
    FrameDecoder,
    JournalHeader,
    Scan,
    decode_header,
    decode_lines,
    encode_frame,
    encode_header,
    encode_lines,
    scan,
)

quick = settings(deadline=None, database=None)
HEADER = JournalHeader(
    run="run1",
    stream="logs/worker-0-ab",
    writer="ab",
    attempt=2,
    replica="worker-0",
    created=datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=timezone.utc),
)

GOLDEN_LOG = "190000006aeba4680207000000000000002e8fa97c9b010000036f6e650a74776f"
GOLDEN_END = "0100000037be0b4b03"


class TestFormatVersion1:
    """These bytes are what files out there contain: a change here breaks them."""

    def test_header_frame(self) -> None:
        text = (
            b'{"run":"run1","stream":"logs/worker-0-ab","writer":"ab","attempt":2,"replica":"worker-0",'
            b'"created":"2026-01-02T03:04:05.678Z"}'
        )
        frame = encode_frame(KIND_HEADER, encode_header(HEADER))
        assert frame[9:] == text
        assert frame[:9] == struct.pack("<IIB", 1 + len(text), zlib.crc32(b"\x01" + text), 1)

    def test_log_frame(self) -> None:
        payload = encode_lines(7, 1767323045678, b"one\ntwo", stderr=True, split=True)
        assert encode_frame(KIND_LOG, payload).hex() == GOLDEN_LOG

    def test_end_frame(self) -> None:
        assert encode_frame(KIND_END, b"").hex() == GOLDEN_END

    def test_a_file_decodes(self) -> None:
        data = b"HWJ1" + encode_frame(1, encode_header(HEADER)) + bytes.fromhex(GOLDEN_LOG + GOLDEN_END)
        header, log, end = scan(data).frames
        assert (header.offset, header.kind, decode_header(header.payload)) == (4, KIND_HEADER, HEADER)
        assert decode_lines(log.payload) == (7, 1767323045678, True, b"one\ntwo")
        assert (end.kind, end.payload, end.end) == (KIND_END, b"", len(data))

    @pytest.mark.parametrize(("flags", "stderr"), [(0, None), (1, None), (2, False), (3, True)])
    def test_flags(self, flags: int, stderr: bool | None) -> None:
        payload = struct.pack("<QQB", 1, 2, flags) + b"x"
        assert decode_lines(payload).stderr is stderr
        assert encode_lines(1, 2, b"x", stderr=bool(flags & 1), split=bool(flags & 2)) == payload


class TestLimits:
    def test_the_longest_frame_is_4_mib(self) -> None:
        frame = encode_frame(KIND_LOG, bytes(PAYLOAD_LIMIT))
        assert len(frame) == FRAME_LIMIT
        assert len(scan(MAGIC + frame).frames) == 1

    def test_a_longer_one_is_refused(self) -> None:
        with pytest.raises(PayloadTooLargeError):
            encode_frame(KIND_LOG, bytes(PAYLOAD_LIMIT + 1))

    @pytest.mark.parametrize("kind", [-1, 0, 16])
    def test_a_kind_out_of_range_is_refused(self, kind: int) -> None:
        with pytest.raises(ValueError, match="kind"):
            encode_frame(kind, b"")

    def test_records_that_are_none_are_refused(self) -> None:
        with pytest.raises(CorruptDataError):
            decode_header(b"{}")
        with pytest.raises(CorruptDataError):
            decode_header(b"\xff")
        with pytest.raises(CorruptDataError):
            decode_lines(bytes(16))


@quick
@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.binary(), st.booleans(), st.booleans())
def test_log_batches_round_trip(line: int, time_ms: int, lines: bytes, stderr: bool, split: bool) -> None:
    batch = decode_lines(encode_lines(line, time_ms, lines, stderr=stderr, split=split))
    assert batch == (line, time_ms, stderr if split else None, lines)
    assert batch.line_count == len(lines.split(b"\n"))


@quick
@given(st.lists(st.tuples(st.integers(2, 15), st.binary(max_size=300))), st.lists(st.integers(0, 4000)))
def test_frames_round_trip_however_they_are_cut(contents: list[tuple[int, bytes]], cuts: list[int]) -> None:
    data = MAGIC + b"".join(encode_frame(kind, payload) for kind, payload in contents)
    result = decode_in_pieces(data, cuts)
    assert [(frame.kind, frame.payload) for frame in result.frames] == contents
    assert (result.damage, result.torn) == ([], 0)


def decode_in_pieces(data: bytes, cuts: list[int]) -> Scan:
    decoder, frames, start = FrameDecoder(), [], 0
    for cut in [*sorted(cut for cut in cuts if cut < len(data)), len(data)]:
        frames += decoder.feed(data[start:cut])
        start = cut
    frames += decoder.finish()
    return Scan(frames, decoder.damage, decoder.torn)


class Journal:
    """A journal's bytes with what is known about them."""

    def __init__(self, seed: int, *, nested: bool = True) -> None:
        self.random = random.Random(seed)
        self.nested = nested
        self.data = MAGIC + encode_frame(KIND_HEADER, encode_header(HEADER))
        line = 1
        for _ in range(self.random.randint(1, 40)):
            lines = self._lines()
            self.data += encode_frame(KIND_LOG, encode_lines(line, 1_700_000_000_000 + line, lines))
            line += lines.count(b"\n") + 1
        self.data += encode_frame(KIND_END, b"")
        self.frames = scan(self.data).frames

    def _lines(self) -> bytes:
        if self.nested and self.random.random() < 0.3:
            # What a program prints that copies a journal: bytes that look like frames and are not.
            return b"x" * self.random.randint(0, 9) + encode_frame(KIND_LOG, b"not a frame of this journal") * 3 + b"y"
        length = int(3000 ** self.random.random()) if self.random.random() < 0.9 else 20_000
        return self.random.randbytes(length) if self.random.random() < 0.3 else b"line\n" * (length // 5)

    def check(self, data: bytes, touched: list[tuple[int, int]]) -> Scan:
        """Nothing wrong is accepted, nothing intact is missing, every byte is accounted for."""
        result = scan(data)
        known = {(frame.kind, frame.payload) for frame in self.frames}
        assert all((frame.kind, frame.payload) in known for frame in result.frames)
        found = {(frame.kind, frame.payload) for frame in result.frames}
        for frame in self.frames:
            if not any(frame.offset < stop and start < frame.end for start, stop in touched):
                assert (frame.kind, frame.payload) in found
        self._check_accounts(data, result)
        return result

    @staticmethod
    def _check_accounts(data: bytes, result: Scan) -> None:
        ends = sorted(
            [(frame.offset, frame.end) for frame in result.frames]
            + [(piece.offset, piece.offset + piece.length) for piece in result.damage]
        )
        position = 0 if result.damage and result.damage[0].offset == 0 else min(len(MAGIC), len(data))
        for start, stop in ends:
            assert start == position
            position = stop
        if not (result.torn == len(data) and not ends):
            assert position + result.torn == len(data)


SEEDS = range(150)


@pytest.mark.parametrize("seed", SEEDS)
class TestCorruption:
    def test_a_flipped_bit(self, seed: int) -> None:
        journal = Journal(seed)
        data = bytearray(journal.data)
        at = journal.random.randrange(len(data))
        data[at] ^= 1 << journal.random.randrange(8)
        result = journal.check(bytes(data), [(at, at + 1)])
        assert result.damage or result.torn

    def test_a_flipped_bit_in_an_overhead(self, seed: int) -> None:
        journal = Journal(seed)
        data = bytearray(journal.data)
        frame = journal.random.choice(journal.frames)
        at = frame.offset + journal.random.randrange(9)
        data[at] ^= 1 << journal.random.randrange(8)
        journal.check(bytes(data), [(at, at + 1)])

    def test_a_cut_end(self, seed: int) -> None:
        journal = Journal(seed)
        at = journal.random.randrange(len(journal.data))
        result = journal.check(journal.data[:at], [(at, len(journal.data))])
        assert not result.damage
        whole = [frame for frame in journal.frames if frame.end <= at]
        assert result.frames == whole

    def test_a_missing_stretch(self, seed: int) -> None:
        journal = Journal(seed, nested=False)
        start = journal.random.randrange(len(journal.data))
        stop = min(len(journal.data), start + journal.random.randint(1, 5000))
        journal.check(journal.data[:start] + journal.data[stop:], [(start, stop)])

    def test_a_page_of_zeros(self, seed: int) -> None:
        journal = Journal(seed, nested=False)
        start = journal.random.randrange(len(journal.data))
        stop = min(len(journal.data), start + 4096)
        journal.check(journal.data[:start] + bytes(stop - start) + journal.data[stop:], [(start, stop)])

    def test_a_doubled_block(self, seed: int) -> None:
        journal = Journal(seed, nested=False)
        start = journal.random.randrange(len(journal.data))
        stop = min(len(journal.data), start + journal.random.randint(1, 65536))
        data = journal.data[:stop] + journal.data[start:stop] + journal.data[stop:]
        journal.check(data, [(stop - 1, stop + 1)])

    def test_pieces_do_not_matter(self, seed: int) -> None:
        journal = Journal(seed)
        data = bytearray(journal.data)
        for _ in range(journal.random.randint(1, 4)):
            start = journal.random.randrange(len(data))
            length = journal.random.choice([1, 1, 10, 500])
            data[start : start + length] = journal.random.randbytes(journal.random.choice([0, length]))
        cuts = [journal.random.randrange(len(data) + 1) for _ in range(journal.random.randint(0, 60))]
        assert decode_in_pieces(bytes(data), cuts) == scan(bytes(data))


@quick
@given(st.binary(max_size=2000))
def test_anything_can_be_scanned(data: bytes) -> None:
    assert scan(data).frames == [] or data[:4] == MAGIC or b"\x00" in data


def test_frames_inside_a_damaged_line_are_not_believed() -> None:
    inner = MAGIC + encode_frame(KIND_HEADER, encode_header(HEADER))
    inner += encode_frame(KIND_LOG, encode_lines(1, 1, b"printed by somebody")) + encode_frame(KIND_END, b"")
    first, last = (encode_frame(KIND_LOG, encode_lines(line, 5, b"mine")) for line in (1, 99))
    printed = bytearray(encode_frame(KIND_LOG, encode_lines(2, 5, b"start\n" + inner)))
    printed[28] ^= 4
    result = scan(MAGIC + first + bytes(printed) + last)
    assert [decode_lines(frame.payload).first_line for frame in result.frames] == [1, 99]
    assert [piece.length for piece in result.damage] == [len(printed)]


def test_a_length_that_grew_onto_another_boundary_hides_nothing() -> None:
    frames = [encode_frame(KIND_LOG, encode_lines(line, 5, b"x" * 38)) for line in range(1, 9)]
    assert len(frames[0]) == 64
    damaged = bytearray(frames[2])
    damaged[0] += 128
    result = scan(MAGIC + b"".join([*frames[:2], bytes(damaged), *frames[3:]]))
    assert [decode_lines(frame.payload).first_line for frame in result.frames] == [1, 2, 4, 5, 6, 7, 8]


def test_bytes_made_to_look_like_frames_cost_bounded_work(monkeypatch: pytest.MonkeyPatch) -> None:
    summed = 0
    plain = zlib.crc32

    def counting(data: bytes, value: int = 0) -> int:
        nonlocal summed
        summed += len(data)
        return plain(data, value)

    false_start = struct.pack("<IIB", 1 << 20, 0, 2)
    data = MAGIC + b"\xff" + false_start * 250_000
    monkeypatch.setattr(zlib, "crc32", counting)
    assert scan(data).frames == []
    assert summed < (64 << 20) + 40 * len(data)


def test_a_decoder_may_begin_at_any_frame() -> None:
    data = MAGIC + encode_frame(KIND_LOG, b"a" * 30) + encode_frame(KIND_LOG, b"b" * 30)
    second = scan(data).frames[1]
    assert FrameDecoder(second.offset).feed(data[second.offset :]) == [Frame(second.offset, KIND_LOG, b"b" * 30)]
