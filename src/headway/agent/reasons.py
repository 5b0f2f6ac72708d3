"""How a program ended, in words."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from headway.agent.process import NOT_EXECUTABLE, NOT_FOUND, ExitStatus

_SHELLS = ("sh", "bash", "dash", "ksh", "zsh")


def describe_end(status: ExitStatus, command: Sequence[str], last_lines: Sequence[str] = ()) -> str:
    """Why it ended so; empty for exit code 0.

    >>> describe_end(ExitStatus(exit_code=3), ["train"])
    'exited with code 3'
    >>> describe_end(ExitStatus(signal=9), ["train"])
    'killed (SIGKILL), perhaps out of memory'
    """
    if status.signal is not None:
        return _signalled(status.signal)
    if status.exit_code is None:
        return "ended, and how is not known"
    if status.exit_code == 0:
        return ""
    return f"exited with code {status.exit_code}{_shell_meaning(status.exit_code, command, last_lines)}"


def _signalled(number: int) -> str:
    return f"killed ({signal_name(number)})" + (", perhaps out of memory" if number == signal.SIGKILL else "")


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _shell_meaning(code: int, command: Sequence[str], last_lines: Sequence[str]) -> str:
    """What a shell says with its exit codes. Source: POSIX, Shell Command Language, 2.8.2."""
    if command[0].rpartition("/")[2] not in _SHELLS:
        return ""
    said = next((line.strip() for line in reversed(last_lines) if line.strip()), " ".join(command[2:3]))
    if code == NOT_FOUND:
        return f": the command does not exist: {said}"
    if code == NOT_EXECUTABLE:
        return f": the command cannot be executed: {said}"
    if 128 < code <= 128 + 64:
        return f": its command was {_signalled(code - 128)}"
    return ""
