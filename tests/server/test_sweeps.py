"""The sweeps' worker, look by look, over jobs whose ends are written down directly."""

from __future__ import annotations

from typing import Any

import pytest

from headway.domain.base import PageRequest, new_id
from headway.domain.jobs import Failure, JobState
from headway.domain.sweeps import SweepCreate, SweepState, TrialState
from headway.errors import ConflictError, NotFoundError
from headway.server.actions import jobs, sweeps
from headway.server.workers.sweeps import SweepWorker


def sweep_in(world: Any, project: Any, **fields: Any) -> Any:
    request = {
        "project": project.id,
        "name": new_id("sweep"),
        "job": {"command": ["train"], "parameter_arguments": True, "parameters": {"token": "s3cret-value", "base": 1}},
        "space": {"x": [1, 2, 3]},
        "objective": {"metric": "loss", "goal": "minimize"},
        "sampler": "grid",
        "trials": 3,
        "parallel": 2,
        **fields,
    }
    return sweeps.create(world.platform, world.admin, SweepCreate.model_validate(request))


def trials_of(world: Any, sweep: Any) -> Any:
    page = PageRequest()
    return sweeps.list_trials(world.platform, world.admin, sweep.id, None, page).items


def end(world: Any, trial: Any, state: JobState, **changes: Any) -> None:
    with world.platform.storage.write() as session:
        job = session.jobs.get(trial.job_id)
        session.jobs.put(job.evolve(state=state, **changes))


def test_trials_are_made_as_many_as_may_run_and_each_has_its_own_arguments(world: Any) -> None:
    project = world.project()
    sweep, worker = sweep_in(world, project), SweepWorker(world.platform)
    for _ in range(3):
        worker.look()
    made = trials_of(world, sweep)
    assert [(trial.number, trial.parameters) for trial in made] == [(1, {"x": 1}), (2, {"x": 2})]
    with world.platform.storage.read() as session:
        job = session.jobs.get(made[1].job_id)
        secrets = session.secrets.get(job.id)
    assert job.state is JobState.QUEUED
    command = " ".join(job.spec.roles["worker"].command)
    assert command.startswith("train --token ")
    assert command.endswith("--base 1 --x 2")
    assert "s3cret-value" not in job.model_dump_json() + sweep.model_dump_json()
    assert "s3cret-value" in secrets["parameters"]


def test_trials_that_fail_stop_or_vanish_are_passed_over(world: Any) -> None:
    project = world.project()
    sweep, worker = sweep_in(world, project, trials=3, parallel=3), SweepWorker(world.platform)
    worker.look()
    first, second, third = trials_of(world, sweep)
    end(world, first, JobState.FAILED, failure=Failure(reason="worker-0 exited with code 3"))
    end(world, second, JobState.STOPPED, reason="asked to")
    with world.platform.storage.write() as session:
        session.jobs.delete(third.job_id)
    worker.look()
    states = [(trial.state, trial.reason) for trial in trials_of(world, sweep)]
    assert states == [
        (TrialState.FAILED, "worker-0 exited with code 3"),
        (TrialState.STOPPED, "asked to"),
        (TrialState.FAILED, "its job or run was deleted"),
    ]
    found = sweeps.get(world.platform, world.admin, sweep.id)
    assert (found.state, found.reason) == (SweepState.FAILED, "no trial has a value")


def test_a_stopped_sweep_makes_no_more_trials_and_ends_with_its_jobs(world: Any) -> None:
    project = world.project()
    sweep, worker = sweep_in(world, project), SweepWorker(world.platform)
    worker.look()
    sweeps.stop(world.platform, world.admin, sweep.name, project.id)
    with pytest.raises(ConflictError, match="stopping"):
        sweeps.delete(world.platform, world.admin, sweep.id, None)
    worker.look()
    worker.look()
    assert [trial.state for trial in trials_of(world, sweep)] == [TrialState.STOPPED] * 2
    assert sweeps.get(world.platform, world.admin, sweep.id).state is SweepState.STOPPED
    assert sweeps.stop(world.platform, world.admin, sweep.id, None).state is SweepState.STOPPED
    kept = trials_of(world, sweep)
    sweeps.delete(world.platform, world.admin, sweep.id, None)
    with pytest.raises(NotFoundError):
        sweeps.get(world.platform, world.admin, sweep.id)
    for trial in kept:
        assert jobs.get(world.platform, world.admin, trial.job_id).finished


def test_two_workers_at_once_make_each_trial_once(world: Any) -> None:
    project = world.project()
    sweep = sweep_in(world, project, trials=3, parallel=3)
    one, other = SweepWorker(world.platform), SweepWorker(world.platform)
    with world.platform.storage.read() as session:
        before = session.sweeps.get(sweep.id)
    one.look()
    other._begin(before, [])  # what a server would do that looked before the other had written
    assert [trial.number for trial in trials_of(world, sweep)] == [1, 2, 3]
    with world.platform.storage.read() as session:
        assert len(session.jobs.list(PageRequest(), project_ids=[project.id]).items) == 3
