"""Revisions of deployments."""

from __future__ import annotations

from typing import Any

import pytest

from headway.domain.base import PageRequest
from headway.domain.deployments import Revision, RevisionState
from headway.errors import ConflictError, NotFoundError
from headway.storage.base import Storage
from headway.testing.factories import make_deployment, moment
from headway.testing.storage.fixtures import StorageFixtures


def make_revision(deployment: str, number: int, **fields: Any) -> Revision:
    spec = make_deployment().spec
    return Revision(
        **{
            "deployment_id": deployment,
            "number": number,
            "spec": spec,
            "created_at": moment(),
            "created_by": "u1",
            **fields,
        }
    )


class RevisionContract(StorageFixtures):
    def test_a_revision_is_added_once_found_and_put(self, storage: Storage) -> None:
        made = make_revision("d", 1, reason="ü\0")
        with storage.write() as session:
            session.revisions.add(made)
            with pytest.raises(ConflictError, match="'d'"):
                session.revisions.add(made.evolve(reason="again"))
        with storage.write() as session:
            assert session.revisions.get("d", 1) == made
            session.revisions.put(made.evolve(state=RevisionState.LIVE, live_at=moment()))
            with pytest.raises(NotFoundError, match="no revision 2"):
                session.revisions.put(make_revision("d", 2))
        with storage.read() as session:
            assert session.revisions.get("d", 1).state is RevisionState.LIVE
            assert session.revisions.find("d", 2) is None
            with pytest.raises(NotFoundError):
                session.revisions.get("e", 1)

    def test_those_of_a_deployment_come_newest_first_and_in_pages(self, storage: Storage) -> None:
        with storage.write() as session:
            for number in (3, 1, 12, 2):
                session.revisions.add(make_revision("d", number))
            session.revisions.add(make_revision("e", 7))
        with storage.read() as session:
            first = session.revisions.of_deployment("d", PageRequest(limit=3))
            assert [revision.number for revision in first.items] == [12, 3, 2]
            assert first.next_cursor is not None
            rest = session.revisions.of_deployment("d", PageRequest(limit=3, cursor=first.next_cursor))
            assert [revision.number for revision in rest.items] == [1]
            assert rest.next_cursor is None
            assert session.revisions.of_deployment("f", PageRequest(limit=3)).items == ()

    def test_those_that_are_pending_are_found_for_all_deployments(self, storage: Storage) -> None:
        with storage.write() as session:
            session.revisions.add(make_revision("e", 2))
            session.revisions.add(make_revision("d", 1, state=RevisionState.LIVE))
            session.revisions.add(make_revision("d", 2))
        with storage.read() as session:
            assert [(r.deployment_id, r.number) for r in session.revisions.pending()] == [("d", 2), ("e", 2)]
        with storage.write() as session:
            session.revisions.put(make_revision("d", 2, state=RevisionState.FAILED))
            session.revisions.delete_deployment("e")
        with storage.read() as session:
            assert session.revisions.pending() == []
            assert session.revisions.find("e", 2) is None
            assert session.revisions.find("d", 1) is not None
