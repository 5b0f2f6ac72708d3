"""Runs: what is tracked. A run owns streams; jobs and deployments each have one."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

from pydantic import Field

from headway.domain.base import Description, Name, Record, Request, Timestamp
from headway.domain.folders import ConflictStrategy, FolderPath
from headway.domain.metrics import SeriesSummary


class RunState(str, Enum):
    """How a run stands."""

    RUNNING = "running"
    COMPLETE = "complete"
    """It said that it finished, or its job succeeded."""
    ERROR = "error"
    """It said that it failed, or its job did."""
    LOST = "lost"
    """Nothing was heard of it for too long. Data that arrives later makes it ``running`` again, or what the data says."""

    @property
    def final(self) -> bool:
        """Whether the run itself, or its job, said how it ended."""
        return self in (RunState.COMPLETE, RunState.ERROR)


RunLabels = Annotated[tuple[Name, ...], Field(max_length=256)]
"""Words to find runs by."""

RunId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
"""Made by the platform or by the user; unique on the server."""


class Run(Record):
    """One tracked piece of work.

    ``name`` is for people and need not be unique; ``alternative_name`` is unique in practice
    (``<name>_<date>_<time>_<suffix>``), for runs that have one. ``config`` holds the hyperparameters as JSON, with NaN
    and infinities as the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``.
    """

    id: str
    project_id: str
    name: str
    alternative_name: str | None = None
    state: RunState = RunState.RUNNING
    folder: str = ""
    labels: tuple[str, ...] = ()
    description: str = ""
    config: dict[str, Any] = {}
    job_id: str | None = None
    deployment_id: str | None = None
    attempts: int = 0
    """How many attempts have sent something (0: nothing was tracked yet)."""
    health: dict[str, int] = {}
    """What its writers counted: ``dropped`` points, ``sync_errors`` and the like. Zeros are left out."""
    reason: str | None = None
    """Why it ended badly, in words."""
    created_at: Timestamp
    created_by: str
    heartbeat_at: Timestamp | None = None
    """When the server last heard of a writer of it."""
    finished_at: Timestamp | None = None


class RunOutcome(str, Enum):
    """What became of a request for a run."""

    CREATED = "created"
    FOUND = "found"
    """It was there already."""
    SKIPPED = "skipped"
    """Another run has the name; that one is given back and nothing was made (``conflict_strategy`` skip)."""
    RENAMED = "renamed"
    """Another run has the name; this one was made under its alternative name (``new``)."""
    REPLACED = "replaced"
    """Another run had the name and was deleted with its data (``replace``)."""


class RunCreated(Run):
    """The answer to :class:`RunCreate`: the run, and what was done."""

    outcome: RunOutcome = RunOutcome.CREATED


class RunRow(Record):
    """A run in a search, with what is known of its metrics."""

    run: Run
    summary: tuple[SeriesSummary, ...] = ()
    """At most :data:`ROW_SERIES` series, by key."""
    complete: bool = True
    """False when the run has more series than that; its summary has them all."""


ROW_SERIES = 200


class RunDetails(Record):
    """What the server keeps of a run beside its record."""

    run_id: str
    environment: dict[str, Any] = {}
    """What was captured about code, machine and packages."""
    given: dict[str, Any] = {}
    """What the run was made with on the server; facts are applied on top."""
    asked_name: str | None = None
    """The name that was asked for, where a conflict gave it another one: facts that repeat it change nothing."""
    edited: dict[str, int] = {}
    """Fields that people changed on the server, and when (milliseconds): older facts leave them alone."""
    health: dict[str, dict[str, int]] = {}
    """What each writer counted, by its heartbeats."""
    told: dict[str, int] = {}
    """What all writers counted, by their facts."""
    damaged: int = 0
    """Facts that could not be understood, and damaged stretches between them."""


class RunCreate(Request):
    """Make a run, or (when a run with this ``id`` exists in this project) get it: repeating is harmless.

    With ``conflict_strategy``, ``name`` is to be unique in ``folder``; what another run of that name means is said by
    :class:`headway.domain.folders.ConflictStrategy`.
    """

    id: RunId | None = None
    project: Name
    name: Name | None = None
    alternative_name: Name | None = None
    folder: FolderPath = ""
    make_folder: bool = False
    conflict_strategy: ConflictStrategy | None = None
    labels: RunLabels = ()
    description: Description = ""
    config: dict[str, Any] = {}
    created_at: Timestamp | None = None


class RunUpdate(Request):
    """Change what people write about a run. What is None stays as it is."""

    name: Name | None = None
    labels: RunLabels | None = None
    description: Description | None = None
    folder: FolderPath | None = None


class RunHeartbeat(Request):
    """Said by a writer of a run every 15 s, and when it begins. ``health`` is that writer's count of trouble."""

    writer: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]
    attempt: int = Field(default=0, ge=0, lt=1 << 31)
    health: dict[Name, Annotated[int, Field(ge=0, lt=1 << 53)]] = Field(default={}, max_length=64)


StreamName = Annotated[str, Field(pattern=r"^[a-z]{1,16}/[A-Za-z0-9_.-]{1,128}$")]
"""``<kind>/<role>-<index>-<writer id>``, for example ``logs/worker-1-7f3a9c0d``."""

METRICS, FACTS, LOGS, SYSTEM = "metrics", "facts", "logs", "system"
"""Kinds of streams: metric rows and media entries; what a run says of itself; lines; rows of system metrics."""


class Stream(Record):
    """One append-only byte stream of a run, written by one writer, as far as the server holds it durably.

    ``folded`` is how far the bytes have been taken into charts, summaries and the run's record.
    """

    run_id: str
    name: StreamName
    writer_id: str
    attempt: int = 0
    replica: str | None = None
    committed: int = 0
    folded: int = 0
    closed: bool = False
    created_at: Timestamp
    updated_at: Timestamp

    @property
    def kind(self) -> str:
        return self.name.partition("/")[0]


class StreamCommit(Record):
    """The answer to every write: how many bytes the server holds durably."""

    committed: int
