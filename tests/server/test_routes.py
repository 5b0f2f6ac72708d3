"""What gateways are told, and when they are told it anew."""

from __future__ import annotations

from typing import Any

import pytest

from headway.domain.deployments import Deployment, DeploymentUpdate, Route, RouteTable
from headway.domain.models import ModelRegister
from headway.domain.replicas import Action, Directive, OwnerKind, ReplicaPhase
from headway.domain.users import TokenKind
from headway.server.actions import models, registration, revisions
from headway.server.actions.attempts import add_attempt
from headway.server.actions.templates import template_of
from headway.server.app import PREFIX
from headway.storage.base import Session


class Scene:
    def __init__(self, world: Any) -> None:
        self.world, self.platform = world, world.platform
        self.project = world.project()
        self.deployment: Deployment = world.deployment(self.project)
        self.model = self.deployment.versions[0].model
        self.headers = world.headers(world.token(world.admin.user, kind=TokenKind.GATEWAY))

    def table(self, known: int = -1) -> RouteTable:
        response = self.world.client.get(f"{PREFIX}/gateway/routes", params={"known": known}, headers=self.headers)
        assert response.status_code == 200
        return RouteTable.model_validate_json(response.content)

    def route(self) -> Route:
        (found,) = [route for route in self.table().routes if route.deployment_id == self.deployment.id]
        return found

    def register(self) -> None:
        request = ModelRegister(project=self.project.id, name=self.model, files=(self.world.blob(self.project),))
        registration.register(self.platform, self.world.admin, request)

    def alias(self, name: str, number: int) -> None:
        models.set_alias(self.platform, self.world.admin, self.model, self.project.id, name, number)

    def update(self, **fields: Any) -> Deployment:
        request = DeploymentUpdate.model_validate(fields)
        return revisions.update(self.platform, self.world.admin, self.deployment.id, None, request)

    def start(self) -> None:
        path = f"{PREFIX}/deployments/{self.deployment.id}/start"
        assert self.world.client.post(path, headers=self.world.headers(self.world.admin_token)).status_code == 200


@pytest.fixture
def scene(world: Any) -> Scene:
    return Scene(world)


def answering_replica(scene: Scene, session: Session, template: str, port: int) -> tuple[str, str]:
    """Ids of the attempt and of its replica."""
    attempt, (replica,) = add_attempt(
        scene.platform,
        session,
        kind=OwnerKind.DEPLOYMENT,
        owner_id=scene.deployment.id,
        project_id=scene.project.id,
        run_id=scene.deployment.run_id,
        user_id=scene.deployment.created_by,
        number=port,
        roles=[("server", 1)],
        instance_types={"server": "cpu.small"},
        model_version_id=scene.deployment.versions[0].model_version_id,
        template=template,
    )
    told = Directive(version=1, action=Action.START)
    changed = replica.evolve(phase=ReplicaPhase.RUNNING, host="127.0.0.1", ports=(port,), directive=told)
    session.replicas.put(changed)
    return attempt.id, replica.id


def test_weights_shadows_and_settings_of_the_live_revision_are_told(scene: Scene) -> None:
    scene.register()
    scene.update(shadow="v2", sticky="X-User", deadline_seconds=5, max_waiting=9)
    route = scene.route()
    assert [(v.key, v.weight, v.shadow, v.replicas) for v in route.versions] == [
        ("v1", 100, False, ()),
        ("v2", 0, True, ()),
    ]
    assert (route.revision, route.sticky, route.deadline_seconds, route.max_waiting) == (2, "X-User", 5, 9)


def test_labels_follow_the_aliases_of_the_model(scene: Scene) -> None:
    scene.register()
    scene.update(traffic={"v1": 1, "v2": 1})
    scene.alias("champion", 1)
    scene.alias("newest", 2)
    assert [version.labels for version in scene.route().versions] == [("champion",), ("newest",)]
    scene.alias("champion", 2)
    assert [version.labels for version in scene.route().versions] == [(), ("champion", "newest")]


def test_what_concerns_no_route_leaves_the_version_as_it_is(scene: Scene) -> None:
    before = scene.table()
    scene.world.job(scene.project)
    scene.world.artifact(scene.project)
    assert scene.table(known=before.version) == before
    scene.alias("champion", 1)
    assert scene.table().version > before.version


def test_only_what_answers_and_is_of_the_live_template_has_traffic(scene: Scene) -> None:
    scene.start()
    live = template_of(scene.deployment.spec, scene.deployment.versions[0])
    with scene.platform.storage.write() as session:
        answering_replica(scene, session, live, 21001)
        leaving, _ = answering_replica(scene, session, live, 21002)
        answering_replica(scene, session, "of another revision", 21003)
        _, silent = answering_replica(scene, session, live, 21004)
        session.replicas.put(session.replicas.get(silent).evolve(phase=ReplicaPhase.STARTING))
        attempt = session.attempts.get(leaving)
        session.attempts.put(attempt.evolve(draining_since=attempt.created_at))
    scene.alias("told", 1)
    assert [replica.address for replica in scene.route().versions[0].replicas] == ["127.0.0.1:21001"]
