"""Deployments: model versions behind an endpoint."""

from __future__ import annotations

from enum import Enum

from pydantic import Field

from headway.domain.base import Environment, Labels, Name, Record, Request, Slug, Timestamp
from headway.domain.replicas import ReplicaStatus


class DeploymentState(str, Enum):
    """Where a deployment is. Every move is an event with its time and reason."""

    STOPPED = "stopped"
    """No replicas; the endpoint answers 503."""
    STARTING = "starting"
    """Fewer replicas answer than were asked for; those that do answer serve."""
    RUNNING = "running"
    """As many replicas answer as were asked for."""
    STOPPING = "stopping"
    """Draining and ending its replicas."""
    ERROR = "error"
    """Replicas keep failing; ``reason`` says why. It goes on trying, more and more slowly."""


class DeployedVersion(Record):
    """One model version behind a deployment. ``weight`` is its share of the traffic among its siblings."""

    model_version_id: str
    model: str
    version: int
    weight: int = 100
    replicas: int = 1
    instance_type: str | None = None


class Deployment(Record):
    id: str
    project_id: str
    name: str
    run_id: str
    """The run that holds the replicas' logs."""
    versions: tuple[DeployedVersion, ...]
    desired: DeploymentState = DeploymentState.RUNNING
    """STOPPED or RUNNING: what was asked for."""
    state: DeploymentState = DeploymentState.STARTING
    reason: str = ""
    endpoint: str
    """POST here to predict; one address for life."""
    public: bool = False
    environment: dict[str, str] = {}
    labels: dict[str, str] = {}
    replicas: tuple[ReplicaStatus, ...] = ()
    failures: int = 0
    """Replicas that ended badly lately; forgotten once all have answered for a while."""
    next_start_at: Timestamp | None = None
    """After failures: when the next replica is started."""
    last_number: int = 0
    """The number of the newest attempt."""
    created_at: Timestamp
    created_by: str
    state_changed_at: Timestamp

    @property
    def replica_count(self) -> int:
        return sum(version.replicas for version in self.versions)


class DeploymentCreate(Request):
    """``model`` is a version id, ``models:/name/3``, ``models:/name@alias``, ``name:v3`` or a bare name (its newest)."""

    project: Name
    name: Name
    model: str = Field(min_length=1, max_length=1024)
    replicas: int = Field(default=1, ge=1, le=256)
    instance_type: Slug | None = None
    public: bool = False
    start: bool = True
    environment: Environment = {}
    labels: Labels = {}


class RouteReplica(Record):
    id: str
    address: str


class RouteVersion(Record):
    model: str
    version: int
    weight: int
    replicas: tuple[RouteReplica, ...]


class Route(Record):
    """What a gateway needs to know of one deployment. ``tokens`` are SHA-256 digests that may predict."""

    deployment_id: str
    name: str
    public: bool
    desired: DeploymentState
    state: DeploymentState
    reason: str = ""
    versions: tuple[RouteVersion, ...] = ()
    tokens: tuple[RouteToken, ...] = ()


class RouteToken(Record):
    digest: str
    expires_at: Timestamp | None = None


class RouteTable(Record):
    """All routes at one point of the event feed; ``version`` is the sequence number of the last event it contains."""

    version: int
    routes: tuple[Route, ...] = ()


Route.model_rebuild()
