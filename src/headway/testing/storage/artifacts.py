"""Artifacts, links, uploads, and the index of blobs as garbage collection uses it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from headway.domain.base import PageRequest
from headway.domain.files import FileEntry
from headway.domain.jobs import JobInput
from headway.domain.lineage import NodeKind, Relation
from headway.domain.workspaces import FilesWorkspace
from headway.errors import ConflictError
from headway.storage.base import Storage
from headway.testing import factories as make
from headway.testing.factories import digest_of, moment
from headway.testing.storage.fixtures import StorageFixtures

FIRST = PageRequest(limit=100)


class ArtifactContract(StorageFixtures):
    def test_artifacts_are_found_by_folder_and_name(self, storage: Storage) -> None:
        made = [make.make_artifact(project_id="p", name="data", folder=folder) for folder in ("b", "", "a")]
        other = make.make_artifact(project_id="q", name="data")
        with storage.write() as session:
            for artifact in [*made, other]:
                session.artifacts.add(artifact)
        with storage.read() as session:
            assert session.artifacts.by_name("p", "a", "data") == made[2]
            assert session.artifacts.by_name("p", "c", "data") is None
            assert [found.folder for found in session.artifacts.named("p", "data")] == ["", "a", "b"]
            assert list(session.artifacts.named("p", "absent")) == []

    def test_artifacts_are_listed_by_project_folder_name_and_type(self, storage: Storage) -> None:
        made = [
            make.make_artifact(project_id="p", name="a", folder="f", type="dataset"),
            make.make_artifact(project_id="p", name="b", folder="f"),
            make.make_artifact(project_id="q", name="a"),
        ]
        with storage.write() as session:
            for artifact in made:
                session.artifacts.add(artifact)

        def names(**filters: object) -> set[tuple[str, str]]:
            with storage.read() as session:
                page = session.artifacts.list(FIRST, **filters)  # type: ignore[arg-type]
            return {(found.project_id, found.name) for found in page.items}

        assert names(project_ids=["p"]) == {("p", "a"), ("p", "b")}
        assert names(folder="f", name="a") == {("p", "a")}
        assert names(folder="") == {("q", "a")}
        assert names(type="dataset") == {("p", "a")}
        assert names(project_ids=[]) == set()

    def test_versions_are_found_by_number_content_artifact_and_run(self, storage: Storage) -> None:
        made = [
            make.make_artifact_version(artifact_id="a1", version=number, digest=digest_of(b"%d" % number), run_id=run)
            for number, run in [(1, None), (2, "r1")]
        ]
        with storage.write() as session:
            for version in made:
                session.artifact_versions.add(version)
        with storage.write() as session:
            assert session.artifact_versions.by_number("a1", 2) == made[1]
            assert session.artifact_versions.by_content("a1", digest_of(b"1")) == made[0]
            assert session.artifact_versions.by_content("a2", digest_of(b"1")) is None
            assert session.artifact_versions.list(FIRST, run_id="r1").items == (made[1],)
            assert len(session.artifact_versions.list(FIRST, artifact_id="a1").items) == 2

    def test_a_content_is_one_version_of_an_artifact(self, storage: Storage) -> None:
        same = {"digest": digest_of(b"same"), "artifact_id": "a1"}
        with storage.write() as session:
            session.artifact_versions.add(make.make_artifact_version(version=1, **same))
            with pytest.raises(ConflictError):
                session.artifact_versions.add(make.make_artifact_version(version=2, **same))
            session.artifact_versions.add(
                make.make_artifact_version(version=1, digest=same["digest"], artifact_id="a2")
            )

    def test_manifests_are_gone_through_each_once(self, storage: Storage) -> None:
        digests = sorted(digest_of(b"%d" % number) for number in range(5))
        with storage.write() as session:
            for digest in [*digests, digests[0]]:
                session.artifact_versions.add(make.make_artifact_version(manifest=digest))
        after = ""
        found: list[str] = []
        with storage.read() as session:
            while some := session.artifact_versions.manifests(after=after, limit=2):
                found += some
                after = some[-1]
        assert found == digests

    def test_a_run_has_each_link_once_and_both_ends_find_it(self, storage: Storage) -> None:
        used = make.make_link(run_id="r1", other_id="av1", relation=Relation.INPUT)
        made = make.make_link(run_id="r1", other_id="av1", relation=Relation.OUTPUT, created_at=moment(1))
        other = make.make_link(run_id="r2", other_id="av1", created_at=moment(2))
        with storage.write() as session:
            for link in (used, made, other, used.evolve(label="later")):
                session.links.put(link)
        with storage.read() as session:
            assert list(session.links.of_run("r1")) == [used, made]
            assert list(session.links.of_other("av1")) == [used, made, other]
            assert list(session.links.of_other("r1")) == []
        for _ in range(2):
            with storage.write() as session:
                session.links.delete_run("r1")
        with storage.read() as session:
            assert list(session.links.of_other("av1")) == [other]

    def test_links_to_things_of_two_kinds_with_one_id_are_two(self, storage: Storage) -> None:
        links = [make.make_link(run_id="r", other_id="x", kind=kind) for kind in (NodeKind.RUN, NodeKind.EXTERNAL)]
        with storage.write() as session:
            for link in links:
                session.links.put(link)
        with storage.read() as session:
            assert {link.kind for link in session.links.of_run("r")} == {NodeKind.RUN, NodeKind.EXTERNAL}

    def test_uploads_are_found_by_digest_and_age(self, storage: Storage) -> None:
        old = make.make_upload(project_id="p", created_at=moment(-100))
        young = make.make_upload(project_id="p")
        with storage.write() as session:
            session.uploads.add(young)
            session.uploads.add(old)
        with storage.read() as session:
            assert session.uploads.by_digest("p", old.digest) == old
            assert session.uploads.by_digest("q", old.digest) is None
            assert list(session.uploads.begun_before(moment(-50))) == [old]
            assert list(session.uploads.begun_before(moment(50))) == [old, young]


class BlobIndexContract(StorageFixtures):
    def test_held_blobs_are_young_again_and_the_others_are_named(self, storage: Storage) -> None:
        held, absent = digest_of(b"held"), digest_of(b"absent")
        with storage.write() as session:
            session.blobs.add("p", held, 4, moment(-1000))
            session.blobs.add("q", held, 4, moment(-1000))
            assert list(session.blobs.hold("p", [held, absent, held], moment())) == [absent]
        with storage.read() as session:
            assert list(session.blobs.idle(moment(-10), after="", limit=10)) == []
        with storage.write() as session:
            assert list(session.blobs.hold("p", [], moment())) == []

    def test_adding_a_blob_again_makes_it_young(self, storage: Storage) -> None:
        digest = digest_of(b"x")
        with storage.write() as session:
            session.blobs.add("p", digest, 1, moment(-1000))
        with storage.write() as session:
            session.blobs.add("p", digest, 1, moment())
        with storage.read() as session:
            assert list(session.blobs.idle(moment(-10), after="", limit=10)) == []

    def test_idle_blobs_are_those_that_no_project_touched_lately(self, storage: Storage) -> None:
        digests = sorted(digest_of(b"%d" % number) for number in range(5))
        with storage.write() as session:
            for number, digest in enumerate(digests):
                session.blobs.add("p", digest, number, moment(-1000))
            session.blobs.add("q", digests[1], 1, moment())
        before = moment(-10)
        with storage.read() as session:
            first = list(session.blobs.idle(before, after="", limit=2))
            rest = list(session.blobs.idle(before, after=first[-1][0], limit=10))
        assert first + rest == [(digest, number) for number, digest in enumerate(digests) if number != 1]

    def test_dropping_forgets_what_is_old_everywhere_and_says_what_nobody_holds(self, storage: Storage) -> None:
        old, shared, young = (digest_of(word) for word in (b"old", b"shared", b"young"))
        with storage.write() as session:
            for project in ("p", "q"):
                session.blobs.add(project, old, 1, moment(-1000))
            session.blobs.add("p", shared, 1, moment(-1000))
            session.blobs.add("q", shared, 1, moment())
            session.blobs.add("p", young, 1, moment())
        with storage.write() as session:
            dropped = session.blobs.drop([old, shared, young, digest_of(b"unknown")], moment(-10))
            assert set(dropped) == {old, digest_of(b"unknown")}
        with storage.read() as session:
            assert not session.blobs.has("p", shared)
            assert set(session.blobs.known([old, shared, young])) == {shared, young}

    def test_a_deleted_project_holds_nothing(self, storage: Storage) -> None:
        digest = digest_of(b"x")
        with storage.write() as session:
            session.blobs.add("p", digest, 1, moment())
            session.blobs.add("q", digest, 1, moment())
            session.blobs.delete_project("p")
        with storage.read() as session:
            assert not session.blobs.has("p", digest)
            assert session.blobs.has("q", digest)

    def test_records_say_which_blobs_they_name(self, storage: Storage) -> None:
        def file(word: bytes) -> FileEntry:
            return FileEntry(path="f", digest=digest_of(word), size=1)

        spec = make.make_job_spec(workspace=FilesWorkspace(files=(file(b"workspace"),)))
        with storage.write() as session:
            session.jobs.add(make.make_job(spec=spec, outputs=(file(b"output"),)))
            for number in range(120):
                session.model_versions.add(make.make_model_version(files=(file(b"model %d" % number),)))
        with storage.read() as session:
            found = {digest for noun in session.holders_of_blobs() for digest in noun.referenced_digests()}
        wanted = {digest_of(b"workspace"), digest_of(b"output")} | {digest_of(b"model %d" % n) for n in range(120)}
        assert wanted <= found

    def test_jobs_say_which_manifests_their_inputs_have_and_nothing_else_of_that_name(self, storage: Storage) -> None:
        with storage.write() as session:
            session.jobs.add(make.make_job(spec=make.make_job_spec(parameters={"manifest": digest_of(b"no manifest")})))
            for number in range(60):
                given = JobInput(source="artifact:a", manifest=digest_of(b"input %d" % number))
                model = JobInput(source="models:/m/1", manifest=digest_of(b"model"))
                spec = make.make_job_spec(
                    inputs={"train": given, "web": JobInput(source="https://x")}, init_model=model
                )
                session.jobs.add(make.make_job(spec=spec))
        with storage.read() as session:
            found = set(session.jobs.manifests())
        assert found == {digest_of(b"model")} | {digest_of(b"input %d" % number) for number in range(60)}

    def test_what_is_held_for_a_commit_survives_a_drop_that_waits_for_it(self, storage: Storage, peer: Storage) -> None:
        digest = digest_of(b"x")
        start = moment()
        with storage.write() as session:
            session.blobs.add("p", digest, 1, start - timedelta(days=2))
        with storage.write() as session:
            assert list(session.blobs.hold("p", [digest], start + timedelta(seconds=1))) == []
        with peer.write() as session:
            assert list(session.blobs.drop([digest], start)) == []
        with peer.read() as session:
            assert session.blobs.has("p", digest)
