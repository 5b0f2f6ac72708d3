"""How programs end: a run that nobody finished is finished when the interpreter ends, and says why where that is known.

Nothing of the user's is replaced: hooks call what was there before, and no signal gets a handler.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn, Protocol


class Ending(Protocol):
    """What can be ended."""

    def _end_with_program(self, reason: str | None) -> None:
        """The program ends; ``reason`` says why, None when all is well. Must not raise."""
        ...

    def _enter_child(self) -> None:
        """This process is a fork of the one that made it. Must not raise, and must take no lock."""
        ...


_alive: weakref.WeakSet[Ending] = weakref.WeakSet()
_let_go: list[Ending] = []
"""What nobody else holds any more."""
_installed = False
_reason: str | None = None


def watch(run: Ending, *, keep: bool = False) -> None:
    """Have ``run`` ended with the program, at the latest; with ``keep`` nobody else needs to hold it."""
    global _installed
    if not _installed:
        _installed = True
        # Twice: an interrupt may come before the first call has begun anything, and the second one finds what is left.
        atexit.register(_end_all)
        atexit.register(_end_all)
        os.register_at_fork(after_in_child=_enter_children)
        _chain_excepthook()
        _chain_exit()
    _alive.add(run)
    if keep:
        _let_go.append(run)


def forget(run: Ending) -> None:
    """It ended by itself."""
    _alive.discard(run)
    if run in _let_go:
        _let_go.remove(run)


def describe(error: BaseException) -> str:
    """An exception as a run's reason: its type and the first kilobyte of its text."""
    text = str(error)[:1024]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def exit_reason(code: Any) -> str | None:
    """What ``sys.exit(code)`` means for a run: None when all is well."""
    if code is None or (isinstance(code, int) and code == 0):
        return None
    return f"exit code {int(code)}" if isinstance(code, int) else str(code)[:1024]


def despite_interrupts(step: Callable[[], object]) -> bool:
    """Do something that takes no time worth mentioning and can be done again, to its end; whether Ctrl-C was pressed."""
    hurried = False
    while True:
        try:
            step()
            return hurried
        except KeyboardInterrupt:
            hurried = True


def _end_all() -> None:
    for run in list(_alive):
        run._end_with_program(_reason)
        forget(run)


def _enter_children() -> None:
    for run in list(_alive):
        run._enter_child()


def _chain_excepthook() -> None:
    before = sys.excepthook

    def note(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        global _reason
        _reason = describe(error)
        before(kind, error, trace)

    sys.excepthook = note


def _chain_exit() -> None:
    before = sys.exit

    def note(status: Any = None, /) -> NoReturn:
        global _reason
        if threading.current_thread() is threading.main_thread():  # elsewhere it ends no more than that thread
            _reason = exit_reason(status)
        before(status)

    sys.exit = note
