"""Every route × verb × caller, against one literal table. A route that is not in the table fails the test."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from random import randrange
from typing import Any

import pytest
from fastapi.routing import APIRoute

from headway.domain.base import new_id, now
from headway.domain.catalogue import CatalogueEntry, CatalogueKind
from headway.domain.deployments import DeploymentUpdate
from headway.domain.folders import Folder
from headway.domain.instances import InstanceType
from headway.domain.jobs import JobState
from headway.domain.monitors import MonitorSpec
from headway.domain.runs import RunState
from headway.domain.sweeps import SweepState
from headway.domain.users import Role, TokenKind, token_digest
from headway.journal.compression import compress
from headway.server.actions import monitors, revisions
from headway.server.app import PREFIX, api_routers
from headway.testing.factories import make_run, make_sweep

# Who may do it: a name of a row in ALLOWED below.
ROUTES: dict[tuple[str, str], str] = {
    ("GET", "/health"): "open",
    ("HEAD", "/health"): "open",
    ("GET", "/ready"): "open",
    ("HEAD", "/ready"): "open",
    ("GET", "/version"): "user or job",
    ("GET", "/metrics"): "server admin",
    ("GET", "/openapi.json"): "user",
    ("GET", "/me"): "user or job",
    ("GET", "/status"): "user",
    ("POST", "/projects"): "user",
    ("GET", "/projects"): "user",
    ("GET", "/projects/{project}"): "read",
    ("PATCH", "/projects/{project}"): "manage",
    ("DELETE", "/projects/{project}"): "manage",
    ("GET", "/projects/{project}/members"): "read",
    ("PUT", "/projects/{project}/members/{user}"): "manage",
    ("DELETE", "/projects/{project}/members/{user}"): "manage",
    ("POST", "/users"): "server admin",
    ("GET", "/users"): "server admin",
    ("GET", "/users/{user}"): "server admin",
    ("DELETE", "/users/{user}"): "server admin",
    ("POST", "/tokens"): "user",
    ("GET", "/tokens"): "user",
    ("DELETE", "/tokens/{token}"): "owner",
    ("GET", "/instance-types"): "user",
    ("PUT", "/instance-types/{name}"): "server admin",
    ("DELETE", "/instance-types/{name}"): "server admin",
    ("POST", "/sweeps"): "write",
    ("GET", "/sweeps"): "listing",
    ("GET", "/sweeps/{sweep}"): "read",
    ("DELETE", "/sweeps/{sweep}"): "write",
    ("POST", "/sweeps/{sweep}/stop"): "write",
    ("GET", "/sweeps/{sweep}/trials"): "read",
    ("GET", "/catalogue"): "user",
    ("GET", "/catalogue/{kind}/{entry}"): "user",
    ("PUT", "/catalogue/{kind}/{number}"): "server admin",
    ("PATCH", "/catalogue/{kind}/{entry}"): "server admin",
    ("DELETE", "/catalogue/{kind}/{entry}"): "server admin",
    ("POST", "/projects/{project}/blobs/missing"): "write or job",
    ("POST", "/projects/{project}/blobs/bundle"): "read or job",
    ("PUT", "/projects/{project}/blobs/{digest}"): "write or job",
    ("GET", "/projects/{project}/blobs/{digest}"): "read or job",
    ("HEAD", "/projects/{project}/blobs/{digest}"): "read or job",
    ("POST", "/projects/{project}/buckets"): "write or job",
    ("GET", "/projects/{project}/buckets"): "read or job",
    ("GET", "/projects/{project}/buckets/{bucket}"): "read or job",
    ("DELETE", "/projects/{project}/buckets/{bucket}"): "write",
    ("GET", "/projects/{project}/buckets/{bucket}/objects"): "read or job",
    ("POST", "/projects/{project}/buckets/{bucket}/objects"): "write or job",
    ("DELETE", "/projects/{project}/buckets/{bucket}/objects"): "write",
    ("GET", "/projects/{project}/buckets/{bucket}/object"): "read or job",
    ("HEAD", "/projects/{project}/buckets/{bucket}/object"): "read or job",
    ("GET", "/projects/{project}/buckets/{bucket}/object/info"): "read or job",
    ("POST", "/projects/{project}/uploads"): "write or job",
    ("PUT", "/projects/{project}/uploads/{upload}/parts/{number}"): "write or job",
    ("POST", "/projects/{project}/uploads/{upload}/finish"): "write or job",
    ("POST", "/gc"): "server admin",
    ("POST", "/artifact-versions"): "write or job",
    ("GET", "/artifact-versions"): "listing or job",
    ("GET", "/artifact-versions/resolve"): "read or job",
    ("GET", "/artifact-versions/{version}"): "read or job",
    ("DELETE", "/artifact-versions/{version}"): "write",
    ("GET", "/artifact-versions/{version}/entries"): "read or job",
    ("GET", "/artifact-versions/{version}/files/{path:path}"): "read or job",
    ("GET", "/artifacts"): "listing or job",
    ("GET", "/artifacts/{artifact}"): "read or job",
    ("DELETE", "/artifacts/{artifact}"): "write",
    ("PUT", "/artifacts/{artifact}/aliases/{alias}"): "write",
    ("DELETE", "/artifacts/{artifact}/aliases/{alias}"): "write",
    ("GET", "/lineage"): "read",
    ("POST", "/jobs"): "write",
    ("GET", "/jobs"): "listing",
    ("GET", "/jobs/{job}"): "read or job",
    ("DELETE", "/jobs/{job}"): "write",
    ("POST", "/jobs/{job}/start"): "write",
    ("POST", "/jobs/{job}/stop"): "write",
    ("POST", "/jobs/{job}/retry"): "write",
    ("GET", "/jobs/{job}/logs"): "read",
    ("GET", "/jobs/{job}/logs/stream"): "read",
    ("GET", "/jobs/{job}/attempts"): "read",
    ("GET", "/jobs/{job}/outputs/{path:path}"): "read",
    ("GET", "/projects/{project}/folders"): "read",
    ("POST", "/projects/{project}/folders"): "write",
    ("DELETE", "/projects/{project}/folders"): "write",
    ("POST", "/runs"): "write",
    ("GET", "/runs"): "listing",
    ("PATCH", "/runs/{run}"): "write",
    ("DELETE", "/runs/{run}"): "write",
    ("POST", "/runs/{run}/heartbeat"): "write or job",
    ("GET", "/runs/{run}/summary"): "read",
    ("GET", "/runs/{run}/environment"): "read",
    ("GET", "/runs/{run}/series"): "read",
    ("GET", "/runs/{run}/metrics"): "read",
    ("GET", "/runs/{run}/entries"): "read",
    ("GET", "/runs/{run}/logs"): "read",
    ("GET", "/runs/{run}/logs/stream"): "read",
    ("GET", "/runs/{run}"): "read or job",
    ("GET", "/runs/{run}/streams"): "read",
    ("PUT", "/runs/{run}/streams/{kind}/{name}"): "write or job",
    ("POST", "/runs/{run}/monitors"): "write",
    ("GET", "/runs/{run}/monitors"): "read",
    ("POST", "/runs/{run}/monitors/test"): "read",
    ("GET", "/runs/{run}/monitors/{monitor}"): "read",
    ("PATCH", "/runs/{run}/monitors/{monitor}"): "write",
    ("DELETE", "/runs/{run}/monitors/{monitor}"): "write",
    ("POST", "/replicas/{replica}/report"): "own job",
    ("POST", "/models"): "write",
    ("GET", "/models"): "listing",
    ("GET", "/models/{model}"): "read",
    ("PATCH", "/models/{model}"): "write",
    ("DELETE", "/models/{model}"): "write",
    ("PUT", "/models/{model}/aliases/{alias}"): "write",
    ("DELETE", "/models/{model}/aliases/{alias}"): "write",
    ("GET", "/model-versions"): "listing",
    ("GET", "/model-versions/resolve"): "read",
    ("GET", "/model-versions/{version}"): "read",
    ("PATCH", "/model-versions/{version}"): "write",
    ("DELETE", "/model-versions/{version}"): "write",
    ("GET", "/model-versions/{version}/files/{path:path}"): "read",
    ("POST", "/deployments"): "write",
    ("GET", "/deployments"): "listing",
    ("GET", "/deployments/{deployment}"): "read",
    ("DELETE", "/deployments/{deployment}"): "write",
    ("PATCH", "/deployments/{deployment}"): "write",
    ("POST", "/deployments/{deployment}/rollback"): "write",
    ("GET", "/deployments/{deployment}/revisions"): "read",
    ("GET", "/deployments/{deployment}/revisions/{number}"): "read",
    ("POST", "/deployments/{deployment}/start"): "write",
    ("POST", "/deployments/{deployment}/stop"): "write",
    ("GET", "/deployments/{deployment}/logs"): "read",
    ("GET", "/deployments/{deployment}/logs/stream"): "read",
    ("GET", "/deployments/{deployment}/traffic"): "read",
    ("GET", "/events"): "listing",
    ("GET", "/gateway/routes"): "gateway",
    ("POST", "/gateway/traffic"): "only gateway",
}

USERS = {"viewer", "member", "manager", "server admin", "outsider"}
READERS = {"viewer", "member", "manager", "server admin"}
WRITERS = READERS - {"viewer"}
ALLOWED: dict[str, set[str]] = {
    "user": USERS,
    "user or job": USERS | {"job"},
    "listing": USERS,
    "listing or job": USERS | {"job"},
    "read": READERS,
    "read or job": READERS | {"job"},
    "write": WRITERS,
    "write or job": WRITERS | {"job"},
    "manage": {"manager", "server admin"},
    "server admin": {"server admin"},
    "owner": {"member", "server admin"},
    "own job": {"job"},
    "gateway": {"gateway", "server admin"},
    "only gateway": {"gateway"},
}
NOBODY = ("none", "bad", "expired", "revoked job")
CALLERS = (*NOBODY, "outsider", "viewer", "member", "manager", "server admin", "job", "other job", "gateway")
ANY_PROJECT_JOB = {"user or job", "listing or job"}


class Scene:
    """A project with one of everything, made anew where a cell might destroy it."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.project = world.project()
        self.elsewhere = world.project()
        self.users = {
            name: world.user(f"{name}-{self.project.id}") for name in ("viewer", "member", "manager", "outsider")
        }
        for name, role in (("viewer", Role.VIEWER), ("member", Role.MEMBER), ("manager", Role.ADMIN)):
            world.member(self.project, self.users[name], role)
        world.member(self.elsewhere, self.users["outsider"], Role.ADMIN)
        self.own_job = world.job(self.project)
        self.replica, self.job_secret = world.attempt(self.own_job)
        _, self.other_secret = world.attempt(world.job(self.elsewhere))
        self.secrets = {name: world.token(user) for name, user in self.users.items()} | {
            "bad": "hw_" + "x" * 43,
            "expired": world.token(self.users["manager"], expired=True),
            "revoked job": self._revoked(),
            "server admin": world.admin_token,
            "job": self.job_secret,
            "other job": self.other_secret,
            "gateway": world.token(world.admin.user, kind=TokenKind.GATEWAY),
        }

    def _revoked(self) -> str:
        replica, secret = self.world.attempt(self.world.job(self.project))
        with self.world.platform.storage.write() as session:
            session.tokens.revoke_attempt(replica.attempt_id, now())
        return secret

    def url(self, verb: str, path: str) -> str:
        """The path with fresh things in it."""
        if verb == "DELETE" and path == "/projects/{project}":
            project = self.world.project()
            for name, role in (("viewer", Role.VIEWER), ("member", Role.MEMBER), ("manager", Role.ADMIN)):
                self.world.member(project, self.users[name], role)
            return f"{PREFIX}/projects/{project.id}"
        makers: dict[str, Callable[[], str]] = {
            "{project}": lambda: self.project.id,
            "{user}": lambda: self.world.user(f"u-{self.world.project().id}").name,
            "{token}": self._token,
            "{name}": self._name(path),
            "{digest}": lambda: self.world.blob(self.project).digest,
            "{bucket}": lambda: self.world.object(self.project).bucket,
            "{job}": lambda: self.own_job.id if (verb, path) == ("GET", "/jobs/{job}") else self._job(path),
            "{run}": lambda: self._run(verb, path),
            "{kind}": lambda: "train-framework" if "catalogue" in path else "logs",
            "{entry}": self._entry,
            "{sweep}": lambda: self._sweep(verb),
            "{monitor}": lambda: "loss",
            "{replica}": lambda: self.replica.id,
            "{model}": lambda: self.world.version(self.project).model_id,
            "{alias}": lambda: "champion",
            "{version}": lambda: self._version(path),
            "{artifact}": lambda: self.world.artifact(self.project).artifact_id,
            "{upload}": lambda: self._upload(path),
            "{number}": lambda: "0" if "parts" in path else "1",
            "{path:path}": lambda: "predict.py",
            "{deployment}": self._deployment,
        }
        if path.endswith("aliases/{alias}") and verb == "DELETE":
            path = path.replace("{model}", self._aliased()).replace("{artifact}", self._aliased_artifact())
        for part, make in makers.items():
            if part in path:
                path = path.replace(part, make())
        return path if path in ("/health", "/ready", "/version", "/metrics", "/openapi.json") else PREFIX + path

    def _token(self) -> str:
        secret = self.world.token(self.users["member"])
        with self.world.platform.storage.read() as session:
            return session.tokens.by_digest(token_digest(secret)).id

    def _name(self, path: str) -> Callable[[], str]:
        def make() -> str:
            if "instance-types" not in path:
                return "worker-0-abc"
            with self.world.platform.storage.write() as session:
                session.instance_types.put(InstanceType(name="spare", cpu=1))
            return "spare"

        return make

    def _sweep(self, verb: str) -> str:
        state = SweepState.STOPPED if verb == "DELETE" else SweepState.RUNNING
        sweep = make_sweep(project_id=self.project.id, state=state)
        with self.world.platform.storage.write() as session:
            session.sweeps.add(sweep)
        return sweep.id

    def _entry(self) -> str:
        entry = CatalogueEntry(kind=CatalogueKind.TRAIN_FRAMEWORK, id=randrange(1, 1 << 50), name=new_id("entry"))
        with self.world.platform.storage.write() as session:
            session.catalogue.put(entry)
        return entry.name

    def _job(self, path: str) -> str:
        job = self.world.job(self.project)
        if "/outputs/" in path or path.endswith(("/retry", "/stream")):
            output = self.world.blob(self.project)
            with self.world.platform.storage.write() as session:
                ended = job.evolve(state=JobState.FAILED, outputs=(output,))
                session.jobs.put(ended)
        return job.id

    def _folder(self) -> str:
        folder = Folder(project_id=self.project.id, path=new_id("folder"), created_at=now())
        with self.world.platform.storage.write() as session:
            session.folders.add(folder)
        return folder.path

    def _run(self, verb: str, path: str) -> str:
        """The job's, or one of its own where it must not be a job's, or must have ended."""
        if verb != "DELETE" and not path.endswith(("/stream", "{monitor}")):
            return str(self.replica.run_id)
        run = make_run(project_id=self.project.id, state=RunState.COMPLETE)
        with self.world.platform.storage.write() as session:
            session.runs.add(run)
            monitors.add_all(session, run, [MonitorSpec(name="loss", regex="loss (.*)")], actor="usr1")
        return run.id

    def _aliased(self) -> str:
        version = self.world.version(self.project)
        with self.world.platform.storage.write() as session:
            session.models.put(session.models.get(version.model_id).evolve(aliases={"champion": 1}))
        return version.model_id

    def _version(self, path: str) -> str:
        made = self.world.artifact if "artifact" in path else self.world.version
        return str(made(self.project).id)

    def _aliased_artifact(self) -> str:
        version = self.world.artifact(self.project)
        with self.world.platform.storage.write() as session:
            session.artifacts.put(session.artifacts.get(version.artifact_id).evolve(aliases={"champion": 1}))
        return str(version.artifact_id)

    def _deployment(self) -> str:
        """One with something to go back to."""
        found = self.world.deployment(self.project)
        update = DeploymentUpdate(deadline_seconds=5)
        revisions.update(self.world.platform, self.world.admin, found.id, None, update)
        return str(found.id)

    def _upload(self, path: str) -> str:
        """An upload of one part, which is there where the next step is to finish it."""
        content = new_id("content").encode()
        return str(self.world.upload(self.project, content, complete=path.endswith("/finish")))

    def call(self, verb: str, path: str, caller: str) -> int:
        headers = self.world.headers(self.secrets.get(caller))
        url = self.url(verb, path)
        keywords: dict[str, Any] = {"params": self._query(verb, path), "headers": headers}
        if path.endswith("blobs/{digest}") and verb == "PUT":
            keywords["content"] = self.world.predict
            headers["Content-Type"] = "application/octet-stream"
        elif "/parts/" in path:
            keywords["content"] = self.world.last_content
            headers["Content-Type"] = "application/octet-stream"
            headers["Digest-SHA256"] = hashlib.sha256(self.world.last_content).hexdigest()
        elif "/streams/" in path:
            keywords["content"] = compress(b"x")
            headers["Content-Type"] = "application/zstd"
        elif verb in ("POST", "PUT", "PATCH"):
            body = self._body(path)
            if body is not None:
                keywords["json"] = body
        if path.endswith("/stream") and "deployments" in path and caller in READERS:
            return 200 if self._opens(url, headers) else 500
        return int(self.world.client.request(verb, url, **keywords).status_code)

    def _opens(self, url: str, headers: dict[str, str]) -> bool:
        """A stream that does not end by itself is shown by its sibling that lists: both ask the same action."""
        return bool(self.world.client.get(url.removesuffix("/stream"), headers=headers).status_code == 200)

    def _query(self, verb: str, path: str) -> dict[str, Any]:
        if "/streams/" in path:
            return {"offset": 0, "writer": "w"}
        if path == "/runs/{run}/metrics":
            return {"name": "loss"}
        if path.endswith("/resolve"):
            made = self.world.artifact if "artifact" in path else self.world.version
            return {"project": self.project.id, "ref": made(self.project).name}
        if path.endswith("/folders"):
            return {"path": self._folder()}
        if "/{bucket}/object" in path and verb != "POST" and not (verb == "GET" and path.endswith("/objects")):
            return {"key": "a/../b"}
        if path.endswith("/{bucket}"):
            return {"force": True}
        if path == "/lineage":
            return {"subject": self.own_job.id}
        return {}

    def _body(self, path: str) -> dict[str, Any] | None:
        if path.endswith("/blobs/missing"):
            return {"digests": []}
        if path.endswith("/blobs/bundle"):
            return {"digests": [self.world.blob(self.project).digest]}
        if path.endswith("/buckets/{bucket}/objects"):
            entry = self.world.blob(self.project)
            return {"objects": [{"key": "k", "digest": entry.digest, "size": entry.size}]}
        if path == "/models":
            entry = self.world.blob(self.project).model_dump(mode="json")
            return {"project": self.project.id, "name": "m", "files": [entry]}
        if path == "/deployments":
            version = self.world.version(self.project)
            return {"project": self.project.id, "name": new_id("d"), "model": version.id, "start": False}
        if path == "/artifact-versions":
            manifest = self.world.manifest(self.project)
            return {"project": self.project.id, "name": new_id("data"), "manifest": manifest}
        bodies: dict[str, dict[str, Any]] = {
            "/projects": {"name": new_id("p")},
            "/projects/{project}": {"description": "new"},
            "/projects/{project}/members/{user}": {"role": "viewer"},
            "/users": {"name": new_id("u")},
            "/tokens": {"name": "t"},
            "/instance-types/{name}": {"cpu": 1},
            "/sweeps": {
                "project": self.project.id,
                "name": new_id("sweep"),
                "job": {"command": "true"},
                "space": {"x": [1, 2]},
                "objective": {"metric": "loss", "goal": "minimize"},
            },
            "/catalogue/{kind}/{number}": {"name": new_id("entry")},
            "/catalogue/{kind}/{entry}": {"hidden": True},
            "/jobs": {"project": self.project.id, "name": "j", "command": "true", "start": False},
            "/models/{model}": {"description": "new"},
            "/model-versions/{version}": {"labels": {"stage": "new"}},
            "/models/{model}/aliases/{alias}": {"version": 1},
            "/artifacts/{artifact}/aliases/{alias}": {"version": 1},
            "/projects/{project}/uploads": {"digest": "ab" * 32, "size": 1 << 25},
            "/gc": {"dry_run": True},
            "/deployments/{deployment}": {"public": True},
            "/deployments/{deployment}/rollback": {},
            "/gateway/traffic": {"gateway": "g1"},
            "/runs": {"project": self.project.id},
            "/runs/{run}": {"description": "new"},
            "/runs/{run}/heartbeat": {"writer": "w"},
            "/runs/{run}/monitors": {"name": new_id("series"), "regex": "loss"},
            "/runs/{run}/monitors/test": {"regex": "loss"},
            "/runs/{run}/monitors/{monitor}": {"regex": "loss=(.*)"},
            "/projects/{project}/folders": {"path": new_id("folder")},
            "/projects/{project}/buckets": {"name": new_id("bucket")},
            "/replicas/{replica}/report": {"attempt_token": self._attempt_token(), "phase": "preparing"},
        }
        return bodies.get(path)

    def _attempt_token(self) -> str:
        with self.world.platform.storage.read() as session:
            return str(session.attempts.get(self.replica.attempt_id).token)


def served_routes(world: Any) -> set[tuple[str, str]]:
    """Every verb and path that the assembled application answers, as its routers and its own document know them."""
    found = set()
    routers = api_routers()
    assert len(world.server.api.routes) == len(routers), "something was mounted beside the routers"
    for prefix, router in routers:
        for route in router.routes:
            assert isinstance(route, APIRoute), f"{route!r} is no plain route"
            found |= {(verb, (prefix + route.path).removeprefix(PREFIX)) for verb in route.methods}
    return found


@pytest.fixture(scope="module")
def scene(world: Any) -> Scene:
    return Scene(world)


def test_the_table_lists_every_route_and_no_other(world: Any) -> None:
    assert served_routes(world) == set(ROUTES)


@pytest.mark.parametrize(("verb", "path"), sorted(ROUTES), ids=lambda part: str(part))
def test_every_caller_gets_what_the_table_says(scene: Scene, verb: str, path: str) -> None:
    kind = ROUTES[(verb, path)]
    for caller in CALLERS:
        status = scene.call(verb, path, caller)
        if kind == "open":
            assert status == 200, (caller, status)
        elif caller in NOBODY:
            assert status == 401, (caller, status)
        elif caller in ALLOWED[kind] or (caller == "other job" and kind in ANY_PROJECT_JOB):
            assert status < 300, (caller, status)
        else:
            assert status in (403, 404), (caller, status)


@pytest.mark.parametrize("verb", ["OPTIONS", "TRACE", "CONNECT", "PROPFIND"])
def test_other_methods_are_refused_before_anything_else(world: Any, verb: str) -> None:
    response = world.client.request(verb, f"{PREFIX}/projects", headers=world.headers(world.admin_token))
    assert response.status_code == 405


def test_a_jobs_token_opens_its_own_job_and_run_and_no_other_of_the_project(scene: Scene) -> None:
    other = scene.world.job(scene.project)
    headers = scene.world.headers(scene.job_secret)
    for path in (f"{PREFIX}/jobs/{other.id}", f"{PREFIX}/runs/{other.run_id}"):
        assert scene.world.client.get(path, headers=headers).status_code == 404


def test_a_method_override_header_changes_nothing(world: Any) -> None:
    project = world.project()
    headers = {**world.headers(world.admin_token), "X-HTTP-Method-Override": "DELETE"}
    assert world.client.get(f"{PREFIX}/projects/{project.id}", headers=headers).status_code == 200
    assert world.client.get(f"{PREFIX}/projects/{project.id}", headers=headers).status_code == 200
