"""What every runtime does alike while it loads: name what was wrong with a file, and count the processors it may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headway.errors import HeadwayError, ModelLoadError

MAX_REASON = 600
PICKLE_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"cos\n", b"c__builtin__\n", b"cposix\n")


@contextmanager
def reading(path: Path, reader: str) -> Iterator[None]:
    """Whatever goes wrong inside is a ModelLoadError that names the file, who read it and the first lines of why."""
    try:
        yield
    except HeadwayError:
        raise
    except Exception as error:  # the file is a peer's: whatever goes wrong in it is the reason
        raise ModelLoadError(f"{path.name} could not be read by {reader}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """Type and text of an error in one line of bounded length."""
    text = " ".join(str(error).split())
    shown = text if len(text) <= MAX_REASON else text[:MAX_REASON] + "…"
    return f"{type(error).__name__}: {shown}" if shown else type(error).__name__


def refuse_pickle(path: Path) -> None:
    """Say of a file that begins as a pickle does that it is one.

    This is for the words alone: the readers that follow do not unpickle.
    """
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(PICKLE_STARTS):
        raise ModelLoadError(
            f"{path.name} is a pickle; pickles are never loaded, since they can run any code.",
            hint="Save the model in its framework's own format (docs/guide/runtimes.md).",
        )


def threads() -> int:
    """How many threads one prediction may use: as many as there are processors for this process, and at most two.

    More than two gain little on the models that are served beside a network loop, and take it the processor.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    available = int(wanted) if wanted.isdigit() else len(os.sched_getaffinity(0))
    return max(1, min(2, available))
