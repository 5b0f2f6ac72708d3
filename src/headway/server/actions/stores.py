"""The table of stores: which bucket lives where.

Today every bucket lives in the server's own object area. A bucket is known to the database wherever its objects are, so
this is the one place that another kind of store is added to.
"""

from __future__ import annotations

from typing import NamedTuple

from headway.domain.base import did_you_mean, new_id, now
from headway.domain.objects import Bucket
from headway.errors import ConflictError, NotFoundError
from headway.server.actions.paging import every
from headway.storage.base import Session
from headway.storage.objects.base import ObjectStore
from headway.storage.objects.internal import InternalObjects

TRIES = 5
"""How often a bucket that somebody makes and removes at the same time is looked for."""


class Place(NamedTuple):
    """A bucket and the store in which its objects are, within one session."""

    bucket: Bucket
    store: ObjectStore


def find(session: Session, project_id: str, name: str) -> Place:
    """Where the objects of a bucket are; in a write session the bucket is locked.

    Raises:
        NotFoundError: The project has no bucket of that name, with the closest one it has.
    """
    bucket = session.buckets.by_name(project_id, name)
    if bucket is None:
        names = (known.name for known in every(session.buckets.list, project_ids=[project_id]))
        hint = did_you_mean(name, names) or "It is made by the first write, or with `headway object mkbucket`."
        raise NotFoundError(f"There is no bucket {name!r} in this project.", hint=hint)
    return Place(bucket, _store_of(session, bucket))


def make(session: Session, project_id: str, name: str, *, actor: str) -> tuple[Place, bool]:
    """As :func:`find`, but a bucket that is not there is made; whether that was so. No event tells of it yet."""
    for _ in range(TRIES):
        bucket = session.buckets.by_name(project_id, name)
        if bucket is not None:
            return Place(bucket, _store_of(session, bucket)), False
        bucket = Bucket(id=new_id("bkt"), project_id=project_id, name=name, created_at=now(), created_by=actor)
        try:
            session.buckets.add(bucket)
        except ConflictError:
            continue  # somebody else made it in between
        return Place(bucket, _store_of(session, bucket)), True
    raise ConflictError(f"The bucket {name!r} is being made and removed at this moment.", hint="Try again.")


def erase_project(session: Session, project_id: str) -> None:
    """Remove all buckets of a project that is deleted, with their objects."""
    for bucket in list(every(session.buckets.list, project_ids=[project_id])):
        _store_of(session, bucket).delete_prefix(bucket, "")
        session.buckets.delete(bucket.id)


def _store_of(session: Session, bucket: Bucket) -> ObjectStore:  # noqa: ARG001 - one store has all of them, today
    return InternalObjects(session)
