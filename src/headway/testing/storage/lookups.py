"""Look-ups of single nouns: names, owners, tokens, streams, members, instance types."""

from __future__ import annotations

from datetime import timedelta

import pytest

from headway.domain.base import PageRequest
from headway.domain.catalogue import CatalogueEntry, CatalogueKind
from headway.domain.replicas import OwnerKind
from headway.domain.users import Role, TokenKind
from headway.errors import ConflictError, InvalidRequestError, NotFoundError
from headway.storage.base import Storage
from headway.testing import factories as make
from headway.testing.factories import digest_of, moment
from headway.testing.storage.fixtures import StorageFixtures


class LookupContract(StorageFixtures):
    def test_things_are_found_by_name(self, storage: Storage) -> None:
        project, user = make.make_project(name="x"), make.make_user(name="x")
        model, deployment = make.make_model(name="x"), make.make_deployment(name="x")
        version = make.make_model_version(model_id=model.id, version=7)
        with storage.write() as session:
            session.projects.add(project)
            session.users.add(user)
            session.models.add(model)
            session.deployments.add(deployment)
            session.model_versions.add(version)
        for opened in (storage.read(), storage.write()):
            with opened as session:
                assert session.projects.by_name("x") == project
                assert session.users.by_name("x") == user
                assert session.models.by_name(model.project_id, "x") == model
                assert session.deployments.by_name(deployment.project_id, "x") == deployment
                assert session.model_versions.by_number(model.id, 7) == version

    def test_what_has_no_such_name_is_not_found(self, storage: Storage) -> None:
        with storage.write() as session:
            session.models.add(make.make_model(name="x", project_id="p1"))
        with storage.read() as session:
            assert session.projects.by_name("x") is None
            assert session.users.by_name("x") is None
            assert session.models.by_name("p2", "x") is None
            assert session.deployments.by_name("p1", "x") is None
            assert session.model_versions.by_number("m1", 1) is None

    def test_a_member_has_one_role_in_a_project(self, storage: Storage) -> None:
        viewer = make.make_member(role=Role.VIEWER)
        admin = viewer.evolve(role=Role.ADMIN)
        with storage.write() as session:
            session.members.put(viewer)
            session.members.put(admin)
        with storage.read() as session:
            assert session.members.find(viewer.project_id, viewer.user_id) == admin
            assert list(session.members.of_project(viewer.project_id)) == [admin]

    def test_members_are_found_by_project_and_by_user_and_can_leave(self, storage: Storage) -> None:
        pairs = [("p1", "u1"), ("p1", "u2"), ("p2", "u1")]
        with storage.write() as session:
            for project_id, user_id in pairs:
                session.members.put(make.make_member(project_id=project_id, user_id=user_id))
        with storage.read() as session:
            assert {m.user_id for m in session.members.of_project("p1")} == {"u1", "u2"}
            assert {m.project_id for m in session.members.of_user("u1")} == {"p1", "p2"}
            assert session.members.find("p2", "u2") is None
        for _ in range(2):
            with storage.write() as session:
                session.members.delete("p1", "u1")
        with storage.read() as session:
            assert {m.user_id for m in session.members.of_project("p1")} == {"u2"}
            assert {m.project_id for m in session.members.of_user("u1")} == {"p2"}

    def test_a_token_is_found_by_its_digest_only(self, storage: Storage) -> None:
        token, digest = make.make_token(), digest_of(b"secret")
        with storage.write() as session:
            session.tokens.add(token, digest)
        with storage.read() as session:
            assert session.tokens.by_digest(digest) == token
            assert session.tokens.get(token.id) == token
            assert session.tokens.by_digest(token.id) is None
            assert session.tokens.by_digest(digest.upper()) is None
            with pytest.raises(NotFoundError, match="absent"):
                session.tokens.get("absent")

    def test_a_token_keeps_its_digest_when_it_changes(self, storage: Storage) -> None:
        token, digest = make.make_token(), digest_of(b"secret")
        revoked = token.evolve(revoked_at=moment())
        with storage.write() as session:
            session.tokens.add(token, digest)
            session.tokens.put(revoked)
            with pytest.raises(NotFoundError):
                session.tokens.put(make.make_token())
        with storage.read() as session:
            assert session.tokens.by_digest(digest) == revoked

    def test_a_digest_and_an_id_belong_to_one_token(self, storage: Storage) -> None:
        token = make.make_token()
        with storage.write() as session:
            session.tokens.add(token, digest_of(b"a"))
            with pytest.raises(ConflictError):
                session.tokens.add(make.make_token(), digest_of(b"a"))
            with pytest.raises(ConflictError):
                session.tokens.add(make.make_token(id=token.id), digest_of(b"b"))
        with storage.read() as session:
            assert session.tokens.list(PageRequest()).items == (token,)

    def test_tokens_are_listed_newest_first_and_by_user(self, storage: Storage) -> None:
        start = moment()
        tokens = [
            make.make_token(user_id=f"u{number % 2}", created_at=start + timedelta(seconds=number))
            for number in range(4)
        ]
        with storage.write() as session:
            for number, token in enumerate(tokens):
                session.tokens.add(token, digest_of(b"%d" % number))
        with storage.read() as session:
            assert session.tokens.list(PageRequest()).items == tuple(reversed(tokens))
            first = session.tokens.list(PageRequest(limit=1), user_id="u1")
            assert first.items == (tokens[3],)
            rest = session.tokens.list(PageRequest(cursor=first.next_cursor), user_id="u1")
            assert rest.items == (tokens[1],)

    def test_usable_digests_are_those_of_user_tokens_that_are_not_revoked(self, storage: Storage) -> None:
        usable = make.make_token(expires_at=moment(60))
        others = [
            make.make_token(revoked_at=moment()),
            make.make_token(kind=TokenKind.JOB, attempt_id="a1"),
            make.make_token(kind=TokenKind.GATEWAY),
        ]
        later = make.make_token()
        with storage.write() as session:
            for number, token in enumerate([usable, *others, later]):
                session.tokens.add(token, digest_of(b"%d" % number))
            session.tokens.put(later.evolve(revoked_at=moment()))
        with storage.read() as session:
            assert list(session.tokens.usable_digests()) == [(usable, digest_of(b"0"))]

    def test_revoking_an_attempt_revokes_its_tokens_and_no_others(self, storage: Storage) -> None:
        mine = [make.make_token(kind=TokenKind.JOB, attempt_id="a1") for _ in range(2)]
        early = make.make_token(kind=TokenKind.JOB, attempt_id="a1", revoked_at=moment(-60))
        other, user = make.make_token(kind=TokenKind.JOB, attempt_id="a2"), make.make_token()
        when = moment()
        with storage.write() as session:
            for number, token in enumerate([*mine, early, other, user]):
                session.tokens.add(token, digest_of(b"%d" % number))
        for revoked_at in (when, moment(60)):
            with storage.write() as session:
                session.tokens.revoke_attempt("a1", revoked_at)
        with storage.read() as session:
            assert [session.tokens.get(token.id).revoked_at for token in mine] == [when, when]
            assert session.tokens.get(early.id) == early
            assert session.tokens.get(other.id) == other
            assert session.tokens.get(user.id) == user

    def test_instance_types_are_kept_by_name(self, storage: Storage) -> None:
        with storage.write() as session:
            for name in ("cpu.b", "K80", "cpu.a"):
                session.instance_types.put(make.make_instance_type(name=name))
            session.instance_types.put(make.make_instance_type(name="cpu.a", cpu=4))
        with storage.read() as session:
            assert [found.name for found in session.instance_types.list()] == ["K80", "cpu.a", "cpu.b"]
            found = session.instance_types.find("cpu.a")
            assert found is not None
            assert found.cpu == 4
            assert session.instance_types.find("absent") is None
        for _ in range(2):
            with storage.write() as session:
                session.instance_types.delete("cpu.a")
        with storage.read() as session:
            assert session.instance_types.find("cpu.a") is None

    def test_catalogue_entries_are_kept_by_catalogue_and_number(self, storage: Storage) -> None:
        machine, framework = CatalogueKind.TRAIN_MACHINE, CatalogueKind.TRAIN_FRAMEWORK
        entries = [
            CatalogueEntry(kind=kind, id=number, name=name)
            for kind, number, name in ((machine, 20, "b"), (machine, 3, "a"), (framework, 3, "a"))
        ]
        with storage.write() as session:
            for entry in entries:
                session.catalogue.put(entry)
            with pytest.raises(ConflictError, match="'b'"):
                session.catalogue.put(CatalogueEntry(kind=machine, id=4, name="b"))
            session.catalogue.put(entries[0].evolve(hidden=True))
        with storage.read() as session:
            assert [(entry.id, entry.hidden) for entry in session.catalogue.list(machine)] == [(3, False), (20, True)]
            assert session.catalogue.list() == [entries[2], entries[1], entries[0].evolve(hidden=True)]
            assert session.catalogue.find(framework, 20) is None
        with storage.write() as session:
            session.catalogue.delete(machine, 3)
            session.catalogue.delete(machine, 3)
        with storage.read() as session:
            assert [entry.id for entry in session.catalogue.list()] == [3, 20]
            assert session.catalogue.find(framework, 3) == entries[2]

    def test_streams_are_kept_by_run_and_name(self, storage: Storage) -> None:
        stream = make.make_stream()
        grown = stream.evolve(committed=10, closed=True)
        with storage.write() as session:
            assert session.streams.find(stream.run_id, stream.name) is None
            session.streams.put(stream)
            session.streams.put(grown)
        with storage.read() as session:
            assert session.streams.find(stream.run_id, stream.name) == grown
            assert session.streams.find("other", stream.name) is None

    def test_streams_of_a_run_are_in_order_of_creation_and_then_name(self, storage: Storage) -> None:
        start = moment()
        made = [("logs/b", 0), ("logs/a", 0), ("metrics/a", 1), ("logs/c", -1)]
        with storage.write() as session:
            for name, seconds in made:
                created_at = start + timedelta(seconds=seconds)
                session.streams.put(make.make_stream(run_id="r1", name=name, created_at=created_at))
            session.streams.put(make.make_stream(run_id="r2"))
        with storage.read() as session:
            names = [stream.name for stream in session.streams.of_run("r1")]
            assert names == ["logs/c", "logs/a", "logs/b", "metrics/a"]
            logs = [stream.name for stream in session.streams.of_run("r1", kind="logs")]
            assert logs == ["logs/c", "logs/a", "logs/b"]
            assert list(session.streams.of_run("absent")) == []

    def test_attempts_of_an_owner_are_by_number(self, storage: Storage) -> None:
        attempts = [make.make_attempt(owner_id="j1", number=number) for number in (10, 2, 1)]
        foreign = make.make_attempt(owner_id="j1", owner_kind=OwnerKind.DEPLOYMENT)
        with storage.write() as session:
            for attempt in [*attempts, foreign, make.make_attempt(owner_id="j2")]:
                session.attempts.add(attempt)
        with storage.read() as session:
            assert [a.number for a in session.attempts.of_owner(OwnerKind.JOB, "j1")] == [1, 2, 10]
            assert list(session.attempts.of_owner(OwnerKind.DEPLOYMENT, "j1")) == [foreign]

    def test_open_attempts_are_those_without_an_end_oldest_first(self, storage: Storage) -> None:
        start = moment()
        attempts = [make.make_attempt(created_at=start + timedelta(seconds=number)) for number in (2, 0, 1)]
        with storage.write() as session:
            for attempt in attempts:
                session.attempts.add(attempt)
            session.attempts.put(attempts[2].evolve(ended_at=moment()))
        with storage.read() as session:
            assert list(session.attempts.open()) == [attempts[1], attempts[0]]

    def test_attempts_are_found_by_their_tokens(self, storage: Storage) -> None:
        attempts = [make.make_attempt() for _ in range(3)]
        with storage.write() as session:
            for attempt in attempts:
                session.attempts.add(attempt)
        with storage.read() as session:
            wanted = {attempts[0].token, attempts[2].token, "absent"}
            assert {a.id for a in session.attempts.by_tokens(wanted)} == {attempts[0].id, attempts[2].id}
            assert list(session.attempts.by_tokens([])) == []

    def test_replicas_are_by_attempt_and_rank(self, storage: Storage) -> None:
        made = [("a2", 0), ("a1", 10), ("a1", 2), ("a3", 0), ("a1", 0)]
        with storage.write() as session:
            for attempt_id, rank in made:
                session.replicas.add(make.make_replica(attempt_id=attempt_id, rank=rank))
        with storage.read() as session:
            assert [r.rank for r in session.replicas.of_attempt("a1")] == [0, 2, 10]
            found = session.replicas.of_attempts(["a2", "a1", "absent", "a2"])
            assert [(r.attempt_id, r.rank) for r in found] == [("a1", 0), ("a1", 2), ("a1", 10), ("a2", 0)]
            assert list(session.replicas.of_attempts([])) == []

    def test_replicas_of_very_many_attempts_can_be_asked_for(self, storage: Storage) -> None:
        replica = make.make_replica(attempt_id="attempt-4321")
        with storage.write() as session:
            session.replicas.add(replica)
        with storage.read() as session:
            found = session.replicas.of_attempts([f"attempt-{number}" for number in range(70_000)])
            assert list(found) == [replica]

    def test_a_number_beyond_64_bits_is_refused(self, storage: Storage) -> None:
        with storage.read() as session, pytest.raises(InvalidRequestError, match="64 bits"):
            session.model_versions.by_number("m1", 2**63)
        with storage.read() as session, pytest.raises(InvalidRequestError, match="64 bits"):
            session.events.after(10**30)
