"""The steps of the workers, with an engine that a test scripts: what races, crashes and refusals must not break."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from headway.domain.base import new_id, now
from headway.domain.deployments import (
    Deployment,
    DeploymentCreate,
    DeploymentRollback,
    DeploymentState,
    DeploymentUpdate,
    RevisionState,
)
from headway.domain.instances import Capacity, InstanceType
from headway.domain.jobs import Job, JobState
from headway.domain.replicas import Action, Attempt, OwnerKind, Replica, ReplicaPhase, ReplicaSpec
from headway.engines.base import AgentObservation, AgentState
from headway.errors import InvalidRequestError, StorageFullError
from headway.server.actions import deployments, jobs, revisions
from headway.server.actions.attempts import end_attempt
from headway.server.actions.templates import load_placed
from headway.server.context import Platform
from headway.server.workers import progress
from headway.server.workers.cleaning import CleaningWorker
from headway.server.workers.deployments import DeploymentWorker, replica_spec
from headway.server.workers.jobs import JobWorker, job_specs
from headway.server.workers.rollout import PROGRESS, STEADY
from headway.testing.faults import until


class ScriptedEngine:
    """Remembers what it was asked; a test says what it answers."""

    name = "scripted"

    def __init__(self, gpu: int = 0) -> None:
        self.started: list[str] = []
        self.stopped: list[str] = []
        self.forgotten: list[str] = []
        self.gone: set[str] = set()
        self.refusal: Exception | None = None
        self.when_listed: Callable[[], None] = lambda: None
        self.when_observed: Callable[[], None] = lambda: None
        self._gpu = gpu

    def capacity(self) -> Capacity:
        return Capacity(cpu=2, memory_mb=4096, gpu=self._gpu)

    def start(self, specs: Sequence[ReplicaSpec]) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.started.append(specs[0].attempt_token)

    def observe(self, attempt_token: str) -> Sequence[AgentObservation]:
        self.when_observed()
        return [AgentObservation(replica_id=replica, state=AgentState.GONE) for replica in sorted(self.gone)]

    def stop(self, attempt_token: str, *, hard: bool = False) -> None:
        self.stopped.append(attempt_token)

    def list(self) -> Sequence[str]:
        found = list(self.started)
        self.when_listed()
        return found

    def forget(self, attempt_token: str) -> None:
        self.forgotten.append(attempt_token)


class Scene:
    """A server's parts, without its threads: a test takes each step by itself."""

    def __init__(self, world: Any, engine: ScriptedEngine) -> None:
        self.world, self.engine = world, engine
        self.platform: Platform = dataclasses.replace(world.platform, engine=engine)
        self.project = world.project()
        self.jobs, self.deployments = JobWorker(self.platform), DeploymentWorker(self.platform)

    def submit(self, **fields: Any) -> Job:
        return self.world.job(self.project, start=True, **fields)  # type: ignore[no-any-return]

    def deploy(self, replicas: int = 1, **fields: Any) -> Deployment:
        version = self.world.version(self.project)
        request = DeploymentCreate(project=self.project.id, name=new_id("d"), model=version.id, replicas=replicas)
        return deployments.create(self.platform, self.world.admin, request, "http://127.0.0.1:1")

    def update(self, deployment: Deployment, **fields: Any) -> Deployment:
        request = DeploymentUpdate.model_validate(fields)
        return revisions.update(self.platform, self.world.admin, deployment.id, None, request)

    def job(self, job: Job) -> Job:
        return jobs.get(self.platform, self.world.admin, job.id)

    def deployment(self, deployment: Deployment) -> Deployment:
        return deployments.get(self.platform, self.world.admin, deployment.id)

    def attempts(self, owner: str, kind: OwnerKind = OwnerKind.DEPLOYMENT) -> list[Attempt]:
        with self.platform.storage.read() as session:
            return [a for a in session.attempts.of_owner(kind, owner) if a.ended_at is None]

    def replicas(self, owner: str, kind: OwnerKind = OwnerKind.DEPLOYMENT) -> list[Replica]:
        with self.platform.storage.read() as session:
            return list(session.replicas.of_attempts([a.id for a in self.attempts_in(session, owner, kind)]))

    def attempts_in(self, session: Any, owner: str, kind: OwnerKind) -> list[Attempt]:
        return [a for a in session.attempts.of_owner(kind, owner) if a.ended_at is None]

    def change(self, replica: Replica, **fields: Any) -> None:
        with self.platform.storage.write() as session:
            session.replicas.put(session.replicas.get(replica.id).evolve(**fields))

    def answer(self, deployment: Deployment) -> None:
        """Every replica answers from now on."""
        for replica in self.replicas(deployment.id):
            if not replica.phase.ended:
                self.change(replica, phase=ReplicaPhase.RUNNING, host="127.0.0.1", ports=(20000,), started_at=now())

    def end_one(self, deployment: Deployment) -> None:
        replica = self.replicas(deployment.id)[0]
        self.change(replica, phase=ReplicaPhase.EXITED, exit_code=1, finished_at=now(), last_lines=("boom",))


@pytest.fixture
def scene(world: Any) -> Scene:
    return Scene(world, ScriptedEngine())


@pytest.fixture
def gpu_scene(world: Any) -> Scene:
    with world.platform.storage.write() as session:
        session.instance_types.put(InstanceType(name="gpu.1", cpu=1, gpu=1))
    return Scene(world, ScriptedEngine(gpu=1))


def events_of(scene: Scene, subject: str) -> int:
    with scene.platform.storage.read() as session:
        return len(session.events.after(0, subject_id=subject))


def test_an_attempt_that_is_placed_while_the_cleaner_looks_is_not_ended(scene: Scene) -> None:
    scene.submit()
    scene.engine.when_listed = scene.jobs.look
    cleaner = CleaningWorker(scene.platform)
    cleaner.look()
    assert scene.engine.started
    cleaner.look()
    assert scene.engine.stopped == []
    assert scene.engine.forgotten == []


def test_what_nobody_knows_is_ended_and_forgotten_whatever_else_fails(scene: Scene) -> None:
    scene.engine.started = ["unknown-1", "unknown-2"]

    def fail_once() -> None:
        scene.engine.when_observed = lambda: None
        raise RuntimeError("one attempt's trouble")

    scene.engine.when_observed = fail_once
    CleaningWorker(scene.platform).look()
    assert scene.engine.stopped == ["unknown-1", "unknown-2"]
    assert scene.engine.forgotten == ["unknown-2"]


def test_a_full_disk_where_attempts_are_placed_fails_the_job_with_the_reason(scene: Scene) -> None:
    scene.engine.refusal = StorageFullError("No space is left to store the attempt's files.")
    job = scene.submit()
    scene.jobs.look()
    found = scene.job(job)
    assert found.state is JobState.FAILED
    assert "No space is left" in found.reason
    assert scene.attempts(job.id, OwnerKind.JOB) == []
    assert len(scene.engine.stopped) == 1


def test_a_full_disk_where_a_replica_is_placed_counts_as_its_failure(scene: Scene) -> None:
    scene.engine.refusal = StorageFullError("No space is left to store the attempt's files.")
    deployment = scene.deploy()
    for _ in range(2):
        scene.deployments.look()
    found = scene.deployment(deployment)
    assert found.failures >= 1
    assert "No space is left" in found.reason


def test_a_lost_replica_is_blamed_before_those_that_its_end_brought_down(scene: Scene) -> None:
    job = scene.submit(count=2)
    scene.jobs.look()
    first, second = scene.replicas(job.id, OwnerKind.JOB)
    for replica in (first, second):
        scene.change(replica, phase=ReplicaPhase.RUNNING, started_at=now(), host="127.0.0.1", ports=(1,))

    def peer_fails() -> None:
        """The engine ends what a dead agent left; its peer notices at once."""
        scene.change(second, phase=ReplicaPhase.EXITED, exit_code=1, finished_at=now())

    scene.engine.gone = {first.id}
    scene.engine.when_observed = peer_fails
    scene.jobs.look()
    scene.jobs.look()
    failure = scene.job(job).failure
    assert failure is not None
    assert failure.replica == "worker-0"


def test_a_job_of_which_the_engine_lost_everything_ends_and_gives_back_its_room(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "FORGOTTEN_AFTER", timedelta())
    job = scene.submit()
    for _ in range(3):
        scene.jobs.look()
    found = scene.job(job)
    assert found.state is JobState.FAILED
    assert found.failure is not None
    assert found.failure.replica == "worker-0"
    assert scene.attempts(job.id, OwnerKind.JOB) == []


def test_a_job_whose_instance_type_was_deleted_says_so_and_can_be_stopped(gpu_scene: Scene) -> None:
    job = gpu_scene.world.job(gpu_scene.project)
    with gpu_scene.platform.storage.write() as session:
        roles = {name: role.model_copy(update={"instance_type": "gone.1"}) for name, role in job.spec.roles.items()}
        session.jobs.put(job.evolve(spec=job.spec.model_copy(update={"roles": roles})))
    jobs.start(gpu_scene.platform, gpu_scene.world.admin, job.id)
    gpu_scene.jobs.look()
    found = gpu_scene.job(job)
    assert found.state is JobState.QUEUED
    assert "gone.1" in found.reason
    assert jobs.stop(gpu_scene.platform, gpu_scene.world.admin, job.id).state is JobState.STOPPED


def test_a_retry_after_a_hard_stop_has_its_grace_again(scene: Scene) -> None:
    job = scene.submit(grace_seconds=7)
    scene.jobs.look()
    stopped = jobs.stop(scene.platform, scene.world.admin, job.id, hard=True)
    assert stopped.stop_hard
    assert stopped.spec.grace_seconds == 7
    with scene.platform.storage.write() as session:
        end_attempt(session, session.attempts.get(stopped.attempt_id or ""), succeeded=False)
        session.jobs.put(stopped.evolve(state=JobState.STOPPED))
    again = jobs.retry(scene.platform, scene.world.admin, job.id)
    assert not again.stop_hard


def test_a_user_cannot_take_gpus_that_were_not_assigned(gpu_scene: Scene) -> None:
    environment = {"CUDA_VISIBLE_DEVICES": "0,1,2,3"}
    with gpu_scene.platform.storage.read() as session:
        capacity = gpu_scene.platform.engine.capacity()
    assert capacity.gpu == 1
    job = jobs.create(
        gpu_scene.platform,
        gpu_scene.world.admin,
        jobs.JobCreate.model_validate(
            {
                "name": "j",
                "project": gpu_scene.project.id,
                "command": "x",
                "instance_type": "gpu.1",
                "environment": environment,
            }
        ),
    )
    gpu_scene.jobs.look()
    with gpu_scene.platform.storage.read() as session:
        attempt = gpu_scene.attempts_in(session, job.id, OwnerKind.JOB)[0]
        specs = job_specs(gpu_scene.platform, session, session.jobs.get(job.id), attempt)
    assert specs[0].environment["CUDA_VISIBLE_DEVICES"] == "0"


def test_replicas_that_drain_are_not_counted_when_a_stopped_deployment_starts_again(scene: Scene) -> None:
    deployment = scene.deploy(replicas=2)
    scene.deployments.look()
    scene.answer(deployment)
    scene.deployments.look()
    assert scene.deployment(deployment).state is DeploymentState.RUNNING
    deployments.stop(scene.platform, scene.world.admin, deployment.id)
    scene.deployments.look()
    deployments.start(scene.platform, scene.world.admin, deployment.id)
    scene.deployments.look()
    found = scene.deployment(deployment)
    assert found.state is DeploymentState.STARTING
    wanted = [r for r in scene.replicas(deployment.id) if r.directive.action is not Action.STOP]
    assert len(wanted) == 2


def test_a_replica_that_dies_soon_after_it_answered_is_replaced_more_and_more_slowly(scene: Scene) -> None:
    deployment = scene.deploy()
    waited = False
    for _ in range(6):
        scene.deployments.look()
        if not scene.replicas(deployment.id):
            waited = True
            break
        scene.answer(deployment)
        scene.deployments.look()
        assert scene.deployment(deployment).state is DeploymentState.RUNNING
        scene.end_one(deployment)
    assert waited, "a replica that dies at once is replaced at once, for ever"


def test_failures_are_forgotten_once_all_replicas_have_run_for_a_while(scene: Scene) -> None:
    deployment = scene.deploy()
    scene.deployments.look()
    scene.end_one(deployment)
    scene.deployments.look()
    scene.answer(deployment)
    scene.deployments.look()
    assert scene.deployment(deployment).failures == 1
    with scene.platform.storage.write() as session:
        found = session.deployments.get(deployment.id)
        session.deployments.put(found.evolve(state_changed_at=now() - STEADY - timedelta(seconds=1)))
    scene.deployments.look()
    assert scene.deployment(deployment).failures == 0


def remove_deployments(scene: Scene) -> None:
    with scene.platform.storage.read() as session:
        found = session.deployments.all()
    for deployment in found:
        deployments.delete(scene.platform, scene.world.admin, deployment.id)


def test_a_deployment_that_waits_for_room_says_for_what_and_changes_nothing_while_it_waits(gpu_scene: Scene) -> None:
    remove_deployments(gpu_scene)  # those of other tests may have something to do by themselves
    blocker = jobs.JobCreate.model_validate(
        {"name": "b", "project": gpu_scene.project.id, "command": "x", "instance_type": "gpu.1"}
    )
    jobs.create(gpu_scene.platform, gpu_scene.world.admin, blocker)
    gpu_scene.jobs.look()
    version = gpu_scene.world.version(gpu_scene.project)
    request = DeploymentCreate(project=gpu_scene.project.id, name=new_id("d"), model=version.id, instance_type="gpu.1")
    deployment = deployments.create(gpu_scene.platform, gpu_scene.world.admin, request, "http://127.0.0.1:1")
    gpu_scene.deployments.look()
    assert "waiting for 1 GPU" in gpu_scene.deployment(deployment).reason
    wakes: list[float] = []
    end = gpu_scene.platform.storage.subscribe(lambda: wakes.append(time.monotonic()))
    with gpu_scene.platform.storage.write() as session:
        session.settings.put("a-change", "after which nothing earlier is told")
    until(lambda: wakes and time.monotonic() - wakes[-1] > 0.5)
    wakes.clear()
    before = events_of(gpu_scene, deployment.id)
    gpu_scene.deployments.look()
    gpu_scene.deployments.look()
    assert events_of(gpu_scene, deployment.id) == before
    with gpu_scene.platform.storage.write() as session:
        session.settings.put("a-change", "that wakes")
    while not wakes:
        gpu_scene.platform.wakeups.wait_blocking(gpu_scene.platform.wakeups.generation, 0.05)
    end()
    assert len(wakes) == 1


def test_replicas_of_a_revision_that_was_replaced_are_no_failures_of_the_one_that_replaced_it(scene: Scene) -> None:
    deployment = scene.deploy()
    scene.deployments.look()
    scene.answer(deployment)
    scene.deployments.look()
    scene.update(deployment, replicas=3, environment={"A": "broken"})
    scene.deployments.look()
    broken = [replica for replica in scene.replicas(deployment.id) if replica.phase is ReplicaPhase.PENDING]
    assert len(broken) == 3
    scene.update(deployment, environment={"A": "whole"})
    for replica in broken:
        scene.change(replica, phase=ReplicaPhase.EXITED, exit_code=1, finished_at=now(), last_lines=("boom",))
    scene.deployments.look()
    found = scene.deployment(deployment)
    assert (found.pending, found.pending_failures, found.failures) == (3, 0, 0)


def test_the_last_of_several_replicas_that_fail_does_not_blame_the_live_revision(scene: Scene) -> None:
    deployment = scene.deploy()
    scene.deployments.look()
    scene.answer(deployment)
    scene.deployments.look()
    scene.update(deployment, replicas=4, environment={"A": "broken"})
    scene.deployments.look()
    for replica in scene.replicas(deployment.id):
        if replica.phase is ReplicaPhase.PENDING:
            scene.change(replica, phase=ReplicaPhase.EXITED, exit_code=1, finished_at=now(), last_lines=("boom",))
    scene.deployments.look()
    found = scene.deployment(deployment)
    assert (found.revision, found.pending, found.failures, found.state) == (1, None, 0, DeploymentState.RUNNING)
    with scene.platform.storage.read() as session:
        failed = session.revisions.get(deployment.id, 2)
    assert failed.state is RevisionState.FAILED and "boom" in failed.reason


def test_a_replica_has_the_environment_of_the_revision_that_it_was_made_for(scene: Scene) -> None:
    before = scene.deploy()
    scene.deployments.look()
    scene.answer(before)
    scene.deployments.look()
    scene.update(before, environment={"A": "new"})
    scene.deployments.look()
    (attempt,) = [a for a in scene.attempts(before.id) if a.number == 2]
    with scene.platform.storage.read() as session:
        one = next(one for one in load_placed(session, before.id) if one.attempt.id == attempt.id)
        spec = replica_spec(scene.platform, session, before, one)
    assert spec.environment["A"] == "new"


def test_a_version_of_another_project_is_not_deployed(scene: Scene) -> None:
    version = scene.world.version(scene.world.project())
    request = DeploymentCreate(project=scene.project.id, name=new_id("d"), model=version.id)
    with pytest.raises(InvalidRequestError, match="another project"):
        deployments.create(scene.platform, scene.world.admin, request, "http://127.0.0.1:1")


def test_a_revision_whose_replicas_hang_is_given_up_after_a_while(scene: Scene) -> None:
    deployment = scene.deploy()
    scene.deployments.look()
    scene.answer(deployment)
    scene.deployments.look()
    scene.update(deployment, environment={"A": "1"})
    scene.deployments.look()
    assert scene.deployment(deployment).pending == 2
    with scene.platform.storage.write() as session:
        found = session.deployments.get(deployment.id)
        session.deployments.put(found.evolve(pending_since=now() - PROGRESS - timedelta(seconds=1)))
    DeploymentWorker(scene.platform).look()
    found = scene.deployment(deployment)
    assert (found.revision, found.pending, found.state) == (1, None, DeploymentState.RUNNING)
    with scene.platform.storage.read() as session:
        failed = session.revisions.get(deployment.id, 2)
    assert failed.state is RevisionState.FAILED
    assert "within 15 minutes: v1 0 of 1" in failed.reason


# An update where one GPU is all there is


def gpu_job(scene: Scene) -> Job:
    request = jobs.JobCreate.model_validate(
        {"name": "b", "project": scene.project.id, "command": "x", "instance_type": "gpu.1"}
    )
    return jobs.create(scene.platform, scene.world.admin, request)


def clear(scene: Scene) -> None:
    """Nothing of other tests takes room, or waits for any."""
    remove_deployments(scene)
    with scene.platform.storage.write() as session:
        for job in session.jobs.unfinished():
            session.jobs.put(job.evolve(state=JobState.STOPPED))
        for attempt in session.attempts.open():
            end_attempt(session, attempt, succeeded=False)


def on_the_gpu(scene: Scene) -> Deployment:
    """A deployment whose one replica has the only GPU, and answers."""
    clear(scene)
    version = scene.world.version(scene.project)
    request = DeploymentCreate(project=scene.project.id, name=new_id("d"), model=version.id, instance_type="gpu.1")
    deployment = deployments.create(scene.platform, scene.world.admin, request, "http://127.0.0.1:1")
    scene.deployments.look()
    scene.answer(deployment)
    scene.deployments.look()
    assert scene.deployment(deployment).state is DeploymentState.RUNNING
    return deployment


def drain(scene: Scene) -> None:
    """As if the time that gateways have to hear of it had passed."""
    with scene.platform.storage.write() as session:
        for attempt in session.attempts.open():
            if attempt.draining_since is not None:
                session.attempts.put(attempt.evolve(draining_since=now() - timedelta(minutes=1)))
    scene.deployments.look()


def end_told(scene: Scene, deployment: Deployment) -> None:
    """Replicas that were told to end have done so."""
    for replica in scene.replicas(deployment.id):
        if replica.directive.action is Action.STOP:
            scene.change(replica, phase=ReplicaPhase.EXITED, exit_code=0, finished_at=now())
    scene.deployments.look()


def serving(scene: Scene, deployment: Deployment) -> list[int]:
    """The attempts in the order in which they were made, without those that drain or end."""
    with scene.platform.storage.read() as session:
        return sorted(one.attempt.number for one in load_placed(session, deployment.id) if one.serves)


def test_an_update_without_room_says_at_once_and_later_what_helps(gpu_scene: Scene) -> None:
    deployment = on_the_gpu(gpu_scene)
    said = gpu_scene.update(deployment, environment={"A": "1"}).reason
    for found in (said, gpu_scene.deployment(deployment).reason):
        assert "revision 2 pending: waiting for 1 GPU(s): 0 of 1 free beside the replicas of revision 1" in found
        assert f"`headway deploy update {deployment.name} --rollout recreate`" in found
    gpu_scene.deployments.look()
    found = gpu_scene.deployment(deployment)
    assert (found.state, found.revision, found.pending) == (DeploymentState.RUNNING, 1, 2)
    assert "1 of 1 replicas answer; revision 2 comes up: v1 0 of 1; waiting for 1 GPU(s)" in found.reason
    assert "--rollout recreate" in found.reason
    assert serving(gpu_scene, deployment) == [1], "the old one serves as before"


def test_with_recreate_the_old_replica_ends_first_and_its_gpu_goes_to_the_new_one(gpu_scene: Scene) -> None:
    deployment = on_the_gpu(gpu_scene)
    assert gpu_scene.update(deployment, rollout="recreate").revision == 2, "that alone starts nothing"
    waiting = gpu_job(gpu_scene)
    gpu_scene.jobs.look()
    told = gpu_scene.update(deployment, environment={"A": "1"}).reason
    assert "which end first" in told
    gpu_scene.deployments.look()
    assert serving(gpu_scene, deployment) == [], "it has left the routes"
    found = gpu_scene.deployment(deployment)
    assert (found.replacing, found.state) == (True, DeploymentState.STARTING), "requests wait"
    assert "the replicas of revision 2 make room; revision 3 comes up: v1 0 of 1" in found.reason
    drain(gpu_scene)
    gpu_scene.jobs.look()
    end_told(gpu_scene, deployment)
    assert serving(gpu_scene, deployment) == [2], "the job that waits for the GPU did not come between"
    gpu_scene.jobs.look()
    assert gpu_scene.job(waiting).state is JobState.QUEUED
    gpu_scene.answer(deployment)
    gpu_scene.deployments.look()
    found = gpu_scene.deployment(deployment)
    assert (found.revision, found.pending, found.replacing) == (3, None, False)
    assert (found.state, found.environment) == (DeploymentState.RUNNING, {"A": "1"})


def test_with_recreate_the_old_replica_comes_back_when_the_new_ones_fail(gpu_scene: Scene) -> None:
    deployment = on_the_gpu(gpu_scene)
    gpu_scene.update(deployment, environment={"A": "broken"}, rollout="recreate")
    gpu_scene.deployments.look()
    drain(gpu_scene)
    end_told(gpu_scene, deployment)
    for number in (2, 3, 4):
        assert serving(gpu_scene, deployment) == [number]
        gpu_scene.end_one(deployment)
        gpu_scene.deployments.look()
    found = gpu_scene.deployment(deployment)
    assert (found.revision, found.pending, found.replacing, found.failures) == (1, None, False, 0)
    with gpu_scene.platform.storage.read() as session:
        failed = session.revisions.get(deployment.id, 2)
    assert failed.state is RevisionState.FAILED and "boom" in failed.reason
    gpu_scene.deployments.look()
    assert serving(gpu_scene, deployment) == [5]
    gpu_scene.answer(deployment)
    gpu_scene.deployments.look()
    found = gpu_scene.deployment(deployment)
    assert (found.state, found.environment) == (DeploymentState.RUNNING, {})


def test_nothing_ends_for_room_that_it_would_not_give(gpu_scene: Scene) -> None:
    """The GPU is a job's: to end the old replicas, which need none, would help nobody."""
    clear(gpu_scene)
    gpu_job(gpu_scene)
    gpu_scene.jobs.look()
    deployment = gpu_scene.deploy()
    gpu_scene.deployments.look()
    gpu_scene.answer(deployment)
    gpu_scene.deployments.look()
    gpu_scene.update(deployment, instance_type="gpu.1", rollout="recreate")
    gpu_scene.deployments.look()
    found = gpu_scene.deployment(deployment)
    assert (found.pending, found.replacing, found.state) == (2, False, DeploymentState.RUNNING)
    assert found.reason.endswith("waiting for 1 GPU(s): 0 of 1 free")
    assert serving(gpu_scene, deployment) == [1]


def test_with_recreate_new_replicas_come_up_beside_the_old_where_there_is_room(scene: Scene) -> None:
    deployment = scene.deploy()
    scene.deployments.look()
    scene.answer(deployment)
    scene.deployments.look()
    scene.update(deployment, environment={"A": "1"}, rollout="recreate")
    scene.deployments.look()
    assert serving(scene, deployment) == [1, 2]


def test_waiting_for_room_is_no_part_of_the_time_to_answer(gpu_scene: Scene) -> None:
    deployment = on_the_gpu(gpu_scene)
    gpu_scene.update(deployment, environment={"A": "1"})
    gpu_scene.deployments.look()
    with gpu_scene.platform.storage.write() as session:
        found = session.deployments.get(deployment.id)
        session.deployments.put(found.evolve(pending_since=now() - PROGRESS - timedelta(minutes=5)))
        session.instance_types.put(InstanceType(name="gpu.1", cpu=1, gpu=0))
    try:
        gpu_scene.deployments.look()
        gpu_scene.deployments.look()
        assert gpu_scene.deployment(deployment).pending == 2, "it has only now begun to come up"
    finally:
        with gpu_scene.platform.storage.write() as session:
            session.instance_types.put(InstanceType(name="gpu.1", cpu=1, gpu=1))


def test_taking_back_what_makes_room_brings_the_old_replica_back(gpu_scene: Scene) -> None:
    deployment = on_the_gpu(gpu_scene)
    gpu_scene.update(deployment, environment={"A": "1"}, rollout="recreate")
    gpu_scene.deployments.look()
    request = DeploymentRollback(reason="a mistake")
    revisions.roll_back_on_request(gpu_scene.platform, gpu_scene.world.admin, deployment.id, None, request)
    drain(gpu_scene)
    end_told(gpu_scene, deployment)
    found = gpu_scene.deployment(deployment)
    assert (found.pending, found.replacing, found.environment) == (None, False, {})
    assert serving(gpu_scene, deployment) == [2]
