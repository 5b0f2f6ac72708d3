"""Attempts: gangs of replicas, of jobs and of deployments alike."""

from __future__ import annotations

from collections.abc import Sequence

from headway.domain.base import new_id, now
from headway.domain.cluster import rank_order
from headway.domain.replicas import Attempt, Directive, OwnerKind, Replica, ReplicaSpec, ServerAddress
from headway.domain.users import TOKEN_SHOWN, Token, TokenKind, token_digest
from headway.server.context import Platform
from headway.storage.base import Session


def add_attempt(
    platform: Platform,
    session: Session,
    *,
    kind: OwnerKind,
    owner_id: str,
    project_id: str,
    run_id: str,
    user_id: str,
    number: int,
    roles: Sequence[tuple[str, int]],
    instance_types: dict[str, str],
    gpus: dict[str, tuple[int, ...]] | None = None,
    model_version_id: str | None = None,
    template: str = "",
    directive: Directive | None = None,
) -> tuple[Attempt, list[Replica]]:
    """Record a new attempt with its replicas and its token. The engine is told later, from what is recorded."""
    attempt = Attempt(
        id=new_id("att"),
        owner_kind=kind,
        owner_id=owner_id,
        project_id=project_id,
        run_id=run_id,
        number=number,
        token=new_id("a"),
        engine=platform.engine.name,
        instance_types=instance_types,
        gpus=gpus or {},
        model_version_id=model_version_id,
        template=template,
        created_at=now(),
    )
    session.attempts.add(attempt)
    replicas = [
        Replica(
            id=new_id("rep"),
            attempt_id=attempt.id,
            owner_kind=kind,
            owner_id=owner_id,
            project_id=project_id,
            run_id=run_id,
            role=role,
            index=index,
            rank=rank,
            directive=directive or Directive(),
        )
        for rank, (role, index) in enumerate(rank_order(roles))
    ]
    for replica in replicas:
        session.replicas.add(replica)
    _add_token(platform, session, attempt, user_id)
    return attempt, replicas


def _add_token(platform: Platform, session: Session, attempt: Attempt, user_id: str) -> None:
    secret = platform.attempt_secret(attempt.id)
    token = Token(
        id=new_id("tok"),
        kind=TokenKind.JOB,
        name=f"{attempt.owner_kind.value} {attempt.owner_id} attempt {attempt.number}",
        user_id=user_id,
        prefix=secret[:TOKEN_SHOWN],
        project_id=attempt.project_id,
        attempt_id=attempt.id,
        run_id=attempt.run_id,
        created_at=now(),
    )
    session.tokens.add(token, token_digest(secret))


def base_spec(
    platform: Platform, attempt: Attempt, replica: Replica, owner_name: str, world_size: int, command: tuple[str, ...]
) -> ReplicaSpec:
    """What is the same for every replica; the owner adds what it needs."""
    return ReplicaSpec(
        attempt_token=attempt.token,
        attempt_id=attempt.id,
        attempt=attempt.number,
        replica_id=replica.id,
        owner_kind=attempt.owner_kind,
        owner_id=attempt.owner_id,
        owner_name=owner_name,
        project_id=attempt.project_id,
        run_id=attempt.run_id,
        role=replica.role,
        index=replica.index,
        rank=replica.rank,
        world_size=world_size,
        command=command,
        environment=with_gpus(platform, attempt, replica, {}),
        server=ServerAddress(url=platform.url, address_file=str(platform.address_file)),
        token=platform.attempt_secret(attempt.id),
    )


def with_gpus(platform: Platform, attempt: Attempt, replica: Replica, wanted: dict[str, str]) -> dict[str, str]:
    """``wanted`` with CUDA_VISIBLE_DEVICES: the replica's own GPUs whatever was wanted, or none of them by default."""
    if replica.name in attempt.gpus:
        return {**wanted, "CUDA_VISIBLE_DEVICES": ",".join(str(index) for index in attempt.gpus[replica.name])}
    return {"CUDA_VISIBLE_DEVICES": "", **wanted} if platform.engine.capacity().gpu else wanted


def locked_replicas(session: Session, attempt_id: str) -> list[Replica]:
    """The replicas of an attempt, by rank, as they are until the session ends: lists alone do not lock, and a report
    that came in between would be undone."""
    return [session.replicas.get(replica.id) for replica in session.replicas.of_attempt(attempt_id)]


def end_attempt(session: Session, attempt: Attempt, *, succeeded: bool) -> None:
    """Nothing of this attempt counts any more: its agents are told so, its token opens nothing."""
    moment = now()
    session.attempts.put(attempt.evolve(ended_at=moment, succeeded=succeeded))
    session.tokens.revoke_attempt(attempt.id, moment)
