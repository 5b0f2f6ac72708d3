"""Deployments are followed by their events: nothing that one names is missed, and nothing else is read again."""

from __future__ import annotations

from typing import Any

import pytest

from headway.domain.deployments import Deployment
from headway.server.actions import following
from headway.server.actions.following import FollowedDeployments
from headway.server.actions.recording import record
from headway.testing.factories import make_deployment


class Scene:
    def __init__(self, world: Any) -> None:
        self.storage = world.platform.storage
        self.followed = FollowedDeployments()

    def add(self, name: str) -> Deployment:
        made = make_deployment(reason=name)
        with self.storage.write() as session:
            session.deployments.add(made)
            record(session, "deployment.created", made.id, project_id=None)
        return made

    def change(self, deployment: Deployment, reason: str, *events: str) -> None:
        with self.storage.write() as session:
            session.deployments.put(deployment.evolve(reason=reason))
            for event in events:
                record(session, event, deployment.id, project_id=None)

    def refresh(self) -> set[str]:
        with self.storage.read() as session:
            return self.followed.refresh(session)

    def reason(self, deployment: Deployment) -> str | None:
        found = self.followed.get(deployment.id)
        return None if found is None else found.reason


@pytest.fixture
def scene(world: Any) -> Scene:
    return Scene(world)


def test_the_first_look_reads_all_and_the_next_only_what_an_event_names(scene: Scene) -> None:
    first, second = scene.add("first"), scene.add("second")
    assert {first.id, second.id} <= scene.refresh()
    assert scene.refresh() == set()
    scene.change(first, "changed", "deployment.scaled")
    third = scene.add("third")
    assert scene.refresh() == {first.id, third.id}
    assert [scene.reason(one) for one in (first, second, third)] == ["changed", "second", "third"]
    assert {first.id, second.id, third.id} <= {deployment.id for deployment in scene.followed}


def test_what_was_deleted_is_gone(scene: Scene) -> None:
    made = scene.add("made")
    scene.refresh()
    with scene.storage.write() as session:
        session.deployments.delete(made.id)
        record(session, "deployment.deleted", made.id, project_id=None)
    assert scene.refresh() == {made.id}
    assert scene.reason(made) is None
    assert made.id not in {deployment.id for deployment in scene.followed}


def test_events_of_others_are_passed_by(scene: Scene) -> None:
    made = scene.add("made")
    scene.refresh()
    scene.change(made, "unsaid", "job.state_changed")
    assert scene.refresh() == set()
    assert scene.reason(made) == "made"


def test_many_events_between_two_looks_are_all_read(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "EVENTS_AT_ONCE", 3)
    made = [scene.add(str(number)) for number in range(2)]
    scene.refresh()
    for number in range(10):
        scene.change(made[number % 2], f"change {number}", "deployment.state_changed", "job.state_changed")
    assert scene.refresh() == {one.id for one in made}
    assert [scene.reason(one) for one in made] == ["change 8", "change 9"]
