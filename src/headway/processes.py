"""Which process is which: a process id alone is given away again, with its start time and the machine's boot it is not."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from headway.domain.base import Record


class ProcessIdentity(Record):
    """One process for all time."""

    pid: int
    started: float
    """Clock ticks after boot, from /proc; stable for the life of the process."""
    boot: str
    """The kernel's id of this boot."""


def boot_id() -> str:
    """The kernel's id of this boot; empty where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def identify(pid: int | None = None) -> ProcessIdentity | None:
    """The identity of ``pid`` (by default of this process), or None when it does not run. A zombie does not run."""
    pid = os.getpid() if pid is None else pid
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return ProcessIdentity(pid=pid, started=_start_ticks(pid), boot=boot_id())
    except (psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError):
        return None


def _start_ticks(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except PermissionError:
        return psutil.Process(pid).create_time()
    return float(text.rpartition(")")[2].split()[19])


def is_alive(identity: ProcessIdentity) -> bool:
    """Whether exactly that process still runs."""
    return identify(identity.pid) == identity
