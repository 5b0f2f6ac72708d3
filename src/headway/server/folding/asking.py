"""A process beside the server: started when needed, started again when it died. It reads requests and gives answers."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from headway.domain.base import Record
from headway.errors import UnavailableError, from_problem

logger = logging.getLogger("headway.workers.folding")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
END_SECONDS = 5.0


class Setup(Record):
    """The first line. A database URL may hold a password, so it is not an argument of the process."""

    database_url: str | None
    """None: SQLite beside ``data``."""
    data: Path


A = TypeVar("A", bound=BaseModel)


class Child(Generic[A]):
    """Requests to the process, one at a time. UnavailableError when it cannot be had now; ask again later."""

    module: ClassVar[str]
    """What runs in it."""
    noun: ClassVar[str]

    def __init__(self, setup: Setup, answers: type[A]) -> None:
        self._setup, self._answers = setup, answers
        self._process: subprocess.Popen[bytes] | None = None
        self._asking = threading.Lock()
        self._pause, self._not_before = 0.0, 0.0
        self._closed = False
        self.deaths = 0
        """How often the process ended while it was asked something."""

    @property
    def pid(self) -> int | None:
        """Of the living process."""
        return self._process.pid if self._process is not None else None

    def close(self) -> None:
        """End it: what it does at this moment it finishes or loses, and neither harms."""
        self._closed = True
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            try:
                process.stdin.close()
            except BrokenPipeError:
                pass
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None and self._asking.acquire(timeout=END_SECONDS):
            process.stdout.close()
            self._asking.release()

    def ask(self, request: BaseModel) -> A:
        """The answer to ``request``; what went wrong in the process is raised here."""
        with self._asking:
            process = self._running()
            answer = self._exchange(process, request.model_dump_json().encode())
        self._pause = 0.0
        if (problem := _problem(answer)) is not None:
            raise from_problem(problem, int(problem.get("status", 500)))
        return answer

    def _running(self) -> subprocess.Popen[bytes]:
        if self._closed:
            raise UnavailableError("The server is ending.")
        if self._process is None:
            if time.monotonic() < self._not_before:
                raise UnavailableError(f"The {self.noun} process is started again in a moment.")
            self._process = self._start()
        return self._process

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", self.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the server, which then closes the pipe
        )
        self._process = process
        answer = self._exchange(process, self._setup.model_dump_json().encode())
        if (problem := _problem(answer)) is not None:
            self._lost(process)
            raise from_problem(problem, int(problem.get("status", 500)))
        return process

    def _exchange(self, process: subprocess.Popen[bytes], line: bytes) -> A:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(line + b"\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            return self._answers.model_validate_json(answer)
        except (OSError, ValueError, ValidationError) as error:
            self._lost(process)
            raise UnavailableError(f"The {self.noun} process ended; it is started again.") from error

    def _lost(self, process: subprocess.Popen[bytes]) -> None:
        self.deaths += 1
        process.kill()
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    pass
        self._process = None
        self._pause = min(LONGEST_PAUSE, self._pause * 2 or FIRST_PAUSE)
        self._not_before = time.monotonic() + self._pause
        if not self._closed:
            logger.warning("the %s process ended (%s); it is started again", self.noun, code)


def _problem(answer: BaseModel) -> dict[str, Any] | None:
    found: dict[str, Any] | None = getattr(answer, "error", None)
    return found
