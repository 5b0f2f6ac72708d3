"""Monitors: named expressions over the lines of a log, whose matches are points of ordinary series.

Expressions are run by RE2 (:mod:`headway.monitors`), whose time is linear in the text; what it cannot say (look-around,
references to groups) is refused. With two groups the first is the value and the second the step, unless they are named
``value`` and ``step``; with one it is the value, and without any the value is the last number in the match.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from pydantic import AfterValidator, Field

from headway.domain.base import Record, Request, Timestamp
from headway.domain.metrics import check_metric_name

SeriesName = Annotated[str, Field(max_length=512), AfterValidator(check_metric_name)]
Pattern = Annotated[str, Field(min_length=1, max_length=4096)]
MAX_MONITORS = 64
"""Of one run."""
WRITER_PREFIX = "monitor-"
"""How the writers of their points begin, as in ``metrics/worker-0-monitor-mon…-2``: monitor and revision follow."""


class MonitorSpec(Request):
    """What to look for. The name is that of the series, and unique in a run."""

    name: SeriesName
    regex: Pattern
    sample: str | None = Field(default=None, max_length=65_536)
    """A line that must match, or the monitor is refused."""
    replica: str | None = Field(default=None, max_length=128)
    """Only lines of this replica (``worker-0``); None reads all of them."""


class MonitorState(str, Enum):
    """How far it has read."""

    SCANNING = "scanning"
    """Lines that are stored already are being read."""
    FOLLOWING = "following"
    """It has read all there is; more may come."""
    COMPLETE = "complete"
    """The run's log has ended, and all of it was read."""


class Monitor(Record):
    """A monitor of a run, and what it has found. A changed one is read from the log's beginning again, as another
    ``revision``; the points of the former one are gone then."""

    id: str
    project_id: str
    run_id: str
    name: str
    regex: str
    sample: str | None = None
    replica: str | None = None
    revision: int = 1
    state: MonitorState = MonitorState.SCANNING
    lines: int = 0
    """Lines that were read."""
    matches: int = 0
    """Lines that matched."""
    points: int = 0
    """Matches that held a number."""
    last_match: str | None = None
    """The newest line that matched, cut to 1,024 characters."""
    created_at: Timestamp
    created_by: str
    updated_at: Timestamp


class MonitorProgress(Record):
    """How far one revision of a monitor has read one log stream, and what it made of it. Each log stream has a stream of
    points of its own, so that attempts stay apart and each is an append-only sequence."""

    monitor_id: str
    revision: int
    run_id: str
    name: str
    """Of the series."""
    stream: str
    """The log stream that is read."""
    target: str
    """The stream of points that is written."""
    offset: int = 0
    """Where in the log stream the frame begins that is read next."""
    skip: int = 0
    """Lines of that frame that were read already."""
    seen: int = 0
    """How long the log stream was when nothing more could be read of it."""
    ended: bool = False
    """Whether it was complete then."""
    written: int = 0
    """Bytes of the target."""
    lines: int = 0
    matches: int = 0
    points: int = 0
    last_match: str | None = None
    last_time: int = 0
    """Milliseconds since 1970, of ``last_match``."""


class MonitorUpdate(Request):
    """Other words for a monitor; what is not given stays."""

    regex: Pattern | None = None
    sample: str | None = Field(default=None, max_length=65_536)
    replica: str | None = Field(default=None, max_length=128)


class MonitorTest(Request):
    """Try an expression over the stored log of a run, and store nothing."""

    regex: Pattern
    sample: str | None = Field(default=None, max_length=65_536)
    replica: str | None = Field(default=None, max_length=128)
    limit: int = Field(default=20, ge=1, le=1000)
    """Matches to show."""


class MonitorMatch(Record):
    """One line that matched."""

    replica: str
    line: int
    message: str
    value: float | None = None
    """None where what matched is no number."""
    step: int | None = None


class MonitorReport(Record):
    """What :class:`MonitorTest` found: the first matches, and how many there were in the lines that were read."""

    lines: int
    matches: int
    points: int
    complete: bool
    """Whether the whole stored log was read; False when a limit of time or size ended it."""
    shown: tuple[MonitorMatch, ...] = ()
