"""How a job moves on, as a pure function: the obligations of workers/progress.py."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from headway.domain.base import new_id, now
from headway.domain.jobs import JOB_MOVES, Job, JobSpec, JobState
from headway.domain.replicas import Action, Directive, OwnerKind, Replica, ReplicaPhase
from headway.engines.base import AgentObservation, AgentState
from headway.server.workers.progress import FORGOTTEN_AFTER, Absences, Advance, advance, mark_lost

MOMENT = now()


def make_job(state: JobState = JobState.PROVISIONING, **fields: Any) -> Job:
    roles = fields.pop("roles", {"worker": {"count": 2, "command": "x"}})
    spec = JobSpec.model_validate({"roles": roles, **fields.pop("spec", {})})
    return Job(
        id="job1",
        project_id="p",
        name="j",
        run_id="r",
        spec=spec,
        state=state,
        attempt=1,
        created_at=MOMENT,
        created_by="u",
        state_changed_at=MOMENT,
        **fields,
    )


def make_replica(rank: int, phase: ReplicaPhase, role: str = "worker", **fields: Any) -> Replica:
    started = MOMENT if phase in (ReplicaPhase.RUNNING, ReplicaPhase.EXITED) else None
    values: dict[str, Any] = {
        "directive": Directive(),
        "started_at": started,
        "host": "127.0.0.1",
        "ports": (20000 + rank,),
    }
    return Replica(
        id=new_id("rep"),
        attempt_id="a",
        owner_kind=OwnerKind.JOB,
        owner_id="job1",
        project_id="p",
        run_id="r",
        role=role,
        index=rank,
        rank=rank,
        phase=phase,
        **{**values, **fields},
    )


def moves(look: Advance) -> list[str]:
    return [state.value for state, _ in look.moves]


def test_nothing_starts_before_every_replica_is_prepared() -> None:
    replicas = [make_replica(0, ReplicaPhase.PREPARED), make_replica(1, ReplicaPhase.PREPARING)]
    assert not advance(make_job(), replicas, MOMENT)


def test_all_start_together_and_learn_of_each_other() -> None:
    replicas = [make_replica(0, ReplicaPhase.PREPARED), make_replica(1, ReplicaPhase.PREPARED)]
    look = advance(make_job(), replicas, MOMENT)
    assert moves(look) == ["provisioned", "network setting up", "network setup"]
    directives = [replica.directive for replica in look.replicas.values()]
    assert {directive.action for directive in directives} == {Action.START}
    assert {directive.environment["RANK"] for directive in directives} == {"0", "1"}
    assert {directive.environment["HEADWAY_PEERS"] for directive in directives} == {"127.0.0.1:20000,127.0.0.1:20001"}


def test_running_means_that_every_program_runs() -> None:
    replicas = [make_replica(0, ReplicaPhase.RUNNING), make_replica(1, ReplicaPhase.STARTING)]
    assert not advance(make_job(JobState.NETWORK_SETUP), replicas, MOMENT)
    replicas[1] = make_replica(1, ReplicaPhase.RUNNING)
    assert moves(advance(make_job(JobState.NETWORK_SETUP), replicas, MOMENT)) == ["running"]


def test_a_job_so_quick_that_it_ended_unseen_still_passes_through_running() -> None:
    replicas = [make_replica(rank, ReplicaPhase.EXITED, exit_code=0) for rank in (0, 1)]
    look = advance(make_job(JobState.NETWORK_SETUP), replicas, MOMENT)
    assert moves(look) == ["running", "succeeded"]
    assert look.succeeded


def test_parameter_servers_are_stopped_when_the_workers_are_done() -> None:
    roles = {"worker": {"command": "x"}, "ps": {"command": "x"}}
    worker = make_replica(0, ReplicaPhase.EXITED, exit_code=0)
    server = make_replica(1, ReplicaPhase.RUNNING, role="ps")
    look = advance(make_job(JobState.RUNNING, roles=roles), [worker, server], MOMENT)
    assert look.replicas[server.id].directive.action is Action.STOP
    assert moves(look) == []
    ended = look.replicas[server.id].evolve(phase=ReplicaPhase.EXITED, exit_code=None, signal=15)
    final = advance(look.job, [worker, ended], MOMENT)
    assert moves(final) == ["succeeded"]


def test_the_one_that_failed_first_is_named_whatever_came_after() -> None:
    first = make_replica(1, ReplicaPhase.EXITED, exit_code=3, finished_at=MOMENT, last_lines=("boom",))
    later = make_replica(0, ReplicaPhase.EXITED, exit_code=1, finished_at=MOMENT + timedelta(seconds=1))
    look = advance(make_job(JobState.RUNNING), [later, first], MOMENT)
    assert look.job.failure is not None
    assert (look.job.failure.replica, look.job.failure.rank, look.job.failure.last_lines) == ("worker-1", 1, ("boom",))
    assert moves(look) == ["failed"]


def test_the_rest_is_told_to_stop_and_then_made_to() -> None:
    failed = make_replica(0, ReplicaPhase.EXITED, exit_code=1, finished_at=MOMENT)
    other = make_replica(1, ReplicaPhase.RUNNING)
    look = advance(make_job(JobState.RUNNING), [failed, other], MOMENT)
    assert look.replicas[other.id].directive.action is Action.STOP
    assert not look.hard_stop
    replicas = list(look.replicas.values())
    assert advance(look.job, replicas, MOMENT + timedelta(seconds=60)).hard_stop


def test_a_job_whose_machine_was_restarted_is_lost_and_not_failed() -> None:
    running = [make_replica(rank, ReplicaPhase.RUNNING) for rank in (0, 1)]
    seen = AgentObservation(replica_id=running[0].id, state=AgentState.GONE, host_changed=True)
    gone = [mark_lost(replica, seen, MOMENT) for replica in running]
    assert moves(advance(make_job(JobState.RUNNING), gone, MOMENT)) == ["lost"]
    killed = [mark_lost(replica, seen.evolve(host_changed=False), MOMENT) for replica in running]
    assert moves(advance(make_job(JobState.RUNNING), killed, MOMENT)) == ["failed"]


def test_a_replica_that_was_told_to_stop_and_was_ended_is_not_called_killed() -> None:
    seen = AgentObservation(replica_id="rep", state=AgentState.GONE)
    told = make_replica(0, ReplicaPhase.RUNNING, directive=Directive(version=2, action=Action.STOP))
    assert "killed" not in mark_lost(told, seen, MOMENT).reason
    assert "killed" in mark_lost(make_replica(0, ReplicaPhase.RUNNING), seen, MOMENT).reason


def test_a_failure_with_retries_left_goes_back_to_the_queue() -> None:
    replicas = [make_replica(rank, ReplicaPhase.EXITED, exit_code=1, finished_at=MOMENT) for rank in (0, 1)]
    look = advance(make_job(JobState.RUNNING, spec={"retries": 1}), replicas, MOMENT)
    assert moves(look) == ["retrying", "queued"]
    assert look.attempt_over
    assert not look.succeeded


def test_a_stop_that_was_asked_for_is_no_failure() -> None:
    running = [make_replica(rank, ReplicaPhase.RUNNING) for rank in (0, 1)]
    look = advance(make_job(JobState.RUNNING, stop_requested=True), running, MOMENT)
    assert moves(look) == ["stopping"]
    ended = [r.evolve(phase=ReplicaPhase.EXITED, signal=15) for r in look.replicas.values()]
    final = advance(look.job.evolve(state=JobState.STOPPING), ended, MOMENT)
    assert moves(final) == ["stopped"]
    assert final.job.failure is None


def test_an_earlier_failure_that_is_told_later_takes_the_blame() -> None:
    """A replica reports its end only after its log is shipped: its victim may well be quicker."""
    victim = make_replica(0, ReplicaPhase.EXITED, exit_code=1, finished_at=MOMENT + timedelta(seconds=1))
    culprit = make_replica(1, ReplicaPhase.RUNNING)
    look = advance(make_job(JobState.RUNNING), [victim, culprit], MOMENT + timedelta(seconds=2))
    assert look.job.failure is not None
    assert look.job.failure.replica == "worker-0"
    ended = look.replicas[culprit.id].evolve(phase=ReplicaPhase.EXITED, exit_code=3, finished_at=MOMENT)
    final = advance(look.job, [victim, ended], MOMENT + timedelta(seconds=3))
    assert final.job.failure is not None
    assert (final.job.failure.replica, final.job.failure.exit_code) == ("worker-1", 3)
    assert moves(final) == ["failed"]
    assert "worker-1" in final.moves[-1][1]


def test_a_background_replica_that_is_lost_before_it_was_seen_to_run_does_not_block_success() -> None:
    roles = {"worker": {"command": "x"}, "ps": {"command": "x"}}
    worker = make_replica(0, ReplicaPhase.EXITED, exit_code=0)
    server = make_replica(1, ReplicaPhase.PREPARED, role="ps")
    look = advance(make_job(JobState.NETWORK_SETUP, roles=roles), [worker, server], MOMENT)
    lost = look.replicas[server.id].evolve(phase=ReplicaPhase.LOST, finished_at=MOMENT)
    final = advance(look.job, [worker, lost], MOMENT)
    assert moves(final) == ["running", "succeeded"]


def test_a_hard_stop_leaves_no_time() -> None:
    running = [make_replica(rank, ReplicaPhase.RUNNING) for rank in (0, 1)]
    job = make_job(JobState.STOPPING, stop_requested=True, stop_hard=True, ending_since=MOMENT)
    assert advance(job, running, MOMENT).hard_stop
    assert not advance(job.evolve(stop_hard=False), running, MOMENT).hard_stop


def test_what_neither_the_engine_nor_its_agent_speaks_of_is_lost_after_a_while() -> None:
    absences, replica = Absences(), make_replica(0, ReplicaPhase.RUNNING, last_seen=MOMENT)
    assert absences.lost([replica], [], MOMENT) == []
    spoke = replica.evolve(last_seen=MOMENT + FORGOTTEN_AFTER / 2)
    assert absences.lost([spoke], [], MOMENT + FORGOTTEN_AFTER) == []
    (lost,) = absences.lost([spoke], [], MOMENT + 2 * FORGOTTEN_AFTER)
    assert (lost.replica_id, lost.state) == (replica.id, AgentState.GONE)


def test_what_the_engine_sees_alive_is_not_lost_however_long_it_is_silent() -> None:
    absences, replica = Absences(), make_replica(0, ReplicaPhase.RUNNING, last_seen=MOMENT)
    assert absences.lost([replica], [], MOMENT) == []
    alive = AgentObservation(replica_id=replica.id, state=AgentState.ALIVE)
    assert absences.lost([replica], [alive], MOMENT + 2 * FORGOTTEN_AFTER) == []
    assert absences.lost([replica], [], MOMENT + 2 * FORGOTTEN_AFTER) == []


phases = st.sampled_from(list(ReplicaPhase))
codes = st.sampled_from([None, 0, 1])


@settings(max_examples=500, deadline=None)
@given(
    state=st.sampled_from([s for s in JobState if not s.finished and s not in (JobState.CREATED, JobState.QUEUED)]),
    replicas=st.lists(
        st.tuples(phases, codes, st.booleans(), st.sampled_from(["worker", "ps"])), min_size=1, max_size=4
    ),
    stop=st.booleans(),
    retries=st.integers(0, 2),
    later=st.integers(0, 100),
)
def test_whatever_is_seen_only_allowed_moves_follow(
    state: JobState, replicas: list[tuple[Any, ...]], stop: bool, retries: int, later: int
) -> None:
    if state in (JobState.RETRYING, JobState.PREEMPTED):
        return
    stop = stop or state is JobState.STOPPING  # nothing else leads there
    moment: datetime = MOMENT + timedelta(seconds=later)
    roles = {"worker": {"command": "x"}, "ps": {"command": "x"}}
    job = make_job(state, roles=roles, spec={"retries": retries}, stop_requested=stop)
    made = [
        make_replica(
            rank,
            phase,
            role,
            exit_code=code if phase.ended else None,
            finished_at=MOMENT if phase.ended else None,
            directive=Directive(version=1, action=Action.STOP if told else Action.START),
        )
        for rank, (phase, code, told, role) in enumerate(replicas)
    ]
    look = advance(job, made, moment)
    current = state
    for target, reason in look.moves:
        assert target in JOB_MOVES[current], (current, target)
        assert reason
        current = target
    if look.attempt_over:
        assert all(replica.phase.ended for replica in made)
        assert current.finished or current is JobState.QUEUED
