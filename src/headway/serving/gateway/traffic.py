"""What is counted of the requests: one cell for each replica and window of ten seconds, and totals since the start."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from headway.domain.latency import bucket_of
from headway.domain.traffic import WINDOW_SECONDS

KEPT_SECONDS = 600
"""How long cells are kept for a server that is away."""


class Totals:
    """Counts that only grow."""

    __slots__ = (
        "codes",
        "hedged",
        "latency",
        "seconds",
        "shadow_different",
        "shadow_dropped",
        "shadow_equal",
        "shadow_failed",
    )

    def __init__(self) -> None:
        self.codes: dict[int, int] = {}
        self.latency: dict[int, int] = {}
        self.seconds = 0.0
        self.hedged = 0
        """Second copies of requests that took long."""
        self.shadow_equal = self.shadow_different = self.shadow_failed = self.shadow_dropped = 0

    def add(self, other: Totals) -> None:
        for mine, others in ((self.codes, other.codes), (self.latency, other.latency)):
            for key, count in others.items():
                mine[key] = mine.get(key, 0) + count
        self.seconds += other.seconds
        self.hedged += other.hedged
        self.shadow_equal += other.shadow_equal
        self.shadow_different += other.shadow_different
        self.shadow_failed += other.shadow_failed
        self.shadow_dropped += other.shadow_dropped


class Cell(Totals):
    """One window of one meter."""

    __slots__ = ("before", "busy_seconds", "changed", "ends", "key", "start")

    def __init__(self, key: tuple[str, str, str], start: int) -> None:
        super().__init__()
        self.key, self.start = key, start
        self.ends = 0.0
        """When the window is over, on the monotonic clock."""
        self.busy_seconds = 0.0
        self.changed = False
        """Whether it waits to be reported."""
        self.before: Cell | None = None
        """What was counted in the same window for a replica that left the routes and came back: a report has the sum."""

    def as_json(self) -> dict[str, Any]:
        """As a :class:`headway.domain.traffic.TrafficCell`."""
        deployment, version, replica = self.key
        if self.before is not None:
            return self._with(self.before).as_json()
        return {
            "deployment_id": deployment,
            "version": version,
            "replica_id": replica,
            "start": self.start,
            "codes": {str(code): count for code, count in self.codes.items()},
            "latency": {str(bucket): count for bucket, count in self.latency.items()},
            "seconds": self.seconds,
            "busy_seconds": self.busy_seconds,
            "hedged": self.hedged,
            "shadow_equal": self.shadow_equal,
            "shadow_different": self.shadow_different,
            "shadow_failed": self.shadow_failed,
        }

    def _with(self, before: Cell) -> Cell:
        total = Cell(self.key, self.start)
        total.before = before.before
        for part in (before, self):
            total.add(part)
            total.busy_seconds += part.busy_seconds
        return total


class Meter:
    """Counts for one replica, or for the requests of a deployment that reached none."""

    __slots__ = ("_cell", "_folded", "_ledger", "_since", "in_flight", "key", "parent")

    def __init__(self, ledger: Ledger, key: tuple[str, str, str], parent: Totals | None = None) -> None:
        self.key = key
        self.in_flight = 0
        self.parent = parent
        """Gets what windows that are over have counted: a version's totals outlive its replicas."""
        self._ledger = ledger
        self._folded = Totals()
        self._since = 0.0
        self._cell: Cell | None = None

    def begin(self, now: float) -> None:
        """A request is in flight from ``now`` (the monotonic clock) on."""
        self._settle(now)
        self.in_flight += 1

    def end(self, now: float) -> None:
        """One is not any more."""
        self._settle(now)
        self.in_flight -= 1

    def observe(self, code: int, seconds: float, now: float) -> None:
        """One was answered with ``code`` after ``seconds``."""
        if now > self._since:
            self._settle(now)
        cell = self.present(now)
        cell.codes[code] = cell.codes.get(code, 0) + 1
        bucket = bucket_of(seconds)
        cell.latency[bucket] = cell.latency.get(bucket, 0) + 1
        cell.seconds += seconds

    def present(self, now: float) -> Cell:
        """The cell of the window in which ``now`` lies, to be changed."""
        cell = self._cell
        if cell is None or now >= cell.ends:  # a moment before its window is one that was read a moment ago
            cell = self._turn(now)
        if not cell.changed:
            cell.changed = True
            self._ledger.changed.append(cell)
        return cell

    def _turn(self, now: float) -> Cell:
        if self._cell is not None:
            self._fold(self._cell)
        self._cell = Cell(self.key, self._ledger.window(now))
        self._cell.ends = self._ledger.end_of_window(now)
        self._cell.before = self._ledger.revive(self._cell)
        return self._cell

    def settle(self, now: float) -> None:
        """Count what is in flight up to ``now``."""
        if self.in_flight:
            self._settle(now)

    def _settle(self, now: float) -> None:
        since = self._since
        if now <= since:
            return
        self._since = now
        if not self.in_flight:
            return
        cell = self._cell
        if cell is not None and cell.changed and now <= cell.ends:  # as nearly always
            cell.busy_seconds += self.in_flight * (now - since)
            return
        while now > since:
            cell = self.present(since)
            until = min(now, cell.ends)
            cell.busy_seconds += self.in_flight * (until - since)
            since = until

    def _fold(self, cell: Cell) -> None:
        self._folded.add(cell)
        if self.parent is not None:
            self.parent.add(cell)

    def totals(self) -> Totals:
        """Everything since the start."""
        total = Totals()
        total.add(self._folded)
        if self._cell is not None:
            total.add(self._cell)
        return total

    def unfolded(self) -> Totals:
        """What ``parent`` has not been given yet."""
        return self._cell or Totals()

    def retire(self) -> None:
        """Give ``parent`` everything; nothing is counted any more."""
        if self._cell is not None:
            self._fold(self._cell)
            self._ledger.retire(self._cell)
            self._cell = None


class Ledger:
    """The cells that the server has not been told of, and the clock that all windows are read from."""

    def __init__(self) -> None:
        self.changed: list[Cell] = []
        self._offset = time.time() - time.monotonic()
        self._retired: dict[tuple[str, str, str], Cell] = {}

    def retire(self, cell: Cell) -> None:
        """Nothing more is counted in ``cell``, unless its replica comes back within its window."""
        self._retired = {key: each for key, each in self._retired.items() if each.start >= cell.start}
        self._retired[cell.key] = cell

    def revive(self, cell: Cell) -> Cell | None:
        """What was counted before in the window of a new cell; it is told with that from now on."""
        before = self._retired.get(cell.key)
        if before is None or before.start != cell.start:
            return None
        del self._retired[cell.key]
        if before.changed:
            before.changed = False
            self.changed.remove(before)
        return before

    def window(self, now: float) -> int:
        """The first second since 1970 of the window in which ``now`` of the monotonic clock lies."""
        return int((now + self._offset) // WINDOW_SECONDS) * WINDOW_SECONDS

    def end_of_window(self, now: float) -> float:
        return self.window(now) + WINDOW_SECONDS - self._offset

    def take(self, most: int) -> list[Cell]:
        """The oldest cells to report; they count as told until :meth:`put_back`."""
        taken, self.changed = self.changed[:most], self.changed[most:]
        for cell in taken:
            cell.changed = False
        return taken

    def put_back(self, cells: Iterable[Cell]) -> None:
        """They could not be told."""
        again = [cell for cell in cells if not cell.changed]
        for cell in again:
            cell.changed = True
        self.changed = again + self.changed

    def forget_old(self, now: float) -> None:
        """Let go of cells that are too old to be of use."""
        oldest = self.window(now) - KEPT_SECONDS
        if self.changed and self.changed[0].start < oldest:
            self.changed = [cell for cell in self.changed if cell.start >= oldest]
