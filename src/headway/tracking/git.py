"""Asking the git program about a repository, without anything else being started and without a change to it.

Hooks, file system monitors, external diffs, filters, pagers, prompts and the network take no part, no lock is taken, and
git has a time limit. The account's own configuration holds otherwise: it may say which repositories of others are safe.
"""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_CHUNK = 1 << 16
_LAST_SECONDS = 1.0
"""How long git may go on once it has closed its output."""
_SETTINGS = (
    "core.fsmonitor=false",
    f"core.hooksPath={os.devnull}",
    "core.pager=cat",
    "core.quotePath=false",
    "credential.helper=",
    "diff.noprefix=false",
    "diff.mnemonicPrefix=false",
    "diff.relative=false",
    "submodule.recurse=false",
)
_FILTER = re.compile(r"filter\.(.+)\.(clean|process|smudge|required)", re.DOTALL)


class GitOutput(NamedTuple):
    """What git wrote, and whether that is all of it."""

    data: bytes
    complete: bool


class Git:
    """git in ``directory``, for ``seconds`` in all. What takes longer, or is stopped, has no answer."""

    def __init__(self, directory: Path, seconds: float) -> None:
        self._directory = directory
        self._deadline = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._filters: list[str] | None = None

    def text(self, *arguments: str) -> str | None:
        """What git answers, without the newline; None when it fails."""
        output = self.read(arguments, limit=1 << 20)
        if output is None or not output.complete:
            return None
        return output.data.decode("utf-8", "surrogateescape").removesuffix("\n")

    def read(self, arguments: Sequence[str], *, limit: int) -> GitOutput | None:
        """The first ``limit`` bytes that git writes, or what it wrote in time; None when it fails or is missing."""
        process = self._start(arguments)
        if process is None:
            return None
        output = GitOutput(b"", False)
        try:
            output = self._read(process, limit)
        finally:
            code = self._end(process, output.complete)
        if output.complete:
            return output if code == 0 else None
        return output if output.data and not self._stopped else None

    def without_filters(self) -> None:
        """From here on no filter of this repository (such as that of git-lfs) is started: files are compared as they are."""
        listed = self.text("config", "--null", "--name-only", "--get-regexp", r"^filter\.") or ""
        names = {match[1] for key in listed.split("\0") if (match := _FILTER.fullmatch(key))}
        self._filters = [
            setting
            for name in sorted(names)
            for setting in (f"filter.{name}.clean=", f"filter.{name}.process=", f"filter.{name}.required=false")
        ]

    def enter(self, directory: Path) -> None:
        """Ask in ``directory`` from here on."""
        self._directory = directory

    def stop(self) -> None:
        """End what is running, from another thread; nothing is started any more."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                _kill(self._process)

    def _start(self, arguments: Sequence[str]) -> subprocess.Popen[bytes] | None:
        settings = [word for setting in (*_SETTINGS, *(self._filters or ())) for word in ("-c", setting)]
        command = ["git", "--no-pager", "--no-optional-locks", "--literal-pathspecs", *settings, *arguments]
        with self._lock:
            if self._stopped or time.monotonic() >= self._deadline:
                return None
            try:
                self._process = subprocess.Popen(
                    command,
                    cwd=self._directory,
                    env=_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError:
                return None
            return self._process

    def _read(self, process: subprocess.Popen[bytes], limit: int) -> GitOutput:
        assert process.stdout is not None
        parts: list[bytes] = []
        size = 0
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while size < limit and selector.select(max(0.0, self._deadline - time.monotonic())):
                chunk = os.read(process.stdout.fileno(), min(_CHUNK, limit - size))
                if not chunk:
                    return GitOutput(b"".join(parts), True)
                parts.append(chunk)
                size += len(chunk)
        return GitOutput(b"".join(parts), False)

    def _end(self, process: subprocess.Popen[bytes], complete: bool) -> int:
        """Its exit code."""
        assert process.stdout is not None
        process.stdout.close()
        try:
            return process.wait(_LAST_SECONDS if complete else 0)
        except subprocess.TimeoutExpired:
            _kill(process)
            return process.wait()
        finally:
            with self._lock:
                self._process = None


def _kill(process: subprocess.Popen[bytes]) -> None:
    """With whatever it started. It is not waited for yet, so its number is still its own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {
        **kept,
        "LC_ALL": "C",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_ASKPASS": os.devnull,
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_SSH_COMMAND": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
    }
