"""Two sessions that change the same things at once, on PostgreSQL, where nothing but row locks keeps them apart."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from headway.domain.base import now
from headway.domain.instances import Capacity, InstanceType
from headway.domain.replicas import Action, Directive, ReplicaPhase, ReplicaReport
from headway.domain.users import Token, TokenKind
from headway.server.actions import capacity, replicas
from headway.server.actions.attempts import locked_replicas
from headway.server.context import Caller

BLOCKED_SECONDS = 0.5
"""How long the second session is watched not to come through; a longer wait could only find more."""


def run_beside(action: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(action()))
    thread.start()
    return thread, found


def test_a_report_that_comes_while_a_step_is_written_down_is_not_undone(postgres_world: Any) -> None:
    platform = postgres_world.platform
    replica, _ = postgres_world.attempt(postgres_world.job(postgres_world.project()))
    with platform.storage.read() as session:
        attempt = session.attempts.get(replica.attempt_id)
    token = Token(
        id="t", kind=TokenKind.JOB, name="t", user_id="u", prefix="p", attempt_id=attempt.id, created_at=now()
    )
    agent = Caller(user=postgres_world.admin.user, token=token, roles={})
    word = ReplicaReport(attempt_token=attempt.token, phase=ReplicaPhase.EXITED, exit_code=0)
    with platform.storage.write() as session:
        (mine,) = locked_replicas(session, attempt.id)
        thread, _ = run_beside(lambda: replicas.report(platform, agent, replica.id, word))
        thread.join(BLOCKED_SECONDS)
        assert thread.is_alive(), "the report did not wait"
        session.replicas.put(mine.evolve(directive=Directive(version=1, action=Action.STOP)))
    thread.join()
    with platform.storage.read() as session:
        found = session.replicas.get(replica.id)
    assert (found.phase, found.directive.action) == (ReplicaPhase.EXITED, Action.STOP)


def test_one_gpu_is_not_given_to_two_at_once(postgres_world: Any) -> None:
    platform = postgres_world.platform
    room = Capacity(cpu=1, memory_mb=0, gpu=1)
    need = capacity.Need(types={"worker": InstanceType(name="gpu.1", cpu=1, gpu=1)}, counts={"worker": 1})
    replica, _ = postgres_world.attempt(postgres_world.job(postgres_world.project()))

    def take() -> str:
        with platform.storage.write() as session:
            capacity.lock(session)
            return capacity.reserve(session, need, room)[1]

    with platform.storage.write() as session:
        capacity.lock(session)
        gpus, waiting = capacity.reserve(session, need, room)
        assert not waiting
        thread, found = run_beside(take)
        thread.join(BLOCKED_SECONDS)
        assert thread.is_alive(), "the second reservation did not wait"
        attempt = session.attempts.get(replica.attempt_id)
        session.attempts.put(attempt.evolve(gpus=gpus))
    thread.join()
    assert found == ["waiting for 1 GPU(s): 0 of 1 free"]
