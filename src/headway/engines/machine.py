"""What this machine has."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import psutil

from headway.domain.instances import Capacity

PROBE_SECONDS = 5.0


def machine_capacity() -> Capacity:
    """Cores that this process may use, memory that it may fill, and NVIDIA GPUs."""
    return Capacity(cpu=float(len(os.sched_getaffinity(0))), memory_mb=_memory_mb(), gpu=count_gpus())


def _memory_mb() -> int:
    """The machine's memory, or the control group's limit where that is less."""
    total = int(psutil.virtual_memory().total)
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(path).read_text()))
        except (OSError, ValueError):
            continue
    return total // (1024 * 1024)


def count_gpus() -> int:
    """GPUs that ``nvidia-smi -L`` lists; 0 where there is no such program or no driver."""
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, timeout=PROBE_SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    if listed.returncode != 0:
        return 0
    return sum(1 for line in listed.stdout.decode("utf-8", "replace").splitlines() if line.startswith("GPU "))
