"""Has monitors read what the log streams of their runs hold, live and afterwards in one and the same way."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TypeAlias

from headway.domain.monitors import Monitor, MonitorProgress
from headway.domain.runs import LOGS, Run, Stream
from headway.errors import HeadwayError, PlatformError
from headway.server.actions import monitor_points
from headway.server.actions.logs import has_ended
from headway.server.actions.monitor_points import Found, place_of
from headway.server.actions.monitors import is_due, selected
from headway.server.context import Platform
from headway.server.folding.asking import Setup
from headway.server.scanning.child import ScanningChild
from headway.storage.base import Session

logger = logging.getLogger("headway.workers.monitors")

AT_A_LOOK = 10_000
"""Monitors that are active at once; more wait for those."""
TOGETHER, TOGETHER_BYTES = 64, 4 << 20
"""Steps, and (in base64) bytes of their points, that are committed together."""
AT_ONCE = 256 << 10
"""Bytes of a log stream that are read without waiting for more."""
WAIT_SECONDS = 1.0
"""How long fewer bytes wait; the first ones of a stream do not."""
REST = 5
"""Looking takes at most one part in so many of the time and one: many monitors of living runs are many questions."""
TROUBLE_PAUSE = 2.0
DEATHS = 3
"""How often the process may end over one log stream before that one is left alone for a while."""
FAILURE_PAUSE = 30.0
"""How long a log stream that could not be read is left alone."""

Due: TypeAlias = tuple[Monitor, Stream, MonitorProgress | None]


class MonitorWorker:
    """Looks for log streams with lines that a monitor has not read. One thread calls it."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._child = ScanningChild(Setup(database_url=platform.database_url, data=platform.data))
        self._not_before = 0.0
        self._read_at: dict[tuple[str, int, str], float] = {}
        self._troubled = False
        self._deaths: dict[tuple[str, int, str], int] = {}
        self._failed: dict[tuple[str, str], float] = {}
        """Monitor and stream to when they are tried again."""

    def look(self) -> None:
        """One step for every pair of monitor and log stream that is due, and again until none is."""
        if time.monotonic() < self._not_before:
            return
        try:
            while not self._platform.wakeups.closed:
                began = time.monotonic()
                due, finished = self._due()
                took = time.monotonic() - began
                for monitor_id in finished:
                    monitor_points.rest(self._platform, monitor_id)
                self._troubled = self._troubled and bool(due)
                if not due:
                    self._not_before = time.monotonic() + REST * took
                    return
                self._read(due)
        except PlatformError as error:
            self._not_before = time.monotonic() + TROUBLE_PAUSE
            if not self._troubled and not self._platform.wakeups.closed:
                logger.warning("monitors wait: %s", error)
            self._troubled = True

    def close(self) -> None:
        """End the process. What it was reading is read again by the next one."""
        self._child.close()

    @property
    def child_pid(self) -> int | None:
        return self._child.pid

    def _due(self) -> tuple[list[Due], list[str]]:
        """What is to be read, and monitors that have read all there will be."""
        due: list[Due] = []
        finished: list[str] = []
        with self._platform.storage.read() as session:
            runs: dict[str, tuple[Run | None, Sequence[Stream]]] = {}
            for monitor in session.monitors.active(limit=AT_A_LOOK):
                if monitor.run_id not in runs:
                    streams = session.streams.of_run(monitor.run_id, kind=LOGS)
                    runs[monitor.run_id] = (session.runs.find(monitor.run_id), streams)
                run, streams = runs[monitor.run_id]
                found = self._due_of(session, monitor, streams)
                due += [item for item in found if self._is_worth_it(item)]
                if not found and run is not None and has_ended(self._platform, session, run, streams):
                    finished.append(monitor.id)
        return due, finished

    def _due_of(self, session: Session, monitor: Monitor, streams: Sequence[Stream]) -> list[Due]:
        progress = {found.stream: found for found in session.monitors.progress(monitor.id, monitor.revision)}
        wanted = [(stream, progress.get(stream.name)) for stream in selected(streams, monitor.replica)]
        return [(monitor, stream, known) for stream, known in wanted if is_due(stream, known)]

    def _read(self, due: Sequence[Due]) -> None:
        """A step of each; several are committed together."""
        findings: list[Found] = []
        size = 0
        for item in due:
            if self._platform.wakeups.closed:
                break
            found = self._scan(item)
            if found is None:
                continue
            if len(self._read_at) > 10 * AT_A_LOOK:
                self._read_at.clear()
            if found.result.done:
                self._read_at[_place(item)] = time.monotonic()
            findings.append(found)
            size += len(found.result.rows)
            if len(findings) >= TOGETHER or size >= TOGETHER_BYTES:
                self._commit(findings)
                findings, size = [], 0
        self._commit(findings)

    def _scan(self, item: Due) -> Found | None:
        monitor, stream, known = item
        deaths = self._child.deaths
        try:
            points = 0 if known is None else known.points
            result = self._child.scan(stream, monitor.regex, place_of(known), points)
        except PlatformError as error:
            if error.status != 503 or self._kills(item, self._child.deaths - deaths):
                self._fail(item, error)
                return None
            raise  # the process is away for all
        except HeadwayError as error:
            self._fail(item, error)
            return None
        return Found(monitor, stream, known, result)

    def _kills(self, item: Due, deaths: int) -> bool:
        """Whether the process ended over ``item`` so often that the others should not wait for it."""
        if not deaths:
            return False
        if len(self._deaths) > AT_A_LOOK:
            self._deaths.clear()
        self._deaths[_place(item)] = self._deaths.get(_place(item), 0) + deaths
        return self._deaths[_place(item)] % DEATHS == 0

    def _commit(self, findings: Sequence[Found]) -> None:
        """All together; where that fails, each by itself, so that one stream's trouble is its own."""
        if not findings:
            return
        try:
            monitor_points.commit(self._platform, findings)
        except PlatformError:
            raise
        except HeadwayError:
            for found in findings:
                self._commit_alone(found)

    def _commit_alone(self, found: Found) -> None:
        try:
            monitor_points.commit(self._platform, [found])
        except PlatformError:
            raise
        except HeadwayError as error:
            self._fail((found.monitor, found.stream, found.before), error)

    def _fail(self, item: Due, error: HeadwayError) -> None:
        monitor, stream, _ = item
        logger.warning("run %s: the monitor %s cannot read %s: %s", monitor.run_id, monitor.id, stream.name, error)
        if len(self._failed) > AT_A_LOOK:
            self._failed.clear()
        self._failed[monitor.id, stream.name] = time.monotonic() + FAILURE_PAUSE

    def _is_worth_it(self, item: Due) -> bool:
        """Whether enough waits, or waits for long enough."""
        monitor, stream, known = item
        moment = time.monotonic()
        if moment < self._failed.get((monitor.id, stream.name), 0.0):
            return False
        if stream.closed or stream.committed - (0 if known is None else known.seen) >= AT_ONCE:
            return True
        return moment - self._read_at.get(_place(item), -WAIT_SECONDS) >= WAIT_SECONDS


def _place(item: Due) -> tuple[str, int, str]:
    monitor, stream, _ = item
    return monitor.id, monitor.revision, stream.name
