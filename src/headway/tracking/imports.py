"""Imports in background threads that a fork at the wrong moment cannot break.

A process that is forked while another of its threads imports a module has, in the child, that module's lock held by a
thread that does not exist there: the child would wait for ever when it imports the module itself. So a fork waits for
the import, which takes a fraction of a second once in the life of a process.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

FORK_WAITS = 5.0
"""Seconds a fork waits at most: an import that hangs on a dead file system must not stop the program."""

_importing = threading.RLock()
_held = False


@contextmanager
def importing() -> Iterator[None]:
    """For import statements in a background thread: a fork waits until they are done."""
    with _importing:
        yield


def import_quietly(name: str) -> ModuleType:
    """The module ``name``, imported within :func:`importing`. ImportError as usual."""
    with importing():
        return importlib.import_module(name)


def _before_fork() -> None:
    global _held
    _held = _importing.acquire(timeout=FORK_WAITS)


def _after_in_parent() -> None:
    global _held
    if _held:
        _held = False
        _importing.release()


def _after_in_child() -> None:
    global _importing, _held
    _held = False
    _importing = threading.RLock()


os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
