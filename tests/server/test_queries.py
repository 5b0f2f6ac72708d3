"""Lists ask the database as often for many things as for few."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy

from headway.domain.base import PageRequest, now
from headway.domain.replicas import OwnerKind, ReplicaPhase
from headway.domain.users import Role
from headway.server.actions import deployments
from headway.server.actions.attempts import add_attempt
from headway.server.actions.routes import RouteBook


@contextmanager
def statements() -> Iterator[list[str]]:
    """What is asked of databases meanwhile."""
    found: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.lstrip().upper().startswith("SELECT"):
            found.append(statement)

    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        sqlalchemy.event.remove(sqlalchemy.engine.Engine, "before_cursor_execute", note)


def add_replica(world: Any, deployment: Any, number: int) -> None:
    with world.platform.storage.write() as session:
        _, (replica,) = add_attempt(
            world.platform,
            session,
            kind=OwnerKind.DEPLOYMENT,
            owner_id=deployment.id,
            project_id=deployment.project_id,
            run_id=deployment.run_id,
            user_id=deployment.created_by,
            number=number,
            roles=[("server", 1)],
            instance_types={"server": "cpu.small"},
        )
        session.replicas.put(replica.evolve(phase=ReplicaPhase.RUNNING, started_at=now()))


def test_a_page_of_deployments_is_read_at_once_with_all_their_replicas(world: Any) -> None:
    project = world.project()
    made = []
    asked = []
    for count in (1, 8):
        while len(made) < count:
            made.append(world.deployment(project))
            for number in (1, 2):
                add_replica(world, made[-1], number)
        with statements() as found:
            page = deployments.list_deployments(world.platform, world.admin, PageRequest(), project=project.id)
        assert {item.id for item in page.items} == {each.id for each in made}
        assert all([replica.name for replica in item.replicas] == ["server-1", "server-2"] for item in page.items)
        asked.append(len(found))
    assert asked[0] == asked[1]


def test_tokens_of_one_user_cost_the_routes_no_more_than_one(world: Any) -> None:
    project = world.project()
    deployment = world.deployment(project)
    user = world.user("who-has-many-tokens")
    world.member(project, user, Role.MEMBER)
    asked, told = [], []
    for more in (1, 8):
        for _ in range(more):
            world.token(user)
        with statements() as found:
            table = RouteBook(world.platform).table()
        asked.append(len(found))
        (route,) = [route for route in table.routes if route.deployment_id == deployment.id]
        told.append(route.tokens)
    assert len(told[1]) == len(told[0]) + 8
    assert asked[0] == asked[1]
