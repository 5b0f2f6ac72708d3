"""Several who change the registry at once, on SQLite and on PostgreSQL: nothing is lost, and who loses is told why."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from headway.domain.base import PageRequest, new_id
from headway.domain.deployments import DeploymentCreate
from headway.domain.models import ModelRegister, ModelVersion
from headway.errors import ConflictError, NotFoundError
from headway.server.actions import deployments, models, registration

CLIENTS = 50
SECONDS = 120.0
"""How long anything may take on a busy machine."""


class Registry:
    """One project of a server, asked as an admin."""

    def __init__(self, world: Any) -> None:
        self.world, self.project = world, world.project()

    def request(self, name: str = "digits", **fields: Any) -> ModelRegister:
        values = {"project": self.project.id, "name": name, "files": [self.world.blob(self.project)], **fields}
        return ModelRegister.model_validate(values)

    def register(self, request: ModelRegister) -> ModelVersion:
        return registration.register(self.world.platform, self.world.admin, request)

    def version_names(self) -> set[str | None]:
        page = PageRequest(limit=1000)
        found = models.list_versions(self.world.platform, self.world.admin, page, project=self.project.id)
        return {version.version_name for version in found.items}


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest) -> Registry:
    return Registry(request.getfixturevalue("world" if request.param == "sqlite" else "postgres_world"))


def test_clients_that_register_at_once_get_a_version_each(either: Registry) -> None:
    world = either.world
    requests = [either.request(version_name=f"1.0.{number}", aliases=[f"alias-{number}"]) for number in range(CLIENTS)]
    gate = threading.Barrier(CLIENTS)

    def register(request: ModelRegister) -> ModelVersion:
        gate.wait(SECONDS)
        return either.register(request)

    with ThreadPoolExecutor(CLIENTS) as pool:
        made = list(pool.map(register, requests))
    assert sorted(version.version for version in made) == list(range(1, CLIENTS + 1))
    assert len({version.id for version in made}) == len({version.model_id for version in made}) * CLIENTS == CLIENTS
    assert either.version_names() == {f"1.0.{number}" for number in range(CLIENTS)}
    model = models.get(world.platform, world.admin, made[0].model_id)
    assert model.aliases == {f"alias-{n}": version.version for n, version in enumerate(made)}
    assert model.latest_version == CLIENTS


def test_one_of_those_who_want_a_version_name_at_once_gets_it(either: Registry) -> None:
    request = either.request(version_name="1.0.3")
    gate = threading.Barrier(8)

    def register(_: int) -> ModelVersion | None:
        gate.wait(SECONDS)
        try:
            return either.register(request)
        except ConflictError:
            return None

    with ThreadPoolExecutor(8) as pool:
        made = [version for version in pool.map(register, range(8)) if version is not None]
    assert [version.version for version in made] == [1]
    assert either.version_names() == {"1.0.3"}


@pytest.mark.parametrize("whole", [False, True], ids=["version", "model"])
def test_who_deploys_while_it_is_deleted_or_the_other_way_round_is_refused(either: Registry, whole: bool) -> None:
    """Both at once, many times: never a deployment without its version, and the loser is told why."""
    world, platform = either.world, either.world.platform
    for _ in range(12):
        version = either.register(either.request(new_id("m")))
        gate, refused = threading.Barrier(2), []

        def deploy(version: ModelVersion = version, gate: threading.Barrier = gate) -> Any:
            request = DeploymentCreate(project=either.project.id, name=new_id("d"), model=version.id, start=False)
            gate.wait(SECONDS)
            return deployments.create(platform, world.admin, request, "http://127.0.0.1:1")

        def delete(version: ModelVersion = version, gate: threading.Barrier = gate) -> None:
            gate.wait(SECONDS)
            if whole:
                models.delete(platform, world.admin, version.model_id, None)
            else:
                models.delete_version(platform, world.admin, version.id)

        with ThreadPoolExecutor(2) as pool:
            deploying, deleting = pool.submit(deploy), pool.submit(delete)
            for future in (deploying, deleting):
                error = future.exception(SECONDS)
                if error is not None:
                    refused.append(error)
        (loser,) = refused
        if isinstance(loser, ConflictError):
            assert loser.details["deployments"] == [deploying.result().id]
            assert models.get_version(platform, world.admin, version.id) == version
        else:
            assert isinstance(loser, NotFoundError)
            assert version.id in str(loser)
            with pytest.raises(NotFoundError):
                models.get_version(platform, world.admin, version.id)
