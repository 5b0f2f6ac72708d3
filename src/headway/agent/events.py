"""What may happen to an agent: the things that its main thread waits for."""

from __future__ import annotations

from dataclasses import dataclass

from headway.agent.workspace import Places
from headway.domain.replicas import Action, Directive
from headway.errors import HeadwayError


@dataclass(frozen=True)
class ChildChanged:
    """Some child process ended (SIGCHLD)."""


@dataclass(frozen=True)
class Terminate:
    """The engine asks the agent to end its program (SIGTERM)."""


@dataclass(frozen=True)
class Heard:
    """The server said something new."""

    directive: Directive


@dataclass(frozen=True)
class Refused:
    """The server wants no more of this agent."""

    error: HeadwayError


@dataclass(frozen=True)
class Prepared:
    """Workspace and ports are there."""

    places: Places
    ports: tuple[int, ...]


@dataclass(frozen=True)
class Unprepared:
    """They could not be brought."""

    reason: str


@dataclass(frozen=True)
class Answering:
    """The program answers its health path for the first time."""


@dataclass(frozen=True)
class Silent:
    """The program has stopped answering its health path."""


@dataclass(frozen=True)
class Overgrown:
    """The workspace holds more than it may."""

    reason: str


Event = ChildChanged | Terminate | Heard | Refused | Prepared | Unprepared | Answering | Silent | Overgrown


def asks_to_stop(event: Event | None) -> bool:
    """Whether the program is to be ended because somebody wants it so."""
    return isinstance(event, Terminate) or (isinstance(event, Heard) and event.directive.action is Action.STOP)
