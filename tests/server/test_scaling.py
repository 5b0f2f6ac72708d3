"""The scaler's steps, on a clock that a test turns: what it writes down, and that it writes nothing without need."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from headway.domain.base import new_id, now
from headway.domain.deployments import (
    DeployedVersion,
    Deployment,
    DeploymentState,
    Revision,
    RevisionState,
    Scaling,
)
from headway.domain.events import Event
from headway.domain.instances import Capacity, InstanceType
from headway.domain.traffic import WINDOW_SECONDS, TrafficCell
from headway.server.actions import revisions
from headway.server.actions.recording import record
from headway.server.workers.scaling import ScalingWorker, shares_of_waiting
from headway.testing.factories import make_deployment
from headway.testing.storage.traffic import listening, make_cell

TO_FOUR = Scaling(minimum=1, maximum=4, target_in_flight=10, idle_seconds=20)
TO_ZERO = Scaling(minimum=0, maximum=4, target_in_flight=10, idle_seconds=20)


class RoomyEngine:
    """All that the scaler asks an engine: how much there is."""

    name = "roomy"

    def __init__(self, memory_mb: int = 4096) -> None:
        self._capacity = Capacity(cpu=2, memory_mb=memory_mb, gpu=0)

    def capacity(self) -> Capacity:
        return self._capacity


def version(number: int = 1, **fields: Any) -> DeployedVersion:
    return DeployedVersion(
        **{"model_version_id": new_id("mv"), "model": "m", "version": number, "scaling": TO_FOUR, **fields}
    )


class Scene:
    """Deployments that answer, requests that were in flight, and a scaler whose clock a test turns."""

    def __init__(self, world: Any) -> None:
        self.project = world.project()
        self.platform = dataclasses.replace(world.platform, engine=RoomyEngine())
        self.moment = now()
        self.worker = self.another_worker()
        self.made: list[str] = []

    def another_worker(self) -> ScalingWorker:
        return ScalingWorker(self.platform, lambda: self.moment)

    def deploy(self, *versions: DeployedVersion, **fields: Any) -> Deployment:
        defaults: dict[str, Any] = {"project_id": self.project.id, "state": DeploymentState.RUNNING}
        deployment = make_deployment(versions=versions or (version(),), **{**defaults, **fields})
        live = Revision(
            deployment_id=deployment.id,
            number=1,
            spec=deployment.spec,
            state=RevisionState.LIVE,
            created_at=self.moment,
            created_by="usr1",
            live_at=self.moment,
        )
        with self.platform.storage.write() as session:
            session.deployments.add(deployment)
            session.revisions.add(live)
            self._say(session, deployment)
        self.made.append(deployment.id)
        return deployment

    def change(self, deployment: Deployment, *, quietly: bool = False, **fields: Any) -> None:
        with self.platform.storage.write() as session:
            session.deployments.put(session.deployments.get(deployment.id).evolve(**fields))
            if not quietly:
                self._say(session, deployment)

    def _say(self, session: Any, deployment: Deployment) -> None:
        record(session, "deployment.state_changed", deployment.id, project_id=deployment.project_id)

    def clear(self) -> None:
        with self.platform.storage.write() as session:
            for deployment_id in self.made:
                session.deployments.delete(deployment_id)
                session.revisions.delete_deployment(deployment_id)
                session.traffic.delete_deployment(deployment_id)

    def busy(self, deployment: Deployment, in_flight: float, *, key: str = "v1", seconds: int = 40) -> None:
        """So many requests were in flight all the time until now."""
        cells: list[TrafficCell] = []
        end = self.moment.timestamp()
        start = int(end - seconds) // WINDOW_SECONDS * WINDOW_SECONDS
        while start < end:
            lasted = min(WINDOW_SECONDS, end - start)
            fields = {"busy_seconds": in_flight * lasted, "codes": {200: int(in_flight * lasted * 10)}}
            cells.append(make_cell(deployment.id, version=key, start=start, **fields))
            start += WINDOW_SECONDS
        with self.platform.storage.write() as session:
            session.traffic.put("g1", cells)

    def waiting(self, deployment: Deployment, count: int, moment: datetime | None = None) -> None:
        with self.platform.storage.write() as session:
            session.traffic.set_waiting("g1", {deployment.id: count}, moment or self.moment)

    def look(self, seconds: float = 0.0) -> None:
        """``seconds`` later, what one look does."""
        self.moment += timedelta(seconds=seconds)
        self.worker.look()

    def idle(self, seconds: int) -> None:
        """A look each second without any request."""
        for _ in range(seconds):
            self.look(1)

    def replicas(self, deployment: Deployment) -> list[int]:
        with self.platform.storage.read() as session:
            return [version.replicas for version in session.deployments.get(deployment.id).versions]

    def scaled(self, deployment: Deployment) -> list[Event]:
        with self.platform.storage.read() as session:
            return list(session.events.after(0, subject_id=deployment.id, types=["deployment.scaled"]))


@pytest.fixture
def scene(world: Any) -> Iterator[Scene]:
    found = Scene(world)
    yield found
    found.clear()


class TestUp:
    def test_load_adds_as_many_as_it_needs_at_one_look_and_says_why(self, scene: Scene) -> None:
        deployment = scene.deploy()
        scene.busy(deployment, 28)
        scene.look()
        assert scene.replicas(deployment) == [3]
        (event,) = scene.scaled(deployment)
        assert event.data["version"] == "v1"
        assert (event.data["from"], event.data["to"]) == (1, 3)
        assert "28 requests in flight" in event.data["reason"]
        assert event.data["reason"] in event.message
        assert event.project_id == scene.project.id

    def test_never_beyond_the_maximum(self, scene: Scene) -> None:
        deployment = scene.deploy()
        scene.busy(deployment, 500)
        scene.look()
        scene.look(1)
        assert scene.replicas(deployment) == [4]
        assert len(scene.scaled(deployment)) == 1

    def test_a_request_that_waits_brings_one_back_from_zero_before_the_next_second(self, scene: Scene) -> None:
        deployment = scene.deploy(version(scaling=TO_ZERO, replicas=0))
        scene.look()
        scene.waiting(deployment, 1)
        scene.look(0.02)
        assert scene.replicas(deployment) == [1]
        (event,) = scene.scaled(deployment)
        assert event.data["reason"] == "a request waits for a replica"

    def test_many_that_wait_bring_as_many_as_they_need(self, scene: Scene) -> None:
        deployment = scene.deploy(version(scaling=TO_ZERO, replicas=0))
        scene.waiting(deployment, 35)
        scene.look()
        assert scene.replicas(deployment) == [4]

    def test_the_word_of_a_gateway_that_fell_silent_brings_nothing(self, scene: Scene) -> None:
        deployment = scene.deploy(version(scaling=TO_ZERO, replicas=0))
        scene.waiting(deployment, 1, scene.moment - timedelta(seconds=60))
        scene.look()
        assert scene.replicas(deployment) == [0]

    def test_each_version_is_scaled_by_its_own_requests(self, scene: Scene) -> None:
        fixed = version(3, scaling=None, replicas=2)
        deployment = scene.deploy(version(1), version(2, replicas=3), fixed)
        scene.busy(deployment, 18, key="v1")
        scene.busy(deployment, 28, key="v2")
        scene.busy(deployment, 500, key="v3")
        scene.look()
        assert scene.replicas(deployment) == [2, 3, 2]

    def test_what_waits_is_shared_by_weight_among_those_without_a_replica(self) -> None:
        def shares(*versions: DeployedVersion) -> dict[str, int]:
            return shares_of_waiting(make_deployment(versions=versions), 10)

        empty, small = version(1, weight=90, replicas=0), version(2, weight=10, replicas=0)
        assert shares(empty, small) == {"v1": 9, "v2": 1}
        assert shares(empty, small.evolve(replicas=1)) == {"v1": 10}
        assert shares(empty.evolve(replicas=1), small.evolve(replicas=1)) == {"v1": 9, "v2": 1}
        assert shares(empty.evolve(scaling=None), small) == {"v2": 10}
        assert shares(small.evolve(shadow=True, weight=0), empty) == {"v1": 10}
        assert shares_of_waiting(make_deployment(versions=(empty,)), 0) == {}

    def test_a_shadow_is_there_while_its_siblings_have_something_to_do(self, scene: Scene) -> None:
        shadow = version(2, weight=0, shadow=True, scaling=TO_ZERO, replicas=0)
        deployment = scene.deploy(version(1), shadow)
        scene.idle(3)
        assert scene.replicas(deployment) == [1, 0]
        scene.busy(deployment, 1)
        scene.look(1)
        assert scene.replicas(deployment) == [1, 1]
        scene.idle(30)
        assert scene.replicas(deployment) == [1, 0]

    def test_a_rollout_that_is_under_way_does_not_keep_load_from_being_met(self, scene: Scene) -> None:
        deployment = scene.deploy(pending=2, last_revision=2)
        scene.busy(deployment, 18)
        scene.look()
        assert scene.replicas(deployment) == [2]


class TestDown:
    def test_one_by_one_to_zero_each_after_the_idle_time(self, scene: Scene) -> None:
        deployment = scene.deploy(version(scaling=TO_ZERO, replicas=3))
        scene.idle(20)
        assert scene.replicas(deployment) == [3]
        scene.idle(1)
        assert scene.replicas(deployment) == [2]
        scene.idle(60)
        assert scene.replicas(deployment) == [0]
        scene.idle(60)
        told = [(event.data["from"], event.data["to"], event.data["reason"]) for event in scene.scaled(deployment)]
        assert told == [
            (3, 2, "2 would have been enough for 20 s"),
            (2, 1, "1 would have been enough for 20 s"),
            (1, 0, "no request for 20 s"),
        ]

    def test_a_request_now_and_then_keeps_the_last_one(self, scene: Scene) -> None:
        deployment = scene.deploy(version(scaling=TO_ZERO))
        for _ in range(5):
            scene.busy(deployment, 0.01, seconds=1)
            scene.idle(15)
        assert scene.replicas(deployment) == [1]

    def test_a_long_request_keeps_the_last_one(self, scene: Scene) -> None:
        deployment = scene.deploy(version(scaling=TO_ZERO))
        with scene.platform.storage.write() as session:
            session.traffic.put("g1", [])
        for _ in range(60):
            begun = int(scene.moment.timestamp()) // WINDOW_SECONDS * WINDOW_SECONDS
            still = make_cell(deployment.id, start=begun, busy_seconds=scene.moment.timestamp() - begun + 0.1)
            with scene.platform.storage.write() as session:
                session.traffic.put("g1", [still])
            scene.look(1)
        assert scene.replicas(deployment) == [1]

    def test_zero_stays_zero_though_the_mean_remembers_requests(self, scene: Scene) -> None:
        deployment = scene.deploy(version(scaling=TO_ZERO.evolve(idle_seconds=1)))
        scene.busy(deployment, 5)
        scene.idle(8)
        assert scene.replicas(deployment) == [0]
        scene.idle(40)
        assert [event.data["to"] for event in scene.scaled(deployment)] == [0]

    @pytest.mark.parametrize(
        "fields",
        [{"pending": 2, "last_revision": 2}, {"state": DeploymentState.STARTING}, {"state": DeploymentState.ERROR}],
    )
    def test_nothing_is_taken_away_while_replicas_come_up(self, scene: Scene, fields: dict[str, Any]) -> None:
        deployment = scene.deploy(version(replicas=3), **fields)
        scene.idle(100)
        assert scene.replicas(deployment) == [3]
        scene.change(deployment, state=DeploymentState.RUNNING, pending=None)
        scene.idle(20)
        assert scene.replicas(deployment) == [3], "the idle time counts from now"
        scene.idle(1)
        assert scene.replicas(deployment) == [2]

    def test_a_server_that_was_restarted_waits_the_whole_idle_time(self, scene: Scene) -> None:
        deployment = scene.deploy(version(replicas=3))
        scene.idle(18)
        scene.worker = scene.another_worker()
        scene.idle(20)
        assert scene.replicas(deployment) == [3]
        scene.idle(1)
        assert scene.replicas(deployment) == [2]

    def test_a_maximum_that_was_lowered_holds_at_once(self, scene: Scene) -> None:
        deployment = scene.deploy(version(replicas=7))
        scene.busy(deployment, 500)
        scene.look()
        assert scene.replicas(deployment) == [4]


class TestAsleep:
    def test_weights_of_versions_that_are_scaled_to_zero_change_at_once(self, scene: Scene) -> None:
        versions = (version(1, scaling=TO_ZERO, replicas=0), version(2, scaling=TO_ZERO, replicas=0, weight=10))
        deployment = scene.deploy(*versions)
        changed = deployment.spec.evolve(versions=(versions[0], versions[1].evolve(weight=50)))
        with scene.platform.storage.write() as session:
            current = session.deployments.get(deployment.id)
            after = revisions.make(session, current, changed, actor="usr1", reason="more for the new one")
        assert (after.revision, after.pending) == (2, None)
        assert [found.weight for found in after.versions] == [100, 50]


class TestLeftAlone:
    def test_a_stopped_deployment(self, scene: Scene) -> None:
        deployment = scene.deploy(version(scaling=TO_ZERO, replicas=2), desired=DeploymentState.STOPPED)
        scene.waiting(deployment, 50)
        scene.busy(deployment, 100)
        scene.idle(100)
        assert scene.replicas(deployment) == [2]

    def test_what_somebody_else_changed_meanwhile(self, scene: Scene) -> None:
        deployment = scene.deploy()
        scene.look()
        scene.change(deployment, quietly=True, versions=(deployment.versions[0].evolve(replicas=2),))
        scene.busy(deployment, 35)
        scene.look(1)
        assert scene.replicas(deployment) == [2]
        scene.change(deployment)
        scene.look(1)
        assert scene.replicas(deployment) == [4]

    def test_one_that_was_deleted_meanwhile(self, scene: Scene) -> None:
        deployment = scene.deploy()
        scene.look()
        scene.busy(deployment, 35)
        scene.clear()
        scene.look(1)
        assert scene.scaled(deployment) == []

    def test_nothing_is_written_where_nothing_changes(self, scene: Scene) -> None:
        steady, full = scene.deploy(), scene.deploy(version(replicas=4))
        scene.busy(steady, 9)
        scene.busy(full, 500)
        scene.look()
        writes: list[str] = []
        storage = scene.platform.storage

        class Watched:
            def __getattr__(self, name: str) -> Any:
                if name == "write":
                    writes.append(name)
                return getattr(storage, name)

        scene.platform = dataclasses.replace(scene.platform, storage=Watched())
        scene.worker = scene.another_worker()
        with listening(storage) as woken:
            for _ in range(5):
                scene.look(1)
            assert not woken.is_set()
        assert writes == []
        assert (scene.replicas(steady), scene.replicas(full)) == ([1], [4])


class TestRoom:
    def test_as_many_as_fit_and_the_reason_says_what_the_others_wait_for(self, scene: Scene) -> None:
        with scene.platform.storage.write() as session:
            session.instance_types.put(InstanceType(name="big", cpu=1, memory_mb=700))
        deployment = scene.deploy(version(instance_type="big", scaling=TO_FOUR.evolve(maximum=8)))
        for _ in range(3):
            scene.busy(deployment, 75)
            scene.look(1)
        assert scene.replicas(deployment) == [5], "4096 MiB hold 5 of 700"
        event, *others = scene.scaled(deployment)
        assert ((event.data["from"], event.data["to"]), others) == ((1, 5), [])
        assert "8 are wanted, waiting for" in event.data["reason"]
        assert "MiB of memory" in event.data["reason"]

    def test_where_nothing_fits_it_is_said_once(self, scene: Scene) -> None:
        with scene.platform.storage.write() as session:
            session.instance_types.put(InstanceType(name="huge", cpu=1, memory_mb=100_000))
        deployment = scene.deploy(version(instance_type="huge"))
        for _ in range(5):
            scene.busy(deployment, 25)
            scene.look(1)
        assert scene.replicas(deployment) == [1]
        (event,) = scene.scaled(deployment)
        assert (event.data["from"], event.data["to"]) == (1, 1)
        assert "waiting for" in event.data["reason"]
