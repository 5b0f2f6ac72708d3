"""Deployments: model versions behind an endpoint."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from headway.domain.base import Description, Environment, Labels, Name, Record, Request, Slug, Timestamp
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


VersionKey = Annotated[str, Field(pattern=r"^v[1-9][0-9]{0,9}$")]
"""A version within its deployment: ``v3``."""


class Scaling(Record):
    """How many replicas a version has: between ``minimum`` and ``maximum``, by the requests in flight at each.

    With ``minimum=0`` the last replica ends after ``idle_seconds`` without a request; the next request waits for a new one.
    """

    minimum: int = Field(default=1, ge=0, le=256)
    maximum: int = Field(default=1, ge=1, le=256)
    target_in_flight: float = Field(default=8.0, gt=0, le=10_000)
    """Requests in flight for each replica, on average, above which one is added."""
    idle_seconds: float = Field(default=300.0, ge=1, le=86_400)
    """How long there must have been too little to do before a replica is taken away."""

    @model_validator(mode="after")
    def _in_order(self) -> Scaling:
        if self.maximum < self.minimum:
            raise ValueError(f"maximum ({self.maximum}) is below minimum ({self.minimum})")
        return self


class Guard(Record):
    """When a new revision is taken back by itself. None switches a rule off.

    Each version that is new in a revision is watched for ``watch_seconds`` after the revision went live, and judged once it
    has answered ``minimum_requests``.
    """

    max_error_rate: float | None = Field(default=0.05, ge=0, le=1)
    """Answers 5xx among all, from 0 to 1."""
    max_p95_ratio: float | None = Field(default=None, gt=0)
    """Its 95th percentile of latency over that of the versions it replaces."""
    max_p95_seconds: float | None = Field(default=None, gt=0)
    minimum_requests: int = Field(default=50, ge=1)
    watch_seconds: float = Field(default=600.0, gt=0, le=86_400)


class Batching(Record):
    """How requests that arrive together are answered by one call of the model."""

    max_rows: int = Field(default=256, ge=1, le=65_536)
    """1 switches batching off."""
    max_wait_ms: float = Field(default=0.0, ge=0, le=1_000)
    """How long the first of a batch waits for more; 0 takes what has arrived and never waits."""


class RolloutMode(str, Enum):
    """How new replicas take the place of old ones."""

    ROLLING = "rolling"
    """They come up beside the old ones, which serve meanwhile."""
    RECREATE = "recreate"
    """Where there is no room beside the old ones, those end first, and requests wait. If the new ones fail, the old come
    back."""


class DeployedVersion(Record):
    """One model version behind a deployment. ``weight`` is its share of the traffic among its siblings."""

    model_version_id: str
    model: str
    version: int
    weight: int = Field(default=100, ge=0, le=1_000_000)
    replicas: int = Field(default=1, ge=0, le=256)
    """How many are wanted; with ``scaling`` this is what the scaler last decided."""
    instance_type: str | None = None
    scaling: Scaling | None = None
    shadow: bool = False
    """Gets a copy of the traffic; its answers are compared with those given, and never returned. Its weight is 0."""

    @property
    def key(self) -> str:
        return f"v{self.version}"

    @property
    def serves(self) -> bool:
        """Whether it takes any traffic."""
        return self.weight > 0 or self.shadow


class DeploymentSpec(Record):
    """All of a deployment that a revision fixes."""

    versions: tuple[DeployedVersion, ...]
    public: bool = False
    environment: dict[str, str] = {}
    sticky: str | None = None
    """A header's name: requests with the same value of it go to the same version."""
    guard: Guard | None = Guard()
    batching: Batching = Batching()
    deadline_seconds: float = 60.0
    """How long a request may take in all, unless it says less in ``X-Request-Timeout`` (seconds)."""
    max_waiting: int = 1024
    """Requests in flight or waiting, beyond which the next is answered 429."""
    rollout: RolloutMode = RolloutMode.ROLLING
    hedge_after_seconds: float | None = None
    """After so long a copy of a prediction goes to another replica, too, and the first good answer counts: for at most one
    request in ten. None: never."""


class RevisionState(str, Enum):
    """Where a revision is."""

    PENDING = "pending"
    """Its new replicas come up; the revision before it has the traffic."""
    LIVE = "live"
    """It has the traffic."""
    SUPERSEDED = "superseded"
    """It had the traffic, or was replaced before it had."""
    FAILED = "failed"
    """Its replicas did not come up; it never had traffic. ``reason`` says why."""
    ROLLED_BACK = "rolled_back"
    """It was taken back, by the guard or by hand. ``reason`` says why."""


class Revision(Record):
    """One state of a deployment's spec. Numbers count from 1 and are never used again."""

    deployment_id: str
    number: int
    spec: DeploymentSpec
    state: RevisionState = RevisionState.PENDING
    reason: str = ""
    """What it was made for, and later why it is where it is."""
    created_at: Timestamp
    created_by: str
    takes_back: int | None = None
    """The revision that a rollback made this one for."""
    live_at: Timestamp | None = None
    ended_at: Timestamp | None = None


class Deployment(Record):
    id: str
    project_id: str
    name: str
    run_id: str
    """The run that holds the replicas' logs."""
    versions: tuple[DeployedVersion, ...]
    """Those of the live revision, as all that :class:`DeploymentSpec` fixes; of the first one until it is live."""
    desired: DeploymentState = DeploymentState.RUNNING
    """STOPPED or RUNNING: what was asked for."""
    state: DeploymentState = DeploymentState.STARTING
    reason: str = ""
    endpoint: str
    """POST here to predict; one address for life."""
    public: bool = False
    environment: dict[str, str] = {}
    sticky: str | None = None
    guard: Guard | None = Guard()
    batching: Batching = Batching()
    deadline_seconds: float = 60.0
    max_waiting: int = 1024
    rollout: RolloutMode = RolloutMode.ROLLING
    hedge_after_seconds: float | None = None
    revision: int = 1
    """The live revision; the first one is said to be live from the beginning."""
    pending: int | None = None
    """The revision whose replicas are coming up."""
    last_revision: int = 1
    """The highest number given."""
    labels: dict[str, str] = {}
    replicas: tuple[ReplicaStatus, ...] = ()
    failures: int = 0
    """Replicas that ended badly lately; forgotten once all have answered for a while."""
    next_start_at: Timestamp | None = None
    """After failures: when the next replica is started."""
    pending_since: Timestamp | None = None
    """When the pending revision was made, or got room for another replica."""
    replacing: bool = False
    """The replicas of the live revision end, or have ended, to make room for those of the pending one."""
    pending_failures: int = 0
    """Replicas of the pending revision that ended badly."""
    last_number: int = 0
    """The number of the newest attempt."""
    created_at: Timestamp
    created_by: str
    state_changed_at: Timestamp

    @property
    def replica_count(self) -> int:
        return sum(version.replicas for version in self.versions)

    @property
    def spec(self) -> DeploymentSpec:
        return DeploymentSpec(**{name: getattr(self, name) for name in DeploymentSpec.model_fields})

    def with_spec(self, spec: DeploymentSpec) -> Deployment:
        """With another spec in place of its own."""
        return self.evolve(**{name: getattr(spec, name) for name in DeploymentSpec.model_fields})


class DeploymentSettings(Request):
    """What creation and update have in common. None leaves it as it is, or as the default."""

    public: bool | None = None
    environment: Environment | None = None
    sticky: str | None = Field(default=None, pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")
    guard: Guard | None = None
    batching: Batching | None = None
    deadline_seconds: float | None = Field(default=None, gt=0, le=3600)
    max_waiting: int | None = Field(default=None, ge=1, le=100_000)
    rollout: RolloutMode | None = None
    hedge_after_seconds: float | None = Field(default=None, ge=0.01, le=3600)


ModelReference = Annotated[str, Field(min_length=1, max_length=1024)]
"""A version id, ``models:/name/3``, ``models:/name@alias``, ``name:v3`` or a bare name (its newest)."""
ReplicaCount = Annotated[int, Field(ge=1, le=256)]


class DeploymentCreate(DeploymentSettings):
    """Put one model version behind an endpoint."""

    project: Name
    name: Name
    model: ModelReference
    replicas: ReplicaCount = 1
    scaling: Scaling | None = None
    """In place of ``replicas``."""
    instance_type: Slug | None = None
    start: bool = True
    labels: Labels = {}


class DeploymentUpdate(DeploymentSettings):
    """Make another revision. What is not given stays.

    ``model`` and ``traffic`` exclude each other. In ``traffic`` keys are ``v3`` (of the model that is deployed) or any model
    reference; those named take the traffic by their weights, all others are removed. ``replicas``, ``scaling`` and
    ``instance_type`` hold for the versions named by their keys, or, as a plain value, for all.
    """

    model: ModelReference | None = None
    """The one version that takes all traffic from now on."""
    traffic: dict[ModelReference, Annotated[int, Field(ge=0, le=1_000_000)]] | None = None
    shadow: ModelReference | None = None
    """The version that gets a copy of the traffic; ``none`` ends that."""
    replicas: ReplicaCount | dict[VersionKey, ReplicaCount] | None = None
    scaling: Scaling | dict[VersionKey, Scaling | None] | None = None
    instance_type: Slug | dict[VersionKey, Slug] | None = None
    unset: frozenset[Literal["sticky", "guard", "scaling", "hedge_after_seconds"]] = frozenset()
    """Settings to switch off."""
    expected_revision: int | None = None
    """Refuse with a conflict unless this is the newest revision."""
    reason: Description = ""


class DeploymentRollback(Request):
    """Make the spec of an earlier revision the newest one."""

    revision: int | None = Field(default=None, ge=1)
    """Without it the one that was live before this one."""
    reason: Description = ""


class RouteReplica(Record):
    id: str
    address: str


class RouteVersion(Record):
    model: str
    version: int
    weight: int
    replicas: tuple[RouteReplica, ...]
    shadow: bool = False
    labels: tuple[str, ...] = ()
    """The model's aliases that name this version."""

    @property
    def key(self) -> str:
        return f"v{self.version}"


class Route(Record):
    """What a gateway needs to know of one deployment. ``tokens`` are SHA-256 digests that may predict."""

    deployment_id: str
    name: str
    public: bool
    desired: DeploymentState
    state: DeploymentState
    reason: str = ""
    revision: int = 1
    sticky: str | None = None
    deadline_seconds: float = 60.0
    max_waiting: int = 1024
    hedge_after_seconds: float | None = None
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
