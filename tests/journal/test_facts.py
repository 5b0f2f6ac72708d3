"""Facts: written as they are said, read with their place."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headway.domain.base import now
from headway.domain.facts import fold_facts
from headway.errors import CorruptDataError, InvalidRequestError, NotFoundError
from headway.journal.codec import JournalHeader
from headway.journal.facts import FactsWriter, decode_fact, place_facts, read_facts
from headway.journal.frames import KIND_FACT, encode_frame
from headway.journal.reader import read_frames

HEADER = JournalHeader(run="run1", stream="facts/rank0-ab", writer="ab", attempt=2, created=now())
GOLDEN = "240000000582d080067b2274696d65223a312c2274797065223a227374617465222c2278223a224e614e227d"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "facts-rank0-ab.hwj"


def test_golden_frame(path: Path) -> None:
    with FactsWriter(path, HEADER) as writer:
        writer.write({"time": 1, "type": "state", "x": math.nan})
    frame = next(frame for frame in read_frames(path) if frame.kind == KIND_FACT)
    assert frame.payload == b'{"time":1,"type":"state","x":"NaN"}'
    assert encode_frame(frame.kind, frame.payload).hex() == GOLDEN


def test_facts_are_read_with_attempt_stream_and_place(path: Path) -> None:
    before = time.time_ns() // 1_000_000
    with FactsWriter(path, HEADER) as writer:
        assert writer.write(
            {"type": "config", "set": {"lr": 0.1, "depth": np.int64(3), "shape": (1, 2), "x": math.inf}}
        )
        writer.write({"type": "config", "delete": ["depth"]})
        writer.write({"type": "state", "state": "complete", "time": before + 10_000})
    facts = read_facts(path)
    assert [(fact.attempt, fact.stream) for fact in facts] == [(2, "facts/rank0-ab")] * 3
    assert [fact.place for fact in facts] == sorted({fact.place for fact in facts})
    assert all(fact.time >= before for fact in facts)
    run = fold_facts(facts)
    assert run.config == {"lr": 0.1, "shape": [1, 2], "x": "Infinity"}
    assert run.state.value == "complete"


@pytest.mark.parametrize(
    ("fact", "named"),
    [
        ({}, "type"),
        ({"type": ""}, "type"),
        ({"type": 3}, "type"),
        ({"type": "config", "set": {"a": object()}}, r"config\.set\.a"),
        ({"type": "environment", "values": {"diff": "x" * (5 << 20)}}, "environment has"),
    ],
)
def test_what_is_no_fact_is_refused(path: Path, fact: dict[str, Any], named: str) -> None:
    with FactsWriter(path, HEADER) as writer:
        with pytest.raises(InvalidRequestError, match=named):
            writer.write(fact)
    assert read_facts(path) == []


def test_unreadable_facts_are_passed_over(path: Path) -> None:
    with FactsWriter(path, HEADER) as writer:
        for payload in (b"", b"[]", b"\xff", b"[" * 100_000):
            writer.append(KIND_FACT, payload)
            with pytest.raises(CorruptDataError):
                decode_fact(payload)
        writer.write({"type": "state"})
    assert [fact.fact["type"] for fact in place_facts(HEADER, read_frames(path))] == ["state"]


def test_a_journal_that_is_missing(path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_facts(path)


def test_facts_wait_while_the_disk_is_full(tmp_path: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
from headway.domain.base import now
from headway.journal.codec import JournalHeader
from headway.journal.facts import FactsWriter
path = Path(sys.argv[1]) / "a.hwj"
writer = FactsWriter(path, JournalHeader(run="r", stream="facts/rank0-ab", writer="ab", created=now()))
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, resource.RLIM_INFINITY))
said = [writer.write({"type": "config", "set": {"n": number}, "time": number}) for number in range(20)]
kept = writer.health.kept_frames
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
said.append(writer.write({"type": "state", "state": "complete", "time": 99}))
writer.close()
print(any(said[:20]), said[20], kept, writer.health.dropped_frames)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["False", "True", "20", "0"], done.stderr
    facts = read_facts(tmp_path / "a.hwj")
    assert [fact.time for fact in facts] == [*range(20), 99]
