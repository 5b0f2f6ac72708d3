"""What all parts of the contract stand on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, settings

from headway.storage.base import Storage

DEADLINE_SECONDS = 30.0
"""How long a test waits for what must happen; it never waits that long for what does."""

on_one_storage = settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
"""For properties that use one storage for all examples, each with ids of its own."""


class StorageFixtures:
    @pytest.fixture
    def storage(self) -> Storage:
        """An empty storage; close it afterwards."""
        raise NotImplementedError("override the fixture `storage`")

    @pytest.fixture
    def peer(self, storage: Storage) -> Storage:
        """Another server's storage on the same database, or the same one where there can be only one server."""
        return storage


def in_threads(*functions: Callable[[], object]) -> None:
    """Run ``functions`` at the same time and wait for all; the first error is raised here."""
    with ThreadPoolExecutor(max_workers=len(functions)) as pool:
        for future in [pool.submit(function) for function in functions]:
            future.result()
