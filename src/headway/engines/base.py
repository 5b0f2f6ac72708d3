"""What an engine is: something that places processes. Four verbs, nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Protocol, runtime_checkable

from headway.domain.base import Record
from headway.domain.instances import Capacity
from headway.domain.replicas import ReplicaSpec


class AgentState(str, Enum):
    """What the engine can see of one agent."""

    UNKNOWN = "unknown"
    """Never started here, as far as the engine can tell."""
    ALIVE = "alive"
    GONE = "gone"
    """Its process ended. Whether it left a last word is for its reports to say."""


class AgentObservation(Record):
    """One agent as the engine sees it. ``exit_code`` and ``signal`` are the *program's*, where the agent left them."""

    replica_id: str
    state: AgentState
    exit_code: int | None = None
    signal: int | None = None
    host_changed: bool = False
    """True when the machine was restarted since, so that nobody can know more."""


class Engine(Protocol):
    """Places one agent for each replica of an attempt, watches them, ends them.

    Obligations (headway/testing/engines.py):

    - Every verb returns soon (2 s at most, whatever the jobs do) and may be called again at any time, also by another
      server process after the first one was killed between any two instructions.
    - ``start`` is idempotent by ``attempt_token``: however often, and from however many processes at once, it is called,
      each replica's program is executed at most once. It raises EngineError when nothing could be placed, in which case
      nothing is left behind.
    - ``observe`` tells the truth about identity: a process id that was given to somebody else is GONE, not ALIVE.
    - ``stop`` ends every process that belongs to the attempt, including ones that left their process group or whose agent
      is dead; ``hard`` skips the grace period. It does not raise if there is nothing to stop.
    - ``list`` names every attempt of which anything still runs or is remembered, so that leftovers are found.
    """

    name: str

    def capacity(self) -> Capacity:
        """What there is in all, used or not."""
        ...

    def start(self, specs: Sequence[ReplicaSpec]) -> None:
        """Place the replicas of one attempt (all carry the same ``attempt_token``)."""
        ...

    def observe(self, attempt_token: str) -> Sequence[AgentObservation]:
        """One observation for each replica that was started; empty when the attempt is unknown."""
        ...

    def stop(self, attempt_token: str, *, hard: bool = False) -> None:
        """Ask the agents to end their programs (grace period), or end everything now."""
        ...

    def list(self) -> Sequence[str]:
        """Attempt tokens that are known here."""
        ...


@runtime_checkable
class KeepsJournals(Protocol):
    """An engine whose dead agents' journals can still be read from here."""

    def journals(self, attempt_token: str, replica_id: str) -> Sequence[Path]:
        """Journal files that the agent left, in the order of their opening."""
        ...


@runtime_checkable
class ForgetsAttempts(Protocol):
    """An engine that keeps files of ended attempts and can remove them."""

    def forget(self, attempt_token: str) -> None:
        """Remove everything kept of an attempt that has ended."""
        ...
