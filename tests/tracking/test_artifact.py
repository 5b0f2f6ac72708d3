"""headway.Artifact on this machine and its way to a real server."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import headway
from headway import Artifact, Client
from headway.domain.artifacts import CommitOutcome
from headway.domain.base import new_id
from headway.domain.facts import ArtifactMark
from headway.domain.lineage import Relation
from headway.domain.models import ModelVersion
from headway.errors import ConflictError, CorruptDataError, HeadwayError, InvalidRequestError, NotFoundError
from headway.testing.factories import make_artifact_version, make_model_version
from headway.testing.server import ServerProcess
from headway.tracking.artifact_loading import StoredArtifact
from headway.tracking.marks import resolve_mark, upload_marked


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where artifacts are kept; nothing leads to a server."""
    monkeypatch.setenv("HEADWAY_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("HEADWAY_CONFIG", str(tmp_path / "config.yaml"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def client(running_server: ServerProcess) -> Iterator[Client]:
    with Client(running_server.url, running_server.token, project=new_id("project")) as found:
        assert found.project is not None
        found.projects.create(found.project)
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "folder"
    (root / "sub").mkdir(parents=True)
    (root / "a").write_text("a")
    (root / "sub" / "b").write_text("b")
    (root / "link").symlink_to("sub/b")
    (root / "run.sh").write_text("x")
    (root / "run.sh").chmod(0o755)
    return root


def texts(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


class TestPlaces:
    def test_files_and_folders_go_where_they_are_told(self, folder: Path) -> None:
        artifact = Artifact("data")
        artifact.add_file(folder / "a")
        artifact.add_file(folder / "a", "other")
        artifact.add_file(folder / "a", "below/")
        artifact.add_dir(folder / "sub")
        artifact.add_dir(folder / "sub", "x/y")
        artifact.add_dir(folder / "sub", "z/")
        artifact.add_reference("https://example.org/raw/file.zip?token=1")
        artifact.add_reference("s3://bucket/key", "refs/")
        assert list(artifact.objects) == [
            "a", "below/a", "file.zip", "other", "refs/key", "sub/b", "x/y/b", "z/sub/b",
        ]  # fmt: skip

    def test_a_folders_content_at_the_top(self, folder: Path) -> None:
        artifact = Artifact("data")
        artifact.add_dir(folder, ".")
        assert list(artifact.objects) == ["a", "link", "run.sh", "sub/b"]
        assert artifact.objects["run.sh"].executable
        assert artifact.objects["link"].digest == artifact.objects["sub/b"].digest

    def test_a_file_that_is_added_again_replaces_the_one_before(self, folder: Path) -> None:
        artifact = Artifact("data")
        artifact.add_file(folder / "a", "f")
        before = artifact.digest
        artifact.add_file(folder / "sub" / "b", "f")
        assert artifact.digest != before
        assert len(artifact.objects) == 1

    @pytest.mark.parametrize(
        "path", ["../x", "/x", "a/../../x", "a//b", "a\\b", "a\nb", "a\x00", ".", "./a", "..", "/"]
    )
    def test_a_path_that_leads_out_is_refused(self, folder: Path, path: str) -> None:
        artifact = Artifact("data")
        for add in (artifact.add_file, artifact.add_dir):
            if add == artifact.add_dir and path == ".":
                continue
            with pytest.raises(InvalidRequestError):
                add(folder / "a" if add == artifact.add_file else folder, path)
        with pytest.raises(InvalidRequestError):
            artifact.add_reference("https://x/y", path)
        assert artifact.objects == {}

    def test_one_path_is_one_thing(self, folder: Path) -> None:
        artifact = Artifact("data")
        artifact.add_file(folder / "a", "file")
        artifact.add_reference("https://x/y", "reference")
        artifact.add_file(folder / "a", "folder/f")
        for add in (
            lambda: artifact.add_reference("https://x/y", "file"),
            lambda: artifact.add_file(folder / "a", "reference"),
            lambda: artifact.add_file(folder / "a", "file/below"),
            lambda: artifact.add_file(folder / "a", "reference/below"),
            lambda: artifact.add_file(folder / "a", "folder"),
            lambda: artifact.add_dir(folder, "file"),
            lambda: artifact.add_reference("https://x/y", "folder"),
        ):
            with pytest.raises(InvalidRequestError):
                add()
        assert list(artifact.objects) == ["file", "folder/f", "reference"]


@pytest.mark.parametrize("kind", ["absent", "pipe", "socket", "device", "folder", "dangling", "loop", "secret"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind in ("dangling", "loop"):
        path.symlink_to("loop" if kind == "loop" else "nowhere")
    elif kind == "secret":
        path = Path("/proc/self/mem/x")
    artifact = Artifact("data")
    with pytest.raises(InvalidRequestError):
        artifact.add_file(path, "f")
    assert artifact.objects == {}


@pytest.mark.parametrize("kind", ["pipe", "outside", "circle", "absent"])
def test_of_a_folder_with_something_that_cannot_be_kept_nothing_is_added(folder: Path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(folder / "z")
    elif kind == "outside":
        (folder / "z").symlink_to("/etc/hostname")
    elif kind == "circle":
        (folder / "sub" / "z").symlink_to("..")
    artifact = Artifact("data")
    with pytest.raises(InvalidRequestError):
        artifact.add_dir(folder / "absent" if kind == "absent" else folder)
    assert artifact.objects == {}


def test_a_file_that_is_written_while_it_is_copied_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "growing"
    path.write_bytes(b"x" * (8 << 20))
    ends = threading.Event()

    def grow() -> None:
        with path.open("ab", buffering=0) as file:
            while not ends.is_set():
                file.write(b"y")

    writer = threading.Thread(target=grow)
    writer.start()
    artifact = Artifact("data")
    try:
        with pytest.raises(ConflictError, match="changed"):
            for _ in range(50):
                artifact.add_file(path)
    finally:
        ends.set()
        writer.join()


@pytest.mark.parametrize(
    "keywords",
    [
        {"name": "a/b"}, {"name": ""}, {"name": "x" * 65}, {"name": "-a"}, {"name": 5}, {"name": "a b"},
        {"name": "a", "labels": {"k": 1}}, {"name": "a", "type": ""}, {"name": "a", "description": 5},
        {"name": "a", "metadata": {"x": float("nan")}}, {"name": "a", "metadata": {"x": object()}},
    ],
)  # fmt: skip
def test_a_wrong_name_or_value_is_refused_at_the_call(keywords: dict[str, Any], home: Path) -> None:
    with pytest.raises(InvalidRequestError):
        Artifact(**keywords)
    assert not list(home.glob("artifacts/*"))


def test_what_was_added_outlives_its_source_and_this_process(folder: Path, tmp_path: Path) -> None:
    artifact = Artifact("data", type="dataset", labels={"k": "v"}, description="d", metadata={"n": [1]})
    artifact.add_dir(folder, ".")
    artifact.add_reference("https://x/y")
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.write_text("changed")
    loaded = headway.load_artifact(artifact.directory)
    assert isinstance(loaded, Artifact)
    assert loaded.objects == artifact.objects
    assert (loaded.name, loaded.type, loaded.labels, loaded.description, loaded.metadata) == (
        "data", "dataset", {"k": "v"}, "d", {"n": [1]},
    )  # fmt: skip
    assert loaded.alternative_name == artifact.alternative_name == artifact.directory.name
    loaded.download(tmp_path / "out")
    assert texts(tmp_path / "out") == {"a": "a", "link": "b", "sub/b": "b", "run.sh": "x"}
    assert os.access(tmp_path / "out" / "run.sh", os.X_OK)


def test_a_line_that_a_crash_cut_short_costs_that_line_alone(folder: Path) -> None:
    artifact = Artifact("data")
    artifact.add_file(folder / "a")
    with (artifact.directory / "entries.jsonl").open("ab") as file:
        file.write(b'{"path": "torn')
    loaded = Artifact.load(artifact.directory)
    assert list(loaded.objects) == ["a"]
    loaded.add_file(folder / "sub" / "b")
    assert list(Artifact.load(artifact.directory).objects) == ["a", "b"]


def test_a_damaged_artifact_says_so(folder: Path, tmp_path: Path) -> None:
    artifact = Artifact("data")
    artifact.add_file(folder / "a")
    digest = artifact.objects["a"].digest
    assert digest is not None
    (copy,) = artifact.directory.rglob(digest)
    copy.write_text("b")
    with pytest.raises(CorruptDataError, match="'a'"):
        artifact.download(tmp_path / "out")
    copy.unlink()
    with pytest.raises(CorruptDataError, match="'a'"):
        artifact.download(tmp_path / "out")
    (artifact.directory / "entries.jsonl").write_text("nonsense\n")
    with pytest.raises(CorruptDataError, match="Line 1"):
        Artifact.load(artifact.directory)
    (artifact.directory / "artifact.json").write_text("nonsense")
    with pytest.raises(CorruptDataError):
        Artifact.load(artifact.directory)
    with pytest.raises(NotFoundError):
        headway.load_artifact(tmp_path)


NAMES = st.text(
    st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="/\\"), min_size=1, max_size=30
).filter(lambda name: name not in (".", ".."))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.dictionaries(NAMES, st.binary(max_size=50), max_size=8))
def test_any_files_come_back_as_they_were(tmp_path: Path, files: dict[str, bytes]) -> None:
    source, target = tmp_path / new_id("s"), tmp_path / new_id("t")
    source.mkdir()
    for name, data in files.items():
        (source / name).write_bytes(data)
    artifact = Artifact("data")
    artifact.add_dir(source, ".")
    artifact.download(target)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == files


def test_many_threads_may_add(tmp_path: Path) -> None:
    artifact = Artifact("data")

    def add(number: int) -> None:
        for index in range(20):
            path = tmp_path / f"{number}-{index}"
            path.write_text(str(number))
            artifact.add_file(path)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(artifact.objects) == len(Artifact.load(artifact.directory).objects) == 120


class TestUpload:
    def test_it_becomes_a_version_once_and_comes_back(self, client: Client, folder: Path, tmp_path: Path) -> None:
        artifact = Artifact("data", type="dataset", labels={"k": "v"}, metadata={"n": 1})
        artifact.add_dir(folder, ".")
        artifact.add_reference("https://x/raw", "raw")
        assert artifact.id is None
        version = artifact.upload(client=client, aliases=("best",))
        assert (version.uri, version.digest, version.type) == ("artifact:data:v1", artifact.digest, "dataset")
        assert (version.labels, version.metadata) == ({"k": "v"}, {"n": 1})
        assert version.alternative_name == artifact.alternative_name
        assert artifact.id == Artifact.load(artifact.directory).id == version.id
        assert artifact.upload(client=client).outcome is CommitOutcome.FOUND
        for reference in ("data", "data:v1", "artifact:data:best", version.id):
            loaded = headway.load_artifact(reference, client=client)
            assert isinstance(loaded, StoredArtifact)
            assert (loaded.id, loaded.name, loaded.objects) == (version.id, "data", artifact.objects)
        loaded.download(tmp_path / "out")
        assert texts(tmp_path / "out") == texts(folder)

    def test_another_artifact_of_that_name_is_met_as_asked(self, client: Client, folder: Path) -> None:
        one, two = Artifact("data"), Artifact("data")
        one.add_file(folder / "a")
        two.add_file(folder / "sub" / "b")
        first = one.upload("models", make_folder=True, client=client)
        with pytest.raises(ConflictError):
            two.upload("models", conflict_strategy="error", client=client)
        skipped = two.upload("models", conflict_strategy="skip", client=client)
        assert (skipped.id, two.id) == (first.id, None)
        renamed = two.upload("models", conflict_strategy="new", client=client)
        assert renamed.name == two.alternative_name
        assert two.id == renamed.id
        with pytest.raises(NotFoundError, match="'absent'"):
            two.upload("absent", client=client)

    @pytest.mark.parametrize(
        "keywords", [{"conflict_strategy": "maybe"}, {"folder": "../x"}, {"foldr": "x"}, {"aliases": ("a b",)}]
    )
    def test_a_wrong_argument_is_named_before_anything_is_sent(self, folder: Path, keywords: Any) -> None:
        artifact = Artifact("data")
        artifact.add_file(folder / "a")
        with Client("http://127.0.0.1:9", "hw_none", retry_for=0) as nowhere, pytest.raises(InvalidRequestError):
            artifact.upload(client=nowhere, **keywords)

    def test_a_damaged_copy_is_not_committed(self, client: Client, folder: Path) -> None:
        artifact = Artifact("data")
        artifact.add_file(folder / "a")
        (copy,) = artifact.directory.rglob(str(artifact.objects["a"].digest))
        copy.write_text("?")
        with pytest.raises(HeadwayError):
            artifact.upload(client=client)
        assert list(client.artifacts.list()) == []

    def test_the_configured_server_is_used(
        self, running_server: ServerProcess, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HEADWAY_URL", running_server.url)
        monkeypatch.setenv("HEADWAY_TOKEN", running_server.token)
        artifact = Artifact("configured")
        artifact.add_file(folder / "a")
        version = artifact.upload()
        loaded = headway.load_artifact("configured:latest")
        assert loaded.id == version.id


class Foreign:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class TestMarks:
    def test_everything_that_has_a_place_can_be_marked(self, folder: Path) -> None:
        artifact = Artifact("data")
        artifact.add_file(folder / "a")
        own = resolve_mark(artifact)
        assert (own.kind, own.id, own.name, own.digest, own.path) == (
            "artifact", None, "data", artifact.digest, str(artifact.directory),
        )  # fmt: skip
        version = make_artifact_version()
        assert resolve_mark(version) == ArtifactMark(id=version.id, name="data", digest=version.digest)
        model: ModelVersion = make_model_version()
        assert (resolve_mark(model).kind, resolve_mark(model).id) == ("model-version", model.id)
        assert resolve_mark("artifact:data:v3") == ArtifactMark(name="data:v3")
        assert resolve_mark("models:/digits/3").kind == "model-version"
        foreign = resolve_mark(Foreign(kind="Dataset", id=7, path="/u/d"))
        assert foreign == ArtifactMark(kind="dataset", id="7", path="/u/d", name="/u/d")

    @pytest.mark.parametrize("subject", [None, 5, "", "data", "artifact:", object(), {"kind": "x"}])
    def test_what_has_none_is_refused(self, subject: Any) -> None:
        with pytest.raises(InvalidRequestError):
            resolve_mark(subject)

    def test_a_reference_is_looked_up_where_there_is_a_client(self, client: Client, folder: Path) -> None:
        version = client.artifacts.upload("data", folder / "a")
        assert resolve_mark("artifact:data:latest", client).id == version.id
        with pytest.raises(NotFoundError):
            resolve_mark("artifact:absent:v1", client)

    def test_marked_artifacts_are_uploaded_and_linked_with_their_run(self, client: Client, folder: Path) -> None:
        assert client.project is not None
        job = client.jobs.create("maker", "true", start=False)
        used, made = Artifact("used"), Artifact("made")
        used.add_file(folder / "a")
        made.add_file(folder / "sub" / "b")
        gone = ArtifactMark(name="gone", digest="0" * 64, path="/nowhere/artifacts/gone")
        other = ArtifactMark(kind="dataset", id="7", path="/u/d")
        keywords: dict[str, Any] = {"run": job.run_id, "folder": "runs", "make_folder": True}
        for _ in range(2):
            inputs = upload_marked(
                client, client.project, [resolve_mark(used), gone, other], relation=Relation.INPUT, **keywords
            )
            outputs = upload_marked(client, client.project, [resolve_mark(made)], **keywords)
        assert inputs[1:] == [gone, other]
        found = client.lineage(job.run_id)
        edges = {(edge.source, edge.target) for edge in found.edges if edge.relation.value != "executes"}
        assert edges == {(inputs[0].id, job.run_id), (job.run_id, outputs[0].id)}
        assert client.artifacts.resolve("runs/made").run_id == job.run_id
