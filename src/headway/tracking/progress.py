"""What the user sees of a run: a line at its start and end on stderr, and a bar while bytes are left."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from typing import Any

PATIENCE_SECONDS = 0.5
"""A wait that is over sooner shows nothing."""


@dataclass(frozen=True)
class Left:
    """What the server does not hold yet."""

    bytes: int = 0
    blobs: int = 0
    artifacts: int = 0

    def __bool__(self) -> bool:
        return bool(self.bytes or self.blobs or self.artifacts)


def say(text: str) -> None:
    """One line on stderr, which may be closed or not take every character."""
    try:
        encoding = sys.stderr.encoding or "ascii"
        line = f"headway: {text}".replace("\n", " ").encode(encoding, "backslashreplace").decode(encoding)
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):
        pass


def in_job() -> bool:
    """Whether a job of the platform runs this: its log holds the program's own lines and no good news of ours."""
    return bool(os.environ.get("HEADWAY_JOB_ID"))


def on_terminal() -> bool:
    """Whether somebody looks at stderr."""
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):
        return False


def amount(left: Left) -> str:
    """What is left, in words.

    >>> amount(Left(bytes=2048, blobs=1))
    '2.0 KiB and 1 media file'
    """
    parts = [_size(left.bytes)] if left.bytes else []
    for count, noun in ((left.blobs, "media file"), (left.artifacts, "artifact")):
        if count:
            parts.append(f"{count} {noun}{'s' if count > 1 else ''}")
    return " and ".join(parts) or "nothing"


def _size(size: int) -> str:
    value = float(size)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


class SendingBar:
    """A bar on a terminal while a run's rest is sent; nothing elsewhere, and nothing for a short wait."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._most = 0
        self._bar: Any = None

    def __call__(self, left: Left) -> None:
        """Show how much is left now."""
        self._most = max(self._most, left.bytes)
        if self._bar is None and left and on_terminal() and time.monotonic() - self._begun > PATIENCE_SECONDS:
            self._open()
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], total=self._most, completed=self._most - left.bytes)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

        console = Console(stderr=True)
        columns = (TextColumn("headway: sending"), BarColumn(), DownloadColumn())
        self._bar = Progress(*columns, console=console, transient=True)
        self._bar.add_task("", total=self._most)
        self._bar.start()
