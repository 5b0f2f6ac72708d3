"""Headway's states as Gradient's numbers, and the replay that lets a busy poller see every move."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from gradient.constants import ExperimentState
from headway import Client
from headway.domain.base import now
from headway.domain.events import Event
from headway.domain.jobs import Job, JobState
from headway.errors import RateLimitedError, WaitTimeoutError

T = TypeVar("T")
MOVED = "job.state_changed"

REPLAY_SECONDS = 5.0
"""A move that is older when somebody first looks is history, not news."""

WATCHING_SECONDS = 1.0
"""Who looks again within this time is watching, and misses no move, however long one look took."""

BUSY_SECONDS = 0.1
"""Who looks again within this time has no pause in the loop, and may be kept waiting a little."""

WAIT_SECONDS = 0.5
"""How long a busy loop is kept waiting for the next move."""

STATE_NUMBERS = {
    JobState.CREATED: ExperimentState.CREATED,
    JobState.QUEUED: ExperimentState.PENDING,
    JobState.PROVISIONING: ExperimentState.PROVISIONING,
    JobState.PROVISIONED: ExperimentState.PROVISIONED,
    JobState.NETWORK_SETTING_UP: ExperimentState.NETWORK_SETTING_UP,
    JobState.NETWORK_SETUP: ExperimentState.NETWORK_SETUP,
    JobState.RUNNING: ExperimentState.RUNNING,
    JobState.STOPPING: ExperimentState.NETWORK_TEARING_DOWN,
    JobState.RETRYING: ExperimentState.PENDING,
    JobState.PREEMPTED: ExperimentState.PENDING,
    JobState.SUCCEEDED: ExperimentState.STOPPED,
    JobState.FAILED: ExperimentState.FAILED,
    JobState.STOPPED: ExperimentState.CANCELLED,
    JobState.LOST: ExperimentState.ERROR,
}

SHOWN_STATES = frozenset(state.value for state in STATE_NUMBERS) - {JobState.CREATED.value, JobState.QUEUED.value}
"""Moves into these are shown one by one. Passing through the queue is not shown; a longer wait is ``pending``."""


@dataclass(frozen=True)
class Move:
    """A job came into a state at a moment."""

    state: JobState
    time: datetime

    @property
    def age(self) -> float:
        """Seconds since then."""
        return (now() - self.time).total_seconds()


@dataclass
class Replay:
    """What one client object has shown of one job's moves."""

    sequence: int = 0
    """The last event that was taken in."""
    shown: int | None = None
    """The number that was shown last."""
    looked_at: float | None = None
    """When the last look ended, on the monotonic clock."""
    moves: deque[Move] = field(default_factory=deque)
    """Not shown yet, in their order."""
    over: bool = False
    """The client has seen the log's end, so past moves are no news any more."""

    def looked_within(self, seconds: float) -> bool:
        """Whether the last look ended at most so long ago."""
        return self.looked_at is not None and time.monotonic() - self.looked_at <= seconds

    def forget_old_moves(self) -> None:
        """What had grown old before anybody looked is history."""
        while self.moves and self.moves[0].age > REPLAY_SECONDS:
            self.moves.popleft()

    def show(self, job: Job) -> int:
        """The number of the oldest move that was not shown yet, else of the state in which the job is."""
        number = STATE_NUMBERS[self.moves.popleft().state] if self.moves else self._present(job)
        self.shown, self.looked_at = number, time.monotonic()
        return number

    def _present(self, job: Job) -> int:
        """Passing through the queue is no state of Gradient's; only a longer wait there is ``pending``."""
        passing = job.state is JobState.QUEUED and Move(job.state, job.state_changed_at).age < REPLAY_SECONDS
        if passing and self.shown in (None, ExperimentState.CREATED):
            return ExperimentState.CREATED
        return STATE_NUMBERS[job.state]


class Watcher:
    """Shows the moves of jobs to those who ask again and again, as the client's user does.

    Each look shows the next move that was not shown yet. Moves that were old before anybody looked are left out.
    Somebody who looks all the time sees every move, also those of a job that has ended meanwhile.
    """

    def __init__(self) -> None:
        self._replays: dict[str, Replay] = {}
        self._lock = threading.Lock()

    def begin(self, job_id: str) -> None:
        """The job was submitted or started just now by this client: all that follows is news."""
        replay = self._of(job_id)
        replay.looked_at, replay.over = time.monotonic(), False

    def end(self, job_id: str) -> None:
        """The client has read the log to its end: from now on only the present counts."""
        self._of(job_id).over = True

    def look(self, headway: Client, job_id: str) -> tuple[Job, int]:
        """The job as it is, and the number to show for it.

        Too many looks are slowed by waiting for the next move on the server, and never fail for being many.
        """
        replay = self._of(job_id)
        watched, busy = replay.looked_within(WATCHING_SECONDS), replay.looked_within(BUSY_SECONDS)
        job = _patiently(lambda: headway.jobs.get(job_id))
        if not replay.moves:
            _patiently(lambda: self._take_in(headway, job, replay))
        if replay.over:
            replay.moves.clear()
        elif not watched:
            replay.forget_old_moves()
        if busy and not replay.moves:
            job = self._wait_for_move(headway, job, replay)
        return job, replay.show(job)

    def _of(self, job_id: str) -> Replay:
        with self._lock:
            return self._replays.setdefault(job_id, Replay())

    def _take_in(self, headway: Client, job: Job, replay: Replay) -> None:
        if replay.sequence == 0 and replay.shown is None:
            replay.moves.append(Move(JobState.CREATED, job.created_at))
        for event in headway.events.list(project=job.project_id, subject=job.id, after=replay.sequence):
            _add(replay, event)

    def _wait_for_move(self, headway: Client, job: Job, replay: Replay) -> Job:
        """Give the server a moment to move the job on; the job after it. A finished one only slows an endless loop."""
        if job.finished:
            time.sleep(WAIT_SECONDS)
            return job
        stream = headway.events.stream(
            project=job.project_id, subject=job.id, after=replay.sequence, timeout=WAIT_SECONDS
        )
        with contextlib.suppress(WaitTimeoutError, RateLimitedError):
            for event in stream:
                _add(replay, event)
                if replay.moves:
                    break
        job = _patiently(lambda: headway.jobs.get(job.id))
        # The job may have moved after the stream was given up: its moves come before what it is now.
        _patiently(lambda: self._take_in(headway, job, replay))
        return job


def _add(replay: Replay, event: Event) -> None:
    """Remember the move that an event tells of, if any."""
    replay.sequence = max(replay.sequence, event.sequence)
    name = event.data.get("to") if event.type == MOVED else None
    if name in SHOWN_STATES:
        replay.moves.append(Move(JobState(name), event.time))


def _patiently(ask: Callable[[], T]) -> T:
    """The answer, however often the server says that it was asked too often."""
    while True:
        try:
            return ask()
        except RateLimitedError as error:
            time.sleep(min(error.retry_after, WAIT_SECONDS))
