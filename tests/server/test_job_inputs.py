"""Sources of jobs as the server resolves and keeps them: refused, recorded, linked, and never collected away."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.domain.artifacts import ArtifactEntry
from headway.domain.base import new_id, now
from headway.domain.collection import CollectionRequest
from headway.domain.files import FileEntry
from headway.domain.jobs import Job, JobCreate, JobInput, JobState
from headway.domain.lineage import NodeKind, Relation
from headway.domain.objects import ObjectPut
from headway.domain.parameters import with_arguments
from headway.domain.replicas import INIT_MODEL
from headway.domain.workspaces import FilesWorkspace, ObjectsWorkspace
from headway.errors import InvalidRequestError, NotFoundError
from headway.server.actions import artifacts, collection, job_inputs, jobs, manifests, objects, runs, sources


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A world on either database."""
    yield request.getfixturevalue("world" if request.param == "sqlite" else "postgres_world")


def earlier_job(world: Any, project: Any, *paths: str) -> Job:
    """A job that succeeded and left a file at each path."""
    outputs = []
    for path in paths:
        entry = world.blob(project, f"{path} {new_id('x')}".encode())
        outputs.append(entry.model_copy(update={"path": path}))
    job: Job = world.job(project).evolve(outputs=tuple(outputs), state=JobState.SUCCEEDED)
    with world.platform.storage.write() as session:
        session.jobs.put(job)
    return job


def put_objects(world: Any, project: Any, bucket: str, **contents: bytes) -> None:
    wanted = []
    for key, data in contents.items():
        entry = world.blob(project, data)
        wanted.append(ObjectPut(key=key, digest=entry.digest, size=entry.size))
    objects.put(world.platform, world.admin, project.id, bucket, wanted)


def listed(world: Any, given_input: JobInput) -> list[str]:
    """Paths in the manifest of an input."""
    assert given_input.manifest is not None
    entries = manifests.lines(world.platform, given_input.manifest)
    return [ArtifactEntry.model_validate_json(line).path for line in entries]


def links(world: Any, job: Job) -> set[tuple[NodeKind, str]]:
    with world.platform.storage.read() as session:
        return {
            (link.kind, link.other_id) for link in session.links.of_run(job.run_id) if link.relation is Relation.INPUT
        }


class TestResolution:
    def test_an_alias_is_recorded_as_the_version_it_named(self, place: Any) -> None:
        project = place.project()
        version = place.artifact(project, "digits", aliases=["golden"])
        for source in ("artifact:digits:golden", "artifact:digits:latest", "artifact:digits", "artifact:digits:v1"):
            job = place.job(project, inputs={"train": source})
            found = job.spec.inputs["train"]
            assert (found.source, found.resolved) == (source, "artifact:digits:v1")
            assert (found.digest, found.manifest) == (version.digest, version.manifest)
            assert links(place, job) == {(NodeKind.ARTIFACT_VERSION, version.id)}

    def test_an_artifact_in_a_folder_is_recorded_with_it(self, world: Any) -> None:
        project = world.project()
        world.artifact(project, "digits", folder="sets", make_folder=True)
        world.artifact(project, "digits")
        job = world.job(project, inputs={"train": "artifact:sets/digits:v1"})
        assert job.spec.inputs["train"].resolved == "artifact:sets/digits:v1"

    def test_a_model_version_gets_a_list_of_its_files(self, place: Any) -> None:
        project = place.project()
        version = place.version(project, "m")
        job = place.job(project, inputs={"again": "models:/m/1"}, init_model="models:/m/1")
        assert job.spec.inputs["again"].manifest == job.spec.init_model.manifest
        assert listed(place, job.spec.init_model) == ["predict.py"]
        assert (job.spec.init_model.resolved, job.spec.init_model.digest) == ("models:/m/1", version.digest)
        assert links(place, job) == {(NodeKind.MODEL_VERSION, version.id)}

    def test_outputs_of_a_run_below_a_path_or_one_of_them(self, place: Any) -> None:
        project = place.project()
        earlier = earlier_job(place, project, "sets/a.csv", "sets/deep/b.csv", "setsuna.csv", "report.txt")
        source = f"runs:/{earlier.run_id}"
        inputs = {
            "whole": source,
            "sets": f"{source}/sets",
            "one": f"{source}/report.txt",
            "deep": f"{source}/sets/deep/",
        }
        job = place.job(project, inputs=inputs)
        found = {name: listed(place, given_input) for name, given_input in job.spec.inputs.items()}
        assert found["sets"] == ["a.csv", "deep/b.csv"]
        assert found["one"] == ["report.txt"]
        assert found["deep"] == ["b.csv"]
        assert found["whole"] == ["report.txt", "sets/a.csv", "sets/deep/b.csv", "setsuna.csv"]
        assert links(place, job) == {(NodeKind.RUN, earlier.run_id)}

    def test_objects_below_a_prefix_are_fixed_when_the_job_is_made(self, place: Any) -> None:
        project = place.project()
        put_objects(place, project, "data", **{"train/a": b"1", "train/b": b"2", "trainer": b"3"})
        job = place.job(
            project, inputs={"train": "s3://data/train"}, workspace={"kind": "objects", "address": "s3://data/train/"}
        )
        put_objects(place, project, "data", **{"train/a": b"changed", "train/c": b"new"})
        assert listed(place, job.spec.inputs["train"]) == ["a", "b"]
        assert isinstance(job.spec.workspace, FilesWorkspace)
        assert [entry.path for entry in job.spec.workspace.files] == ["a", "b"]
        assert job.spec.workspace.source == "s3://data/train/"

    def test_an_address_is_recorded_without_its_secrets_which_agents_get(self, world: Any) -> None:
        url = "https://example.org/x.csv?version=2&sig=0123456789abcdef"
        job = world.job(world.project(), inputs={"train": url}, init_model="https://example.org/m.bin")
        assert "0123456789abcdef" not in job.model_dump_json() and "version=2" in job.spec.inputs["train"].source
        with world.platform.storage.read() as session:
            secrets = session.secrets.get(job.id)
        inputs, model = job_inputs.files_of(job.spec, secrets)
        assert (inputs[0].uri, inputs[0].manifest) == (url, None)
        assert model is not None and (model.name, model.uri) == (INIT_MODEL, "https://example.org/m.bin")

    def test_what_a_caller_claims_of_a_source_does_not_count(self, world: Any) -> None:
        project = world.project()
        version = world.artifact(project, "d")
        claim = {"source": "artifact:d:v1", "resolved": "artifact:other:v9", "digest": "0" * 64, "manifest": "1" * 64}
        found = world.job(project, inputs={"train": claim}).spec.inputs["train"]
        assert (found.resolved, found.digest, found.manifest) == ("artifact:d:v1", version.digest, version.manifest)


class TestRefusals:
    @pytest.mark.parametrize(
        ("source", "message", "hint"),
        [
            ("artifact:digitz:latest", "no artifact 'digitz'", "'digits'"),
            ("artifact:digits:v9", "no version 9", "v1"),
            ("artifact:digits:goldne", "no alias 'goldne'", "'golden'"),
            ("artefact:digits:v1", "is no source", "'artifact:digits:v1'"),
            ("digits:latest", "is no source", "'artifact:digits:latest'"),
            ("model:/m/1", "is no source", "'models:/m/1'"),
            ("models:/mm/1", "no model", "'m'"),
            ("models:/m/7", "no version 7", "newest"),
            ("runs:/nowhere/x", "no run 'nowhere'", "run list"),
            ("s3://dada/x", "no bucket 'dada'", "'data'"),
            ("s3://data/nothing", "nothing at", "object ls"),
            ("http://example.org/x", "is no source", "https://"),
            ("https:///x", "names no host", None),
            ("https://example.org:70000/x", "address to fetch is wrong", None),
            ("/etc/passwd", "is no source", "artifact:NAME"),
        ],
    )
    def test_an_unknown_source_is_named_with_what_was_meant(
        self, world: Any, source: str, message: str, hint: str | None
    ) -> None:
        project = world.project()
        world.artifact(project, "digits", aliases=["golden"])
        world.version(project, "m")
        put_objects(world, project, "data", **{"train/a": b"1"})
        with pytest.raises((InvalidRequestError, NotFoundError)) as caught:
            world.job(project, inputs={"train": source})
        assert caught.value.message.startswith("inputs.train: ") and message in caught.value.message
        assert hint is None or hint in (caught.value.hint or "")
        with world.platform.storage.read() as session:
            assert session.jobs.list(job_page(), project_ids=[project.id]).items == ()

    def test_a_run_of_a_job_that_left_nothing_there_is_named(self, world: Any) -> None:
        project = world.project()
        earlier = earlier_job(world, project, "report.txt")
        with pytest.raises(NotFoundError, match="left no file below 'reports'"):
            world.job(project, inputs={"train": f"runs:/{earlier.run_id}/reports"})

    def test_nothing_of_another_project_is_found(self, world: Any) -> None:
        mine, theirs = world.project(), world.project()
        artifact, version = world.artifact(theirs, "secret-data"), world.version(theirs, "m")
        earlier = earlier_job(world, theirs, "x")
        put_objects(world, theirs, "bucket", x=b"1")
        for source in (
            f"artifact:{artifact.id}",
            "artifact:secret-data",
            f"models:/{version.id}",
            "models:/m/1",
            f"runs:/{earlier.run_id}/x",
            "s3://bucket/x",
        ):
            with pytest.raises((NotFoundError, InvalidRequestError)):
                world.job(mine, inputs={"train": source})

    @pytest.mark.parametrize("key", ["train/../../x", "train//x", "train/a\\b", "train/" + "x" * 1000 + "/y/."])
    def test_a_key_that_can_be_no_file_is_named(self, world: Any, key: str) -> None:
        project = world.project()
        put_objects(world, project, "data", **{"train/a": b"1", key: b"2"})
        for fields in (
            {"inputs": {"train": "s3://data/train"}},
            {"workspace": ObjectsWorkspace(address="s3://data/train")},
        ):
            with pytest.raises(InvalidRequestError, match="cannot be a file"):
                world.job(project, **fields)

    def test_it_is_refused_over_http_with_the_place(self, world: Any) -> None:
        project = world.project()
        body = {"name": "x", "project": project.id, "command": "true", "init_model": "models:/none/1"}
        answer = world.client.post("/api/v1/jobs", json=body, headers=world.headers(world.admin_token))
        assert answer.status_code == 404 and answer.json()["detail"].startswith("init_model: ")

    def test_a_version_that_is_deleted_in_between_refuses_the_job(
        self, world: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        project = world.project()
        version = world.artifact(project, "d")
        real = job_inputs.prepare

        def prepare(platform: Any, caller: Any, request: JobCreate) -> Any:
            prepared = real(platform, caller, request)
            artifacts.delete_version(platform, caller, version.id)
            return prepared

        monkeypatch.setattr(job_inputs, "prepare", prepare)
        with pytest.raises(NotFoundError, match="deleted just now"):
            world.job(project, inputs={"train": "artifact:d:v1"})


def job_page() -> Any:
    from headway.domain.base import PageRequest

    return PageRequest(limit=10)


class TestCollection:
    @pytest.fixture(autouse=True)
    def settled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The margin for transactions of other servers; here everything is over when the next step begins."""
        monkeypatch.setattr(collection, "SETTLING", timedelta(0))

    def collect(self, world: Any) -> None:
        begun = now()
        while now() <= begun:
            pass
        collection.collect(world.platform, world.admin, CollectionRequest(grace_hours=0.0))

    def files(self, world: Any, job: Job) -> list[str]:
        """Digests of everything that the job's inputs list, and of the lists."""
        spec = job.spec
        found = []
        for given_input in [*spec.inputs.values(), *([spec.init_model] if spec.init_model else ())]:
            found += [given_input.manifest, *manifests.file_digests(world.platform, given_input.manifest)]
        return found

    def test_what_a_job_was_made_with_stays_while_it_exists_and_goes_with_it(self, place: Any) -> None:
        project = place.project()
        only = place.blob(project, b"in this project alone " + new_id("x").encode())
        manifest = place.manifest(project, [ArtifactEntry(path="a", digest=only.digest, size=only.size)])
        version = place.artifact(project, "d", manifest=manifest)
        earlier = earlier_job(place, project, "sets/a", "sets/b")
        put_objects(place, project, "data", **{"train/a": b"only here " + new_id("x").encode()})
        inputs = {"a": "artifact:d:v1", "r": f"runs:/{earlier.run_id}/sets", "s": "s3://data/train"}
        job = place.job(project, inputs=inputs)
        artifacts.delete_version(place.platform, place.admin, version.id)
        jobs.delete(place.platform, place.admin, earlier.id)
        objects.delete_bucket(place.platform, place.admin, project.id, "data", force=True)
        needed = self.files(place, job)
        assert len(needed) == 7
        self.collect(place)
        assert all(place.platform.blobs.size(digest) is not None for digest in needed)
        with place.platform.storage.read() as session:
            assert list(session.blobs.missing(project.id, needed)) == []
        jobs.delete(place.platform, place.admin, job.id)
        self.collect(place)
        assert all(place.platform.blobs.size(digest) is None for digest in needed)

    def test_a_parameter_that_looks_like_a_manifest_disturbs_nothing(self, world: Any) -> None:
        project = world.project()
        no_manifest = world.blob(project, b"no list of files " + new_id("x").encode())
        world.job(
            project, parameters={"manifest": no_manifest.digest, "inputs": {"x": {"manifest": no_manifest.digest}}}
        )
        self.collect(world)
        assert world.platform.blobs.size(no_manifest.digest) is not None  # the record names it


class TestParameters:
    PARAMETERS: dict[str, Any] = {"lr": 0.1, "api_key": "canary-in-the-mine", "layers": [1, 2]}

    def test_secrets_stay_out_of_record_run_and_events_and_reach_the_program(self, place: Any) -> None:
        project = place.project()
        job = place.job(project, command=["python", "train.py"], parameters=self.PARAMETERS, parameter_arguments=True)
        masked = {**self.PARAMETERS, "api_key": "[redacted]"}
        assert job.spec.parameters == masked
        assert runs.get(place.platform, place.admin, job.run_id).config == masked
        command = job.spec.roles["worker"].command
        assert command == ("python", "train.py", "--lr", "0.1", "--api_key", "[redacted]", "--layers", "[1, 2]")
        with place.platform.storage.read() as session:
            secrets = session.secrets.get(job.id)
            events = session.events.after(0, subject_id=job.id)
        assert "canary" not in job.model_dump_json() + "".join(event.model_dump_json() for event in events)
        assert job_inputs.parameters_of(job.spec, secrets) == self.PARAMETERS
        real = job_inputs.command_of(command, job.spec, secrets)
        assert real == ("python", "train.py", "--lr", "0.1", "--api_key", "canary-in-the-mine", "--layers", "[1, 2]")

    @settings(max_examples=50, deadline=None)
    @given(
        command=st.one_of(
            st.just(("/bin/sh", "-c", "run")), st.lists(st.text("ab-", max_size=3), min_size=1, max_size=4).map(tuple)
        ),
        parameters=st.dictionaries(
            st.sampled_from(["lr", "password", "api_key", "layers"]),
            st.one_of(st.integers(), st.text("xyz[]", max_size=12), st.none(), st.lists(st.integers(), max_size=3)),
        ),
    )
    def test_a_program_gets_its_arguments_as_if_nothing_were_hidden(
        self, world: Any, command: tuple[str, ...], parameters: dict[str, Any]
    ) -> None:
        request = JobCreate(
            name="x",
            project="p",
            roles={"worker": {"command": command}},
            parameters=parameters,
            parameter_arguments=True,
        )
        prepared = job_inputs.prepare(world.platform, world.admin, request)
        recorded = prepared.spec.roles["worker"].command
        assert job_inputs.command_of(recorded, prepared.spec, prepared.secrets) == with_arguments(command, parameters)

    def test_a_retry_after_the_run_was_deleted_has_them_and_the_links_again(self, place: Any) -> None:
        project = place.project()
        artifact, version = place.artifact(project, "d"), place.version(project, "m")
        earlier = earlier_job(place, project, "x")
        inputs = {"a": "artifact:d:v1", "r": f"runs:/{earlier.run_id}/x", "w": "https://example.org/x"}
        job = place.job(project, inputs=inputs, init_model="models:/m/1", parameters=self.PARAMETERS)
        before = links(place, job)
        with place.platform.storage.write() as session:
            session.jobs.put(job.evolve(state=JobState.FAILED))
            runs.drop_records(session, job.run_id)
        runs.remove_bytes(place.platform)
        assert links(place, job) == set()
        again = jobs.retry(place.platform, place.admin, job.id)
        assert again.spec == job.spec and links(place, job) == before
        assert {other for _, other in before} == {artifact.id, version.id, earlier.run_id, "https://example.org/x"}
        assert runs.get(place.platform, place.admin, job.run_id).config["lr"] == 0.1


def test_resolving_is_open_to_others(world: Any) -> None:
    project = world.project()
    version = world.artifact(project, "d")
    found = sources.resolve(world.platform, world.admin, project, "artifact:d")
    assert (found.uri, found.manifest, found.files) == ("artifact:d:v1", version.manifest, ())


def test_a_workspace_of_objects_cannot_be_claimed_as_anything_else(world: Any) -> None:
    project = world.project()
    with pytest.raises(NotFoundError, match="workspace: "):
        world.job(project, workspace=ObjectsWorkspace(address="s3://nothing/x"))
    gone = FileEntry(path="x", digest="0" * 64, size=1)
    with pytest.raises(InvalidRequestError, match="not uploaded"):
        world.job(project, workspace=FilesWorkspace(files=(gone,), source="s3://nothing/x"))
