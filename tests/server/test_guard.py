"""The guard's steps, on a clock that a test turns: what is taken back, when, and with which words."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from headway.domain.base import new_id, now
from headway.domain.deployments import (
    DeployedVersion,
    Deployment,
    DeploymentSpec,
    DeploymentState,
    Guard,
    Revision,
    RevisionState,
)
from headway.domain.events import Event
from headway.domain.latency import bucket_of
from headway.domain.traffic import WINDOW_SECONDS
from headway.server.actions.recording import record
from headway.server.context import Platform
from headway.server.workers.guard import ALARM, GuardWorker
from headway.testing.factories import make_deployment, make_model_version
from headway.testing.storage.traffic import listening, make_cell

OLD, NEW = new_id("mv"), new_id("mv")


def spec(*versions: tuple[int, int], **fields: Any) -> DeploymentSpec:
    """Versions as (number, weight); v1 and v2 are the same files everywhere."""
    ids = {1: OLD, 2: NEW}
    found = tuple(
        DeployedVersion(model_version_id=ids.get(number, f"mv{number}"), model="m", version=number, weight=weight)
        for number, weight in versions
    )
    return DeploymentSpec(versions=found, **fields)


class Scene:
    """A deployment whose second revision went live, requests to it, and a guard whose clock a test turns."""

    def __init__(self, world: Any) -> None:
        self.platform: Platform = world.platform
        self.project = world.project()
        # Far from the edges of a window, so that what a test says of seconds holds.
        self.moment = datetime.fromtimestamp(
            int(now().timestamp()) // WINDOW_SECONDS * WINDOW_SECONDS + 2, now().tzinfo
        )
        self.worker = self.another_worker()
        self.made: list[str] = []

    def another_worker(self) -> GuardWorker:
        return GuardWorker(self.platform, lambda: self.moment)

    def live(self, *specs: DeploymentSpec, **fields: Any) -> Deployment:
        """A deployment with these revisions, the last of them live since this moment."""
        deployment = make_deployment(project_id=self.project.id, state=DeploymentState.RUNNING, **fields)
        deployment = deployment.with_spec(specs[-1]).evolve(revision=len(specs), last_revision=len(specs))
        with self.platform.storage.write() as session:
            for model_version in (OLD, NEW):
                if session.model_versions.find(model_version) is None:
                    session.model_versions.add(make_model_version(id=model_version))
            session.deployments.add(deployment)
            for number, found in enumerate(specs, 1):
                session.revisions.add(self._revision(deployment, number, found, live=number == len(specs)))
            self._say(session, deployment)
        self.made.append(deployment.id)
        return deployment

    def _revision(self, deployment: Deployment, number: int, found: DeploymentSpec, *, live: bool) -> Revision:
        return Revision(
            deployment_id=deployment.id,
            number=number,
            spec=found,
            state=RevisionState.LIVE if live else RevisionState.SUPERSEDED,
            created_at=self.moment,
            created_by="usr1",
            live_at=self.moment if live else self.moment - timedelta(hours=1),
        )

    def change(self, deployment: Deployment, **fields: Any) -> None:
        with self.platform.storage.write() as session:
            session.deployments.put(session.deployments.get(deployment.id).evolve(**fields))
            self._say(session, deployment)

    def mark(self, deployment: Deployment, number: int, **fields: Any) -> None:
        with self.platform.storage.write() as session:
            session.revisions.put(session.revisions.get(deployment.id, number).evolve(**fields))
            self._say(session, deployment)

    def _say(self, session: Any, deployment: Deployment) -> None:
        record(session, "deployment.state_changed", deployment.id, project_id=deployment.project_id)

    def answered(
        self, deployment: Deployment, key: str, requests: int, errors: int = 0, *, seconds: float = 0.01, ago: float = 0
    ) -> None:
        start = int(self.moment.timestamp() - ago) // WINDOW_SECONDS * WINDOW_SECONDS
        cell = make_cell(
            deployment.id,
            version=key,
            start=start,
            codes={200: requests - errors, 500: errors},
            latency={bucket_of(seconds): requests},
            seconds=seconds * requests,
        )
        with self.platform.storage.write() as session:
            session.traffic.put("g1", [cell])

    def look(self, seconds: float = 0.0) -> None:
        self.moment += timedelta(seconds=seconds)
        self.worker.look()

    def deployment(self, deployment: Deployment) -> Deployment:
        with self.platform.storage.read() as session:
            return session.deployments.get(deployment.id)

    def revision(self, deployment: Deployment, number: int) -> Revision:
        with self.platform.storage.read() as session:
            return session.revisions.get(deployment.id, number)

    def events(self, deployment: Deployment, type: str) -> list[Event]:
        with self.platform.storage.read() as session:
            return list(session.events.after(0, subject_id=deployment.id, types=[type]))

    def taken_back(self, deployment: Deployment) -> list[str]:
        return [event.message for event in self.events(deployment, "deployment.rolled_back")]

    def clear(self) -> None:
        with self.platform.storage.write() as session:
            for deployment_id in self.made:
                session.deployments.delete(deployment_id)
                session.revisions.delete_deployment(deployment_id)
                session.traffic.delete_deployment(deployment_id)


@pytest.fixture
def scene(world: Any) -> Iterator[Scene]:
    found = Scene(world)
    yield found
    found.clear()


V1, V2, CANARY = spec((1, 100)), spec((2, 100)), spec((1, 90), (2, 10))


class TestTakingBack:
    def test_a_version_that_fails_too_often_is_taken_back_with_the_numbers(self, scene: Scene) -> None:
        deployment = scene.live(V1, V2)
        scene.answered(deployment, "v2", 80, 12)
        scene.look(1)
        (message,) = scene.taken_back(deployment)
        assert "v2 answered 12 of 80 requests with 5xx (15 %), more than 5 %" in message
        (event,) = scene.events(deployment, "deployment.rolled_back")
        assert event.actor == "guard"
        bad = scene.revision(deployment, 2)
        assert "12 of 80" in bad.reason or "12 of 80" in scene.revision(deployment, 3).reason
        newest = scene.revision(deployment, scene.deployment(deployment).last_revision)
        assert (newest.number, newest.spec.versions) == (3, V1.versions)

    def test_a_rollback_is_not_taken_back_itself(self, scene: Scene) -> None:
        deployment = scene.live(V1, V2)
        scene.mark(deployment, 2, takes_back=1)
        scene.answered(deployment, "v2", 80, 80)
        for _ in range(5):
            scene.look(5)
        assert scene.taken_back(deployment) == []

    def test_one_verdict_for_one_revision(self, scene: Scene) -> None:
        deployment = scene.live(V1, V2)
        scene.answered(deployment, "v2", 80, 80)
        for _ in range(5):
            scene.look(5)
            scene.worker = scene.another_worker()
        assert len(scene.taken_back(deployment)) == 1

    def test_the_old_versions_errors_are_not_the_new_ones(self, scene: Scene) -> None:
        deployment = scene.live(V1, CANARY)
        scene.answered(deployment, "v1", 800, 800)
        scene.answered(deployment, "v2", 80)
        scene.look(1)
        assert scene.taken_back(deployment) == []

    def test_a_canary_is_judged_by_its_own_few_requests(self, scene: Scene) -> None:
        deployment = scene.live(V1, CANARY)
        scene.answered(deployment, "v1", 8000)
        scene.answered(deployment, "v2", 80, 8)
        scene.look(1)
        assert len(scene.taken_back(deployment)) == 1

    def test_it_waits_until_there_are_enough_requests(self, scene: Scene) -> None:
        deployment = scene.live(V1, V2)
        scene.answered(deployment, "v2", 49, 49)
        scene.look(1)
        assert scene.taken_back(deployment) == []
        scene.moment += timedelta(seconds=10)
        scene.answered(deployment, "v2", 1)
        scene.look(1)
        assert len(scene.taken_back(deployment)) == 1

    def test_a_version_that_goes_bad_later_within_the_watch_is_taken_back(self, scene: Scene) -> None:
        deployment = scene.live(V1, V2)
        scene.answered(deployment, "v2", 100)
        scene.look(1)
        scene.moment += timedelta(seconds=300)
        scene.answered(deployment, "v2", 100, 90)
        scene.look(1)
        assert len(scene.taken_back(deployment)) == 1

    def test_after_the_watch_nothing_is_taken_back(self, scene: Scene) -> None:
        deployment = scene.live(V1, V2.evolve(guard=Guard(watch_seconds=60)))
        scene.look(1)
        scene.moment += timedelta(seconds=70)
        scene.answered(deployment, "v2", 100, 100)
        scene.look(1)
        scene.look(60)
        assert scene.taken_back(deployment) == []

    def test_requests_within_the_watch_count_though_the_look_comes_late(self, scene: Scene) -> None:
        deployment = scene.live(V1, V2.evolve(guard=Guard(watch_seconds=60)))
        scene.answered(deployment, "v2", 100, 100)
        scene.look(70)
        assert len(scene.taken_back(deployment)) == 1


class TestSlowness:
    RATIO = Guard(max_error_rate=None, max_p95_ratio=1.5)

    def test_against_the_old_version_over_the_same_time(self, scene: Scene) -> None:
        deployment = scene.live(V1, CANARY.evolve(guard=self.RATIO))
        scene.answered(deployment, "v1", 100, seconds=0.001, ago=300)
        scene.answered(deployment, "v1", 100, seconds=0.2)
        scene.answered(deployment, "v2", 100, seconds=0.25)
        scene.look(1)
        assert scene.taken_back(deployment) == [], "the old version has become as slow: that is not the new one's fault"
        scene.moment += timedelta(seconds=10)
        scene.answered(deployment, "v2", 100, seconds=0.8)
        scene.look(1)
        (message,) = scene.taken_back(deployment)
        assert "times that of v1" in message

    def test_against_the_ten_minutes_before_where_it_took_everything_over(self, scene: Scene) -> None:
        deployment = scene.live(V1, V2.evolve(guard=self.RATIO))
        scene.answered(deployment, "v1", 100, seconds=0.1, ago=500)
        scene.answered(deployment, "v1", 5000, seconds=0.001, ago=700)
        scene.answered(deployment, "v2", 100, seconds=0.12)
        scene.look(1)
        assert scene.taken_back(deployment) == [], "what lies longer back does not count"
        scene.moment += timedelta(seconds=10)
        scene.answered(deployment, "v2", 100, seconds=0.3)
        scene.look(1)
        (message,) = scene.taken_back(deployment)
        assert "v2 took" in message and "times that of v1" in message

    def test_without_enough_to_compare_with_nothing_is_said(self, scene: Scene) -> None:
        deployment = scene.live(V1, V2.evolve(guard=self.RATIO))
        scene.answered(deployment, "v1", 10, seconds=0.001, ago=100)
        scene.answered(deployment, "v2", 100, seconds=5)
        scene.look(1)
        assert scene.taken_back(deployment) == []

    def test_against_a_fixed_bound(self, scene: Scene) -> None:
        deployment = scene.live(V1, V2.evolve(guard=Guard(max_p95_seconds=0.1)))
        scene.answered(deployment, "v2", 100, seconds=0.5)
        scene.look(1)
        (message,) = scene.taken_back(deployment)
        assert "more than 100 ms" in message


class TestLeftAlone:
    def test_what_was_served_before_the_same_files_were_started_otherwise(self, scene: Scene) -> None:
        deployment = scene.live(V1, V1.evolve(environment={"FIXED": "1"}))
        scene.answered(deployment, "v1", 100, 100, ago=5)
        scene.answered(deployment, "v1", 100, 100)
        scene.look(1)
        assert scene.taken_back(deployment) == [], "the window of the change holds answers of both"
        scene.moment += timedelta(seconds=10)
        scene.answered(deployment, "v1", 100)
        scene.look(1)
        assert scene.taken_back(deployment) == []
        scene.moment += timedelta(seconds=10)
        scene.answered(deployment, "v1", 100, 50)
        scene.look(1)
        assert len(scene.taken_back(deployment)) == 1

    @pytest.mark.parametrize(
        ("specs", "why"),
        [
            ((V1, V2.evolve(guard=None)), "the guard is off"),
            ((CANARY, spec((1, 50), (2, 50))), "only weights changed"),
            ((V2, V2), "nothing changed"),
        ],
    )
    def test_a_revision_without_anything_to_judge(
        self, scene: Scene, specs: tuple[DeploymentSpec, ...], why: str
    ) -> None:
        deployment = scene.live(*specs)
        scene.answered(deployment, "v2", 100, 100)
        scene.look(1)
        assert scene.taken_back(deployment) == [], why

    @pytest.mark.parametrize("fields", [{"desired": DeploymentState.STOPPED}, {"pending": 3, "last_revision": 3}])
    def test_what_changes_anyway_is_judged_once_that_is_over(self, scene: Scene, fields: dict[str, Any]) -> None:
        deployment = scene.live(V1, V2)
        scene.change(deployment, **fields)
        scene.answered(deployment, "v2", 100, 100)
        scene.look(1)
        assert scene.taken_back(deployment) == []
        scene.change(deployment, desired=DeploymentState.RUNNING, pending=None)
        scene.look(1)
        assert len(scene.taken_back(deployment)) == 1

    def test_copies_to_a_shadow_are_not_held_against_it_once_it_takes_over(self, scene: Scene) -> None:
        deployment = scene.live(V1, V2)
        start = int(scene.moment.timestamp()) // WINDOW_SECONDS * WINDOW_SECONDS
        copies = make_cell(deployment.id, version="v2", start=start, codes={500: 100}, shadow_failed=100)
        with scene.platform.storage.write() as session:
            session.traffic.put("g1", [copies])
        scene.look(1)
        assert scene.taken_back(deployment) == []

    def test_a_good_version_is_looked_at_and_nothing_is_written(self, scene: Scene) -> None:
        deployment = scene.live(V1, V2)
        scene.answered(deployment, "v2", 1000, 1)
        with listening(scene.platform.storage) as woken:
            for _ in range(5):
                scene.look(30)
            assert not woken.is_set()
        assert scene.deployment(deployment).revision == 2


class TestWithoutAnythingToGoBackTo:
    def test_it_says_so_once_and_changes_nothing(self, scene: Scene) -> None:
        deployment = scene.live(V1)
        scene.answered(deployment, "v1", 80, 40)
        for _ in range(3):
            scene.look(5)
            scene.change(deployment)
            scene.worker = scene.another_worker()
        (event,) = scene.events(deployment, ALARM)
        expected = (
            "v1 answered 40 of 80 requests with 5xx (50 %), more than 5 %; there is no earlier revision to go back to"
        )
        assert (event.message, event.data["revision"], event.actor) == (expected, 1, "guard")
        assert scene.revision(deployment, 1).reason == expected
        assert scene.revision(deployment, 1).state is RevisionState.LIVE
        assert scene.taken_back(deployment) == []

    def test_two_servers_say_it_once(self, scene: Scene) -> None:
        deployment = scene.live(V1)
        other = scene.another_worker()
        other.look()
        scene.answered(deployment, "v1", 80, 40)
        scene.look(1)
        other.look()
        assert len(scene.events(deployment, ALARM)) == 1

    def test_where_the_old_version_was_deleted_it_says_so(self, scene: Scene) -> None:
        deployment = scene.live(spec((3, 100)), V2)
        scene.answered(deployment, "v2", 80, 40)
        scene.look(1)
        assert scene.taken_back(deployment) == []
        (event,) = scene.events(deployment, ALARM)
        assert "40 of 80" in event.message
        assert "could not be taken back: Revision 1 served m:v3, which was deleted" in event.message

    def test_a_revision_that_never_had_traffic_is_none_to_go_back_to(self, scene: Scene) -> None:
        deployment = scene.live(V1, V2)
        scene.mark(deployment, 1, state=RevisionState.FAILED, live_at=None)
        scene.answered(deployment, "v2", 80, 40)
        scene.look(1)
        assert scene.taken_back(deployment) == []
        assert len(scene.events(deployment, ALARM)) == 1
