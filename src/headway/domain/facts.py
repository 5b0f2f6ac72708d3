"""Facts: what a run says of itself besides metrics, as a stream, and how a run is made of them.

A fact is one JSON object with ``type`` and ``time`` (milliseconds since 1970). Facts are applied in the order attempt,
time, stream, place in the stream, so the same set always gives the same run, whenever each of them arrived.

==============  =======================================================================================================
``identity``    ``name``, ``alternative_name``, ``folder``, ``labels``, ``description``, ``project``: what is given is set
``config``      ``set`` (top-level key to JSON value) and ``delete`` (list of top-level keys)
``environment`` ``values``: top-level keys of what was captured about code, machine and packages
``state``       ``state`` (``running``, ``complete``, ``error``) and ``reason``
``input``       ``artifact``: an :class:`ArtifactMark`
``output``      ``artifact``: an :class:`ArtifactMark`
``health``      ``counters``: name to a whole number, of this stream's writer
==============  =======================================================================================================

Unknown types and fields are kept in the stream and passed over: a newer writer may know more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum
from typing import Any

from headway.domain.base import Record
from headway.domain.runs import RunState


class FactType(str, Enum):
    IDENTITY = "identity"
    CONFIG = "config"
    ENVIRONMENT = "environment"
    STATE = "state"
    INPUT = "input"
    OUTPUT = "output"
    HEALTH = "health"


class ArtifactMark(Record):
    """What a run names as its input or output. ``id`` is a version's id once the server knows it; ``kind`` is
    ``artifact``, ``model-version``, or a word of another system whose ``id`` and ``path`` are kept as they are.
    """

    kind: str = "artifact"
    id: str | None = None
    name: str | None = None
    digest: str | None = None
    path: str | None = None
    """Where it lies: a local directory, or a place in another system."""


@dataclass(frozen=True)
class PlacedFact:
    """A fact and where it was said."""

    attempt: int
    stream: str
    place: int
    """Offset or number in the stream: later is greater."""
    fact: Mapping[str, Any]

    @property
    def time(self) -> int:
        value = self.fact.get("time")
        return value if isinstance(value, int) else 0

    @property
    def order(self) -> tuple[int, int, str, int]:
        return self.attempt, self.time, self.stream, self.place


@dataclass
class RunFacts:
    """What the facts of a run come to."""

    identity: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    state: RunState = RunState.RUNNING
    reason: str | None = None
    finished_at: datetime | None = None
    inputs: list[ArtifactMark] = field(default_factory=list)
    outputs: list[ArtifactMark] = field(default_factory=list)
    health: dict[str, int] = field(default_factory=dict)
    attempts: int = 0


def fold_facts(facts: Iterable[PlacedFact]) -> RunFacts:
    """The run that ``facts`` tell of, whatever their order.

    >>> said = [{"type": "config", "time": 1, "set": {"lr": 0.1}}, {"type": "state", "time": 2, "state": "complete"}]
    >>> run = fold_facts(PlacedFact(0, "facts/rank0-a", place, fact) for place, fact in enumerate(said))
    >>> run.config, run.state.value
    ({'lr': 0.1}, 'complete')
    """
    run = RunFacts()
    health: dict[str, dict[str, int]] = {}
    states: dict[str, tuple[RunState, str | None, int]] = {}
    latest = -1
    for placed in sorted(facts, key=lambda item: item.order):
        if placed.attempt > latest:
            latest = placed.attempt
            states.clear()  # a new attempt: what an earlier one said of its end no longer holds
        _apply(run, placed, health, states)
    run.attempts = latest + 1
    _conclude(run, states)
    for counters in health.values():
        for name, count in counters.items():
            run.health[name] = run.health.get(name, 0) + count
    run.health = {name: count for name, count in run.health.items() if count}
    return run


def _apply(
    run: RunFacts,
    placed: PlacedFact,
    health: dict[str, dict[str, int]],
    states: dict[str, tuple[RunState, str | None, int]],
) -> None:
    fact, kind = placed.fact, placed.fact.get("type")
    if kind == FactType.IDENTITY.value:
        run.identity.update({key: value for key, value in fact.items() if key not in ("type", "time")})
    elif kind == FactType.CONFIG.value:
        run.config.update(_mapping(fact.get("set")))
        for key in fact.get("delete") or ():
            run.config.pop(key, None)
    elif kind == FactType.ENVIRONMENT.value:
        run.environment.update(_mapping(fact.get("values")))
    elif kind == FactType.STATE.value:
        states[placed.stream] = _state(fact.get("state")), fact.get("reason"), placed.time
    elif kind in (FactType.INPUT.value, FactType.OUTPUT.value):
        _mark(run.inputs if kind == FactType.INPUT.value else run.outputs, fact.get("artifact"))
    elif kind == FactType.HEALTH.value:
        counters = _mapping(fact.get("counters"))
        health[placed.stream] = {key: value for key, value in counters.items() if isinstance(value, int)}


def _conclude(run: RunFacts, states: Mapping[str, tuple[RunState, str | None, int]]) -> None:
    """Several ranks: one that failed makes the run fail; it is complete once all that spoke are."""
    if not states:
        return
    found = list(states.values())
    failed = [item for item in found if item[0] is RunState.ERROR]
    if failed:
        run.state, run.reason = RunState.ERROR, failed[0][1]
    elif all(item[0] is RunState.COMPLETE for item in found):
        run.state = RunState.COMPLETE
    else:
        return
    run.finished_at = datetime.fromtimestamp(max(item[2] for item in found) / 1000, timezone.utc)


def _mark(marks: list[ArtifactMark], value: object) -> None:
    mark = ArtifactMark.model_validate(_mapping(value))
    if mark not in marks:
        marks.append(mark)


def _state(value: object) -> RunState:
    try:
        return RunState(value)
    except ValueError:
        return RunState.RUNNING


def _mapping(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}
