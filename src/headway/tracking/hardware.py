"""The machine that a run works on."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from headway.tracking.gpus import Gpus
from headway.tracking.imports import import_quietly


def describe_machine() -> dict[str, Any]:
    """``host``, ``system``, ``release``, ``architecture``, ``distribution``, ``processor``, ``processors`` (of the machine),
    ``processors_available`` (to this process), ``memory_bytes`` and ``memory_limit_bytes`` (of the container); what is
    unknown is left out.
    """
    names = os.uname()
    told = {
        "host": names.nodename,
        "system": names.sysname,
        "release": names.release,
        "architecture": names.machine,
        "distribution": _distribution(),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "processors_available": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "memory_bytes": _memory(),
        "memory_limit_bytes": _memory_limit(),
    }
    return {key: value for key, value in told.items() if value is not None}


def describe_gpus() -> list[dict[str, Any]]:
    """See :meth:`headway.tracking.gpus.Gpus.describe`."""
    return Gpus().describe()


def _distribution() -> str | None:
    platform: Any = import_quietly("platform")
    try:
        return str(platform.freedesktop_os_release().get("PRETTY_NAME") or "") or None
    except OSError:
        return None


def _processor() -> str | None:
    if not sys.platform.startswith("linux"):
        return None
    for line in _read("/proc/cpuinfo").splitlines():
        name, colon, value = line.partition(":")
        if colon and name.strip().lower() in ("model name", "cpu model"):
            return value.strip()
    return None


def _memory() -> int | None:
    try:
        return int(import_quietly("psutil").virtual_memory().total)
    except (ImportError, OSError, RuntimeError):
        return None


def _memory_limit() -> int | None:
    """Of the control group: version 2, then version 1, whose word for none is a number beyond any machine."""
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = _read(path).strip()
        if text.isdigit() and int(text) < 1 << 60:
            return int(text)
    return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "replace")
    except OSError:
        return ""
