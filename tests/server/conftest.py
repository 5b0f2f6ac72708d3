"""An assembled server inside the test's process, without workers: enough for whatever needs no engine."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from headway.domain.artifacts import ArtifactCommit, ArtifactEntry, ArtifactVersion
from headway.domain.base import new_id, now
from headway.domain.deployments import Deployment, DeploymentCreate
from headway.domain.files import FileEntry
from headway.domain.jobs import Job, JobCreate
from headway.domain.models import ModelVersion
from headway.domain.objects import ObjectPut, StoredObject
from headway.domain.projects import Project
from headway.domain.replicas import OwnerKind, Replica
from headway.domain.uploads import UploadCreate
from headway.domain.users import Member, Role, Token, TokenKind, User, new_token_secret, token_digest
from headway.server.actions import blobs, commits, deployments, jobs, objects, uploads, users
from headway.server.actions.attempts import add_attempt
from headway.server.actions.registration import VersionDraft, add_version
from headway.server.app import Server, create_app
from headway.server.context import Caller
from headway.server.settings import ServerSettings

PREDICT = b"class Predictor:\n    def predict(self, inputs):\n        return inputs\n"


class QuietGateway:
    """Stands where the gateway's keeper stands, and starts no process."""

    def url(self) -> str:
        return "http://127.0.0.1:20001"

    def known_url(self) -> str | None:
        return None

    def ensure(self) -> str:
        return self.url()


class AppClient:
    """Requests to an ASGI app in this process, one at a time, and no network between."""

    def __init__(self, app: Any) -> None:
        self._loop = asyncio.new_event_loop()
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://localhost")

    def request(self, verb: str, url: str, **keywords: Any) -> httpx.Response:
        return self._loop.run_until_complete(self._client.request(verb, url, **keywords))

    def get(self, url: str, **keywords: Any) -> httpx.Response:
        return self.request("GET", url, **keywords)

    def post(self, url: str, **keywords: Any) -> httpx.Response:
        return self.request("POST", url, **keywords)

    def close(self) -> None:
        self._loop.run_until_complete(self._client.aclose())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


class World:
    """Ways to put things into an assembled server directly, for tests of what others may do with them."""

    def __init__(self, server: Server) -> None:
        self.server, self.platform = server, server.platform
        self.client = AppClient(server.app)
        shown: list[str] = []
        users.first_token(self.platform, shown.append)
        (self.admin_token,) = shown
        with self.platform.storage.read() as session:
            admin = session.users.by_name("admin")
            assert admin is not None
            token = session.tokens.by_digest(token_digest(self.admin_token))
            assert token is not None
        self.admin = Caller(user=admin, token=token, roles={})

    predict = PREDICT

    def headers(self, secret: str | None) -> dict[str, str]:
        return {} if secret is None else {"Authorization": f"Bearer {secret}"}

    def user(self, name: str, *, admin: bool = False) -> User:
        user = User(id=new_id("usr"), name=name, admin=admin, created_at=now())
        with self.platform.storage.write() as session:
            session.users.add(user)
        return user

    def token(self, user: User, *, kind: TokenKind = TokenKind.USER, expired: bool = False, **fields: object) -> str:
        secret = new_token_secret()
        token = Token(
            id=new_id("tok"),
            kind=kind,
            name="test",
            user_id=user.id,
            prefix=secret[:8],
            created_at=now(),
            expires_at=now() - timedelta(seconds=1) if expired else None,
            **fields,
        )
        with self.platform.storage.write() as session:
            session.tokens.add(token, token_digest(secret))
        return secret

    def project(self, name: str | None = None) -> Project:
        project = Project(
            id=new_id("prj"), name=name or new_id("name"), created_at=now(), created_by=self.admin.user.id
        )
        with self.platform.storage.write() as session:
            session.projects.add(project)
        return project

    def member(self, project: Project, user: User, role: Role) -> None:
        with self.platform.storage.write() as session:
            session.members.put(Member(project_id=project.id, user_id=user.id, user_name=user.name, role=role))

    def job(self, project: Project, **fields: object) -> Job:
        request = JobCreate.model_validate(
            {"name": "a job", "project": project.id, "command": "true", "start": False, **fields}
        )
        return jobs.create(self.platform, self.admin, request)

    def attempt(self, job: Job) -> tuple[Replica, str]:
        """A replica of a new attempt, and the attempt's token."""
        with self.platform.storage.write() as session:
            attempt, replicas = add_attempt(
                self.platform,
                session,
                kind=OwnerKind.JOB,
                owner_id=job.id,
                project_id=job.project_id,
                run_id=job.run_id,
                user_id=job.created_by,
                number=1,
                roles=[("worker", 1)],
                instance_types={"worker": "cpu.small"},
            )
        return replicas[0], self.platform.attempt_secret(attempt.id)

    def blob(self, project: Project, data: bytes = PREDICT) -> FileEntry:
        digest = hashlib.sha256(data).hexdigest()
        blobs.put(self.platform, project.id, digest, [data])
        return FileEntry(path="predict.py", digest=digest, size=len(data))

    def object(self, project: Project, key: str = "a/../b", data: bytes = PREDICT) -> StoredObject:
        """An object in a bucket of its own."""
        entry = self.blob(project, data)
        wanted = ObjectPut(key=key, digest=entry.digest, size=entry.size)
        return objects.put(self.platform, self.admin, project.id, new_id("bucket"), [wanted])[0]

    def manifest(self, project: Project, entries: Sequence[ArtifactEntry] | None = None) -> str:
        """The digest of a manifest that the project holds; without ``entries`` of one file."""
        found = [ArtifactEntry.model_validate(dict(self.blob(project)))] if entries is None else entries
        data = "".join(entry.model_dump_json(exclude_defaults=True) + "\n" for entry in found).encode()
        return self.blob(project, data).digest

    def artifact(self, project: Project, name: str | None = None, **fields: object) -> ArtifactVersion:
        request = ArtifactCommit.model_validate(
            {"project": project.id, "name": name or new_id("data"), "manifest": self.manifest(project), **fields}
        )
        return commits.commit(self.platform, self.admin, request)

    last_content = b""

    def upload(self, project: Project, content: bytes, *, complete: bool = False) -> str:
        """The id of an upload of ``content``, which is remembered as ``last_content``."""
        digest = hashlib.sha256(content).hexdigest()
        request = UploadCreate(digest=digest, size=len(content))
        state = uploads.begin(self.platform, self.admin, project.id, request)
        assert state.id is not None
        if complete:
            found = uploads.find(self.platform, self.admin, project.id, state.id)
            uploads.put_part(self.platform, found, 0, digest, [content])
        self.last_content = content
        return state.id

    def version(self, project: Project, name: str | None = None) -> ModelVersion:
        entry = self.blob(project)
        with self.platform.storage.write() as session:
            draft = VersionDraft(files=(entry,))
            return add_version(session, project.id, name or new_id("model"), draft, actor=self.admin.user.id)

    def deployment(self, project: Project) -> Deployment:
        version = self.version(project)
        request = DeploymentCreate(project=project.id, name=new_id("dep"), model=version.id, start=False)
        return deployments.create(self.platform, self.admin, request, "http://127.0.0.1:20001")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    server = create_app(ServerSettings(data=tmp_path_factory.mktemp("data") / "server"), "http://127.0.0.1:1")
    server.api.state.gateway = QuietGateway()
    found = World(server)
    try:
        yield found
    finally:
        found.client.close()
        server.close()


@pytest.fixture
def postgres_world(new_postgres_database: Callable[[], str], tmp_path: Path) -> Iterator[World]:
    """The same over PostgreSQL, where sessions write at the same time."""
    settings = ServerSettings(data=tmp_path / "postgres", database_url=new_postgres_database())
    server = create_app(settings, "http://127.0.0.1:1")
    found = World(server)
    try:
        yield found
    finally:
        found.client.close()
        server.close()


@pytest.fixture
def data_directory(tmp_path: Path) -> Path:
    return tmp_path / "server"
