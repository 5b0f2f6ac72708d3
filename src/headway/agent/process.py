"""The program: a child that is forked early, while the agent has one thread, and becomes the program when told.

Forking first means that no lock of another thread can be held in the child, that nothing is imported or compiled on the
way to ``exec``, and that command and environment go through a pipe instead of an argument list. The child asks the
kernel for SIGKILL when the agent dies; the agent is a child subreaper, so whatever the program leaves behind comes back
to it.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from headway.errors import EngineError
from headway.processes import ProcessIdentity, identify

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_RESTORED = ("SIGPIPE", "SIGXFSZ", "SIGINT", "SIGTERM", "SIGHUP", "SIGCHLD")
NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""Exit codes of a command that could not be started, as in the shell."""


@dataclass(frozen=True)
class LaunchFailure:
    """Why a program could not be started, and the exit code a shell would have given."""

    exit_code: int
    reason: str


@dataclass(frozen=True)
class ExitStatus:
    """How a program ended: one of the two is set."""

    exit_code: int | None = None
    signal: int | None = None


UNKNOWN = ExitStatus()


class Launcher:
    """A forked child that waits to become the program.

    Make it before any thread is started. :attr:`output` is the reading end of the pipe that is the program's stdout and
    stderr both, so that their order is kept.
    """

    def __init__(self) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        self._require(library.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
        self.output, output = os.pipe()
        request, self._request = os.pipe()
        self._answer, answer = os.pipe()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._request)
            _become_program(library, parent, request, answer, output)
        for descriptor in (output, request, answer):
            os.close(descriptor)
        identity = identify(self.pid)
        if identity is None:
            raise EngineError("The process that was to become the program ended at once.")
        self.identity: ProcessIdentity = identity
        self._status: ExitStatus | None = None

    def launch(self, command: Sequence[str], environment: Mapping[str, str], directory: Path) -> LaunchFailure | None:
        """Let the child become ``command``; None once it runs. To be called once."""
        request = {"command": list(command), "environment": dict(environment), "directory": str(directory)}
        with os.fdopen(self._request, "wb") as pipe:
            try:
                pipe.write(json.dumps(request).encode())
                pipe.flush()
            except BrokenPipeError:
                return LaunchFailure(NOT_EXECUTABLE, "the process that was to become the program is gone")
        with os.fdopen(self._answer, "rb") as answers:
            answer = answers.read(4096)
        return _failure(json.loads(answer), command) if answer else None

    def poll(self) -> ExitStatus | None:
        """How the program ended, or None while it runs. It stays a zombie, so that its number stays its own."""
        if self._status is None:
            facts = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if facts is not None:
                exited = facts.si_code == os.CLD_EXITED
                self._status = ExitStatus(**{"exit_code" if exited else "signal": facts.si_status})
        return self._status

    def reap(self) -> None:
        """Once the program and all it left behind have ended: nothing of them stays, not even in the process table."""
        self.poll()
        reap_orphans(None)

    @staticmethod
    def _require(result: int) -> None:
        if result != 0:
            raise EngineError(f"The kernel refuses to make the agent a subreaper: {os.strerror(ctypes.get_errno())}.")


def reap_orphans(program: int | None) -> None:
    """Wait for processes that the program left behind and that ended: the kernel made them the agent's children.

    ``program`` itself is left alone.
    """
    try:
        while facts := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if facts.si_pid == program:
                return
            os.waitpid(facts.si_pid, os.WNOHANG)
    except ChildProcessError:
        return


def _become_program(library: ctypes.CDLL, parent: int, request: int, answer: int, output: int) -> NoReturn:
    """In the child. Whatever happens, this never returns into the agent's code."""
    step = "prepare"
    try:
        library.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(0)
        _restore_signals()
        os.setsid()
        asked = _read_all(request)
        if not asked:
            os._exit(0)
        wanted = json.loads(asked)
        _connect(output)
        os.umask(0o022)
        step = "directory"
        os.chdir(wanted["directory"])
        step = "execute"
        os.execvpe(wanted["command"][0], wanted["command"], wanted["environment"])  # noqa: S606
    except OSError as error:
        os.write(answer, json.dumps({"step": step, "errno": error.errno or 0}).encode())
    except BaseException as error:  # noqa: BLE001  (the boundary of a process that must not go on)
        os.write(answer, json.dumps({"step": step, "errno": 0, "error": type(error).__name__}).encode())
    finally:
        os._exit(NOT_FOUND)


def _read_all(descriptor: int) -> bytes:
    parts = []
    while part := os.read(descriptor, 65536):
        parts.append(part)
    return b"".join(parts)


def _connect(output: int) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)


def _restore_signals() -> None:
    """Our handlers would write into the agent's pipe, and Python ignores signals that programs expect to die of."""
    signal.set_wakeup_fd(-1)
    for name in _RESTORED:
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _failure(answer: Mapping[str, object], command: Sequence[str]) -> LaunchFailure:
    number = answer.get("errno")
    number = number if isinstance(number, int) else 0
    if answer.get("step") == "directory":
        return LaunchFailure(NOT_EXECUTABLE, f"the working directory cannot be entered: {os.strerror(number)}")
    if number in (errno.ENOENT, errno.ENOTDIR):
        return LaunchFailure(NOT_FOUND, f"the command does not exist: {command[0]}")
    why = os.strerror(number) if number else str(answer.get("error", "no reason given"))
    return LaunchFailure(NOT_EXECUTABLE, f"the command cannot be executed: {command[0]} ({why})")
