"""What one attempt keeps on a machine: the directories that engine and agent share, and the small files in them.

The engine makes ``<attempt token>/<role>-<index>/`` with ``spec.json`` and spawns an agent on it; the agent makes
``claim`` before anything else and writes ``state.json`` and ``exit.json`` as it goes (docs/internals/contracts.md,
section 1).
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from headway.domain.base import Record, Timestamp
from headway.domain.replicas import ReplicaPhase, ReplicaSpec
from headway.paths import sync_directory, write_atomic
from headway.processes import ProcessIdentity

NOBODY = ProcessIdentity(pid=0, started=0.0, boot="")
"""The holder of a claim that was made so that no agent ever gets it."""

R = TypeVar("R", bound=Record)


class ReplicaState(Record):
    """``state.json``: who runs, and how far it is."""

    agent: ProcessIdentity
    phase: ReplicaPhase
    program: ProcessIdentity | None = None
    """The program; it leads a session and a process group of its own, so its process id names both."""


class ReplicaExit(Record):
    """``exit.json``: how the program ended. Written durably before anybody is told."""

    exit_code: int | None = None
    signal: int | None = None
    reason: str = ""
    started_at: Timestamp | None = None
    finished_at: Timestamp


class ReplicaDirectory:
    """One replica's directory below its attempt's."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spec_file = path / "spec.json"
        self.claim_file = path / "claim"
        self.state_file = path / "state.json"
        self.exit_file = path / "exit.json"
        self.log_file = path / "agent.log"
        self.journal = path / "journal"
        self.workspace = path / "workspace"
        self.tracking = path / "tracking"
        """What the program has as HEADWAY_DIR."""
        self.shared_model = path.parent / "model"
        """What an absolute ``model_path`` maps to, one for all replicas of the attempt."""

    def read_spec(self) -> ReplicaSpec | None:
        return _read(self.spec_file, ReplicaSpec)

    def write_spec(self, spec: ReplicaSpec) -> None:
        """Secrets in it are the reason for mode 0600."""
        write_atomic(self.spec_file, spec.model_dump_json().encode(), mode=0o600)

    def claim(self, holder: ProcessIdentity) -> bool:
        """Become the one holder for all time; False when there is one already. Readers never see half a claim."""
        temporary = self.path / f".claim-{secrets.token_hex(6)}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, holder.model_dump_json().encode())
            os.fsync(descriptor)
            os.link(temporary, self.claim_file)
        except FileExistsError:
            return False
        finally:
            os.close(descriptor)
            temporary.unlink(missing_ok=True)
        sync_directory(self.path)
        return True

    def holder(self) -> ProcessIdentity | None:
        """Who claimed the replica; None while nobody has."""
        return _read(self.claim_file, ProcessIdentity)

    def read_state(self) -> ReplicaState | None:
        return _read(self.state_file, ReplicaState)

    def write_state(self, state: ReplicaState) -> None:
        write_atomic(self.state_file, state.model_dump_json().encode())

    def read_exit(self) -> ReplicaExit | None:
        return _read(self.exit_file, ReplicaExit)

    def write_exit(self, exit: ReplicaExit) -> None:
        write_atomic(self.exit_file, exit.model_dump_json().encode())


def _read(path: Path, kind: type[R]) -> R | None:
    """The record in ``path``; None when there is none, or none that makes sense (a disk that lost power)."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValidationError):
        return None
