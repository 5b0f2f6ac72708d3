"""Journals as files: making one, and looking at what a write left in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from headway.errors import ConfigurationError, ConflictError
from headway.journal.frames import FRAME_OVERHEAD, Frame, FrameState, look
from headway.paths import full_disk_named


def is_disk_error(error: BaseException) -> bool:
    """Whether ``error`` is what a write has against it, and not what a signal handler raised in between.

    A handler that sets a time limit raises a TimeoutError, which is an OSError, too; that one must go on.
    """
    return isinstance(error, OSError) and error.errno is not None and not isinstance(error, TimeoutError)


def whole_frames(descriptor: int, start: int, stop: int) -> Iterator[Frame]:
    """The frames that follow each other from ``start`` on, up to one that is not whole."""
    data = os.pread(descriptor, stop - start, start) if stop > start else b""
    at = 0
    while look(data, at)[0] is FrameState.WHOLE:
        end = look(data, at)[1]
        yield Frame(start + at, data[at + FRAME_OVERHEAD - 1], data[at + FRAME_OVERHEAD : end])
        at = end


def create_file(path: Path) -> int:
    """A descriptor of a new, private file; raises as :class:`headway.journal.base.StreamWriter`."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        with full_disk_named(f"the journal {path.name}"):
            return os.open(path, flags, 0o600)
    except FileExistsError:
        raise ConflictError(
            f"The journal {str(path)!r} exists already.", hint="A stream is never reopened: open a new one."
        ) from None
    except OSError as error:
        raise ConfigurationError(f"The journal {str(path)!r} cannot be created: {error.strerror}.") from error
