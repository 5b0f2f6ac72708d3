"""The verbs that every noun has, and unique names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import pytest

from headway.domain.base import new_id
from headway.domain.jobs import Failure, JobState
from headway.domain.replicas import Directive, ReplicaPhase
from headway.errors import ConflictError, NotFoundError
from headway.storage.base import Records, Session, Storage
from headway.testing import factories as make
from headway.testing.storage.fixtures import StorageFixtures


@dataclass(frozen=True)
class Noun:
    """How to try the verbs on one noun."""

    name: str
    make: Callable[..., Any]
    change: dict[str, Any]

    def of(self, session: Session) -> Records[Any]:
        return cast("Records[Any]", getattr(session, self.name))


NOUNS = [
    Noun("projects", make.make_project, {"description": "changed", "name": "renamed"}),
    Noun("users", make.make_user, {"admin": True, "disabled_at": make.moment()}),
    Noun("runs", make.make_run, {"name": "changed"}),
    Noun("jobs", make.make_job, {"state": JobState.FAILED, "failure": Failure(reason="why", last_lines=("a", "b"))}),
    Noun("attempts", make.make_attempt, {"placed": True, "ended_at": make.moment()}),
    Noun(
        "replicas",
        make.make_replica,
        {"phase": ReplicaPhase.RUNNING, "ports": (1, 2), "directive": Directive(version=3, environment={"A": "b"})},
    ),
    Noun("models", make.make_model, {"latest_version": 2, "aliases": {"best": 1}}),
    Noun("model_versions", make.make_model_version, {"labels": {"a": "b"}}),
    Noun("artifacts", make.make_artifact, {"latest_version": 2, "aliases": {"best": 1}}),
    Noun("artifact_versions", make.make_artifact_version, {"labels": {"a": "b"}, "metadata": {"n": 1.5}}),
    Noun("buckets", make.make_bucket, {"created_by": "usr2"}),
    Noun("uploads", make.make_upload, {"verified": True}),
    Noun("deployments", make.make_deployment, {"failures": 3, "environment": {"A": "b"}}),
]

UNIQUE: list[tuple[str, Callable[..., Any], dict[str, Any], dict[str, Any] | None]] = [
    ("projects", make.make_project, {"name": "same"}, None),
    ("users", make.make_user, {"name": "same"}, None),
    ("models", make.make_model, {"name": "same", "project_id": "prj1"}, {"name": "same", "project_id": "prj2"}),
    ("model_versions", make.make_model_version, {"model_id": "m1", "version": 1}, {"model_id": "m2", "version": 1}),
    ("artifacts", make.make_artifact, {"name": "s", "folder": "f"}, {"name": "s", "folder": "g"}),
    ("artifact_versions", make.make_artifact_version, {"artifact_id": "a", "version": 1}, {"artifact_id": "b"}),
    ("buckets", make.make_bucket, {"name": "same", "project_id": "p1"}, {"name": "same", "project_id": "p2"}),
    ("uploads", make.make_upload, {"digest": "ab" * 32}, {"digest": "ab" * 32, "project_id": "prj2"}),
    ("deployments", make.make_deployment, {"name": "same", "project_id": "p1"}, {"name": "same", "project_id": "p2"}),
]
"""Noun, factory, what must be unique, and what beside that is allowed."""


class RecordContract(StorageFixtures):
    @pytest.fixture(params=NOUNS, ids=lambda noun: noun.name)
    def noun(self, request: pytest.FixtureRequest) -> Noun:
        return cast(Noun, request.param)

    def test_a_record_comes_back_as_it_was_added(self, storage: Storage, noun: Noun) -> None:
        record = noun.make()
        with storage.write() as session:
            noun.of(session).add(record)
        with storage.read() as session:
            assert noun.of(session).get(record.id) == record
            assert noun.of(session).find(record.id) == record

    def test_get_names_an_unknown_id_and_find_gives_nothing(self, storage: Storage, noun: Noun) -> None:
        with storage.read() as session:
            with pytest.raises(NotFoundError, match="absent-id"):
                noun.of(session).get("absent-id")
            assert noun.of(session).find("absent-id") is None

    def test_an_id_is_added_once(self, storage: Storage, noun: Noun) -> None:
        record = noun.make()
        with storage.write() as session:
            noun.of(session).add(record)
            with pytest.raises(ConflictError, match=record.id):
                noun.of(session).add(noun.make(id=record.id))
        with storage.write() as session, pytest.raises(ConflictError, match=record.id):
            noun.of(session).add(noun.make(id=record.id))
        with storage.read() as session:
            assert noun.of(session).get(record.id) == record

    def test_put_replaces_a_record_wholly(self, storage: Storage, noun: Noun) -> None:
        record, other = noun.make(), noun.make()
        changed = record.evolve(**noun.change)
        with storage.write() as session:
            noun.of(session).add(record)
            noun.of(session).add(other)
        with storage.write() as session:
            noun.of(session).put(changed)
        with storage.read() as session:
            assert noun.of(session).get(record.id) == changed
            assert noun.of(session).get(other.id) == other

    def test_put_of_something_absent_is_refused(self, storage: Storage, noun: Noun) -> None:
        record = noun.make(id="absent-id")
        with storage.write() as session, pytest.raises(NotFoundError, match="absent-id"):
            noun.of(session).put(record)
        with storage.read() as session:
            assert noun.of(session).find(record.id) is None

    def test_delete_removes_one_record_and_may_be_repeated(self, storage: Storage, noun: Noun) -> None:
        record, other = noun.make(), noun.make()
        with storage.write() as session:
            noun.of(session).add(record)
            noun.of(session).add(other)
        for _ in range(2):
            with storage.write() as session:
                noun.of(session).delete(record.id)
        with storage.read() as session:
            assert noun.of(session).find(record.id) is None
            assert noun.of(session).get(other.id) == other

    def test_what_was_deleted_can_be_added_again(self, storage: Storage, noun: Noun) -> None:
        record = noun.make()
        with storage.write() as session:
            noun.of(session).add(record)
            noun.of(session).delete(record.id)
            noun.of(session).add(record)
        with storage.read() as session:
            assert noun.of(session).get(record.id) == record

    @pytest.mark.parametrize(("name", "factory", "same", "allowed"), UNIQUE, ids=[case[0] for case in UNIQUE])
    def test_a_unique_name_is_taken_once(
        self,
        storage: Storage,
        name: str,
        factory: Callable[..., Any],
        same: dict[str, Any],
        allowed: dict[str, Any] | None,
    ) -> None:
        first, other = factory(**same), factory(id=new_id("other"))
        with storage.write() as session:
            records = cast("Records[Any]", getattr(session, name))
            records.add(first)
            records.add(other)
            with pytest.raises(ConflictError):
                records.add(factory(**same))
            with pytest.raises(ConflictError):
                records.put(other.evolve(**same))
            records.put(first)
            if allowed is not None:
                records.add(factory(**allowed))
        with storage.read() as session:
            records = cast("Records[Any]", getattr(session, name))
            assert records.get(first.id) == first
            assert records.get(other.id) == other

    def test_a_conflict_says_which_name_is_taken(self, storage: Storage) -> None:
        with storage.write() as session:
            session.projects.add(make.make_project(name="digits"))
            with pytest.raises(ConflictError, match="'digits'"):
                session.projects.add(make.make_project(name="digits"))

    def test_names_differ_by_case(self, storage: Storage) -> None:
        upper, lower = make.make_project(name="Digits"), make.make_project(name="digits")
        with storage.write() as session:
            session.projects.add(upper)
            session.projects.add(lower)
        with storage.read() as session:
            assert session.projects.by_name("Digits") == upper
            assert session.projects.by_name("digits") == lower

    def test_a_name_is_free_again_after_a_renaming(self, storage: Storage) -> None:
        project = make.make_project(name="before")
        with storage.write() as session:
            session.projects.add(project)
            session.projects.put(project.evolve(name="after"))
            session.projects.add(make.make_project(name="before"))
        with storage.read() as session:
            found = session.projects.by_name("after")
            assert found is not None
            assert found.id == project.id
