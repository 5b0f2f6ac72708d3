"""What the machine does while a run works: one row of system metrics every 15 s."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from headway.errors import HeadwayError
from headway.tracking.gpus import Gpus
from headway.tracking.imports import import_quietly

EVERY_SECONDS = 15.0
STOP_SECONDS = 2.0
"""How long :meth:`SystemMetrics.stop` waits at most for the last row."""

Row = dict[str, "float | int"]

log = logging.getLogger(__name__)


class RowWriter(Protocol):
    """What takes rows: :class:`headway.journal.metrics.MetricsWriter` is one."""

    def log(self, metrics: Mapping[str, Any], step: int | None = None) -> object: ...


class SystemMetrics:
    """Writes rows to ``writer`` from a daemon thread, from :meth:`start` to :meth:`stop`, and one at either end.

    ==============================================  ================================================================
    ``cpu.percent``                                 of all processors of the machine, 0 to 100
    ``process.cpu_percent``                         of this process, 100 a processor
    ``process.rss_bytes`` ``process.threads``       memory that this process has in RAM; its threads
    ``memory.used_bytes`` ``memory.available_bytes``  of the machine, with what ``memory.percent`` of it is used
    ``disk.used_bytes`` ``disk.percent``            of the file system that holds the run
    ``disk.read_bytes_per_second``                  of all disks; ``disk.written_bytes_per_second`` likewise
    ``network.received_bytes_per_second``           of all interfaces; ``network.sent_bytes_per_second`` likewise
    ``gpu.0.percent``                               how much of the time a kernel ran, 0 to 100; one for each GPU
    ``gpu.0.memory.used_bytes`` ``….percent``       its memory
    ``gpu.0.temperature_celsius`` ``….power_watts``
    ==============================================  ================================================================

    Rates are means over the time since the row before, so the first row has none. What cannot be read is left out. In a
    forked child nothing is measured: its parent measures the machine.

    Args:
        writer: Where rows go, without steps.
        every: Seconds between rows.
        directory: Something on the file system whose space is told.
    """

    def __init__(self, writer: RowWriter, every: float = EVERY_SECONDS, *, directory: Path | None = None) -> None:
        self._writer = writer
        self._every = every
        self._directory = directory or Path.cwd()
        self._owner = os.getpid()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="headway-system", daemon=True)

    def start(self) -> None:
        try:
            self._thread.start()
        except RuntimeError as error:
            log.debug("no thread for system metrics: %s", error)

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """Write the last row and end. A reading that hangs (a dead network drive) is left behind after ``timeout``."""
        if os.getpid() != self._owner:
            return  # a forked child: the thread is not here, and the event's lock may be held for ever
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        readers = self._readers()
        while True:
            ended = self._stopping.is_set()
            self._write(readers)
            if ended:
                return
            self._stopping.wait(self._every)

    def _write(self, readers: list[Callable[[], Row]]) -> None:
        row: Row = {}
        for reader in readers:
            row.update(_read(reader))
        try:
            if row:
                self._writer.log(row)
        except HeadwayError:
            log.warning("a row of system metrics cannot be written", exc_info=True)

    def _readers(self) -> list[Callable[[], Row]]:
        try:
            psutil = import_quietly("psutil")
        except ImportError as error:
            log.warning("the machine is not measured: %s", error)
            return [Gpus().sample]
        readers: list[Callable[[], Row]] = [
            _Processors(psutil).read,
            lambda: _memory(psutil),
            lambda: _disk(psutil, self._directory),
            _Rates(psutil.disk_io_counters, {"read_bytes": "disk.read", "write_bytes": "disk.written"}).read,
            _Rates(psutil.net_io_counters, {"bytes_recv": "network.received", "bytes_sent": "network.sent"}).read,
        ]
        return [*readers, Gpus().sample]


def _read(reader: Callable[[], Row]) -> Row:
    try:
        return reader()
    except Exception:
        # What one part of one machine does not tell, or a hot-plugged device says, must not end the rest.
        log.debug("something of this machine cannot be measured", exc_info=True)
        return {}


class _Processors:
    """Shares of processor time since the last reading. psutil keeps one such memory for everybody: this is our own."""

    def __init__(self, psutil: Any) -> None:
        self._psutil = psutil
        self._process = psutil.Process()
        self._last: tuple[float, float, float, float] | None = None

    def read(self) -> Row:
        process = self._process
        with process.oneshot():
            times, row = process.cpu_times(), {"process.rss_bytes": process.memory_info().rss}
            row["process.threads"] = process.num_threads()
        machine = self._psutil.cpu_times()
        # The guests' time is in the users' already.
        total = sum(machine) - getattr(machine, "guest", 0.0) - getattr(machine, "guest_nice", 0.0)
        idle = machine.idle + getattr(machine, "iowait", 0.0)
        now = (time.monotonic(), times.user + times.system, total, total - idle)
        if self._last is not None:
            clock, own, all_time, busy = (new - old for new, old in zip(now, self._last, strict=True))
            if clock > 0:
                row["process.cpu_percent"] = max(0.0, 100 * own / clock)
            if all_time > 0:
                row["cpu.percent"] = min(100.0, max(0.0, 100 * busy / all_time))
        self._last = now
        return row


class _Rates:
    """How fast counters grow; one that went back (an interface that went away) is left out once."""

    def __init__(self, counters: Callable[[], Any], names: Mapping[str, str]) -> None:
        self._counters, self._names = counters, names
        self._last: tuple[float, dict[str, int]] | None = None

    def read(self) -> Row:
        found = self._counters()
        if found is None:
            return {}
        now, counts = time.monotonic(), {field: getattr(found, field) for field in self._names}
        before, self._last = self._last, (now, counts)
        if before is None or now <= before[0]:
            return {}
        grown = {field: counts[field] - before[1][field] for field in counts}
        return {
            f"{self._names[field]}_bytes_per_second": count / (now - before[0])
            for field, count in grown.items()
            if count >= 0
        }


def _memory(psutil: Any) -> Row:
    memory = psutil.virtual_memory()
    return {
        "memory.used_bytes": memory.used,
        "memory.available_bytes": memory.available,
        "memory.percent": memory.percent,
    }


def _disk(psutil: Any, directory: Path) -> Row:
    usage = psutil.disk_usage(str(directory))
    return {"disk.used_bytes": usage.used, "disk.percent": usage.percent}
