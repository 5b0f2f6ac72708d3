"""Each noun: what is sent, what comes back, and what is refused before anything is sent."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from headway import Client
from headway.errors import (
    ConflictError,
    CorruptDataError,
    InvalidRequestError,
    JobFailedError,
    NotFoundError,
    PlatformError,
    UnavailableError,
    WaitTimeoutError,
    WorkspaceError,
)
from headway.sdk.endpoints import may_hold_token
from headway.sdk.transport import Request, Response


class BlobStore:
    """The server side of blobs for a mock."""

    def __init__(self, mock: Any, known: tuple[bytes, ...] = ()) -> None:
        self.held = {hashlib.sha256(data).hexdigest(): data for data in known}
        self.puts = 0
        mock.routes["POST /api/v1/projects/digits/blobs/missing"] = self.missing
        self._mock = mock

    def missing(self, request: Request) -> dict[str, Any]:
        assert isinstance(request.content, bytes)
        asked = json.loads(request.content)["digests"]
        for digest in asked:
            self._mock.routes[f"PUT /api/v1/projects/digits/blobs/{digest}"] = self.put
        return {"missing": [digest for digest in asked if digest not in self.held]}

    def put(self, request: Request) -> dict[str, Any]:
        assert callable(request.content)
        data = b"".join(request.content())
        digest = request.url.rpartition("/")[2]
        assert hashlib.sha256(data).hexdigest() == digest
        assert request.headers["Content-Length"] == str(len(data))
        self.held[digest] = data
        self.puts += 1
        return {"digest": digest, "size": len(data)}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"comand": "x"}, "Did you mean 'command'"),
        ({"command": "x", "count": -1}, "count"),
        ({"roles": {"worker": {"cuont": 1, "command": "x"}}}, "Did you mean 'count'"),
        ({}, "^The job is not valid: a job needs a command or roles"),
        ({"command": True}, "a text or a list of texts, not True"),
        ({"command": {"a": "b"}}, "a text or a list of texts"),
        ({"roles": {"worker": {"command": 5}}}, r"roles\.worker\.command: a command is a text"),
        ({"command": "x", "environment": {"A=B": 1}}, "A=B"),
    ],
)
def test_a_wrong_job_is_refused_before_anything_is_sent(mock: Any, fields: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidRequestError, match=named):
        mock.client().jobs.create("digits", **fields)
    assert mock.requests == []


def test_without_a_project_there_is_one_clear_error(mock: Any) -> None:
    with pytest.raises(InvalidRequestError, match="HEADWAY_PROJECT"):
        mock.client(project=None).jobs.create("digits", "true")


def test_a_folder_travels_once(mock: Any, records: Any, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"one")
    (tmp_path / "b.py").write_bytes(b"two")
    (tmp_path / "c.py").write_bytes(b"two")
    store = BlobStore(mock, known=(b"one",))
    mock.routes["POST /api/v1/jobs"] = (201, records.job())
    mock.client().jobs.create("digits", "python a.py", workspace=tmp_path)
    assert store.puts == 1
    workspace = mock.body()["workspace"]
    assert workspace["kind"] == "files"
    assert [entry["path"] for entry in workspace["files"]] == ["a.py", "b.py", "c.py"]


def test_a_file_that_changes_under_way_is_not_sent_whole(mock: Any, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"after")
    digest = hashlib.sha256(b"befor").hexdigest()
    sent: list[bytes] = []

    def take(request: Request) -> dict[str, Any]:
        assert callable(request.content)
        sent.extend(request.content())
        return {}

    mock.routes[f"PUT /api/v1/projects/digits/blobs/{digest}"] = take
    with pytest.raises(WorkspaceError, match="changed while"):
        mock.client().blobs.put(digest, 5, lambda: path.open("rb"))
    assert sent == []


def test_wait_returns_a_finished_job_and_raises_for_a_failed_one(mock: Any, records: Any) -> None:
    mock.routes["GET /api/v1/jobs/job1"] = records.job(state="succeeded")
    assert mock.client().jobs.wait("job1").state == "succeeded"
    failure = {"replica": "worker-1", "rank": 1, "exit_code": 3, "reason": "exited with code 3", "last_lines": ["boom"]}
    mock.routes["GET /api/v1/jobs/job1"] = records.job(state="failed", failure=failure)
    with pytest.raises(JobFailedError, match=r"worker-1 \(rank 1\): exited with code 3") as caught:
        mock.client().jobs.wait("job1")
    assert "boom" in str(caught.value)
    assert caught.value.job.id == "job1"
    assert caught.value.details["rank"] == 1
    assert mock.client().jobs.wait("job1", raise_on_failure=False).state == "failed"


def test_wait_is_told_by_the_server(scripted: Any, scripted_client: Client, script: Any, records: Any) -> None:
    scripted.script = [
        script.answer(200, records.job()),
        script.answer(200, records.job()),
        script.events(records.event(1, "running"), records.event(2, "succeeded"), records.END),
        script.answer(200, records.job(state="succeeded")),
    ]
    assert scripted_client.jobs.wait("job1", timeout=20).finished
    assert len(scripted.requests) == 4


def test_wait_ends_at_its_timeout(scripted: Any, scripted_client: Client, script: Any, records: Any) -> None:
    hold = threading.Event()
    scripted.script = [
        script.answer(200, records.job()),
        script.answer(200, records.job()),
        script.events(": hi\n\n", hold=hold),
    ]
    try:
        with pytest.raises(WaitTimeoutError):
            scripted_client.jobs.wait("job1", timeout=0.4)
    finally:
        hold.set()


def test_logs_are_read_page_by_page(mock: Any) -> None:
    def row(line: int) -> dict[str, Any]:
        return {"line": line, "message": "m", "timestamp": "2026-01-02T03:04:05Z", "replica": "worker-0"}

    def page(request: Request) -> dict[str, Any]:
        assert "replica=worker-0" in request.url
        second = "cursor=c1" in request.url
        return {"rows": [row(3)] if second else [row(1), row(2)], "cursor": "c2" if second else "c1", "ended": second}

    mock.routes["GET /api/v1/jobs/job1/logs"] = page
    assert [each.line for each in mock.client().jobs.logs("job1", replica="worker-0")] == [1, 2, 3]
    with pytest.raises(InvalidRequestError):
        mock.client().jobs.logs("job1", tail=-1)


def test_a_model_is_registered_from_a_folder(mock: Any, records: Any, tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("*")
    (tmp_path / "predict.py").write_text("x")
    BlobStore(mock)
    mock.routes["POST /api/v1/models"] = (201, records.version([]))
    mock.client().models.register("m", tmp_path, model_type="any")
    assert [entry["path"] for entry in mock.body()["files"]] == [".gitignore", "predict.py"]
    with pytest.raises(WorkspaceError, match="no file or folder"):
        mock.client().models.register("m", tmp_path / "missing")
    with pytest.raises(InvalidRequestError, match="Did you mean 'labels'"):
        mock.client().models.register("m", tmp_path, label={})


def entry(path: str, data: bytes) -> dict[str, Any]:
    return {"path": path, "digest": hashlib.sha256(data).hexdigest(), "size": len(data)}


def serve_version(mock: Any, records: Any, files: list[dict[str, Any]], contents: dict[str, bytes]) -> None:
    mock.routes["GET /api/v1/model-versions/resolve"] = records.version(files)
    for name, data in contents.items():
        mock.routes[f"GET /api/v1/model-versions/mvs1/files/{name}"] = Response(200, {}, data)


def test_a_model_is_downloaded_with_its_digests_checked(mock: Any, records: Any, tmp_path: Path) -> None:
    serve_version(mock, records, [entry("a/b.txt", b"hello")], {"a/b.txt": b"hello"})
    assert mock.client().models.download("m", tmp_path / "out") == [tmp_path / "out" / "a" / "b.txt"]
    assert (tmp_path / "out" / "a" / "b.txt").read_bytes() == b"hello"


@pytest.mark.parametrize("content", [b"hallo", b"hell", b"hello and very much more"])
def test_a_wrong_content_is_not_kept(mock: Any, records: Any, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.txt").write_text("before")
    serve_version(mock, records, [entry("a.txt", b"hello")], {"a.txt": content})
    with pytest.raises(CorruptDataError, match=r"a\.txt"):
        mock.client().models.download("m", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "before"


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "a\\evil", "a\u0000b", ""])
def test_a_hostile_name_writes_nothing(mock: Any, records: Any, tmp_path: Path, name: str) -> None:
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    serve_version(mock, records, [entry(name, b"x")], {})
    with pytest.raises(PlatformError):
        mock.client().models.download("m", out)
    assert [path.name for path in tmp_path.rglob("*")] == ["deep", "out"]


def test_a_link_on_the_way_is_not_followed(mock: Any, records: Any, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").symlink_to(tmp_path / "outside")
    serve_version(mock, records, [entry("a/b", b"x")], {"a/b": b"x"})
    with pytest.raises(HEADWAY_REFUSALS):
        mock.client().models.download("m", tmp_path / "out")
    assert list((tmp_path / "outside").iterdir()) == []


HEADWAY_REFUSALS = (InvalidRequestError, WorkspaceError)


def test_two_files_of_one_name_are_refused(mock: Any, records: Any, tmp_path: Path) -> None:
    serve_version(mock, records, [entry("a", b"x"), entry("a", b"y")], {"a": b"x"})
    with pytest.raises(InvalidRequestError, match="twice"):
        mock.client().models.download("m", tmp_path)


def test_outputs_are_downloaded(mock: Any, records: Any, tmp_path: Path) -> None:
    mock.routes["GET /api/v1/jobs/job1"] = records.job(outputs=[entry("plots/a b.txt", b"hi")])
    mock.routes["GET /api/v1/jobs/job1/outputs/plots/a%20b.txt"] = Response(200, {}, b"hi")
    [path] = mock.client().jobs.download_outputs("job1", tmp_path)
    assert path.read_bytes() == b"hi"


def test_predict_asks_the_endpoint_in_both_forms(mock: Any, records: Any) -> None:
    mock.routes["GET /api/v1/deployments/digits"] = records.deployment()
    mock.routes["POST http://mock:81/model-serving/dep1:predict"] = {}
    answers = {"inputs": {"outputs": [5]}, "instances": {"predictions": [6]}}

    def predict(request: Request) -> dict[str, Any]:
        assert request.headers["Authorization"] == "Bearer hw_secret"
        assert isinstance(request.content, bytes)
        [form] = json.loads(request.content)
        return answers[form]

    mock.routes["POST :81/model-serving/dep1:predict"] = predict
    client = mock.client()
    assert client.deployments.predict("digits", [[1]]).outputs == [5]
    assert client.deployments.predict("digits", instances=[1]).predictions == [6]
    assert [request.method for request in mock.requests] == ["GET", "POST", "POST"]
    for wrong in ({}, {"inputs": 1, "instances": [1]}, {"inputs": object()}):
        with pytest.raises(InvalidRequestError):
            client.deployments.predict("digits", **wrong)


def test_the_endpoints_errors_are_ours(mock: Any, records: Any) -> None:
    mock.routes["GET /api/v1/deployments/digits"] = records.deployment()
    client = mock.client()
    for status, expected in ((400, InvalidRequestError), (503, UnavailableError), (500, PlatformError)):
        mock.routes["POST :81/model-serving/dep1:predict"] = (status, {"error": "what went wrong"})
        with pytest.raises(expected, match="what went wrong"):
            client.deployments.predict("digits", [1])


def test_the_token_does_not_go_to_an_endpoint_elsewhere(mock: Any, records: Any) -> None:
    mock.routes["GET /api/v1/deployments/d"] = records.deployment(
        endpoint="http://evil.example/model-serving/d:predict"
    )

    def steal(request: Request) -> tuple[int, dict[str, Any]]:
        assert "Authorization" not in request.headers
        return 401, {"error": "no token"}

    mock.routes["POST http://evil.example/model-serving/d:predict"] = steal
    with pytest.raises(Exception, match="not sent") as caught:
        mock.client().deployments.predict("d", [1])
    assert caught.value.status == 401


@pytest.mark.parametrize(
    ("server", "endpoint", "expected"),
    [
        ("http://h:1", "http://h:2/x", True),
        ("http://127.0.0.1:1", "http://localhost:2/x", True),
        ("https://h", "http://h/x", False),
        ("https://h", "https://h:8443/x", True),
        ("http://h", "http://h.evil/x", False),
    ],
)
def test_who_may_hold_the_token(server: str, endpoint: str, expected: bool) -> None:
    assert may_hold_token(server, endpoint) is expected


def test_waiting_for_a_deployment(scripted: Any, scripted_client: Client, script: Any, records: Any) -> None:
    scripted.script = [
        script.answer(200, records.deployment()),
        script.answer(200, records.deployment()),
        script.events(records.event(1, "starting", "deployment"), records.event(2, "running", "deployment")),
        script.answer(200, records.deployment(state="running")),
    ]
    assert scripted_client.deployments.wait("dep1", timeout=20).state == "running"


def test_a_deployment_that_cannot_come_is_not_waited_for(mock: Any, records: Any) -> None:
    mock.routes["GET /api/v1/deployments/dep1"] = records.deployment(desired="stopped", state="stopped")
    with pytest.raises(ConflictError, match="headway deploy start"):
        mock.client().deployments.wait("dep1")
    assert mock.client().deployments.wait("dep1", state="stopped").state == "stopped"
    mock.routes["GET /api/v1/deployments/dep1"] = records.deployment(state="error", reason="no predict.py")
    with pytest.raises(PlatformError, match=r"no predict\.py"):
        mock.client().deployments.wait("dep1")
    with pytest.raises(InvalidRequestError, match="runnning"):
        mock.client().deployments.wait("dep1", state="runnning")


def test_waiting_for_a_deployment_ends_in_time(
    scripted: Any, scripted_client: Client, script: Any, records: Any
) -> None:
    hold = threading.Event()
    scripted.script = [
        script.answer(200, records.deployment()),
        script.answer(200, records.deployment()),
        script.events(": hi\n\n", hold=hold),
        script.answer(200, records.deployment(reason="waiting for room")),
    ]
    started = time.monotonic()
    try:
        with pytest.raises(WaitTimeoutError, match="waiting for room"):
            scripted_client.deployments.wait("dep1", timeout=0.4)
    finally:
        hold.set()
    assert time.monotonic() - started < 10


def test_only_what_is_given_is_changed(mock: Any) -> None:
    project = {"id": "prj1", "name": "digits", "created_at": "2026-01-02T03:04:05Z", "created_by": "u"}
    mock.routes["PATCH /api/v1/projects/digits"] = project
    mock.client().projects.update("digits", description="new")
    assert mock.body() == {"description": "new"}
    with pytest.raises(InvalidRequestError, match="Did you mean 'description'"):
        mock.client().projects.update("digits", descripton="new")


def test_instance_types_are_suggested(mock: Any) -> None:
    mock.routes["GET /api/v1/instance-types"] = {"items": [{"name": "cpu.small", "cpu": 1}]}
    assert mock.client().instance_types.get("cpu.small").cpu == 1
    with pytest.raises(NotFoundError, match=r"Did you mean 'cpu\.small'"):
        mock.client().instance_types.get("cpu.smal")


def test_a_new_token_is_shown_by_its_secret_alone(mock: Any) -> None:
    token = {
        "id": "tok1",
        "kind": "user",
        "name": "t",
        "user_id": "u",
        "prefix": "hw_",
        "created_at": "2026-01-02T03:04:05Z",
    }
    mock.routes["POST /api/v1/tokens"] = (201, {"token": token, "secret": "hw_new"})
    created = mock.client().tokens.create("t", role="viewer")
    assert created.secret == "hw_new"
    assert "hw_new" not in repr(created)


def test_records_are_readable(mock: Any, records: Any) -> None:
    files = [entry(f"f{n}", b"x") for n in range(500)]
    job = records.job(spec={"roles": {"w": {"command": ["true"]}}, "workspace": {"kind": "files", "files": files}})
    mock.routes["GET /api/v1/jobs/job1"] = job
    text = repr(mock.client().jobs.get("job1"))
    assert "<500 items>" in text
    assert "retries" not in text
    assert len(text) < 1500
