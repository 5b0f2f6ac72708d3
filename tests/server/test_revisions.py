"""What an update asks for, and the spec that comes of it."""

from __future__ import annotations

from typing import Any

import pytest

from headway.domain.base import new_id
from headway.domain.deployments import (
    Deployment,
    DeploymentCreate,
    DeploymentRollback,
    DeploymentUpdate,
    Guard,
    RevisionState,
)
from headway.domain.models import ModelRegister
from headway.domain.replicas import OwnerKind
from headway.errors import ConflictError, HeadwayError, InvalidRequestError, NotFoundError
from headway.server.actions import deployments, models, registration, revisions
from headway.server.actions.attempts import add_attempt
from headway.server.actions.templates import template_of


class Scene:
    """A deployment of v1 of a model with three versions; it is stopped, so that what is asked for is live at once."""

    def __init__(self, world: Any) -> None:
        self.world, self.platform, self.caller = world, world.platform, world.admin
        self.project = world.project()
        for name in ("digits", "digits", "digits", "letters"):
            self.register(name)
        self.deployment = self.create("digits:v1")

    def register(self, name: str) -> None:
        file = self.world.blob(self.project)
        request = ModelRegister(project=self.project.id, name=name, files=(file,))
        registration.register(self.platform, self.caller, request)

    def create(self, model: str, **fields: Any) -> Deployment:
        request = DeploymentCreate(project=self.project.id, name=new_id("d"), model=model, start=False, **fields)
        return deployments.create(self.platform, self.caller, request, "http://127.0.0.1:1")

    def update(self, **fields: Any) -> Deployment:
        request = DeploymentUpdate(**fields)
        return revisions.update(self.platform, self.caller, self.deployment.id, None, request)

    def roll_back(self, number: int | None = None) -> Deployment:
        request = DeploymentRollback(revision=number, reason="worse")
        return revisions.roll_back_on_request(self.platform, self.caller, self.deployment.id, None, request)

    def states(self) -> dict[int, RevisionState]:
        with self.platform.storage.read() as session:
            numbers = range(1, session.deployments.get(self.deployment.id).last_revision + 1)
            return {n: session.revisions.get(self.deployment.id, n).state for n in numbers}


@pytest.fixture
def scene(world: Any) -> Scene:
    return Scene(world)


def shown(deployment: Deployment) -> list[tuple[str, int, bool]]:
    return [(version.key, version.weight, version.shadow) for version in deployment.versions]


def test_a_deployment_begins_with_a_live_revision(scene: Scene) -> None:
    found = revisions.get(scene.platform, scene.caller, scene.deployment.id, None, 1)
    assert (found.state, found.spec) == (RevisionState.LIVE, scene.deployment.spec)
    assert (scene.deployment.revision, scene.deployment.pending, scene.deployment.last_revision) == (1, None, 1)


def test_traffic_names_versions_by_number_reference_and_weight(scene: Scene) -> None:
    assert shown(scene.update(traffic={"v1": 90, "digits:v2": 10})) == [("v1", 90, False), ("v2", 10, False)]
    assert shown(scene.update(traffic={"models:/digits/3": 5, "v2": 0})) == [("v3", 5, False), ("v2", 0, False)]
    assert shown(scene.update(model="digits:v1")) == [("v1", 100, False)]


def test_a_shadow_stays_until_it_is_taken_away_or_gets_traffic(scene: Scene) -> None:
    assert shown(scene.update(shadow="v2")) == [("v1", 100, False), ("v2", 0, True)]
    assert shown(scene.update(traffic={"v1": 1, "v3": 1})) == [("v1", 1, False), ("v3", 1, False), ("v2", 0, True)]
    assert shown(scene.update(traffic={"v1": 1, "v2": 1})) == [("v1", 1, False), ("v2", 1, False)]
    assert shown(scene.update(traffic={"v1": 1}, shadow="v2")) == [("v1", 1, False), ("v2", 0, True)]
    assert shown(scene.update(shadow="none")) == [("v1", 1, False)]


def test_a_new_version_is_sized_like_the_main_one(scene: Scene) -> None:
    scene.update(replicas=3)
    found = scene.update(traffic={"v1": 90, "v2": 10}, replicas={"v2": 1})
    assert [(version.key, version.replicas) for version in found.versions] == [("v1", 3), ("v2", 1)]
    found = scene.update(traffic={"v1": 90, "v2": 5, "v3": 5})
    assert [version.replicas for version in found.versions] == [3, 1, 3]


def test_scaling_takes_the_place_of_a_number_and_the_other_way_round(scene: Scene) -> None:
    found = scene.update(scaling={"minimum": 0, "maximum": 4}).versions[0]
    assert found.scaling is not None and (found.scaling.minimum, found.replicas) == (0, 1)
    found = scene.update(replicas=2).versions[0]
    assert (found.scaling, found.replicas) == (None, 2)
    found = scene.update(scaling={"v1": {"minimum": 3, "maximum": 4}}).versions[0]
    assert found.replicas == 3
    found = scene.update(unset=frozenset({"scaling"})).versions[0]
    assert (found.scaling, found.replicas) == (None, 3)


def test_settings_are_changed_and_switched_off(scene: Scene) -> None:
    found = scene.update(public=True, sticky="X-User", deadline_seconds=5, environment={"A": "1"}, max_waiting=7)
    assert (found.public, found.sticky, found.deadline_seconds, found.max_waiting) == (True, "X-User", 5, 7)
    assert found.environment == {"A": "1"}
    assert scene.update(hedge_after_seconds=0.2).hedge_after_seconds == 0.2
    assert scene.update(unset=frozenset({"hedge_after_seconds"})).hedge_after_seconds is None
    found = scene.update(unset=frozenset({"sticky", "guard"}), public=False)
    assert (found.public, found.sticky, found.guard, found.environment) == (False, None, None, {"A": "1"})
    assert scene.update(guard={"max_p95_ratio": 2}).guard == Guard(max_p95_ratio=2)


def test_an_update_that_changes_nothing_makes_no_revision(scene: Scene) -> None:
    assert scene.update(traffic={"v1": 100}).last_revision == 1
    assert scene.update(model="digits:v1", public=False).last_revision == 1


@pytest.mark.parametrize(
    ("fields", "error", "said"),
    [
        ({"traffic": {"v1": 0}}, InvalidRequestError, "no version any traffic"),
        ({"traffic": {"v1": 1}, "model": "digits"}, InvalidRequestError, "both"),
        ({"traffic": {"v1": 1, "digits:v1": 1}}, InvalidRequestError, "twice"),
        ({"traffic": {"v4": 1}}, NotFoundError, "no version 4"),
        ({"traffic": {"v1": 1, "letters": 1}}, InvalidRequestError, "cannot be told apart"),
        ({"shadow": "v1"}, InvalidRequestError, "takes traffic"),
        ({"replicas": {"v2": 1}}, InvalidRequestError, "v2 is not deployed"),
        ({"instance_type": "nothing"}, HeadwayError, "nothing"),
        ({"public": True, "expected_revision": 3}, ConflictError, "is 1, not 3"),
    ],
)
def test_what_cannot_be_is_refused_and_makes_no_revision(
    scene: Scene, fields: dict[str, Any], error: type[HeadwayError], said: str
) -> None:
    with pytest.raises(error, match=said):
        scene.update(**fields)
    assert scene.states() == {1: RevisionState.LIVE}


def test_versions_of_two_models_are_told_apart_by_more_than_a_number(scene: Scene) -> None:
    scene.register("letters")
    assert shown(scene.update(traffic={"v1": 1, "letters:v2": 1})) == [("v1", 1, False), ("v2", 1, False)]
    with pytest.raises(InvalidRequestError, match="digits or letters"):
        scene.update(traffic={"v3": 1})


def test_rolling_back_goes_on_to_what_was_live_before_and_never_round_in_circles(scene: Scene) -> None:
    scene.update(traffic={"v2": 1})
    scene.update(traffic={"v3": 1})
    assert shown(scene.roll_back()) == [("v2", 1, False)]
    assert scene.states()[3] is RevisionState.ROLLED_BACK
    assert shown(scene.roll_back()) == [("v1", 100, False)]
    with pytest.raises(ConflictError, match="live one already"):
        scene.roll_back(5)
    with pytest.raises(NotFoundError, match="no revision 9"):
        scene.roll_back(9)
    assert shown(scene.roll_back(3)) == [("v3", 1, False)]


def test_nothing_is_before_the_first(scene: Scene) -> None:
    with pytest.raises(ConflictError, match="nothing to go back to"):
        scene.roll_back()
    assert scene.states() == {1: RevisionState.LIVE}


def test_what_happened_is_told_by_events(scene: Scene) -> None:
    scene.update(traffic={"v2": 1}, reason="better")
    scene.roll_back()
    with scene.platform.storage.read() as session:
        found = [event.type for event in session.events.after(0, subject_id=scene.deployment.id)]
    assert found == [
        "deployment.created",
        "deployment.revision_created",
        "deployment.revision_live",
        "deployment.rolled_back",
        "deployment.revision_created",
        "deployment.revision_live",
    ]


def test_what_a_name_meant_is_told_beside_the_name(scene: Scene) -> None:
    with scene.platform.storage.read() as session:
        model = session.models.by_name(scene.project.id, "digits")
        assert model is not None
    models.set_alias(scene.platform, scene.caller, model.id, None, "champion", 2)
    scene.update(traffic={"v1": 9, "digits@champion": 1})
    models.set_alias(scene.platform, scene.caller, model.id, None, "champion", 3)
    with scene.platform.storage.read() as session:
        (event,) = session.events.after(0, subject_id=scene.deployment.id, types=["deployment.revision_created"])
    assert event.data["asked"] == {"traffic": {"v1": 9, "digits@champion": 1}}
    assert event.data["versions"] == {"models:/digits/1": 9, "models:/digits/2": 1}


def test_a_rollback_keeps_as_many_replicas_as_the_scaler_found_to_be_needed(scene: Scene) -> None:
    scene.update(scaling={"minimum": 1, "maximum": 8})
    found = scene.update(traffic={"v1": 90, "v2": 10})
    with scene.platform.storage.write() as session:
        deployments.set_replicas(session, session.deployments.get(found.id), "v1", 5)
    back = scene.roll_back()
    assert [(version.key, version.replicas) for version in back.versions] == [("v1", 5)]
    assert [(v.key, v.replicas) for v in scene.roll_back(1).versions] == [("v1", 1)]


def test_a_version_that_was_scaled_to_zero_proves_itself_anew_in_another_environment(scene: Scene) -> None:
    found = scene.update(scaling={"minimum": 0, "maximum": 2})
    with scene.platform.storage.write() as session:
        deployments.set_replicas(session, session.deployments.get(found.id), "v1", 0)
    assert scene.update(sticky="X-User").versions[0].replicas == 0
    assert scene.update(environment={"A": "1"}).versions[0].replicas == 1


def test_replicas_from_before_there_were_templates_are_of_what_was_live_then(scene: Scene) -> None:
    with scene.platform.storage.write() as session:
        attempt, _ = add_attempt(
            scene.platform,
            session,
            kind=OwnerKind.DEPLOYMENT,
            owner_id=scene.deployment.id,
            project_id=scene.project.id,
            run_id=scene.deployment.run_id,
            user_id=scene.deployment.created_by,
            number=1,
            roles=[("server", 1)],
            instance_types={"server": "cpu.small"},
            model_version_id=scene.deployment.versions[0].model_version_id,
        )
    before = template_of(scene.deployment.spec, scene.deployment.versions[0])
    changed = scene.update(environment={"A": "1"})
    with scene.platform.storage.read() as session:
        assert session.attempts.get(attempt.id).template == before
    assert template_of(changed.spec, changed.versions[0]) != before


def test_a_deleted_deployment_leaves_no_revisions(scene: Scene) -> None:
    deployments.delete(scene.platform, scene.caller, scene.deployment.id)
    with scene.platform.storage.read() as session:
        assert session.revisions.find(scene.deployment.id, 1) is None
