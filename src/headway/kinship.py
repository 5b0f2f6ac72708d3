"""Which processes belong to one replica, and how to end them all.

A program may fork, leave its process group, start sessions and lose its parents. It is found again by three ties: it
descends from the agent (a child subreaper) or from another member, it is in the program's session or process group, or
it carries the attempt's variables in its environment. Process ids are only ever signalled together with their start
time.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from headway.processes import ProcessIdentity, boot_id

RESCAN_SECONDS = 0.2
"""A process may fork between the look and the signal, so the look is repeated this often until nothing is found."""


@dataclass(frozen=True)
class TableEntry:
    """One line of the process table. Source: proc_pid_stat(5)."""

    pid: int
    parent: int
    group: int
    session: int
    started: float
    zombie: bool


def process_table() -> dict[int, TableEntry]:
    """Every process that can be seen now, by process id."""
    found = {}
    for name in os.listdir("/proc"):  # noqa: PTH208  (hot)
        if name.isdigit() and (entry := table_entry(int(name))) is not None:
            found[entry.pid] = entry
    return found


def table_entry(pid: int) -> TableEntry | None:
    """One process, or None when there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  (hot: once a process and look)
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    return TableEntry(
        pid=pid,
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        started=float(fields[19]),
        zombie=fields[0] in (b"Z", b"X"),
    )


def descendants(table: Mapping[int, TableEntry], roots: Collection[int]) -> set[int]:
    """Children, their children and so on, without the roots themselves."""
    children: dict[int, list[int]] = {}
    for entry in table.values():
        children.setdefault(entry.parent, []).append(entry.pid)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found - set(roots)


def carries(pid: int, marks: Collection[Mapping[str, str]]) -> bool:
    """Whether the process was started with all environment variables of one of these sets."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123  (hot: once a process and look)
            present = set(file.read().split(b"\0"))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    return any(all(os.fsencode(f"{n}={v}") in present for n, v in variables.items()) for variables in marks)


def replica_marks(attempt_token: str, replica: str) -> dict[str, str]:
    """The variables that every process of a replica inherits."""
    return {"HEADWAY_ATTEMPT_TOKEN": attempt_token, "HEADWAY_REPLICA": replica}


@dataclass(frozen=True)
class Kin:
    """The processes of one replica, or of several.

    Args:
        marks: For each replica the environment variables that only its processes carry; :func:`replica_marks`.
        programs: The programs, each of which leads a session of its own.
        agents: Process ids of living agents whose descendants they are; agents are not among them.
    """

    marks: Collection[Mapping[str, str]] = ()
    programs: Collection[ProcessIdentity] = ()
    agents: Collection[int] = ()

    def members(self) -> dict[int, TableEntry]:
        """Those that run now (zombies do not)."""
        table = process_table()
        found = self._roots(table)
        found |= descendants(table, {*found, *self.agents})
        found -= {*self.agents, os.getpid()}
        return {pid: table[pid] for pid in found if not table[pid].zombie}

    def _roots(self, table: Mapping[int, TableEntry]) -> set[int]:
        sessions = {program.pid for program in self.programs if _leads(program, table)}
        found = {e.pid for e in table.values() if e.session in sessions or e.group in sessions}
        if self.marks:
            found |= {pid for pid in table if pid not in found and carries(pid, self.marks)}
        return found


def _leads(program: ProcessIdentity, table: Mapping[int, TableEntry]) -> bool:
    """Whether the number of the program's session still means that session, and was not given to somebody else."""
    leader = table.get(program.pid)
    return program.boot == boot_id() and (leader is None or leader.started == program.started)


def signal_process(entry: TableEntry, number: int) -> None:
    """Signal exactly that process; nothing happens when it is gone, even if its number is in use again."""
    try:
        with ExitStack() as cleanup:
            descriptor = os.pidfd_open(entry.pid)
            cleanup.callback(os.close, descriptor)
            present = table_entry(entry.pid)
            if present is not None and present.started == entry.started:
                signal.pidfd_send_signal(descriptor, number)
    except (ProcessLookupError, PermissionError):
        return


def wait_ended(entries: Collection[TableEntry], timeout: float) -> None:
    """Return when all have ended, or after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    with ExitStack() as cleanup:
        poll, waiting = select.poll(), set()
        for entry in entries:
            try:
                descriptor = os.pidfd_open(entry.pid)
            except (ProcessLookupError, OSError):
                continue
            cleanup.callback(os.close, descriptor)
            poll.register(descriptor, select.POLLIN)
            waiting.add(descriptor)
        while waiting and (left := deadline - time.monotonic()) > 0:
            for descriptor, _ in poll.poll(left * 1000):
                poll.unregister(descriptor)
                waiting.discard(descriptor)


def end_politely(
    find: Callable[[], Mapping[int, TableEntry]], grace: float, *, hurry: Callable[[], bool] = lambda: False
) -> bool:
    """SIGTERM to all that are found, once each; True when nothing was left within ``grace`` seconds.

    ``hurry`` is asked now and then whether to give up early.
    """
    deadline = time.monotonic() + grace
    told: set[tuple[int, float]] = set()
    while found := find():
        for entry in found.values():
            if (entry.pid, entry.started) not in told:
                told.add((entry.pid, entry.started))
                signal_process(entry, signal.SIGTERM)
        left = deadline - time.monotonic()
        if left <= 0 or hurry():
            return False
        wait_ended(found.values(), min(left, RESCAN_SECONDS))
    return True


def end_hard(find: Callable[[], Mapping[int, TableEntry]], timeout: float = 5.0) -> bool:
    """SIGKILL until nothing is found; False when something (stuck in the kernel) is left after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while found := find():
        for entry in found.values():
            signal_process(entry, signal.SIGKILL)
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        wait_ended(found.values(), min(left, RESCAN_SECONDS))
    return True
