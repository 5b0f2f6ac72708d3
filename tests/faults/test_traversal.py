"""Names that try to leave: a corpus of encodings over every route and field that takes a path."""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import pytest
import zstandard

from headway import Client
from headway.domain.jobs import Job
from headway.domain.models import ModelVersion
from headway.errors import InvalidRequestError, NotFoundError
from headway.testing.faults import FULL
from headway.testing.server import ServerProcess

DOTS = (
    "..", "%2e%2e", "%2E.", ".%2e", "%252e%252e", "%25252e%25252e", "%c0%ae%c0%ae", "%e0%80%ae%e0%80%ae",
    "%ef%bc%8e%ef%bc%8e", "%u002e%u002e", "..;", "..;x=y", "..%00", "....", "%2e%2e%3b", "..%20", "..%09", "%20..",
)  # fmt: skip
SEPARATORS = ("/", "%2f", "%252f", "%25252f", "\\", "%5c", "%255c", "//", "/./", "%c0%af", "%ef%bc%8f", "%e2%88%95")
FEW = 200
"""So many of the corpus are tried as a rule; all of it with HEADWAY_TEST_FULL=1."""
CANARY = secrets.token_hex(16)
FORBIDDEN = (CANARY.encode(), b"SQLite format 3", b"root:x:0:")
ROUTES_THAT_READ = (
    "/api/v1/jobs/{job}/outputs/{}",
    "/api/v1/jobs/{job}/logs?replica={}",
    "/api/v1/jobs/{}/logs",
    "/api/v1/model-versions/{version}/files/{}",
    "/api/v1/model-versions/{}",
    "/api/v1/projects/{project}/blobs/{}",
    "/api/v1/projects/{project}/buckets/{}/objects",
    "/api/v1/projects/{project}/buckets/walls/object?key={}",
    "/api/v1/runs/{}/streams",
    "/{}",
)
ROUTES_THAT_WRITE = (
    "/api/v1/projects/{project}/blobs/{}",
    "/api/v1/runs/{run}/streams/logs/{}?offset=0&writer=w1",
    "/api/v1/runs/{run}/streams/{}/name?offset=0&writer=w1",
)


class Scene(NamedTuple):
    """What the attack is aimed at."""

    server: ServerProcess
    client: Client
    job: Job
    version: ModelVersion
    root: Path
    """Everything below it belongs to this test; the server's data directory is one part of it."""

    def address(self, route: str, payload: str) -> str:
        return route.format(
            payload,
            job=self.job.id,
            run=self.job.run_id,
            version=self.version.id,
            project=self.client.project,
        )


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    root = tmp_path_factory.mktemp("traversal")
    for place in (root, root / "data", root / "data-sibling"):
        place.mkdir(mode=0o700, exist_ok=True)
        (place / "canary.txt").write_text(CANARY)
    with ServerProcess(root / "data") as server, Client(server.url, server.token, project="walls") as client:
        client.projects.create("walls")
        job = client.jobs.create(
            "leaves files", command="echo a > $HEADWAY_OUTPUT_DIR/a; echo b > $HEADWAY_MODEL_DIR/b"
        )
        job = client.jobs.wait(job.id, timeout=60)
        (version,) = client.models.versions(job=job.id)
        client.objects.create_bucket("walls")
        yield Scene(server, client, job, version, root)


def corpus(root: Path, chance: random.Random) -> list[str]:
    """Ways out: up by a little, up to the root of the file system and down again, and addresses of other kinds."""
    found = []
    for dots in DOTS:
        for separator in SEPARATORS:
            deep = separator.join(str(root / "canary.txt").strip("/").split("/"))
            found.append(separator.join([dots] * 3 + ["canary.txt"]))
            found.append(separator.join([dots] * 16 + [deep]))
    plain = str(root / "canary.txt")
    for path in (plain, "/etc/passwd"):
        found += [
            path,
            path.replace("/", "%2f"),
            path.replace("/", "%252f"),
            "/" + path,
            "%00" + path,
            f"file://{path}",
        ]
        found += [f"a/..{path}", f"a%2f..{path}", f"./{path}", f"~/..{path}", f"C:{path}", f"\\\\localhost{path}"]
        found += [f"a%00/../..{path}", f"{path}%00.txt", f"{path}%0a", f"{path}/.", f"{path}%23", f"%3f/../..{path}"]
    found += ["..", ".", "%2e", "...", "~", "~root", "%00", "*", "$HOME", "%24HOME", "-rf", "CON", "a" * 4096]
    return found if FULL else sorted(chance.sample(found, FEW))


class RawConnection:
    """Sends addresses as they are: no client library tidies them up."""

    def __init__(self, server: ServerProcess, url: str = "") -> None:
        host = (url or server.url).removeprefix("http://")
        self._connection = http.client.HTTPConnection(host, timeout=30)
        self._token = server.token

    def ask(self, method: str, target: str, body: bytes = b"", content_type: str = "") -> tuple[int, bytes]:
        self._connection.putrequest(method, target, skip_accept_encoding=True)
        self._connection.putheader("Authorization", f"Bearer {self._token}")
        if body:
            self._connection.putheader("Content-Type", content_type)
            self._connection.putheader("Content-Length", str(len(body)))
        self._connection.endheaders(body or None)
        response = self._connection.getresponse()
        return response.status, response.read() + str(response.headers).encode()

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def raw(scene: Scene) -> Iterator[RawConnection]:
    connection = RawConnection(scene.server)
    yield connection
    connection.close()


def test_nothing_outside_is_ever_read(scene: Scene, raw: RawConnection, chance: random.Random) -> None:
    secret = (scene.server.data / "secret.key").read_bytes()
    for payload in corpus(scene.root, chance):
        for route in ROUTES_THAT_READ:
            target = scene.address(route, payload)
            status, answer = raw.ask("GET", target)
            assert not any(words in answer for words in (*FORBIDDEN, secret)), target
            assert 400 <= status < 500 or (route.endswith("replica={}") and status == 200), (status, target)


def snapshot(root: Path) -> dict[str, str]:
    """Every file below ``root`` with its digest, without what the server itself keeps changing."""
    own = ("data/headway.db", "data/log/", "data/blobs/", "data/segments/", "data/engine/", "data/server.json")
    own += ("data/gateway/routes.json", "data/gateway/access.log", "data/gateway/gateway.log")
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and not name.startswith(own):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def test_nothing_outside_is_ever_written(scene: Scene, raw: RawConnection, chance: random.Random) -> None:
    before, body = snapshot(scene.root), zstandard.compress(b"HWJ1")
    around = {path.name for path in scene.root.parent.iterdir()}
    for payload in corpus(scene.root, chance):
        for route in ROUTES_THAT_WRITE:
            target = scene.address(route, payload)
            kind = "application/octet-stream" if "blobs" in route else "application/zstd"
            status, answer = raw.ask("PUT", target, body, kind)
            assert status == 200 or 400 <= status < 500, (status, target, answer)
            assert "blobs" not in route or status >= 400, target
    assert snapshot(scene.root) == before
    assert {path.name for path in scene.root.parent.iterdir()} == around
    blobs = [path.name for path in (scene.server.data / "blobs").rglob("*") if path.is_file()]
    assert all(len(name) == 64 for name in blobs), blobs


def test_the_endpoint_leads_nowhere_else(scene: Scene, chance: random.Random, tmp_path: Path) -> None:
    (tmp_path / "predict.py").write_text("class Predictor:\n    def predict(self, x): return x")
    scene.client.models.register("echo", tmp_path)
    found = scene.client.deployments.create("echo", "echo", public=True)
    scene.client.deployments.wait(found.id, timeout=60)
    gateway = RawConnection(scene.server, found.endpoint.partition("/model-serving")[0])
    try:
        for payload in corpus(scene.root, chance):
            for target in (f"/model-serving/{payload}:predict", f"/model-serving/{found.id}{payload}", f"/{payload}"):
                for method, body in (("GET", b""), ("POST", b'{"instances": [1]}')):
                    status, answer = gateway.ask(method, target, body, "application/json" if body else "")
                    assert not any(words in answer for words in FORBIDDEN), target
                    assert 400 <= status < 500, (status, target)
    finally:
        gateway.close()
        scene.client.deployments.delete(found.id)


def test_nothing_outside_is_named_in_a_manifest(scene: Scene, raw: RawConnection) -> None:
    digest = scene.version.files[0].digest
    unescaped = [
        "../canary.txt",
        "a/../../canary.txt",
        "/etc/passwd",
        "a//b",
        "./a",
        "a/.",
        "..",
        "",
        "a\\..\\b",
        "a\0b",
    ]
    for path in [*unescaped, "a\nb", "\ud800"]:
        entry = {"path": path, "digest": digest, "size": 2}
        model = {"project": scene.client.project, "name": "outside", "files": [entry]}
        workspace = {"kind": "files", "files": [entry]}
        job = {"project": scene.client.project, "name": "outside", "command": "true", "workspace": workspace}
        for address, document in (("/api/v1/models", model), ("/api/v1/jobs", job)):
            status, answer = raw.ask("POST", address, json.dumps(document).encode(), "application/json")
            assert (status, b"path" in answer) == (422, True), (path, status, answer)
    directory = {"project": scene.client.project, "name": "outside", "command": "true", "working_directory": "a/../.."}
    status, answer = raw.ask("POST", "/api/v1/jobs", json.dumps(directory).encode(), "application/json")
    assert (status, b"working_directory" in answer) == (422, True)
    assert "outside" not in {model.name for model in scene.client.models.list()}
    assert not list(scene.client.jobs.list(name="outside"))


def test_any_key_of_an_object_is_a_key_and_nothing_else(
    scene: Scene, raw: RawConnection, chance: random.Random, tmp_path: Path
) -> None:
    before, around = snapshot(scene.root), {path.name for path in scene.root.parent.iterdir()}
    entry = scene.version.files[0]
    place = f"/api/v1/projects/{scene.client.project}/buckets/keys/objects"
    written: set[str] = set()
    payloads = corpus(scene.root, chance)
    for key in {*payloads, *(unquote(payload) for payload in payloads)}:
        document = {"objects": [{"key": key, "digest": entry.digest, "size": entry.size}]}
        status, answer = raw.ask("POST", place, json.dumps(document).encode(), "application/json")
        assert (status, b"key" in answer) in ((200, True), (422, True)), (key, status, answer)
        written |= {key} if status == 200 else set()
    found = [stored.key for stored in scene.client.objects.list("s3://keys")]
    assert found == sorted(written, key=str.encode)
    for key in chance.sample(found, 50):
        target = tmp_path / "a" / "target"
        try:
            brought = scene.client.objects.download(f"s3://keys/{key}", f"{target}/")
        except (InvalidRequestError, NotFoundError):
            continue
        assert [path.resolve().parent for path in brought] == [target]
    assert [path.name for path in tmp_path.iterdir()] in ([], ["a"])
    assert snapshot(scene.root) == before
    assert {path.name for path in scene.root.parent.iterdir()} == around


def test_links_that_a_program_leaves_are_not_followed(scene: Scene, tmp_path: Path) -> None:
    canary = scene.root / "canary.txt"
    command = (
        f"for place in $HEADWAY_OUTPUT_DIR $HEADWAY_MODEL_DIR; do cd $place; ln -s {canary} file; ln -s {scene.root} folder;"
        " ln -s ../../../../spec.json spec; mkfifo pipe; echo kept > kept; done"
    )
    job = scene.client.jobs.create("links", command=command)
    job = scene.client.jobs.wait(job.id, timeout=60)
    assert [entry.path for entry in job.outputs] == ["kept"]
    (version,) = scene.client.models.versions(job=job.id)
    assert [entry.path for entry in version.files] == ["kept"]
    found = scene.client.jobs.download_outputs(job.id, tmp_path / "outputs")
    assert [path.read_text() for path in found] == ["kept\n"]
