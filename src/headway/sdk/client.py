"""The client: every noun of a server as an attribute."""

from __future__ import annotations

from functools import cached_property
from types import TracebackType
from typing import Any

from headway.config import Connection, find_connection
from headway.domain.collection import DEFAULT_GRACE_HOURS, CollectionReport
from headway.domain.users import Identity
from headway.errors import InvalidRequestError
from headway.sdk.resources.artifacts import Artifacts
from headway.sdk.resources.blobs import Blobs
from headway.sdk.resources.catalogue import Catalogue
from headway.sdk.resources.collection import Collection
from headway.sdk.resources.deployments import Deployments
from headway.sdk.resources.events import Events
from headway.sdk.resources.folders import Folders
from headway.sdk.resources.instance_types import InstanceTypes
from headway.sdk.resources.jobs import Jobs
from headway.sdk.resources.lineage import LineageGraph, LineageResource
from headway.sdk.resources.models import Models
from headway.sdk.resources.monitors import Monitors
from headway.sdk.resources.objects import Objects
from headway.sdk.resources.projects import Projects
from headway.sdk.resources.runs import Runs
from headway.sdk.resources.sweeps import Sweeps
from headway.sdk.resources.tokens import Tokens
from headway.sdk.resources.users import Users
from headway.sdk.session import Session
from headway.sdk.transport import HttpTransport, Transport


class Client:
    """A connection to a Headway server.

    ::

        with headway.Client() as client:
            job = client.jobs.create("digits", command="python train.py", workspace=".")
            client.jobs.wait(job.id)

    Args:
        url: The server's address. Without it: HEADWAY_URL, the project file, or the profile of ``headway login``.
        token: The secret to present. Without it: HEADWAY_TOKEN, or that of the profile.
        project: Id or name of the project for calls that name none.
        timeout: Seconds to wait for a connection, and for the next byte of an answer.
        retry_for: Seconds in which what is safe to repeat is sent again while the server does not answer.
        transport: Something else than HTTP, for tests.

    May be used from several threads. Making one sends nothing.

    Raises:
        ConfigurationError: No server is named anywhere, or a setting is wrong.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        project: str | None = None,
        *,
        timeout: float = 30.0,
        retry_for: float = 10.0,
        transport: Transport | None = None,
    ) -> None:
        if timeout <= 0:
            raise InvalidRequestError(f"timeout must be above 0 seconds, not {timeout!r}.")
        self.connection: Connection = find_connection(url, token, project)
        self._session = Session(
            self.connection, transport or HttpTransport(self.connection.url, timeout=timeout), retry_for=retry_for
        )

    def __repr__(self) -> str:
        return f"Client(url={self.url!r}, project={self.project!r})"

    @property
    def url(self) -> str:
        """The server's address."""
        return self.connection.url

    @property
    def project(self) -> str | None:
        """The project for calls that name none."""
        return self.connection.project

    @cached_property
    def projects(self) -> Projects:
        return Projects(self._session)

    @cached_property
    def jobs(self) -> Jobs:
        return Jobs(self._session)

    @cached_property
    def runs(self) -> Runs:
        return Runs(self._session)

    @cached_property
    def monitors(self) -> Monitors:
        """Expressions over the log of a run, whose matches are points of its metrics."""
        return Monitors(self._session)

    @cached_property
    def folders(self) -> Folders:
        return Folders(self._session)

    @cached_property
    def models(self) -> Models:
        return Models(self._session)

    @cached_property
    def deployments(self) -> Deployments:
        return Deployments(self._session)

    @cached_property
    def instance_types(self) -> InstanceTypes:
        return InstanceTypes(self._session)

    @cached_property
    def sweeps(self) -> Sweeps:
        return Sweeps(self._session)

    @cached_property
    def catalogue(self) -> Catalogue:
        return Catalogue(self._session)

    @cached_property
    def events(self) -> Events:
        return Events(self._session)

    @cached_property
    def users(self) -> Users:
        return Users(self._session)

    @cached_property
    def tokens(self) -> Tokens:
        return Tokens(self._session)

    @cached_property
    def blobs(self) -> Blobs:
        """Content-addressed bytes of a project; what workspaces and models are made of."""
        return Blobs(self._session)

    @cached_property
    def artifacts(self) -> Artifacts:
        """Named, versioned sets of files and references."""
        return Artifacts(self._session)

    @cached_property
    def objects(self) -> Objects:
        """The object area: what ``s3://bucket/key`` names."""
        return Objects(self._session)

    def lineage(
        self, subject: Any, *, direction: str = "both", depth: int | None = None, project: str | None = None
    ) -> LineageGraph:
        """What ``subject`` was made of, and what was made of it.

        Args:
            subject: A run, job, model version, artifact version or deployment: its record or handle, its id, or within a
                project ``artifact:name:v3``, ``models:/name/3`` or the name of a deployment.
            direction: ``up`` (what it was made of), ``down`` or ``both``.
            depth: How many steps to follow; 10 without it.
            project: Id or name; the client's own without it.
        """
        return LineageResource(self._session).trace(subject, direction=direction, depth=depth, project=project)

    def gc(self, *, dry_run: bool = False, grace_hours: float = DEFAULT_GRACE_HOURS) -> CollectionReport:
        """Have the server remove stored content that nothing refers to; only a server admin may.

        Args:
            dry_run: Only say what would be removed.
            grace_hours: What was sent or asked for within so many hours stays in any case.
        """
        return Collection(self._session).collect(dry_run=dry_run, grace_hours=grace_hours)

    def me(self) -> Identity:
        """Who the token makes you."""
        return self._session.get(Identity, "/api/v1/me")

    def status(self) -> dict[str, Any]:
        """How the server stands: version, engine, capacity, jobs and deployments by state."""
        return dict(self._session.call("GET", "/api/v1/status") or {})

    def version(self) -> dict[str, Any]:
        """The server's version, instance and API."""
        return dict(self._session.call("GET", "/version") or {})

    def close(self) -> None:
        """Close all connections; the client cannot be used afterwards."""
        self._session.transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
