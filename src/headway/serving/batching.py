"""Calls that arrive together are predicted together, and none waits for others that may never come."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from headway.serving.joining import RowsError, bounds_of, check_rows, is_joinable, join, split
from headway.serving.pace import Pace, Stopwatch
from headway.serving.protocols.base import Call
from headway.serving.runtimes.base import LoadedModel
from headway.serving.worker import ModelWorker

log = logging.getLogger(__name__)

MAX_WAITING = 1024
"""Calls that wait or are predicted, beyond which the next is refused."""
TURN_SECONDS = 0.005
"""How long predictions may hold the loop before it looks at its connections again."""
LOOK_SECONDS = 0.05
"""How often calls that wait for the thread are looked through for those nobody wants any more."""


class Item(Protocol):
    """One who waits for a prediction. All is called in the loop's thread."""

    call: Call

    def wanted(self) -> bool:
        """Whether anybody still waits for it; asked before it is predicted, and now and then while it waits."""
        ...

    def finish(self, result: Any) -> None:
        """Its own rows of the result."""
        ...

    def fail(self, error: BaseException) -> None:
        """It could not be predicted."""
        ...


class Timer(Protocol):
    """Tells how long ago it was made."""

    def seconds(self) -> float: ...


@dataclass(slots=True)
class Outcome:
    """What became of calls that were predicted together."""

    items: list[Item]
    bounds: Sequence[int] = ()
    """Where in the rows of ``result`` each item begins; one more for the end."""
    result: Any = None
    error: BaseException | None = None


Together = Callable[[list[Any], Any, Sequence[int]], bool]
"""Finishes items predicted together, by result and bounds; False where each is to be finished by itself."""


def one_by_one(items: list[Item], result: Any, bounds: Sequence[int]) -> bool:  # noqa: ARG001
    """For items that gain nothing by being finished together."""
    return False


class Batcher:
    """Answers calls of one model, never two batches at once.

    Args:
        model: Who predicts.
        worker: The thread it was loaded in.
        pace: Says where the next batch is predicted.
        max_rows: Of a batch; 1 switches joining off. A call that has more by itself is predicted alone.
        max_wait_ms: How long the first call of a batch waits for others; with 0 what has arrived is taken.
        observe: Told the rows of every batch that was predicted.
        stopwatch: Made when a prediction begins.
        together: Finishes the items of a batch in less time than one after the other.
    """

    def __init__(
        self,
        model: LoadedModel,
        worker: ModelWorker,
        pace: Pace,
        *,
        max_rows: int,
        max_wait_ms: float,
        observe: Callable[[int], None],
        stopwatch: Callable[[], Timer] = Stopwatch,
        together: Together = one_by_one,
    ) -> None:
        self.model, self.worker, self.pace = model, worker, pace
        self.waiting = 0
        """Calls that were taken and have neither finished nor failed."""
        self._max_rows, self._max_wait = max_rows, max_wait_ms / 1000
        self._joinable = is_joinable(model) and max_rows > 1
        self._says_rows = model.signature is None and bool(model.batch)
        """Whether somebody wrote that it answers row by row, so that another number of rows is a fault."""
        self._observe, self._stopwatch, self._together = observe, stopwatch, together
        self._loop = asyncio.get_running_loop()
        self._groups: dict[Hashable, deque[Item]] = {}
        """Waiting calls by what they may be joined with; the group whose turn it is comes first."""
        self._gathered = 0
        """Rows that came since the last batch was begun."""
        self._planned: asyncio.Handle | None = None
        self._running: list[Item] | None = None
        """What the thread works on."""
        self._look: asyncio.TimerHandle | None = None

    @property
    def full(self) -> bool:
        return self.waiting >= MAX_WAITING

    def submit(self, item: Item) -> None:
        """Predict, with others of its kind that arrive in the same turn of the loop."""
        self._gather((item,))
        if self._planned is None and self._running is None:
            self._plan()

    def submit_all(self, items: Sequence[Item]) -> None:
        """Predict what has arrived in this turn of the loop, at once where nothing else is to be waited for."""
        self._gather(items)
        if self._planned is None and self._running is None:
            if self._max_wait:
                self._plan()
            else:
                self._flush()

    def _gather(self, items: Sequence[Item]) -> None:
        last: Hashable = None
        group: deque[Item] | None = None
        for item in items:
            call = item.call
            key: Hashable = call.kind if self._joinable and call.rows is not None else id(item)
            if group is None or key is not last:
                group, last = self._group_of(key), key
            group.append(item)
            self._gathered += call.rows or 1
        self.waiting += len(items)
        if self._planned is not None and self._max_wait and self._gathered >= self._max_rows:
            self._planned.cancel()
            self._planned = self._loop.call_soon(self._flush)
            self._gathered = 0

    def _group_of(self, key: Hashable) -> deque[Item]:
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = deque()
        return group

    def _plan(self) -> None:
        if self._max_wait:
            self._planned = self._loop.call_later(self._max_wait, self._flush)
        else:
            self._planned = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Predict what waits: all of it here, or the first batch in the thread."""
        self._planned = None
        self._gathered = 0
        until = time.perf_counter() + TURN_SECONDS
        while self._groups and self._running is None:
            batch = self._take()
            if not batch:
                continue
            rows = _rows_of(batch)
            if self.pace.choose(rows) == "thread":
                self._begin(batch)
            else:
                self._deliver(self._predict(batch))
                if self._groups and time.perf_counter() > until:
                    self._planned = self._loop.call_soon(self._flush)
                    return

    def _take(self) -> list[Item]:
        """The next batch, without those that nobody wants any more."""
        key = next(iter(self._groups))
        group = self._groups.pop(key)
        batch: list[Item] = []
        rows = 0
        while group:
            rows += group[0].call.rows or 0
            if batch and (rows > self._max_rows or not self._joinable):
                self._groups[key] = group  # behind the others: each kind has its turn
                break
            item = group.popleft()
            if item.wanted():
                batch.append(item)
            else:
                rows -= item.call.rows or 0
                self.waiting -= 1
        return batch

    def _begin(self, batch: list[Item]) -> None:
        self._running = batch
        self.worker.submit(lambda: self._predict(batch), self._done)
        if self._look is None:
            self._look = self._loop.call_later(LOOK_SECONDS, self._look_through)

    def _done(self, outcomes: list[Outcome] | None, error: BaseException | None) -> None:
        """The thread is free: give it the next batch before the answers to this one are written."""
        batch, self._running = self._running, None
        assert batch is not None
        if self._groups:
            self._flush()
        self._deliver(outcomes if outcomes is not None else [Outcome([item], error=error) for item in batch])

    def _look_through(self) -> None:
        """Let go of calls that nobody wants any more, though the thread is busy."""
        self._look = None
        if self._running is None:
            return
        for item in self._running:
            item.wanted()
        for key, group in list(self._groups.items()):
            kept = deque(item for item in group if item.wanted())
            self.waiting -= len(group) - len(kept)
            if kept:
                self._groups[key] = kept
            else:
                del self._groups[key]
        self._look = self._loop.call_later(LOOK_SECONDS, self._look_through)

    def _predict(self, batch: list[Item]) -> list[Outcome]:
        """What becomes of each. If a batch fails, its halves are tried, down to the calls that fail by themselves."""
        calls = [item.call for item in batch]
        bounds = bounds_of(calls)
        rows = _rows_of(batch)
        try:
            inputs = join(calls)
            watch = self._stopwatch()
            result = self.model.predict(inputs)
            self.pace.observe(rows, watch.seconds())
            if len(calls) > 1 or (self._says_rows and calls[0].rows is not None):
                check_rows(result, bounds[-1])
        except (Exception, SystemExit) as error:  # noqa: BLE001  # the boundary to code of users
            if len(batch) == 1:
                return [Outcome(batch, error=error)]
            if isinstance(error, RowsError):
                self._stop_joining(error)
        else:
            self._observe(rows)
            return [Outcome(batch, bounds, result)]
        middle = len(batch) // 2
        return self._predict(batch[:middle]) + self._predict(batch[middle:])

    def _stop_joining(self, error: RowsError) -> None:
        if self._joinable:
            log.warning("%s; its calls are predicted one by one from now on.", error)
            self._joinable = False

    def _deliver(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            items = outcome.items
            self.waiting -= len(items)
            try:
                if len(items) > 1 and self._together(items, outcome.result, outcome.bounds):
                    continue
            except Exception:
                log.exception("What was predicted together could not be told together")
            self._tell(outcome)

    @staticmethod
    def _tell(outcome: Outcome) -> None:
        items, result = outcome.items, outcome.result
        parts = split(result, outcome.bounds) if len(items) > 1 else [result]
        for item, part in zip(items, parts, strict=True):
            try:
                if outcome.error is None:
                    item.finish(part)
                else:
                    item.fail(outcome.error)
            except Exception:  # one that cannot be told must not keep the others from their answers
                log.exception("The outcome of a prediction could not be told")


def _rows_of(batch: Iterable[Item]) -> int:
    return sum(item.call.rows or 1 for item in batch)
