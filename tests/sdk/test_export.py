"""What is written to a file is what was logged, bit for bit; and a file is there whole, or not at all."""

from __future__ import annotations

import csv
import json
import math
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headway.errors import InvalidRequestError, MissingExtraError, StorageFullError
from headway.sdk.columns import pack
from headway.sdk.export import COLUMNS, FORMULA_STARTS, Block, PointSource, export_points, from_cell, to_cell

INT64 = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=True, allow_infinity=True, width=64)
TIMES = st.integers(-(2**53), 2**53)
POINTS = st.lists(st.tuples(st.none() | INT64, INT64 | FLOATS, TIMES, st.none() | FLOATS), max_size=12)
EVIL = st.sampled_from(["=1+1", "+1", "-1", "@x", "\tx", "\rx", "\nx", "'x", '"', ",", "a\r\nb", "a\nb", "＝1", ""])
NAMES = st.one_of(EVIL, st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8))
BLOCKS = st.lists(
    st.builds(
        lambda points, replica, attempt, **texts: Block(line=pack(points, replica=replica, attempt=attempt), **texts),
        POINTS,
        NAMES,
        st.none() | st.integers(0, 3),
        run=NAMES,
        name=NAMES,
        stage=NAMES,
        word=NAMES,
        writer=NAMES,
        system=st.booleans(),
    ),
    max_size=5,
)


def bits(value: Any) -> Any:
    """A value so that -0.0 and NaN are told apart from what only looks like them."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack("<d", value)
    return value


def expected(blocks: list[Block]) -> list[tuple[Any, ...]]:
    rows = []
    for block in blocks:
        texts = (block.run, block.name, block.stage, block.word, block.line.replica, block.writer)
        about = (*texts, block.line.attempt, block.system)
        rows += [(*about, p.step, bits(p.epoch), p.time, bits(p.value)) for p in block.line]
    return rows


def number(text: str) -> int | float:
    words = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
    if text in words:
        return words[text]
    return float(text) if set(text) & set(".en") else int(text)


def read_csv(path: Path) -> Iterator[tuple[Any, ...]]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file, strict=True)
        assert next(reader) == list(COLUMNS)
        for row in reader:
            texts, (attempt, system, step, epoch, time, value) = map(from_cell, row[:6]), row[6:]
            given = (int(attempt) if attempt else None, system == "true", int(step) if step else None)
            yield *texts, *given, bits(float(number(epoch))) if epoch else None, int(time), bits(number(value))


def read_ndjson(path: Path) -> Iterator[tuple[Any, ...]]:
    for line in path.read_text("utf-8").split("\n")[:-1]:
        row = json.loads(line)
        assert list(row) == list(COLUMNS)
        plain = [number(row[key]) if isinstance(row[key], str) else row[key] for key in ("epoch", "value")]
        head = [row[key] for key in COLUMNS[:9]]
        yield *head, bits(plain[0]), row["time"], bits(plain[1])


def read_parquet(path: Path) -> Iterator[tuple[Any, ...]]:
    table = pyarrow.parquet.read_table(path)
    table = table.set_column(table.schema.get_field_index("time"), "time", table["time"].cast("int64"))
    for row in table.to_pylist():
        value = row["value"] if row["integer"] is None else row["integer"]
        yield *(row[key] for key in COLUMNS[:9]), bits(row["epoch"]), row["time"], bits(value)


READERS = {"csv": read_csv, "ndjson": read_ndjson, "parquet": read_parquet}
FEW = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.mark.parametrize("format", READERS)
@FEW
@given(blocks=BLOCKS)
def test_every_point_is_read_back_bit_for_bit(format: str, blocks: list[Block], tmp_path: Path) -> None:
    half = len(blocks) // 2
    sources = [PointSource(0, lambda _, part=part: iter(part)) for part in (blocks[:half], blocks[half:])]  # type: ignore[misc]
    path = export_points(sources, tmp_path / f"points.{format}", progress=False)
    assert list(READERS[format](path)) == expected(blocks)


@given(st.text())
def test_no_cell_is_a_formula_and_every_text_comes_back(text: str) -> None:
    cell = to_cell(text)
    assert from_cell(cell) == text
    assert cell[:1] not in FORMULA_STARTS - {"'"}


def points(count: int = 3) -> PointSource:
    line = pack(((step, step / 2, step, None) for step in range(count)), replica="rank0")
    return PointSource(count, lambda _: iter([Block("run1", "loss", "val", "validation", False, line, "7f3a")]))


def test_the_ending_says_the_format(tmp_path: Path) -> None:
    assert json.loads(export_points([points(1)], tmp_path / "a.jsonl").read_text()) == {
        "run": "run1",
        "name": "loss",
        "stage": "val",
        "word": "validation",
        "replica": "rank0",
        "writer": "7f3a",
        "attempt": None,
        "system": False,
        "step": 0,
        "epoch": None,
        "time": 0,
        "value": 0.0,
    }
    export_points([points(1)], tmp_path / "b.dat", format="csv")
    assert (tmp_path / "b.dat").read_bytes().startswith(b"run,name,stage,word,replica,writer,attempt,")


@pytest.mark.parametrize(
    ("name", "format", "hint"),
    [("a.xlsx", None, "parquet, csv, ndjson"), ("a", None, "parquet"), ("a.csv", "parqet", "'parquet'")],
)
def test_an_unknown_format_is_refused_before_anything_is_asked(
    name: str, format: str | None, hint: str, tmp_path: Path
) -> None:
    def never() -> Iterator[PointSource]:
        raise AssertionError("it was asked for")
        yield

    with pytest.raises(InvalidRequestError, match=hint):
        export_points(never(), tmp_path / name, format=format)
    assert not list(tmp_path.iterdir())


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match=r"Cannot write .*missing"):
        export_points([points()], tmp_path / "missing" / "a.csv")


@pytest.mark.parametrize("format", READERS)
def test_what_fails_halfway_leaves_what_was_there(format: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{format}"
    path.write_text("old")

    def breaks(_: Path) -> Iterator[Block]:
        yield from points().blocks(Path())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_points([PointSource(3, breaks)], path)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "old"


def test_a_full_disk_is_said_and_leaves_nothing() -> None:
    """/dev/full cannot be renamed to, so the writer is given it as the file that it writes."""
    from headway.paths import full_disk_named
    from headway.sdk.export import CsvWriter

    with Path("/dev/full").open("wb", buffering=0) as file, pytest.raises(StorageFullError):
        with full_disk_named("a.csv"), CsvWriter(file) as writer:
            for block in points(10_000).blocks(Path()):
                writer.write(block)


def test_parquet_without_pyarrow_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"headway\[dataframe\]"):
        export_points([points()], tmp_path / "a.parquet")
    assert not list(tmp_path.iterdir())


def test_many_small_series_share_row_groups(tmp_path: Path) -> None:
    path = export_points([points(2) for _ in range(500)], tmp_path / "a.parquet")
    metadata = pyarrow.parquet.read_metadata(path)
    assert (metadata.num_rows, metadata.num_row_groups) == (1000, 1)


def test_memory_does_not_grow_with_the_points(tmp_path: Path) -> None:
    import tracemalloc

    block = next(points(4_000).blocks(Path()))
    peaks = []
    for repeats in (2, 12):
        tracemalloc.start()
        export_points([PointSource(0, lambda _: iter([block] * repeats))], tmp_path / "a.csv")  # noqa: B023
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_a_bar_is_shown_on_stderr_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export_points([points(), points()], tmp_path / "a.csv", progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
