"""Metrics: what a point is, how series are told apart, and what can be asked of them."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

from pydantic import Field

from headway.domain.base import Record, Request

MAX_NAME = 1024
"""Bytes (UTF-8) of a metric's name."""
MAX_STAGE = 256

STAGES: dict[str, str] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "validate": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluate": "test",
    "evaluation": "test",
}
"""Words for a stage that mean the same. Any other word is a stage of its own."""


def normal_stage(stage: str | None) -> str:
    """The stage that ``stage`` means; no stage is ``""``. The raw word stays with the data.

    >>> normal_stage("validation"), normal_stage("warm-up"), normal_stage(None)
    ('val', 'warm-up', '')
    """
    return STAGES.get(stage, stage) if stage else ""


def series_key(stage: str | None, name: str) -> str:
    """How a series is called in queries and tables: ``loss`` without a stage, else ``val.loss``.

    >>> series_key("validation", "loss"), series_key("", "gpu/0")
    ('val.loss', 'gpu/0')
    """
    normal = normal_stage(stage)
    return f"{normal}.{name}" if normal else name


def check_metric_name(name: object) -> str:
    """``name`` if a metric can have it: 1 to 1024 bytes of UTF-8 without NUL. Otherwise a ValueError that says why.

    >>> check_metric_name("val/τ loss")
    'val/τ loss'
    """
    if not isinstance(name, str):
        raise ValueError(f"a metric's name is text, not {type(name).__name__} ({name!r})")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise ValueError(f"the metric name {name!r} holds a lone surrogate, which is no text") from None
    if not 1 <= size <= MAX_NAME:
        raise ValueError(f"a metric's name has 1 to {MAX_NAME} bytes, and {name[:40]!r} has {size}")
    if "\0" in name:
        raise ValueError(f"the metric name {name!r} holds a NUL character")
    return name


class View(str, Enum):
    """Which attempts of a run are seen."""

    DEFAULT = "default"
    """A later attempt hides what earlier ones logged of the same series (and rank) at its first step and above."""
    ALL = "all"
    """Everything that was ever logged, each attempt by itself."""


class Axis(str, Enum):
    """What a chart runs along."""

    STEP = "step"
    TIME = "time"
    """Milliseconds since 1970 (UTC)."""
    EPOCH = "epoch"
    INDEX = "index"
    """The how many-eth point of its series it is, from 0: for series without steps."""


class Aggregate(str, Enum):
    """How the ranks of one run become one line: point by point over equal steps."""

    MEAN = "mean"
    MIN = "min"
    MAX = "max"


class Series(Record):
    """All points of one name and stage that one writer role (rank) of one run logged, over all attempts."""

    run_id: str
    name: str
    stage: str
    """Normalised, ``""`` for none."""
    raw_stages: tuple[str, ...] = ()
    """The words that were logged for it."""
    replica: str
    """``rank0``, ``worker-1``: the writer role."""
    attempts: tuple[int, ...]
    count: int
    system: bool = False


class SeriesSummary(Record):
    """What the server knows of one series of one run, over all ranks, in the default view. NaN and infinities are the
    strings ``"NaN"``, ``"Infinity"``, ``"-Infinity"`` in JSON.

    ``last`` is the value at the greatest step (the latest logged among equals; without steps the latest logged).
    ``min``, ``max`` and ``mean`` leave NaN out, ``mean`` also infinities; they are None when nothing else is there.
    """

    name: str
    stage: str
    count: int
    last: float | int | str | None
    last_step: int | None = None
    min: float | int | str | None = None
    max: float | int | str | None = None
    mean: float | str | None = None
    nan_count: int = 0

    @property
    def key(self) -> str:
        return series_key(self.stage, self.name)


class MetricQuery(Request):
    """Which points. Without ``points`` all of them, exactly as logged and in the order logged; with it a picture:
    at most about four points for each of ``points`` pixels, all of them real ones, extremes and NaN among them.
    """

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    stage: str | None = Field(default=None, max_length=MAX_STAGE)
    """Any word for it; None is the series without a stage."""
    word: str | None = Field(default=None, max_length=MAX_STAGE)
    """Only what was logged under this very word for the stage; ``""`` for none. None is all of them."""
    replica: str | None = None
    """One rank; None is all of them."""
    aggregate: Aggregate | None = None
    attempt: int | None = None
    """One attempt alone; None follows ``view``."""
    view: View = View.DEFAULT
    axis: Axis = Axis.STEP
    start: float | None = None
    """Along ``axis``, inclusive."""
    end: float | None = None
    """Along ``axis``, inclusive."""
    points: int | None = Field(default=None, ge=1, le=5000)
    system: bool = False
    """Among the system metrics (``system`` streams) instead."""


class EntryType(str, Enum):
    """What a media entry is."""

    IMAGE = "image"
    AUDIO = "audio"
    HISTOGRAM = "histogram"
    TABLE = "table"
    PLOT = "plot"
    """A figure: a picture, or a plotly figure as JSON."""
    TEXT = "text"
    FILE = "file"


class Entry(Record):
    """One piece of media that a run logged, at its step. The bytes are a blob of the project."""

    run_id: str
    name: str
    stage: str = ""
    type: EntryType
    digest: str
    size: int
    media_type: str
    """As HTTP says it, for example ``image/png``."""
    step: int | None = None
    epoch: float | None = None
    time_ms: int
    replica: str = ""
    attempt: int = 0
    details: dict[str, Any] = {}
    """What the type adds: ``caption``, ``width``, ``height``, ``sample_rate``, ``columns``, ``rows``, ``index``."""
