"""The registry over its API: names, references, aliases, sources, what is copied of runs, and who comes first."""

from __future__ import annotations

from typing import Any

import pytest

from headway.domain.artifacts import ArtifactEntry
from headway.domain.base import new_id
from headway.domain.jobs import JobState
from headway.domain.metrics import SeriesSummary
from headway.domain.runs import RunDetails
from headway.server.actions import registration, version_facts

API = "/api/v1"


class Registry:
    """One project of a server, asked over its API as an admin."""

    def __init__(self, world: Any) -> None:
        self.world, self.project = world, world.project()

    def ask(self, verb: str, path: str, status: int = 200, **keywords: Any) -> Any:
        answer = self.world.client.request(
            verb, API + path, headers=self.world.headers(self.world.admin_token), **keywords
        )
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def files(self) -> list[dict[str, Any]]:
        return [self.world.blob(self.project).model_dump(mode="json")]

    def body(self, name: str = "digits", **fields: Any) -> dict[str, Any]:
        if "source" not in fields:
            fields.setdefault("files", self.files())
        return {"project": self.project.id, "name": name, **fields}

    def register(self, name: str = "digits", status: int = 201, **fields: Any) -> Any:
        return self.ask("POST", "/models", status, json=self.body(name, **fields))

    def resolve(self, reference: str, status: int = 200) -> Any:
        return self.ask("GET", "/model-versions/resolve", status, params={"ref": reference, "project": self.project.id})

    def versions(self, status: int = 200, **query: Any) -> Any:
        found = self.ask("GET", "/model-versions", status, params={"project": self.project.id, **query})
        return {version["version_name"] or version["version"] for version in found["items"]} if status == 200 else found

    def patch(self, version: str, status: int = 200, **changes: Any) -> Any:
        return self.ask("PATCH", f"/model-versions/{version}", status, json=changes)

    def lineage(self, subject: str) -> list[tuple[str, str, str]]:
        found = self.ask("GET", "/lineage", params={"subject": subject})
        labels = {node["id"]: node["label"] for node in found["nodes"]}
        return sorted((labels[e["source"]], e["relation"], labels[e["target"]]) for e in found["edges"])


@pytest.fixture
def registry(world: Any) -> Registry:
    return Registry(world)


def test_a_version_is_resolved_by_each_of_its_names(registry: Registry) -> None:
    registry.register(version_name="1.0.2")
    version = registry.register(version_name="1.0.3", aliases=["champion", "canary"])
    registry.register()
    forms = ["models:/digits/1.0.3", "digits:1.0.3", "models:/digits/2", "digits:v2", "digits:2", "digits@champion"]
    assert {registry.resolve(form)["id"] for form in [*forms, "models:/digits@canary", version["id"]]} == {
        version["id"]
    }
    assert registry.resolve("digits")["version"] == registry.resolve("models:/digits/latest")["version"] == 3


def test_a_version_name_is_given_once_in_a_model(registry: Registry) -> None:
    first = registry.register(version_name="1.0.3", aliases=["champion"])
    refused = registry.register(version_name="1.0.3", aliases=["champion"], status=409)
    assert refused["code"] == "conflict"
    assert "1.0.3" in refused["detail"]
    assert refused["details"]["version"] == first["id"]
    assert registry.resolve("digits@champion")["id"] == first["id"], "the alias moved with a registration that failed"
    assert registry.register("letters", version_name="1.0.3")["version"] == 1
    assert registry.register(version_name="1.0.4")["version"] == 2, "a refused registration used up a number"


@pytest.mark.parametrize("name", ["latest", "3", "v3", "", " 1", "a/b", "a:b", "a@b", "x" * 65, "-a"])
def test_a_version_name_that_means_something_else_is_refused(registry: Registry, name: str) -> None:
    assert "version_name" in registry.register(version_name=name, status=422)["detail"]


@pytest.mark.parametrize("alias", ["latest", "3", "v3"])
def test_an_alias_that_means_a_version_by_itself_is_refused(registry: Registry, alias: str) -> None:
    registry.register(aliases=[alias], status=422)
    model = registry.register()["model_id"]
    registry.ask("PUT", f"/models/{model}/aliases/{alias}", 422, json={"version": 1})


def test_an_unknown_version_is_told_with_what_is_close(registry: Registry) -> None:
    registry.register(version_name="1.0.3", aliases=["champion"])
    assert "1.0.3" in registry.resolve("digits:1.0.4", 404)["hint"]
    assert "digits@champion" in registry.resolve("digits:champion", 404)["hint"]
    assert "champion" in registry.resolve("digits@champoin", 404)["hint"]
    assert "digits" in registry.resolve("digit:1.0.3", 404)["hint"]
    assert "newest is 1" in registry.resolve("digits:7", 404)["hint"]
    assert registry.resolve("digits:0", 422)["code"] == "invalid_request"


def test_a_model_whose_name_looks_like_a_reference_is_found_by_it(registry: Registry) -> None:
    slashed, plain = registry.register("team/digits"), registry.register("a:b")
    registry.register("team", version_name="letters")
    assert registry.resolve("team/digits")["id"] == registry.resolve("models:/team/digits")["id"] == slashed["id"]
    assert registry.resolve("models:/team/digits/1")["id"] == slashed["id"]
    assert registry.resolve("a:b")["id"] == registry.resolve("a:b:v1")["id"] == plain["id"]


def test_the_newest_is_the_last_that_was_not_deleted(registry: Registry) -> None:
    registry.register()
    newest = registry.register()
    registry.ask("DELETE", f"/model-versions/{newest['id']}", 204)
    assert registry.resolve("digits")["version"] == 1
    assert registry.register()["version"] == 3, "a number was given again"


def test_aliases_are_set_in_the_step_of_the_registration(registry: Registry) -> None:
    registry.register(aliases=["champion"])
    second = registry.register(aliases=["champion", "canary"])
    model = registry.ask("GET", f"/models/{second['model_id']}")
    assert model["aliases"] == {"champion": 2, "canary": 2}
    missing = [{"path": "a", "digest": "0" * 64, "size": 1}]
    registry.register(aliases=["champion"], files=missing, status=422)
    assert registry.ask("GET", f"/models/{second['model_id']}")["aliases"] == {"champion": 2, "canary": 2}


def test_what_its_maker_says_of_a_version_is_kept(registry: Registry) -> None:
    signature = {"inputs": [{"name": "x", "dtype": "float64", "shape": [None, 64]}], "outputs": [], "example": [[0.5]]}
    git = {"url": "https://me:hunter2@example.org/code.git", "commit": "c0ffee", "branch": "main", "dirty": True}
    more = {"source": "/home/me/model", "files": registry.files(), "labels": {"stage": "dev"}}
    made = registry.register(signature=signature, git=git, **more)
    found = registry.ask("GET", f"/model-versions/{made['id']}")
    assert found["signature"] == signature
    assert found["git"] == {**git, "url": "https://example.org/code.git"}
    assert (found["source"], found["labels"]) == ("/home/me/model", {"stage": "dev"})


def test_a_source_is_kept_without_credentials(registry: Registry) -> None:
    made = registry.register(
        files=registry.files(), source="https://me:hunter2@example.org/m.onnx?X-Amz-Signature=0123abcd"
    )
    assert "hunter2" not in made["source"]
    assert "0123abcd" not in made["source"]


def test_labels_and_words_of_a_version_change_and_nothing_else(registry: Registry) -> None:
    made = registry.register(labels={"stage": "staging", "team": "a"})
    changed = registry.patch(made["id"], labels={"stage": "production", "team": None, "new": ""}, description="Better.")
    assert changed == {**made, "labels": {"stage": "production", "new": ""}, "description": "Better."}
    assert registry.patch(made["id"], labels={}) == changed
    assert "files" in registry.patch(made["id"], files=[], status=422)["detail"]
    assert "labels" in registry.patch(made["id"], label={}, status=422)["hint"]
    registry.patch(made["id"], labels={str(number): "x" for number in range(255)}, status=409)
    events = registry.ask("GET", "/events", params={"subject": made["model_id"], "project": registry.project.id})
    told = [event for event in events["items"] if event["type"] == "model.version_updated"]
    assert [event["data"]["labels"] for event in told] == [["new", "stage", "team"]]


def test_the_words_of_a_model_change(registry: Registry) -> None:
    model = registry.register()["model_id"]
    assert registry.ask("PATCH", f"/models/{model}", json={"description": "Digits."})["description"] == "Digits."
    by_name = registry.ask("PATCH", "/models/digits", json={"description": ""}, params={"project": registry.project.id})
    assert by_name["description"] == ""
    registry.ask("PATCH", f"/models/{model}", 422, json={"name": "other"})


def test_versions_are_listed_by_name_label_alias_and_version_name(registry: Registry) -> None:
    registry.register(version_name="1.0", labels={"stage": "production", "site": "a:b"}, aliases=["champion"])
    registry.register(version_name="1.1", labels={"stage": "production"})
    registry.register("letters", version_name="2.0", labels={"stage": "staging"}, aliases=["champion"])
    assert registry.versions(name="igit") == {"1.0", "1.1"}
    assert registry.versions(label="stage:production") == {"1.0", "1.1"}
    assert registry.versions(label=["stage:production", "site:a:b"]) == {"1.0"}
    assert registry.versions(alias="champion") == {"1.0", "2.0"}
    assert registry.versions(alias="champion", label="stage:staging") == {"2.0"}
    assert registry.versions(version_name="1.1") == {"1.1"}
    assert registry.versions(model="letters") == {"2.0"}
    assert registry.versions(name="igit", alias="absent") == set()
    assert "key:value" in registry.versions(422, label="stage")["detail"]
    assert "two values" in registry.versions(422, label=["stage:a", "stage:b"])["detail"]
    found = registry.ask("GET", "/models", params={"project": registry.project.id, "contains": "ett"})
    assert [model["name"] for model in found["items"]] == ["letters"]


def test_a_version_made_of_an_artifact_has_its_files_and_says_so(registry: Registry) -> None:
    made = registry.world.artifact(registry.project, "data", aliases=["best"])
    for source in ("artifact:data:best", "artifact:data:v1", "artifact:data"):
        version = registry.register(source=source)
        assert version["source"] == "artifact:data:v1"
        assert [entry["path"] for entry in version["files"]] == ["predict.py"]
    assert version["digest"] == registry.register()["digest"]
    edge = ("data:v1", "copied", f"digits/{version['version']}")
    assert edge in registry.lineage(version["id"])
    assert edge in registry.lineage(made.id)
    registry.ask("DELETE", f"/model-versions/{version['id']}", 204)
    assert edge not in registry.lineage(made.id)


def test_a_version_is_not_made_of_references(registry: Registry) -> None:
    entries = [ArtifactEntry(path="big.bin", uri="s3://elsewhere/big.bin")]
    manifest = registry.world.manifest(registry.project, entries)
    body = {"project": registry.project.id, "name": "far", "manifest": manifest}
    registry.ask("POST", "/artifact-versions", 201, json=body)
    refused = registry.register(source="artifact:far:v1", status=422)
    assert "big.bin" in refused["detail"]
    assert "s3://elsewhere/big.bin" in refused["detail"]
    assert registry.versions() == set()


def test_a_version_made_of_objects_has_their_files_under_their_keys(registry: Registry) -> None:
    entry = registry.files()[0]
    put = [{**entry, "key": key} for key in ("nets/a/predict.py", "nets/a/deep/x.py", "nets/ab.py", "nets/a/../y")]
    area = f"/projects/{registry.project.id}/buckets/data/objects"
    for objects in (put[:3], put[3:]):
        body = {"objects": [{name: each[name] for name in ("key", "digest", "size")} for each in objects]}
        registry.world.client.post(
            API + area, json=body, headers=registry.world.headers(registry.world.admin_token)
        ).raise_for_status()
        if objects == put[:3]:
            version = registry.register(source="s3://data/nets/a")
    assert [each["path"] for each in version["files"]] == ["deep/x.py", "predict.py"]
    assert version["source"] == "s3://data/nets/a"
    assert ("s3://data/nets/a", "copied", "digits/1") in registry.lineage(version["id"])
    one = registry.register(source="s3://data/nets/ab.py")
    assert [each["path"] for each in one["files"]] == ["ab.py"]
    assert "'..'" in registry.register(source="s3://data/nets/a/", status=422)["detail"]
    assert "absent" in registry.register(source="s3://absent/x", status=404)["detail"]
    assert "s3://data/other" in registry.register(source="s3://data/other", status=404)["detail"]


def finished_job(registry: Registry, **outputs: bytes) -> Any:
    """A job that succeeded and left these files and a model."""
    world, project = registry.world, registry.project
    job = world.job(project)
    entries = [
        world.blob(project, data).model_copy(update={"path": name.replace("__", "/")}) for name, data in outputs.items()
    ]
    model = [world.blob(project)]
    with world.platform.storage.write() as session:
        version = registration.add_left_by_job(
            session,
            model,
            project_id=project.id,
            name="left",
            run_id=job.run_id,
            job_id=job.id,
            actor=world.admin.user.id,
        )
        job = session.jobs.get(job.id).evolve(
            state=JobState.SUCCEEDED, outputs=tuple(entries), model_version_id=version.id
        )
        session.jobs.put(job)
    return job


def test_a_version_made_of_what_a_job_left_is_of_its_run(registry: Registry) -> None:
    job = finished_job(registry, final__model_txt=b"1", final__deep__note=b"2", other=b"3")
    version = registry.register(source=f"runs:/{job.run_id}/final")
    assert [entry["path"] for entry in version["files"]] == ["deep/note", "model_txt"]
    assert (version["run_id"], version["job_id"]) == (job.run_id, job.id)
    assert version["source"] == f"runs:/{job.run_id}/final"
    one = registry.register(source=f"runs:/{job.run_id}/final/deep/note")
    assert [entry["path"] for entry in one["files"]] == ["note"]
    of_model = registry.register(source=f"runs:/{job.run_id}/model/")
    assert [entry["path"] for entry in of_model["files"]] == ["predict.py"]
    everything = registry.register(source=f"runs:/{job.run_id}/")
    assert len(everything["files"]) == 4
    for made in (version, one):
        edges = registry.lineage(made["id"])
        assert ("a job", "executes", "a job") in edges
        assert ("a job", "output", f"digits/{made['version']}") in edges
        assert ("a job", "output", f"digits/{made['version']}") in registry.lineage(job.id)


def test_a_source_that_is_nothing_is_refused_with_the_reason(registry: Registry) -> None:
    job = finished_job(registry, final=b"1")
    assert "'final'" in registry.register(source=f"runs:/{job.run_id}/fin", status=404)["hint"]
    assert "absent" in registry.register(source="runs:/absent/x", status=404)["detail"]
    tracked = registry.ask("POST", "/runs", 201, json={"project": registry.project.id})
    assert "no job" in registry.register(source=f"runs:/{tracked['id']}/x", status=422)["detail"]
    assert "absent" in registry.register(source="artifact:absent:v1", status=404)["detail"]
    for source in ("ftp://x/y", "/etc/passwd", "file:///etc/passwd", "runs:", "https://example.org/m.onnx"):
        assert source in registry.register(source=source, status=422)["detail"]
    assert "files or a source" in registry.register(files=[], status=422)["detail"]
    assert registry.versions(model="left") == {1}


def test_another_project_is_no_source(registry: Registry, world: Any) -> None:
    other = Registry(world)
    job = finished_job(other, final=b"1")
    world.artifact(other.project, "secret")
    version = world.artifact(other.project, "hidden")
    registry.register(source=f"runs:/{job.run_id}/final", status=404)
    registry.register(source="artifact:secret:v1", status=404)
    registry.register(source=f"artifact:{version.id}", status=404)
    registry.register(run=job.run_id, status=404)
    registry.register(job=job.id, status=404)


def describe_run(registry: Registry, run_id: str) -> None:
    platform = registry.world.platform
    with platform.storage.write() as session:
        run = session.runs.get(run_id)
        session.runs.put(run.evolve(config={"lr": 0.1, "optimizer": {"name": "adam"}, "nan": "NaN"}))
        remote = "https://me:hunter2@example.org/code.git"
        git = {"root": "/home/me/code", "commit": "c0ffee", "branch": "main", "remote": remote, "dirty": False}
        session.run_details.put(RunDetails(run_id=run_id, environment={"git": git}))
        series = SeriesSummary(name="loss", stage="val", count=2, last=0.25, last_step=1)
        session.run_metrics.put(run_id, [series, SeriesSummary(name="bad", stage="", count=1, last="NaN")])


CAPTURED = {"url": "https://example.org/code.git", "commit": "c0ffee", "branch": "main", "dirty": False}


def test_what_a_run_was_is_copied_and_outlives_it(registry: Registry) -> None:
    run = registry.ask("POST", "/runs", 201, json={"project": registry.project.id, "config": {"lr": 0.1}})["id"]
    version = registry.register(run=run)
    assert (version["run_id"], version["parameters"], version["metrics"]) == (run, {"lr": 0.1}, {})
    registry.ask("DELETE", f"/runs/{run}", 204)
    assert registry.ask("GET", f"/model-versions/{version['id']}")["parameters"] == {"lr": 0.1}


def test_the_version_that_a_job_leaves_gets_what_is_taken_in_later(registry: Registry) -> None:
    job = finished_job(registry)
    by_hand = registry.register(run=job.run_id)
    assert by_hand["job_id"] == job.id
    describe_run(registry, job.run_id)
    version_facts.refresh(registry.world.platform, job.run_id)
    version = registry.ask("GET", f"/model-versions/{job.model_version_id}")
    assert version["git"] == CAPTURED
    assert version["parameters"] == {"lr": 0.1, "optimizer": {"name": "adam"}, "nan": "NaN"}
    assert version["metrics"] == {"bad": "NaN", "val.loss": 0.25}
    assert registry.ask("GET", f"/model-versions/{by_hand['id']}") == by_hand


def test_the_version_of_a_job_begins_with_what_is_known_of_its_run(registry: Registry) -> None:
    job = registry.world.job(registry.project)
    describe_run(registry, job.run_id)
    with registry.world.platform.storage.write() as session:
        version = registration.add_left_by_job(
            session,
            [],
            project_id=registry.project.id,
            name="left",
            run_id=job.run_id,
            job_id=job.id,
            actor="usr1",
        )
    assert version.metrics == {"bad": "NaN", "val.loss": 0.25}
    assert version.git is not None
    assert version.git.model_dump() == CAPTURED


def test_a_run_and_a_job_that_do_not_belong_together_are_refused(registry: Registry) -> None:
    one, two = registry.world.job(registry.project), registry.world.job(registry.project)
    refused = registry.register(run=one.run_id, job=two.id, status=422)
    assert two.run_id in refused["detail"]
    assert registry.register(job=two.id)["run_id"] == two.run_id


def test_delete_is_refused_while_it_is_deployed_and_names_who_uses_it(registry: Registry) -> None:
    version = registry.register()
    other = registry.register()
    names = [new_id("dep"), new_id("dep")]
    made = [
        registry.ask(
            "POST",
            "/deployments",
            201,
            json={"project": registry.project.id, "name": name, "model": version["id"], "start": False},
        )
        for name in names
    ]
    for path in (f"/model-versions/{version['id']}", f"/models/{version['model_id']}"):
        refused = registry.ask("DELETE", path, 409)
        assert all(name in refused["detail"] for name in names)
        assert set(refused["details"]["deployments"]) == {each["id"] for each in made}
    assert registry.versions() == {1, 2}
    registry.ask("DELETE", f"/model-versions/{other['id']}", 204)
    for each in made:
        registry.ask("DELETE", f"/deployments/{each['id']}", 204)
    registry.ask("DELETE", f"/models/{version['model_id']}", 204)
    assert registry.versions() == set()


def test_delete_is_refused_while_a_revision_with_it_comes_up(registry: Registry) -> None:
    live, coming = registry.register(), registry.register()
    name = new_id("dep")
    body = {"project": registry.project.id, "name": name, "model": live["id"]}
    deployment = registry.ask("POST", "/deployments", 201, json=body)
    registry.ask("PATCH", f"/deployments/{deployment['id']}", json={"model": coming["id"]})
    refused = registry.ask("DELETE", f"/model-versions/{coming['id']}", 409)
    assert name in refused["detail"]
    assert refused["details"]["deployments"] == [deployment["id"]]
