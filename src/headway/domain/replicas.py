"""Replicas and attempts, and what server, engine and agent say to each other about them."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from pydantic import Field, JsonValue

from headway.domain.base import Record, Request, Timestamp
from headway.domain.files import Digest, FileEntry
from headway.domain.workspaces import Workspace


class ReplicaPhase(str, Enum):
    """How far one replica is. It only ever moves down this list."""

    PENDING = "pending"
    """Recorded; its agent has not spoken yet."""
    PREPARING = "preparing"
    """The agent brings the workspace."""
    PREPARED = "prepared"
    """Workspace, directories and ports are there; the agent waits for the word to start."""
    STARTING = "starting"
    """The program was started; a replica that listens does not answer its health path yet."""
    RUNNING = "running"
    """The program runs (and answers, if it listens)."""
    EXITED = "exited"
    """The program ended, its log and files are shipped; exit code or signal say how."""
    LOST = "lost"
    """The agent is gone and left no word how its program ended."""

    @property
    def ended(self) -> bool:
        return self in (ReplicaPhase.EXITED, ReplicaPhase.LOST)

    @property
    def order(self) -> int:
        return list(ReplicaPhase).index(self)


class ReplicaStatus(Record):
    """One replica as a job or deployment shows it."""

    id: str = ""
    """As the headers of a deployment's answers name it."""
    name: str
    """Role and index: ``worker-1``."""
    role: str
    rank: int
    phase: ReplicaPhase
    reason: str = ""
    exit_code: int | None = None
    signal: int | None = None
    address: str | None = None
    restarts: int = 0


class OwnerKind(str, Enum):
    """Whose replicas: an attempt belongs to a job or to a deployment."""

    JOB = "job"
    DEPLOYMENT = "deployment"


class Attempt(Record):
    """One try to run a gang of replicas that start together. ``token`` names it on the engine (it is no secret)."""

    id: str
    owner_kind: OwnerKind
    owner_id: str
    project_id: str
    run_id: str
    number: int
    token: str
    engine: str
    instance_types: dict[str, str] = {}
    """Role to the resolved instance type, which is what capacity is reserved by."""
    gpus: dict[str, tuple[int, ...]] = {}
    """Replica name to the indices of the GPUs that it alone may use."""
    placed: bool = False
    """Whether the engine has accepted it."""
    model_version_id: str | None = None
    """For a deployment's replica: what it serves."""
    template: str = ""
    """For a deployment's replica: a digest of all that makes it what it is. Those of one template are alike."""
    succeeded: bool = False
    draining_since: Timestamp | None = None
    """For a deployment's replica that is wanted no more: when it left the routes, some time before it is told to end."""
    ending_since: Timestamp | None = None
    """When its replicas were told to end (deployments; a job keeps this itself)."""
    created_at: Timestamp
    ended_at: Timestamp | None = None


class Replica(Record):
    """One process of an attempt, as the server knows it from its agent's reports."""

    id: str
    attempt_id: str
    owner_kind: OwnerKind
    owner_id: str
    project_id: str
    run_id: str
    role: str
    index: int
    rank: int
    phase: ReplicaPhase = ReplicaPhase.PENDING
    reason: str = ""
    host: str | None = None
    ports: tuple[int, ...] = ()
    """The leased ports: the first is the replica's own, rank 0 has a second for MASTER_PORT."""
    exit_code: int | None = None
    signal: int | None = None
    last_lines: tuple[str, ...] = ()
    model_files: tuple[FileEntry, ...] = ()
    output_files: tuple[FileEntry, ...] = ()
    brought: dict[str, str] = {}
    """Inputs that came from a URI, and the SHA-256 of what lay there."""
    directive: Directive
    last_seen: Timestamp | None = None
    """When the agent last spoke."""
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None

    @property
    def name(self) -> str:
        return f"{self.role}-{self.index}"

    def to_status(self) -> ReplicaStatus:
        return ReplicaStatus(
            id=self.id,
            name=self.name,
            role=self.role,
            rank=self.rank,
            phase=self.phase,
            reason=self.reason,
            exit_code=self.exit_code,
            signal=self.signal,
            address=f"{self.host}:{self.ports[0]}" if self.host and self.ports else None,
        )


class Action(str, Enum):
    """What an agent is told to do."""

    WAIT = "wait"
    START = "start"
    STOP = "stop"


class Directive(Record):
    """What the server wants of an agent. ``version`` grows with every change."""

    version: int = 0
    action: Action = Action.WAIT
    environment: dict[str, str] = {}
    """With START: what only the whole gang knows (MASTER_ADDR, TF_CONFIG, …)."""


class ReplicaReport(Request):
    """What an agent says, as heartbeat and at every change. Repeating a report is harmless."""

    attempt_token: str
    phase: ReplicaPhase
    reason: str = Field(default="", max_length=16384)
    host: str | None = Field(default=None, pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,253}[A-Za-z0-9])?$")
    """A name or an IPv4 address: gateways and peers connect to it."""
    ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = Field(default=(), max_length=16)
    exit_code: int | None = None
    signal: int | None = None
    last_lines: tuple[Annotated[str, Field(max_length=16_384)], ...] = Field(default=(), max_length=50)
    model_files: tuple[FileEntry, ...] = ()
    output_files: tuple[FileEntry, ...] = ()
    brought: dict[str, Digest] = Field(default={}, max_length=128)
    """Inputs that came from a URI, and the SHA-256 of what lay there."""
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None


class ServerAddress(Record):
    """How an agent finds the server again, also after it moved to another port."""

    url: str
    address_file: str | None = None
    """On the local engine: a JSON file with the present ``url``, read anew when the server does not answer."""


INIT_MODEL = "init model"
"""What the model to go on training from is called among inputs; no input can have that name."""


class InputFiles(Record):
    """An input as an agent brings it: into ``data/<name>`` below the workspace. It has a manifest or a URI."""

    name: str
    manifest: str | None = None
    """Digest of the blob that lists its files: a line of JSON a :class:`headway.domain.artifacts.ArtifactEntry`."""
    uri: str | None = Field(default=None, repr=False)
    """``https://…``: one file of some other server. Its query may hold a secret."""
    digest: str | None = None
    """SHA-256 of what lay at the URI when it was brought first; something else is refused."""


class ReplicaSpec(Record):
    """Everything an agent needs to run one replica. Engines hand it over in a file of mode 0600, never in argv."""

    attempt_token: str
    attempt_id: str
    attempt: int
    replica_id: str
    owner_kind: OwnerKind
    owner_id: str
    owner_name: str
    project_id: str
    run_id: str
    role: str
    index: int
    rank: int
    world_size: int
    local_rank: int = 0
    command: tuple[str, ...]
    environment: dict[str, str] = {}
    secrets: dict[str, str] = Field(default={}, repr=False)
    server: ServerAddress
    token: str = Field(repr=False)
    workspace: Workspace | None = None
    workspace_username: str | None = None
    workspace_password: str | None = Field(default=None, repr=False)
    working_directory: str | None = None
    model_path: str | None = None
    model_files: tuple[FileEntry, ...] = ()
    """For a replica that serves: files to put into its model directory before it starts."""
    inputs: tuple[InputFiles, ...] = ()
    init_model: InputFiles | None = None
    """For a program that goes on training: what lies in HEADWAY_INIT_MODEL_DIR."""
    fetch_networks: tuple[str, ...] = ()
    """Networks with private addresses that URIs may lead to nevertheless."""
    parameters: dict[str, JsonValue] = Field(default={}, repr=False)
    parameter_variables: bool = False
    workspace_bytes: int | None = None
    """What the workspace may hold; a replica that holds more is ended, with the reason."""
    ports: int = 1
    """How many ports to lease."""
    health_path: str | None = None
    """For a replica that listens: it is running once ``GET`` of this path on its first port answers 200."""
    max_runtime: float | None = None
    grace_seconds: float = 10.0
    collect_files: bool = True
    """Whether model and output files are uploaded at the end."""

    @property
    def name(self) -> str:
        return f"{self.role}-{self.index}"


Replica.model_rebuild()
