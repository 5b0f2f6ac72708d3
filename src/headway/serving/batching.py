"""Calls that arrive together are predicted together, and none waits for others that may never come."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Protocol

from headway.serving.joining import RowsError, is_joinable, join, split
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

Outcome = tuple[Any, "BaseException | None"]


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
    ) -> None:
        self.model, self.worker, self.pace = model, worker, pace
        self.waiting = 0
        """Calls that were taken and have neither finished nor failed."""
        self._max_rows, self._max_wait = max_rows, max_wait_ms / 1000
        self._joinable = is_joinable(model) and max_rows > 1
        self._says_rows = model.signature is None and bool(model.batch)
        """Whether somebody wrote that it answers row by row, so that another number of rows is a fault."""
        self._observe, self._stopwatch = observe, stopwatch
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
        call = item.call
        key: Hashable = id(item)
        if self._joinable and call.rows is not None:
            key = (call.kind,)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = deque()
        group.append(item)
        self.waiting += 1
        self._gathered += call.rows or 1
        if self._running is not None:
            return
        if self._planned is None:
            self._plan()
        elif self._max_wait and self._gathered >= self._max_rows:
            self._planned.cancel()
            self._planned = self._loop.call_soon(self._flush)
            self._gathered = 0

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
                self._deliver(batch, self._predict(batch))
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
        self._deliver(batch, outcomes if outcomes is not None else [(None, error)] * len(batch))

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
        """The outcome of each. If a batch fails, its halves are tried, down to the calls that fail by themselves."""
        calls = [item.call for item in batch]
        rows = _rows_of(batch)
        try:
            inputs = join(calls)
            watch = self._stopwatch()
            result = self.model.predict(inputs)
            self.pace.observe(rows, watch.seconds())
            parts = split(result, calls) if len(calls) > 1 or self._says_rows else [result]
        except (Exception, SystemExit) as error:  # noqa: BLE001  # the boundary to code of users
            if len(batch) == 1:
                return [(None, error)]
            if isinstance(error, RowsError):
                self._stop_joining(error)
        else:
            self._observe(rows)
            return [(part, None) for part in parts]
        middle = len(batch) // 2
        return self._predict(batch[:middle]) + self._predict(batch[middle:])

    def _stop_joining(self, error: RowsError) -> None:
        if self._joinable:
            log.warning("%s; its calls are predicted one by one from now on.", error)
            self._joinable = False

    def _deliver(self, batch: list[Item], outcomes: list[Outcome]) -> None:
        self.waiting -= len(batch)
        for item, (result, error) in zip(batch, outcomes, strict=True):
            try:
                if error is None:
                    item.finish(result)
                else:
                    item.fail(error)
            except Exception:  # one that cannot be told must not keep the others from their answers
                log.exception("The outcome of a prediction could not be told")


def _rows_of(batch: Iterable[Item]) -> int:
    return sum(item.call.rows or 1 for item in batch)
