"""Replicas as processes of this machine.

Everything the engine knows lies below its root, one directory an attempt (headway/attempts.py), so that any server process
can go on where another was killed. Nothing is remembered in memory that could not be found again.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from headway.attempts import NOBODY, ReplicaDirectory
from headway.domain.instances import Capacity
from headway.domain.replicas import ReplicaSpec
from headway.engines.base import AgentObservation, AgentState
from headway.engines.machine import machine_capacity
from headway.errors import ConflictError, EngineError, InvalidRequestError
from headway.kinship import Kin, end_hard, replica_marks, signal_process, table_entry
from headway.paths import full_disk_named, private_directory
from headway.processes import ProcessIdentity, boot_id, is_alive

CLAIM_SECONDS, SLOW_CLAIM_SECONDS = 10.0, 60.0
"""An agent that has not claimed its replica so long after its specification was written never will. The longer time is
for one that this process spawned and sees running: many at once start slowly."""
HARD_SECONDS = 1.5
"""How long one call waits for killed processes to be gone."""
MODEL_DIRECTORY = "model"
_TOKEN = re.compile(r"^[A-Za-z0-9_-]{1,128}$")
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")

_children: list[tuple[Path, subprocess.Popen[bytes]]] = []
_children_lock = threading.Lock()
"""Agents that this process spawned: they must be waited for when they end, whichever engine object is asked."""


class LocalEngine:
    """Spawns an agent for each replica, detached: it outlives the server.

    Args:
        root: A directory of the engine's own; made where it is missing.
        capacity: What there is; by default what the machine has.
    """

    name = "local"

    def __init__(self, root: Path, capacity: Capacity | None = None) -> None:
        self._root = private_directory(Path(root).absolute())
        self._capacity = capacity
        self._settled: set[Path] = set()
        """Replicas whose agent is gone and of which nothing runs any more."""

    def capacity(self) -> Capacity:
        """What the machine has; looked at once."""
        if self._capacity is None:
            self._capacity = machine_capacity()
        return self._capacity

    def start(self, specs: Sequence[ReplicaSpec]) -> None:
        """Write the specifications and spawn an agent for each replica that nobody has claimed.

        Raises:
            EngineError: An agent could not be spawned; nothing of the attempt is left, unless it was there before.
        """
        _reap()
        if not specs:
            return
        token = specs[0].attempt_token
        if any(spec.attempt_token != token for spec in specs):
            raise EngineError("The replicas of one start belong to one attempt.")
        attempt = self._attempt(token)
        fresh = not attempt.exists()
        try:
            with full_disk_named("the attempt's files"):
                for spec in specs:
                    self._place(spec)
        except (OSError, InvalidRequestError) as error:
            if fresh:
                self.stop(token, hard=True)
                _remove(attempt)
            raise EngineError(f"The replicas could not be placed: {error}") from error

    def observe(self, attempt_token: str) -> Sequence[AgentObservation]:
        """Look at claims, identities and exit records. A dead agent's program is ended on the way."""
        _reap()
        return [self._observe(directory) for directory in self._replicas(attempt_token)]

    def stop(self, attempt_token: str, *, hard: bool = False) -> None:
        """Tell the agents to end their programs, or end everything now. What has not begun never will."""
        _reap()
        directories = self._replicas(attempt_token)
        holders = [(directory, self._close(directory)) for directory in directories]
        living = [holder for _, holder in holders if is_alive(holder)]
        if hard:
            self._end(directories, living)
        else:
            for holder in living:
                _signal(holder, signal.SIGTERM)
            self._take_over([directory for directory, holder in holders if holder not in living])
        _reap()

    def list(self) -> Sequence[str]:
        """Attempts that have a directory here, oldest first."""
        _reap()
        found = [path for path in self._root.iterdir() if path.is_dir() and _TOKEN.match(path.name)]
        return [path.name for path in sorted(found, key=lambda path: (path.stat().st_mtime, path.name))]

    def journals(self, attempt_token: str, replica_id: str) -> Sequence[Path]:
        """Journal files of one replica, oldest first."""
        for directory in self._replicas(attempt_token):
            spec = directory.read_spec()
            if spec is not None and spec.replica_id == replica_id:
                found = list(directory.journal.glob("*.hwj"))
                return sorted(found, key=lambda path: (path.stat().st_ctime_ns, path.name))
        return []

    def forget(self, attempt_token: str) -> None:
        """Remove the attempt's directory.

        Raises:
            ConflictError: Something of it still runs.
        """
        directories = self._replicas(attempt_token)
        if any(is_alive(self._close(directory)) for directory in directories):
            raise ConflictError(f"The attempt {attempt_token!r} still runs.", hint="Stop it first.")
        self._take_over(directories)
        self._settled -= {directory.path for directory in directories}
        _remove(self._attempt(attempt_token))

    def _attempt(self, token: str) -> Path:
        if not _TOKEN.match(token):
            raise InvalidRequestError(f"{token!r} is not an attempt token.")
        return self._root / token

    def _replicas(self, token: str) -> Sequence[ReplicaDirectory]:
        """Those that were placed, by name."""
        try:
            found = sorted(path for path in self._attempt(token).iterdir() if path.name != MODEL_DIRECTORY)
        except FileNotFoundError:
            return ()
        directories = [ReplicaDirectory(path) for path in found]
        return [directory for directory in directories if directory.spec_file.exists()]

    def _place(self, spec: ReplicaSpec) -> None:
        if not _NAME.match(spec.name):
            raise InvalidRequestError(f"{spec.name!r} cannot name a replica.")
        directory = ReplicaDirectory(private_directory(self._attempt(spec.attempt_token) / spec.name))
        if not directory.spec_file.exists():
            directory.write_spec(spec)
        if not directory.claim_file.exists():
            _spawn(directory)

    def _observe(self, directory: ReplicaDirectory) -> AgentObservation:
        spec = directory.read_spec()
        replica_id = spec.replica_id if spec is not None else ""
        holder = self._holder(directory)
        if holder is None:
            return AgentObservation(replica_id=replica_id, state=AgentState.UNKNOWN)
        state = AgentState.ALIVE if is_alive(holder) else AgentState.GONE
        if state is AgentState.GONE:
            self._take_over([directory])
        left = directory.read_exit()
        return AgentObservation(
            replica_id=replica_id,
            state=state,
            exit_code=left.exit_code if left else None,
            signal=left.signal if left else None,
            host_changed=holder != NOBODY and holder.boot != boot_id(),
        )

    def _holder(self, directory: ReplicaDirectory) -> ProcessIdentity | None:
        """Who claimed the replica. None while an agent may still do so; after that nobody can."""
        holder = directory.holder()
        if holder is not None:
            return holder
        age = time.time() - directory.spec_file.stat().st_mtime
        patience = SLOW_CLAIM_SECONDS if _spawned(directory.path) else CLAIM_SECONDS
        return self._close(directory) if age > patience else None

    def _close(self, directory: ReplicaDirectory) -> ProcessIdentity:
        """Claim the replica for nobody, so that an agent which wakes late finds it taken; or who was there before."""
        if not directory.claim_file.exists() and directory.claim(NOBODY):
            return NOBODY
        return directory.holder() or NOBODY

    def _take_over(self, directories: Sequence[ReplicaDirectory]) -> None:
        """End what dead agents may have left running."""
        unsettled = [directory for directory in directories if directory.path not in self._settled]
        if unsettled:
            self._end(unsettled, ())

    def _end(self, directories: Sequence[ReplicaDirectory], agents: Sequence[ProcessIdentity]) -> None:
        """Kill everything of these replicas; the living agents last, since the others are found through them."""
        states = [directory.read_state() for directory in directories]
        programs = [state.program for state in states if state is not None and state.program is not None]
        specs = [directory.read_spec() for directory in directories]
        marks = [replica_marks(spec.attempt_token, spec.name) for spec in specs if spec is not None]
        ended = end_hard(Kin(marks, programs, [agent.pid for agent in agents]).members, HARD_SECONDS)
        if agents:
            for agent in agents:
                _signal(agent, signal.SIGKILL)
            ended = end_hard(Kin(marks, programs).members, HARD_SECONDS)
        if ended:
            self._settled.update(directory.path for directory in directories)


def _signal(identity: ProcessIdentity, number: int) -> None:
    """Signal exactly that process."""
    entry = table_entry(identity.pid)
    if entry is not None and entry.started == identity.started:
        signal_process(entry, number)


def _spawn(directory: ReplicaDirectory) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    log = os.open(directory.log_file, flags, 0o600)
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", "headway.agent", str(directory.path)],
            env=_agent_environment(),
            cwd=directory.path,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            close_fds=True,
        )
    finally:
        os.close(log)
    with _children_lock:
        _children.append((directory.path, child))


def _agent_environment() -> dict[str, str]:
    """The server's environment without its settings, and without the marks of a job that the server itself may be in."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADWAY_")}
    return {**kept, "PYTHONSAFEPATH": "1"}


def _reap() -> None:
    """Let go of agents that ended, so that none stays a zombie."""
    with _children_lock:
        _children[:] = [(path, child) for path, child in _children if child.poll() is None]


def _spawned(path: Path) -> bool:
    """Whether an agent that this process spawned for ``path`` runs."""
    with _children_lock:
        return any(spawned == path for spawned, _ in _children)


def _remove(path: Path) -> None:
    """Out of sight at once, then gone."""
    grave = path.with_name(f".removed-{secrets.token_hex(6)}")
    with suppress(FileNotFoundError):
        path.rename(grave)
        shutil.rmtree(grave, ignore_errors=True)
