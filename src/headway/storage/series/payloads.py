"""What frames of a metrics stream hold besides rows: schemas and media entries; and how long a row is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headway.domain.metrics import Entry, check_metric_name, normal_stage
from headway.errors import CorruptDataError
from headway.journal.frames import FRAME_LIMIT

ROW_HEAD = np.dtype(
    [
        ("length", "<u4"),
        ("crc", "<u4"),
        ("kind", "u1"),
        ("schema", "<u4"),
        ("sequence", "<u8"),
        ("time", "<i8"),
        ("flags", "u1"),
        ("step", "<i8"),
        ("epoch", "<f8"),
    ]
)
"""A row's frame up to its values."""
HEAD = ROW_HEAD.itemsize
LARGEST_SEQUENCE = (1 << 63) - 1


@dataclass(frozen=True)
class Schema:
    """Names of the columns of a row. ``stage`` is the raw word; a column's type is ``f`` (float64) or ``i`` (int64)."""

    number: int
    stage: str | None
    columns: tuple[tuple[str, str], ...]

    @property
    def frame_size(self) -> int:
        return HEAD + 8 * len(self.columns)

    @cached_property
    def floats(self) -> NDArray[np.bool_]:
        """Which columns are float64."""
        return np.array([kind == "f" for _, kind in self.columns], np.bool_)


def read_schema(payload: bytes) -> Schema:
    """The schema in a frame's payload; CorruptDataError when there is none."""
    try:
        found = json.loads(payload)
        number, stage, columns = found["id"], found["stage"], tuple((str(c[0]), str(c[1])) for c in found["columns"])
        if not (isinstance(number, int) and 0 <= number < 1 << 32 and isinstance(stage, (str, type(None)))):
            raise ValueError("its id or stage is of the wrong type")
        for name, kind in columns:
            check_metric_name(name)
            if kind not in ("f", "i"):
                raise ValueError(f"there is no type {kind!r}")
        if stage is not None and ("\0" in stage or len(stage.encode()) > FRAME_LIMIT):
            raise ValueError("its stage is no text")
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise CorruptDataError(f"A schema of rows cannot be read: {error}.") from error
    return Schema(number, stage, columns)


def read_entry(payload: bytes) -> dict[str, Any]:
    """The media entry in a frame's payload; CorruptDataError when there is none."""
    try:
        found = json.loads(payload, parse_constant=str)
        if not (isinstance(found, dict) and type(found["sequence"]) is int):
            raise ValueError("it has no number")
        if not 0 < found["sequence"] <= LARGEST_SEQUENCE:
            raise ValueError(f"its number is {found['sequence']}")
        json.dumps(found, ensure_ascii=False).encode()
        entry_of(found, run_id="")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CorruptDataError(f"A media entry cannot be read: {error}.") from error
    return found


def entry_of(document: Mapping[str, Any], *, run_id: str, replica: str = "", attempt: int = 0) -> Entry:
    """The record of a media entry. ValueError when the entry's JSON is not what it should be."""
    stage = document.get("stage")
    if not isinstance(stage, (str, type(None))) or "\0" in (stage or ""):
        raise ValueError("its stage is no text")
    numbers = (document["time"], document["size"], document.get("step") or 0)
    if any(type(number) is not int or abs(number) >= 1 << 63 for number in numbers):
        raise ValueError("its time, size or step is no whole number of 64 bits")
    return Entry(
        run_id=run_id,
        name=check_metric_name(document["name"]),
        stage=normal_stage(stage),
        type=document["type"],
        digest=document["digest"],
        size=document["size"],
        media_type=document["media_type"],
        step=document.get("step"),
        epoch=document.get("epoch"),
        time_ms=document["time"],
        replica=replica,
        attempt=attempt,
        details=document.get("details") or {},
    )
