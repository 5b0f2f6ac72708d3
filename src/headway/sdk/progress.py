"""How far a transfer is, for whoever looks at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PROGRESS_FROM = 16 * 1024 * 1024
"""Bytes from which a terminal shows a progress bar."""

Advance = Callable[[int], None]
"""Told how many bytes more were dealt with; may be called from any thread."""


@contextmanager
def progress_bar(verb: str, total: int) -> Iterator[Advance]:
    """A bar on a terminal for much to do; nothing elsewhere."""
    if total < PROGRESS_FROM or not sys.stderr.isatty():
        yield lambda _size: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn(verb), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(verb, total=total)
        yield lambda size: progress.advance(task, size)
