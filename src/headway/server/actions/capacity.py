"""What is reserved, and whether something more fits. CPU is a share and never refuses."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from headway.domain.instances import Capacity, InstanceType
from headway.domain.replicas import Attempt
from headway.errors import InvalidRequestError
from headway.server.actions.instances import resolve_type
from headway.storage.base import Session


@dataclass(frozen=True)
class Need:
    """What one gang asks for: instance type of each role, and how many replicas of it."""

    types: Mapping[str, InstanceType]
    counts: Mapping[str, int]

    @property
    def gpu(self) -> int:
        return sum(self.types[role].gpu * count for role, count in self.counts.items())

    @property
    def memory_mb(self) -> int:
        return sum(self.types[role].memory_mb * count for role, count in self.counts.items())


def check_possible(need: Need, capacity: Capacity) -> None:
    """InvalidRequestError when the engine could not hold the gang even if it were empty."""
    for what, asked, there in (("GPUs", need.gpu, capacity.gpu), ("MiB of memory", need.memory_mb, capacity.memory_mb)):
        if asked > there:
            names = ", ".join(sorted({t.name for t in need.types.values()}))
            raise InvalidRequestError(
                f"{asked} {what} are asked for ({names}), and there are {there} in all.",
                hint="Choose a smaller instance type or fewer replicas: `headway instance-type list`.",
            )


LOCK_SETTING = "capacity.lock"


def lock(session: Session) -> None:
    """Keep every other session that reserves waiting until this one ends, so that nothing is given to two."""
    if session.settings.find(LOCK_SETTING) is None:
        session.settings.put(LOCK_SETTING, "")


def reserve(
    session: Session, need: Need, capacity: Capacity, *, without: Collection[str] = ()
) -> tuple[dict[str, tuple[int, ...]], str]:
    """GPU indices for each replica name and an empty text, or the reason in words why the gang must wait.

    What it says holds until the session ends only after :func:`lock`. Attempts whose ids are in ``without`` are taken for
    ended.
    """
    taken_gpus, taken_memory = _taken(session, without)
    free = [index for index in range(capacity.gpu) if index not in taken_gpus]
    if need.gpu > len(free):
        return {}, f"waiting for {need.gpu} GPU(s): {len(free)} of {capacity.gpu} free"
    if need.memory_mb and taken_memory + need.memory_mb > capacity.memory_mb:
        left = max(0, capacity.memory_mb - taken_memory)
        return {}, f"waiting for {need.memory_mb} MiB of memory: {left} of {capacity.memory_mb} free"
    assigned = {}
    for role, count in need.counts.items():
        for index in range(count):
            if need.types[role].gpu:
                assigned[f"{role}-{index}"] = tuple(free.pop(0) for _ in range(need.types[role].gpu))
    return assigned, ""


def _taken(session: Session, without: Collection[str]) -> tuple[set[int], int]:
    attempts: Sequence[Attempt] = [attempt for attempt in session.attempts.open() if attempt.id not in without]
    gpus = {index for attempt in attempts for indices in attempt.gpus.values() for index in indices}
    replicas = session.replicas.of_attempts([attempt.id for attempt in attempts])
    by_id = {attempt.id: attempt for attempt in attempts}
    types = {t.name: t for t in session.instance_types.list()}
    memory = 0
    for replica in replicas:
        name = by_id[replica.attempt_id].instance_types.get(replica.role)
        if name in types:
            memory += types[name].memory_mb
    return gpus, memory


def need_of(session: Session, wanted: Mapping[str, tuple[str | None, int]]) -> Need:
    """Role to (instance type name, count), with the names resolved."""
    return Need(
        types={role: resolve_type(session, name) for role, (name, _) in wanted.items()},
        counts={role: count for role, (_, count) in wanted.items()},
    )
