"""client.models over a real server: registering from everywhere, changing, comparing, following where things came from."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import headway
from headway import Client, ModelVersion
from headway.domain.base import new_id
from headway.errors import (
    ConflictError,
    ConnectionFailedError,
    CorruptDataError,
    InvalidRequestError,
    NotFoundError,
    PayloadTooLargeError,
    WorkspaceError,
)
from headway.sdk.transport import HttpTransport, Request, Response
from headway.testing.server import ServerProcess

PREDICT = b"class Predictor:\n    def predict(self, inputs):\n        return inputs\n"


@pytest.fixture(scope="module")
def registry(running_server: ServerProcess) -> Iterator[Client]:
    with Client(running_server.url, running_server.token) as administrator:
        project = administrator.projects.create(new_id("registry"))
    with Client(running_server.url, running_server.token, project=project.name) as client:
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "model"
    (found / "deep").mkdir(parents=True)
    (found / "predict.py").write_bytes(PREDICT)
    (found / "deep" / "weights.bin").write_bytes(b"weights")
    return found


def name() -> str:
    return new_id("model-")


def test_a_version_is_made_with_all_that_is_said_of_it(registry: Client, folder: Path) -> None:
    signature = headway.infer_signature([[0.5, 1.5]], [1])
    git = {"url": "https://me:hunter2@example.org/code.git", "commit": "c0ffee", "dirty": False}
    model = name()
    version = registry.models.register(
        model,
        folder,
        version_name="1.0.3",
        signature=signature,
        aliases="champion",
        labels={"stage": "staging"},
        git=git,
        description="The first.",
    )
    assert (version.version, version.version_name, version.runtime) == (1, "1.0.3", "python")
    assert version.signature == signature
    assert version.git is not None
    assert version.git.url == "https://example.org/code.git"
    assert version.source == str(folder.resolve())
    for reference in (f"models:/{model}/1.0.3", f"{model}:1.0.3", f"{model}@champion", f"{model}:v1", version.id):
        assert registry.models.version(reference) == version
    with pytest.raises(ConflictError, match=r"1\.0\.3"):
        registry.models.register(model, folder, version_name="1.0.3")


def test_what_is_wrong_is_said_before_anything_is_sent(mock: Any, folder: Path) -> None:
    models = mock.client().models
    for wrong, said in [
        ({"version_nam": "1"}, "version_name"),
        ({"version_name": "v3"}, "means a number"),
        ({"aliases": ["latest"]}, "means a version by itself"),
        ({"aliases": ["a b"]}, "aliases"),
        ({"git": {"comit": "c0ffee"}}, "commit"),
        ({"labels": {"a": 1}}, "labels"),
    ]:
        with pytest.raises(InvalidRequestError) as caught:
            models.register("m", folder, **wrong)
        assert said in f"{caught.value} {caught.value.hint}"
    with pytest.raises(InvalidRequestError, match="needs files"):
        models.register("m")
    with pytest.raises(InvalidRequestError) as caught:
        models.register("m", source="artefact:x:v1")
    assert "artifact:" in str(caught.value.hint)
    with pytest.raises(WorkspaceError):
        models.register("m", folder / "missing")
    with pytest.raises(InvalidRequestError) as caught:
        models.update_version("m", label={})
    assert "labels" in str(caught.value.hint)
    assert mock.requests == []


class Watching:
    """Real HTTP that remembers what was asked."""

    def __init__(self, url: str) -> None:
        self._inner, self.asked = HttpTransport(url), list[tuple[str, str]]()

    def send(self, request: Request) -> Response:
        self.asked.append((request.method, request.url.partition("?")[0]))
        return self._inner.send(request)

    def close(self) -> None:
        self._inner.close()


def test_a_version_of_an_artifact_sends_no_byte_and_its_lineage_goes_both_ways(
    registry: Client, running_server: ServerProcess, folder: Path
) -> None:
    data = name()
    artifact = registry.artifacts.upload(data, folder)
    transport = Watching(running_server.url)
    with Client(running_server.url, running_server.token, project=registry.project, transport=transport) as watched:
        version = watched.models.register(name(), source=f"artifact:{data}:latest", aliases=["champion"])
    assert [method for method, _ in transport.asked] == ["POST"]
    assert version.source == f"artifact:{data}:v1"
    assert {entry.path for entry in version.files} == {"predict.py", "deep/weights.bin"}
    assert artifact.id in {node.id for node in registry.lineage(version).upstream}
    assert version.id in {node.id for node in registry.lineage(artifact).downstream}
    (used,) = registry.models.describe(version).data
    assert (used.id, used.digest) == (artifact.id, artifact.digest)


def test_a_run_is_copied_with_what_it_just_said(
    registry: Client, running_server: ServerProcess, folder: Path, tmp_path: Path
) -> None:
    where = {"url": running_server.url, "token": running_server.token, "project": registry.project}
    data = registry.artifacts.upload(name(), folder)
    with headway.init(**where, dir=tmp_path / "runs", config={"lr": 0.1}, console=False, system=False) as run:
        run.mark_input(data.uri)
        for step in range(5):
            run.log({"loss": 1.0 / (step + 1)}, step=step)
    version = registry.models.register(name(), folder, run=run.id)
    assert version.parameters == {"lr": 0.1}
    assert version.metrics["loss"] == 0.2
    graph = registry.lineage(version)
    assert {run.id, data.id} <= {node.id for node in graph.upstream}
    assert version.id in {node.id for node in registry.lineage(data).downstream}
    page = registry.models.describe(version.uri)
    assert page.run is not None
    assert page.run.id == run.id
    assert [used.digest for used in page.data] == [data.digest]


def test_labels_words_and_aliases_change(registry: Client, folder: Path) -> None:
    model = name()
    one = registry.models.register(model, folder, labels={"stage": "staging", "team": "a"})
    two = registry.models.register(model, folder)
    changed = registry.models.update_version(f"{model}:v1", labels={"stage": "production", "team": None})
    assert (changed.labels, changed.description) == ({"stage": "production"}, one.description)
    assert registry.models.update_version(one, description="Better.").labels == {"stage": "production"}
    assert registry.models.update(model, description="A model.").description == "A model."
    assert registry.models.promote(f"{model}:v1").id == one.id
    assert registry.models.promote(two, "canary") == two
    assert registry.models.get(model).aliases == {"champion": 1, "canary": 2}
    assert registry.models.describe(one).aliases == ("champion",)
    with pytest.raises(InvalidRequestError, match="latest"):
        registry.models.promote(two, "latest")


def test_versions_are_found_by_every_filter(registry: Client, folder: Path) -> None:
    model = name()
    one = registry.models.register(model, folder, version_name="a", aliases=["champion"], labels={"s": "x:y", "t": "1"})
    two = registry.models.register(model, folder, version_name="b", labels={"s": "x:y"})

    def ids(**query: Any) -> list[str]:
        return [version.id for version in registry.models.versions(name=model[3:], **query)]

    assert ids() == [two.id, one.id]
    assert ids(label={"s": "x:y"}) == ids(label="s:x:y") == [two.id, one.id]
    assert ids(label={"s": "x:y", "t": "1"}) == ids(alias="champion") == ids(version_name="a") == [one.id]
    assert ids(label={"t": "2"}) == []
    assert [found.name for found in registry.models.list(contains=model[3:])] == [model]


def test_a_diff_says_what_differs_and_nothing_else(registry: Client, folder: Path, tmp_path: Path) -> None:
    model = name()
    one = registry.models.register(
        model,
        folder,
        signature=headway.infer_signature([[1.0, 2.0]]),
        labels={"stage": "<b>", "same": "x"},
        git={"commit": "1", "branch": "main"},
    )
    (folder / "predict.py").write_bytes(PREDICT + b"# changed\n")
    (folder / "deep" / "weights.bin").unlink()
    (folder / "more.bin").write_bytes(b"more")
    two = registry.models.register(
        model,
        folder,
        signature=headway.infer_signature([[1.0, 2.0, 3.0]], [1]),
        labels={"same": "x", "new": "y"},
        git={"commit": "2", "branch": "main"},
    )
    found = registry.models.diff(f"{model}:v1", two)
    assert {change.key for change in found.files} == {"predict.py", "deep/weights.bin", "more.bin"}
    assert [(change.key, change.a, change.b) for change in found.git] == [("commit", "1", "2")]
    assert [change.key for change in found.labels] == ["stage", "new"]
    assert [change.key for change in found.signature] == ["inputs.input", "outputs.output"]
    assert found.parameters == found.metrics == ()
    plain = found.to_dict()
    assert plain["files"]["more.bin"] == {"b": hashlib.sha256(b"more").hexdigest()}
    assert plain["a"]["uri"] == one.uri
    assert bool(found)
    assert "float64 (?, 2)" in repr(found)
    assert "<b>" not in found._repr_html_()
    assert "&lt;b&gt;" in found._repr_html_()
    assert not registry.models.diff(one, one)
    assert "Nothing differs" in repr(registry.models.diff(one, one))


def archive(**files: bytes) -> bytes:
    with io.BytesIO() as buffer:
        with zipfile.ZipFile(buffer, "w") as made:
            for path, data in files.items():
                made.writestr(path.replace("__", "/"), data)
        return buffer.getvalue()


def test_a_model_at_an_address_is_fetched_checked_and_sent(registry: Client, scripted: Any, script: Any) -> None:
    digest = hashlib.sha256(b"onnx").hexdigest()
    scripted.script = [script.answer(302, Location="/real/m.onnx?sig=secret"), script.answer(200, b"onnx")]
    host = scripted.url.removeprefix("http://")
    version = registry.models.register(name(), source=f"http://me:hunter2@{host}/moved/m.onnx#sha256={digest}")
    assert [(entry.path, entry.digest) for entry in version.files] == [("m.onnx", digest)]
    assert version.source == f"http://{host}/moved/m.onnx"
    first, second = scripted.requests
    assert (first.path, second.path) == ("/moved/m.onnx", "/real/m.onnx?sig=secret")
    assert first.headers["authorization"].startswith("Basic ")
    assert "authorization" not in second.headers
    assert all("hw_" not in str(request.headers) for request in scripted.requests)


def test_an_archive_at_an_address_is_its_files(registry: Client, scripted: Any, script: Any) -> None:
    scripted.script = [script.answer(200, archive(predict__py=b"", **{"predict.py": PREDICT}))]
    version = registry.models.register(name(), f"{scripted.url}/model.zip")
    assert {entry.path for entry in version.files} == {"predict/py", "predict.py"}


def test_what_an_address_may_not_do(registry: Client, scripted: Any, script: Any) -> None:
    model = name()

    def refused(error: type[Exception], *steps: Any, tail: str = "/m.onnx", **options: Any) -> str:
        scripted.script = list(steps)
        with pytest.raises(error) as caught:
            registry.models.register(model, source=scripted.url + tail, **options)
        return str(caught.value)

    answer = script.answer
    assert "404" in refused(NotFoundError, answer(404))
    assert "not " + "0" * 64 in refused(CorruptDataError, answer(200, b"x"), tail=f"/m.onnx#sha256={'0' * 64}")
    assert "10 bytes" in refused(PayloadTooLargeError, answer(200, b"x" * 11), max_bytes=10)
    assert "redirects" in refused(InvalidRequestError, answer(302, Location="/again"))
    assert "file" in refused(InvalidRequestError, answer(302, Location="file:///etc/passwd"))
    assert "nowhere" in refused(InvalidRequestError, answer(302))
    assert "digest" in refused(InvalidRequestError, answer(200, b"x"), tail="/m.onnx#md5=1")
    said = refused(ConnectionFailedError, script.drop, tail="/m.onnx?token=hunter2")
    assert "hunter2" not in said
    archived = answer(200, archive(**{"../../evil": b"x"}))
    assert "evil" in refused(WorkspaceError, archived, tail="/m.zip")
    assert list(registry.models.versions(name=model)) == []


def test_names_of_files_at_addresses_cannot_leave(registry: Client, scripted: Any, script: Any) -> None:
    scripted.script = [script.answer(200, b"x")]
    for tail, path in [
        ("/%2e%2e", "model"),
        ("/a%2Fb", "model"),
        ("/", "model"),
        ("/m%00.onnx", "model"),
        ("/é.pt2", "é.pt2"),
    ]:
        version = registry.models.register(name(), source=scripted.url + tail)
        assert [entry.path for entry in version.files] == [path]


def test_files_that_were_collected_meanwhile_are_sent_again(mock: Any, records: Any, folder: Path) -> None:
    """The server lacks what it had when it was asked; the client sends everything once more."""
    asked: list[list[str]] = []

    def missing(request: Request) -> Any:
        import json

        assert isinstance(request.content, bytes)
        asked.append(json.loads(request.content)["digests"])
        return {"missing": [] if len(asked) == 1 else asked[0]}

    answers = [(422, {"code": "invalid_request", "detail": "x", "details": {"missing": ["0" * 64]}})]
    mock.routes["POST /api/v1/projects/digits/blobs/missing"] = missing
    mock.routes["POST /api/v1/models"] = lambda _: answers.pop() if answers else (201, records.version([]))
    for entry in folder.rglob("*"):
        if entry.is_file():
            digest = hashlib.sha256(entry.read_bytes()).hexdigest()
            mock.routes[f"PUT /api/v1/projects/digits/blobs/{digest}"] = (204, b"")
    assert isinstance(mock.client().models.register("m", folder), ModelVersion)
    assert len(asked) == 2
    assert sum(request.method == "PUT" for request in mock.requests) == 2


def test_a_version_that_is_deployed_is_not_deleted(registry: Client, folder: Path) -> None:
    version = registry.models.register(name(), folder)
    deployment = registry.deployments.create(new_id("dep"), model=version.id, start=False)
    with pytest.raises(ConflictError, match=deployment.name):
        registry.models.delete_version(version)
    assert [each.id for each in registry.models.describe(version).deployments] == [deployment.id]
    registry.deployments.delete(deployment.id)
    registry.models.delete_version(version)
    with pytest.raises(NotFoundError):
        registry.models.version(version.id)
