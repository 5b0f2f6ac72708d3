"""Which replica gets a request: versions by weight, replicas by how little they have to do."""

from __future__ import annotations

import random
from collections.abc import Sequence

from headway.serving.gateway.routes import Backend, Entry, Group

_random = random.Random()  # noqa: S311


def choose(entry: Entry) -> tuple[Group, Backend] | None:
    """A version at random by its weight, among those with an available replica; then the replica with the fewest
    outstanding requests, at random among equals. None when there is none."""
    candidates = []
    for group in entry.groups:
        available = [backend for backend in group.backends if backend.available]
        if available and group.weight > 0:
            candidates.append((group, available))
    if not candidates:
        return None
    group, available = candidates[0] if len(candidates) == 1 else _weighted(candidates)
    return group, least_outstanding(available)


def _weighted(candidates: Sequence[tuple[Group, list[Backend]]]) -> tuple[Group, list[Backend]]:
    return _random.choices(candidates, weights=[group.weight for group, _ in candidates])[0]


def least_outstanding(backends: Sequence[Backend]) -> Backend:
    """The one with the fewest requests; ties at random, so that an idle deployment uses all its replicas."""
    fewest = min(backend.outstanding for backend in backends)
    least = [backend for backend in backends if backend.outstanding == fewest]
    return least[0] if len(least) == 1 else _random.choice(least)
