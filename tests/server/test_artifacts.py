"""Artifacts over HTTP: commits, names, aliases, folders, files."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headway.domain.artifacts import ArtifactEntry, artifact_digest
from headway.domain.base import new_id
from headway.errors import InvalidRequestError, NotFoundError
from headway.server.actions import manifests

API = "/api/v1"


class Api:
    """Requests of the administrator about one project."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.project = world.project()
        self._headers = world.headers(world.admin_token)

    def ask(self, verb: str, path: str, status: int = 200, **keywords: Any) -> Any:
        headers = {**self._headers, **keywords.pop("headers", {})}
        answer = self.world.client.request(verb, API + path, headers=headers, **keywords)
        assert answer.status_code == status, answer.text
        if not answer.content or "json" not in answer.headers.get("content-type", ""):
            return answer
        return answer.json()

    def manifest(self, *files: tuple[str, bytes], references: dict[str, str] | None = None) -> str:
        entries = []
        for path, data in files:
            stored = self.world.blob(self.project, data)
            entries.append(ArtifactEntry(path=path, digest=stored.digest, size=stored.size))
        entries += [ArtifactEntry(path=path, uri=uri) for path, uri in (references or {}).items()]
        return str(self.world.manifest(self.project, sorted(entries, key=lambda entry: entry.path)))

    def commit(self, name: str, *files: tuple[str, bytes], status: int = 201, **fields: Any) -> Any:
        manifest = fields.pop("manifest", None) or self.manifest(*files)
        body = {"project": self.project.name, "name": name, "manifest": manifest, **fields}
        return self.ask("POST", "/artifact-versions", status, json=body)

    def resolve(self, reference: str, status: int = 200) -> Any:
        query = {"project": self.project.name, "ref": reference}
        return self.ask("GET", "/artifact-versions/resolve", status, params=query)


@pytest.fixture
def api(world: Any) -> Api:
    return Api(world)


def test_versions_are_numbered_and_the_same_content_is_the_same_version(api: Api) -> None:
    one = api.commit("data", ("a", b"1"), labels={"k": "v"}, description="first", metadata={"n": [1.5, None]})
    two = api.commit("data", ("a", b"2"))
    again = api.commit("data", ("a", b"1"), status=200)
    assert (one["version"], two["version"], again["id"]) == (1, 2, one["id"])
    assert (one["outcome"], again["outcome"]) == ("created", "found")
    assert (one["labels"], one["metadata"], one["entries"], one["size"]) == ({"k": "v"}, {"n": [1.5, None]}, 1, 1)
    digest = hashlib.sha256(b"1").hexdigest()
    assert one["digest"] == artifact_digest([ArtifactEntry(path="a", digest=digest, size=1)])
    artifact = api.ask("GET", f"/artifacts/{one['artifact_id']}")
    assert (artifact["name"], artifact["latest_version"]) == ("data", 2)


def test_a_repeated_commit_with_one_key_is_one_commit(api: Api) -> None:
    manifest = api.manifest(("a", b"key"))
    body = {"project": api.project.name, "name": "keyed", "manifest": manifest}
    answers = [
        api.ask("POST", "/artifact-versions", 201, json=body, headers={"Idempotency-Key": "k1"}) for _ in range(2)
    ]
    assert answers[0] == answers[1]


def test_every_form_of_reference_finds_its_version(api: Api) -> None:
    one = api.commit("data", ("a", b"1"), aliases=["good"])
    two = api.commit("data", ("a", b"2"))
    for reference in ("data", "data:latest", "data:v2", "artifact:data:v2", "artifact:data", two["id"]):
        assert api.resolve(reference)["id"] == two["id"]
    for reference in ("data:v1", "data:good", "artifact:data:good"):
        assert api.resolve(reference)["id"] == one["id"]


@pytest.mark.parametrize(
    ("reference", "hint"),
    [
        ("dat", "'data'"),
        ("data:goo", "'good'"),
        ("data:v7", "v1"),
        ("data:", "v1"),
        ("other/data", "data"),
        ("absent:v1", "headway artifact ls"),
        ("data@good", "'data:good'"),
    ],
)
def test_an_unknown_reference_says_what_there_is(api: Api, reference: str, hint: str) -> None:
    api.commit("data", ("a", b"1"), aliases=["good"])
    assert hint in api.resolve(reference, 404).get("hint", "")


def test_aliases_move_and_go_with_their_version(api: Api) -> None:
    one = api.commit("data", ("a", b"1"), aliases=["best"])
    two = api.commit("data", ("a", b"2"))
    path = f"/artifacts/{one['artifact_id']}/aliases"
    assert api.ask("PUT", f"{path}/best", json={"version": 2})["aliases"] == {"best": 2}
    assert api.ask("PUT", f"{path}/old", json={"version": 1})["aliases"] == {"best": 2, "old": 1}
    api.ask("PUT", f"{path}/best", 404, json={"version": 9})
    for word in ("latest", "v3"):
        api.ask("PUT", f"{path}/{word}", 422, json={"version": 1})
        api.commit("data", ("a", b"3"), status=422, aliases=[word])
    api.ask("DELETE", f"{path}/old", 204)
    api.ask("DELETE", f"{path}/old", 404)
    api.ask("DELETE", f"/artifact-versions/{two['id']}", 204)
    assert api.ask("GET", f"/artifacts/{one['artifact_id']}")["aliases"] == {}
    assert api.resolve("data")["id"] == one["id"]
    assert api.commit("data", ("a", b"4"))["version"] == 3


@pytest.mark.parametrize("name", ["", "a b", "a/b", "../a", "a:v1", "-a", "a.", "é", "a\n", "x" * 257])
def test_a_name_that_could_not_be_a_reference_is_refused(api: Api, name: str) -> None:
    api.commit(name, ("a", b"1"), status=422)


class TestConflicts:
    def test_without_a_strategy_the_name_is_shared(self, api: Api) -> None:
        api.commit("data", ("a", b"1"), alternative_name="data_1")
        assert api.commit("data", ("a", b"2"), alternative_name="data_2")["version"] == 2

    def test_the_same_artifact_again_is_no_conflict(self, api: Api) -> None:
        for strategy in ("skip", "error", "new", "replace"):
            own = {"alternative_name": f"{strategy}_1", "conflict_strategy": strategy}
            one = api.commit(strategy, ("a", b"1"), **own)
            two = api.commit(strategy, ("a", b"2"), **own)
            assert (two["artifact_id"], two["version"], two["outcome"]) == (one["artifact_id"], 2, "created")
            other = {"alternative_name": f"{strategy}_9", "conflict_strategy": strategy}
            assert api.commit(strategy, ("a", b"1"), status=200, **other)["id"] == one["id"]

    def test_skip_gives_what_is_there(self, api: Api) -> None:
        one = api.commit("data", ("a", b"1"), alternative_name="data_1")
        other = {"alternative_name": "data_2", "conflict_strategy": "skip"}
        found = api.commit("data", ("a", b"2"), status=200, **other)
        assert (found["id"], found["outcome"]) == (one["id"], "skipped")
        assert api.ask("GET", f"/artifacts/{one['artifact_id']}")["latest_version"] == 1

    def test_error_names_what_is_there(self, api: Api) -> None:
        one = api.commit("data", ("a", b"1"), alternative_name="data_1")
        other = {"alternative_name": "data_2", "conflict_strategy": "error"}
        problem = api.commit("data", ("a", b"2"), status=409, **other)
        assert problem["details"]["artifact"] == one["artifact_id"]
        assert "'data'" in problem["detail"]

    def test_new_keeps_both(self, api: Api) -> None:
        one = api.commit("data", ("a", b"1"), alternative_name="data_1")
        other = {"alternative_name": "data_2", "conflict_strategy": "new"}
        two = api.commit("data", ("a", b"2"), **other)
        assert (two["name"], two["version"], two["outcome"]) == ("data_2", 1, "renamed")
        assert api.resolve("data")["id"] == one["id"]
        assert api.resolve("data_2")["id"] == two["id"]
        assert api.commit("data", ("a", b"2"), status=200, **other)["id"] == two["id"]
        unnamed = api.commit("data", ("a", b"3"), conflict_strategy="new")
        assert unnamed["name"].startswith("data_2")

    def test_replace_deletes_what_was_there(self, api: Api) -> None:
        one = api.commit("data", ("a", b"1"), alternative_name="data_1", aliases=["best"])
        other = {"alternative_name": "data_2", "conflict_strategy": "replace"}
        two = api.commit("data", ("a", b"2"), **other)
        assert (two["version"], two["outcome"]) == (1, "replaced")
        api.ask("GET", f"/artifact-versions/{one['id']}", 404)
        api.resolve("data:best", 404)

    def test_an_unknown_strategy_is_refused(self, api: Api) -> None:
        assert "conflict_strategy" in api.commit("data", ("a", b"1"), status=422, conflict_strategy="no")["detail"]


class TestFolders:
    def test_a_folder_is_there_or_is_made(self, api: Api) -> None:
        api.commit("data", ("a", b"1"), status=404, folder="some/where")
        api.commit("data", ("a", b"1"), folder="/some/where/", make_folder=True)
        version = api.commit("data", ("a", b"2"), folder="some/where")
        assert version["version"] == 2
        api.commit("other", ("a", b"2"), folder="some")
        listed = api.ask("GET", "/artifacts", params={"project": api.project.name, "folder": "some/where"})
        assert [found["name"] for found in listed["items"]] == ["data"]

    def test_a_name_in_several_folders_needs_its_folder(self, api: Api) -> None:
        top = api.commit("data", ("a", b"0"))
        one = api.commit("data", ("a", b"1"), folder="one", make_folder=True)
        two = api.commit("data", ("a", b"2"), folder="two", make_folder=True)
        assert api.resolve("data")["id"] == top["id"]
        assert api.resolve("one/data:v1")["id"] == one["id"]
        assert api.resolve("artifact:two/data")["id"] == two["id"]
        api.ask("DELETE", f"/artifacts/{top['artifact_id']}", 204)
        assert "Several folders" in api.resolve("data", 422)["detail"]
        api.ask("DELETE", f"/artifacts/{one['artifact_id']}", 204)
        assert api.resolve("data")["id"] == two["id"]

    @pytest.mark.parametrize("folder", ["a/../b", "a//b", "..", "a\\b", "a\x00b"])
    def test_a_folder_that_leads_elsewhere_is_refused(self, api: Api, folder: str) -> None:
        api.commit("data", ("a", b"1"), status=422, folder=folder, make_folder=True)


def line(**values: Any) -> bytes:
    return json.dumps(values).encode() + b"\n"


GOOD = {"digest": "ab" * 32, "size": 1}


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (b"no json\n", "Line 1"),
        (line(path="a", **GOOD) + b"\n", "Line 2"),
        (line(path="../a", **GOOD), "'..'"),
        (line(path="/a", **GOOD), "relative"),
        (line(path="a\x00", **GOOD), "control"),
        (line(path="a", **GOOD) * 2, "listed twice"),
        (line(path="b", **GOOD) + line(path="a", **GOOD), "order"),
        (line(path="a", **GOOD) + line(path="a-", **GOOD) + line(path="a/b", **GOOD), "directory"),
        (line(path="a", digest="ab" * 32), "size"),
        (line(path="a"), "digest or a uri"),
        (line(path="a", uri="https://x", **GOOD), "digest or a uri"),
        (line(path="a", uri="nowhere"), "URI"),
        (line(path="a", **{**GOOD, "size": -1}), "size"),
        (line(path="a", **{**GOOD, "digest": "../../etc"}), "digest"),
        (b"[" * 100_000 + b"\n", "Line 1"),
        (b"x" * 300_000, "more than"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused_with_its_line(api: Api, manifest: bytes, words: str) -> None:
    digest = api.world.blob(api.project, manifest).digest
    problem = api.commit("data", manifest=digest, status=422)
    assert words in problem["detail"]


def test_what_was_not_uploaded_is_named(api: Api) -> None:
    absent = hashlib.sha256(b"absent").hexdigest()
    assert api.commit("data", manifest=absent, status=422)["details"]["missing"] == [absent]
    manifest = api.world.blob(api.project, line(path="a", digest=absent, size=6)).digest
    assert api.commit("data", manifest=manifest, status=422)["details"]["missing"] == [absent]
    elsewhere = Api(api.world)
    elsewhere.world.blob(elsewhere.project, b"absent")
    api.commit("data", manifest=manifest, status=422)
    api.world.blob(api.project, b"absent")
    api.commit("data", manifest=manifest)


def test_entries_come_in_pages_and_files_by_path_with_ranges(api: Api) -> None:
    files = [(f"d/{number:03}/ß {number}", b"content %d" % number) for number in range(57)]
    manifest = api.manifest(*files, references={"ref": "s3://bucket/key"})
    version = api.commit("many", manifest=manifest)
    entries: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 10}
    while "cursor" not in query or query["cursor"] is not None:
        page = api.ask("GET", f"/artifact-versions/{version['id']}/entries", params=query)
        entries += page["items"]
        query["cursor"] = page["next_cursor"]
    assert [entry["path"] for entry in entries] == [path for path, _ in files] + ["ref"]
    assert entries[-1]["uri"] == "s3://bucket/key"
    base = f"/artifact-versions/{version['id']}/files"
    for path, data in files:
        answer = api.ask("GET", f"{base}/{path}")
        assert answer.content == data
        assert answer.headers["content-disposition"].startswith("attachment")
        assert "sandbox" in answer.headers["content-security-policy"]
    place = f"{base}/{files[3][0]}"
    some = api.ask("GET", place, 206, headers={"Range": "bytes=2-4"})
    assert (some.content, some.headers["content-range"]) == (b"nte", "bytes 2-4/9")
    assert api.ask("GET", place, 206, headers={"Range": "bytes=-3"}).content == b"t 3"
    assert api.ask("GET", place, 206, headers={"Range": "bytes=5-"}).content == b"nt 3"
    assert api.ask("GET", place, 416, headers={"Range": "bytes=9-"}).headers["content-range"] == "bytes */9"
    assert api.ask("GET", place, headers={"Range": "bytes=0-1,3-4"}).content == files[3][1]
    for path in ("d", "d/000", "absent", "d/000/ß 0/x", "%2e%2e/%2e%2e/secret.key", "..%2fsecret.key"):
        api.ask("GET", f"{base}/{path}", 404)
    assert "reference" in api.ask("GET", f"{base}/ref", 422)["detail"]


@pytest.mark.parametrize("cursor", ["1", "-1", "x", "9" * 30, str(10**17)])
def test_a_cursor_that_leads_into_a_line_is_refused(api: Api, cursor: str) -> None:
    version = api.commit("data", ("a", b"1"), ("b", b"2"))
    api.ask("GET", f"/artifact-versions/{version['id']}/entries", 422, params={"cursor": cursor})


PATHS = st.lists(
    st.text(st.sampled_from("ab/-.0é€😀"), min_size=1, max_size=12).filter(
        lambda path: all(part not in ("", ".", "..") for part in path.split("/"))
    ),
    min_size=1,
    max_size=25,
    unique=True,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(paths=PATHS, other=st.text(st.sampled_from("ab/-.0é€😀"), min_size=1, max_size=12))
def test_any_set_of_paths_is_found_by_halves_or_refused_as_a_whole(api: Api, paths: list[str], other: str) -> None:
    entries = [ArtifactEntry(path=path, uri="x:y") for path in sorted(paths)]
    manifest = api.world.manifest(api.project, entries)
    clash = any(path.startswith(above + "/") for path in paths for above in paths)
    if clash:
        with pytest.raises(InvalidRequestError):
            manifests.summarise(api.world.platform, manifest)
        return
    summary = manifests.summarise(api.world.platform, manifest)
    assert (summary.digest, summary.entries) == (artifact_digest(entries), len(paths))
    for path in paths:
        assert manifests.find_entry(api.world.platform, manifest, path).path == path
    if other not in paths:
        with pytest.raises(NotFoundError):
            manifests.find_entry(api.world.platform, manifest, other)


def test_a_version_of_a_run_is_linked_and_listed(api: Api) -> None:
    job = api.world.job(api.project)
    version = api.commit("made", ("a", new_id("x").encode()), run=job.run_id)
    assert (version["run_id"], version["job_id"]) == (job.run_id, job.id)
    listed = api.ask("GET", "/artifact-versions", params={"run": job.run_id})
    assert [found["id"] for found in listed["items"]] == [version["id"]]
    api.commit("made", ("a", b"2"), status=404, run="absent")
    foreign = api.world.job(Api(api.world).project)
    api.commit("made", ("a", b"2"), status=404, run=foreign.run_id)


def test_a_jobs_token_commits_for_its_own_run_only(api: Api) -> None:
    job, other = api.world.job(api.project), api.world.job(api.project)
    _, secret = api.world.attempt(job)
    manifest = api.manifest(("a", b"job"))
    headers = api.world.headers(secret)
    for run, status in ((other.run_id, 404), (job.run_id, 201)):
        body = {"project": api.project.name, "name": "own", "manifest": manifest, "run": run}
        api.ask("POST", "/artifact-versions", status, json=body, headers=headers)


def test_what_another_project_has_is_not_found(api: Api) -> None:
    version = api.commit("data", ("a", b"1"))
    outsider = api.world.user(new_id("outsider"))
    headers = api.world.headers(api.world.token(outsider))
    for path in (
        f"/artifact-versions/{version['id']}",
        f"/artifact-versions/{version['id']}/entries",
        f"/artifact-versions/{version['id']}/files/a",
        f"/artifacts/{version['artifact_id']}",
    ):
        api.ask("GET", path, 404, headers=headers)
    for path in ("/artifacts", "/artifact-versions"):
        assert api.ask("GET", path, headers=headers)["items"] == []


def test_a_deleted_project_takes_its_artifacts_along(api: Api) -> None:
    version = api.commit("data", ("a", b"1"))
    api.ask("DELETE", f"/projects/{api.project.id}", 204)
    api.ask("GET", f"/artifact-versions/{version['id']}", 404)
    api.ask("GET", f"/artifacts/{version['artifact_id']}", 404)
