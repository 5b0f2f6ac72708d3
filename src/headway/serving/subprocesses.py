"""A program that this process runs for as long as it lives itself."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from headway.serving.parentage import end_with_parent


class OwnProgram:
    """A program in a process group of its own. It is killed when this process ends, however that comes about.

    Made and used in the loop's thread, which lasts as long as the process.

    Args:
        command: Program and arguments.
        directory: Where it runs.
        variables: Its whole environment.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self, command: Sequence[str], directory: Path, variables: Mapping[str, str]) -> None:
        arrange = end_with_parent()

        def prepare() -> None:
            os.setpgid(0, 0)
            arrange()

        self._process = subprocess.Popen(
            command, cwd=directory, env=dict(variables), stdin=subprocess.DEVNULL, preexec_fn=prepare
        )
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[int] = self._loop.create_future()
        """Its exit code, negative for a signal's number, once it has ended."""
        self._watch = os.pidfd_open(self._process.pid)
        self._loop.add_reader(self._watch, self._has_ended)

    def _has_ended(self) -> None:
        self._loop.remove_reader(self._watch)
        os.close(self._watch)
        self.ended.set_result(self._process.wait())

    async def end(self, grace: float) -> None:
        """SIGTERM to its group, SIGKILL to what is left of that after ``grace`` seconds, or after it has ended itself."""
        self._signal(signal.SIGTERM)
        await asyncio.wait({self.ended}, timeout=grace)
        self._signal(signal.SIGKILL)
        await self.ended

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            pass


def how_it_ended(code: int) -> str:
    """``ended with exit code 1`` or ``was ended by SIGKILL``.

    >>> how_it_ended(-9)
    'was ended by SIGKILL'
    """
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
