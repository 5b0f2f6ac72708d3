"""Runs: what is tracked. A run owns streams; jobs and deployments each have one."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from pydantic import Field

from headway.domain.base import Record, Timestamp


class RunState(str, Enum):
    """How a run stands."""

    RUNNING = "running"
    COMPLETE = "complete"
    ERROR = "error"
    LOST = "lost"


class Run(Record):
    """One tracked piece of work."""

    id: str
    project_id: str
    name: str
    state: RunState = RunState.RUNNING
    job_id: str | None = None
    deployment_id: str | None = None
    created_at: Timestamp
    created_by: str
    finished_at: Timestamp | None = None


StreamName = Annotated[str, Field(pattern=r"^[a-z]{1,16}/[A-Za-z0-9_.-]{1,128}$")]
"""``<kind>/<role>-<index>-<writer id>``, for example ``logs/worker-1-7f3a9c0d``."""


class Stream(Record):
    """One append-only byte stream of a run, written by one writer, as far as the server holds it durably."""

    run_id: str
    name: StreamName
    writer_id: str
    attempt: int = 0
    replica: str | None = None
    committed: int = 0
    closed: bool = False
    created_at: Timestamp
    updated_at: Timestamp

    @property
    def kind(self) -> str:
        return self.name.partition("/")[0]


class StreamCommit(Record):
    """The answer to every write: how many bytes the server holds durably."""

    committed: int
