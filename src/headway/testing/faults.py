"""Finding, killing and counting what a server started: for tests that take the platform apart while it works."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil

from headway.attempts import ReplicaDirectory
from headway.processes import ProcessIdentity, is_alive

T = TypeVar("T")

FULL = os.environ.get("HEADWAY_TEST_FULL") == "1"
"""Whether to repeat as often as the promises say, not just a few times. Read before tests clear the environment."""
SEED = os.environ.get("HEADWAY_TEST_SEED")
MARK = b"HEADWAY_ATTEMPT_TOKEN="


def repetitions(few: int, all: int) -> int:
    """``few`` as a rule, ``all`` with HEADWAY_TEST_FULL=1."""
    return all if FULL else few


def seeded() -> random.Random:
    """Random choices that can be made again: prints its seed, which HEADWAY_TEST_SEED sets."""
    seed = int(SEED) if SEED else random.SystemRandom().randrange(1 << 32)
    print(f"repeat the random choices with HEADWAY_TEST_SEED={seed}")  # noqa: T201
    return random.Random(seed)


def until(condition: Callable[[], T], seconds: float = 30.0, what: str = "", pause: float = 0.01) -> T:
    """What ``condition`` gives once that is true; AssertionError with ``what`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"did not happen within {seconds} s: {what or condition}"
        time.sleep(pause)
    return found


class PlacedReplica:
    """A replica's processes, as its directory names them."""

    def __init__(self, path: Path) -> None:
        self.directory = ReplicaDirectory(path)
        self.name = path.name
        self.token = path.parent.name

    @property
    def agent(self) -> ProcessIdentity:
        holder = self.directory.holder()
        assert holder is not None, f"nobody claimed {self.name}"
        return holder

    @property
    def program(self) -> ProcessIdentity:
        state = self.directory.read_state()
        assert state is not None and state.program is not None, f"{self.name} has no program"
        return state.program

    def kill_agent(self) -> None:
        kill(self.agent)

    def kill_program(self) -> None:
        kill(self.program)


def placed_replicas(data: Path, attempt_token: str) -> dict[str, PlacedReplica]:
    """The replicas of an attempt by name, as far as they are placed."""
    claims = sorted((data / "engine" / attempt_token).glob("*/claim"))
    return {claim.parent.name: PlacedReplica(claim.parent) for claim in claims}


def kill(identity: ProcessIdentity, number: int = 9) -> None:
    """Signal exactly that process, which must run."""
    assert is_alive(identity), f"{identity} does not run"
    os.kill(identity.pid, number)


def carriers(attempt_token: str | None = None) -> list[psutil.Process]:
    """Processes that carry this attempt's variable in their environment, or any attempt's; zombies do not count."""
    wanted = MARK + (attempt_token or "").encode()
    found = []
    for process in psutil.process_iter():
        try:
            variables = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
            running = process.status() != psutil.STATUS_ZOMBIE
        except (OSError, psutil.Error):
            continue
        if running and any(entry == wanted if attempt_token else entry.startswith(wanted) for entry in variables):
            found.append(process)
    return found
