"""Jobs: what is executed, as roles of replicas, and the one table of states."""

from __future__ import annotations

from enum import Enum
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, TypeAdapter, ValidationError, field_validator, model_validator

from headway.domain.base import Environment, Labels, Name, Record, Request, Slug, Timestamp, check_variables
from headway.domain.files import FileEntry
from headway.domain.monitors import MAX_MONITORS, MonitorSpec
from headway.domain.objects import BucketName, check_key, parse_address
from headway.domain.parameters import INPUT_DIRECTORY, Parameters, input_variable
from headway.domain.replicas import ReplicaStatus
from headway.domain.workspaces import Credentials, Workspace
from headway.errors import ConflictError, InvalidRequestError


class JobState(str, Enum):
    """Where a job is. Every move is an event with its time and cause."""

    CREATED = "created"
    """Recorded, not asked to start."""
    QUEUED = "queued"
    """Waiting for room; ``reason`` says for what."""
    PROVISIONING = "provisioning"
    """Agents are being placed and bring the workspace."""
    PROVISIONED = "provisioned"
    """Every replica has its workspace."""
    NETWORK_SETTING_UP = "network setting up"
    """Addresses and ports of all replicas are being exchanged."""
    NETWORK_SETUP = "network setup"
    """Every replica knows the others; programs are starting."""
    RUNNING = "running"
    """Every replica's program runs."""
    STOPPING = "stopping"
    """Asked to end; the grace period runs."""
    RETRYING = "retrying"
    """An attempt failed and another will follow."""
    PREEMPTED = "preempted"
    """Set aside for something more important; it will be queued again."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    """Ended because somebody asked."""
    LOST = "lost"
    """Its machine is gone; nobody can say how it ended."""

    @property
    def finished(self) -> bool:
        """Whether no further move follows by itself (a retry by hand starts anew)."""
        return self in FINISHED_STATES

    @property
    def pending(self) -> bool:
        """Whether the job was asked to run and its programs do not all run yet."""
        return self in PENDING_STATES


FINISHED_STATES = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.STOPPED, JobState.LOST})
PENDING_STATES = frozenset(
    {
        JobState.QUEUED,
        JobState.PROVISIONING,
        JobState.PROVISIONED,
        JobState.NETWORK_SETTING_UP,
        JobState.NETWORK_SETUP,
        JobState.RETRYING,
        JobState.PREEMPTED,
    }
)

_ENDINGS = frozenset({JobState.STOPPING, JobState.RETRYING, JobState.PREEMPTED, JobState.FAILED, JobState.LOST})

JOB_MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.CREATED: frozenset({JobState.QUEUED, JobState.STOPPED, JobState.FAILED}),
    JobState.QUEUED: frozenset({JobState.PROVISIONING, JobState.STOPPED, JobState.FAILED}),
    JobState.PROVISIONING: _ENDINGS | {JobState.PROVISIONED},
    JobState.PROVISIONED: _ENDINGS | {JobState.NETWORK_SETTING_UP},
    JobState.NETWORK_SETTING_UP: _ENDINGS | {JobState.NETWORK_SETUP},
    JobState.NETWORK_SETUP: _ENDINGS | {JobState.RUNNING},
    JobState.RUNNING: _ENDINGS | {JobState.SUCCEEDED},
    JobState.STOPPING: frozenset({JobState.STOPPED, JobState.FAILED, JobState.SUCCEEDED, JobState.LOST}),
    JobState.RETRYING: frozenset({JobState.QUEUED, JobState.STOPPED, JobState.FAILED}),
    JobState.PREEMPTED: frozenset({JobState.QUEUED, JobState.STOPPED, JobState.FAILED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.STOPPED: frozenset({JobState.QUEUED}),
    JobState.LOST: frozenset({JobState.QUEUED}),
}
"""Every allowed move. The last three lead back to the queue only when somebody asks for a retry."""


def check_move(old: JobState, new: JobState) -> None:
    """ConflictError when the table does not allow ``old`` → ``new``."""
    if new not in JOB_MOVES[old]:
        raise ConflictError(f"A job cannot go from {old.value!r} to {new.value!r}.")


class Container(Request):
    """An image and how to reach it; with ``containers = "process"`` it is recorded, not run."""

    image: str = Field(min_length=1, max_length=1024)
    user: str | None = None
    registry_url: str | None = None
    registry: Credentials | None = Field(default=None, exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _image_alone(cls, value: Any) -> Any:
        return {"image": value} if isinstance(value, str) else value


def _command(value: Any) -> Any:
    if isinstance(value, str):
        if not value.strip():
            raise ValueError("the command is empty")
        return ("/bin/sh", "-c", value)
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"a command is a text or a list of texts, not {value!r}; YAML takes a bare true for no text")
    return value


class JobInput(Request):
    """Files for a program.

    ``source`` is ``artifact:<name>:<version or alias>``, ``models:/<name>/<version>``, ``runs:/<run>/<path>``,
    ``s3://bucket/prefix`` or ``https://…``. It means what it means when the job is made: an artifact's ``latest`` is
    recorded as the version it was.
    """

    source: str = Field(min_length=1, max_length=8192)
    resolved: str | None = None
    """What the source meant, exactly; written by the server."""
    digest: str | None = None
    """Of what lies there: of the artifact or model version, or of the list of its files; of ``https://…`` the SHA-256 of
    the bytes, once they were brought. Written by the server."""
    manifest: str | None = None
    """The blob that lists the files, see :class:`headway.domain.artifacts.ArtifactVersion`; written by the server."""

    @model_validator(mode="before")
    @classmethod
    def _source_alone(cls, value: Any) -> Any:
        return {"source": value} if isinstance(value, str) else value

    @field_validator("source")
    @classmethod
    def _no_credentials(cls, source: str) -> str:
        if source.startswith("https://") and "@" in urlsplit(source).netloc:
            raise ValueError("credentials do not belong in a URL")
        return source


MAX_REPLICAS = 1024
"""Of all roles of one job together."""


class RoleSpec(Request):
    """One kind of replica in a job: ``worker``, ``ps``, ``master``, or any name of the user's."""

    count: int = Field(default=1, ge=1, le=MAX_REPLICAS)
    command: tuple[str, ...] = Field(default=(), max_length=4096)
    """A text is run by ``/bin/sh -c``; a list is run as it is."""
    container: Container | None = None
    instance_type: Slug | None = None
    environment: Environment = {}
    ports: tuple[int, ...] = ()
    """Ports that the program listens on by itself, recorded for people; leased ones come as PORT."""
    background: bool | None = None
    """Whether the job may succeed while this role still runs, which is then stopped; by default true for ``ps``."""
    labels: Labels = {}

    _shell = field_validator("command", mode="before")(_command)

    @field_validator("command")
    @classmethod
    def _no_nul(cls, command: tuple[str, ...]) -> tuple[str, ...]:
        if any("\0" in part for part in command):
            raise ValueError("the command holds a NUL character")
        return command

    @field_validator("ports")
    @classmethod
    def _port_range(cls, ports: tuple[int, ...]) -> tuple[int, ...]:
        for port in ports:
            if not 1 <= port <= 65535:
                raise ValueError(f"{port} is not a port")
        return ports


class JobSpec(Request):
    """What to execute, complete and without secrets: what a job record keeps."""

    roles: dict[Slug, RoleSpec] = Field(min_length=1, max_length=64)
    workspace: Workspace | None = None
    working_directory: str | None = None
    """Below the workspace; the program's current directory."""
    environment: Environment = {}
    model_path: str | None = Field(default=None, max_length=1024)
    """Relative: below the workspace. Absolute: an opaque name that HEADWAY_MODEL_DIR maps to a directory."""
    model_type: str | None = None
    model_name: Name | None = None
    register_model: bool = True
    """Whether what is left in the model directory becomes a version by itself; otherwise it is kept as outputs, below
    ``model/``."""
    max_runtime: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Seconds of running after which every replica is stopped and the job fails."""
    grace_seconds: float = Field(default=10.0, ge=0, le=3600)
    """Between the polite end (SIGTERM) and the hard one (SIGKILL)."""
    parameters: Parameters = {}
    """Hyperparameters: part of the run's configuration, and given to the program as domain/parameters.py says."""
    parameter_arguments: bool = False
    """Whether commands get them as ``--name value`` too."""
    parameter_variables: bool = False
    """Whether programs get them as plain variables (``LR``) too."""
    inputs: dict[Slug, JobInput] = Field(default={}, max_length=64)
    """What lies in ``data/<name>`` below the workspace when the program starts; a text is an input's source."""
    init_model: JobInput | None = None
    """A source (a text is one) whose files lie in HEADWAY_INIT_MODEL_DIR, to go on training from."""
    output_path: str | None = Field(default=None, max_length=2048)
    """``s3://bucket/prefix``: where the files of HEADWAY_OUTPUT_DIR are named once the job has succeeded."""
    workspace_gib: float | None = Field(default=None, gt=0, le=1 << 20, allow_inf_nan=False)
    """What a replica's workspace may hold; one that holds more fails the job."""
    monitors: tuple[MonitorSpec, ...] = Field(default=(), max_length=MAX_MONITORS)
    retries: int = Field(default=0, ge=0, le=100)
    """Further attempts after a failure that is not the user's stop."""
    priority: int = Field(default=0, ge=-1000, le=1000)
    """Higher leaves the queue first."""
    cluster_style: Literal["native", "gradient"] = "native"
    """The shape of TF_CONFIG, see domain/cluster.py."""
    labels: Labels = {}

    @field_validator("working_directory")
    @classmethod
    def _below(cls, value: str | None) -> str | None:
        if value is not None and (value.startswith("/") or ".." in value.split("/") or "\0" in value):
            raise ValueError(f"{value!r} is not a directory below the workspace")
        return value

    @field_validator("inputs")
    @classmethod
    def _own_variables(cls, inputs: dict[str, JobInput]) -> dict[str, JobInput]:
        taken: dict[str, str] = {}
        for name in inputs:
            variable = input_variable(name)
            other = taken.setdefault(variable, name)
            if other != name or variable == INPUT_DIRECTORY:
                what = repr(other) if other != name else "the directory of the first input"
                raise ValueError(f"the input {name!r} cannot be called so: {variable} names {what}")
        return inputs

    @field_validator("output_path")
    @classmethod
    def _an_address(cls, value: str | None) -> str | None:
        if value is None:
            return value
        try:
            bucket, prefix = parse_address(value)
            TypeAdapter(BucketName).validate_python(bucket)
            if prefix:
                check_key(prefix)
        except (InvalidRequestError, ValidationError):
            raise ValueError(f"{value!r} is no s3://bucket/prefix") from None
        return value

    @model_validator(mode="after")
    def _startable(self) -> JobSpec:
        for name, role in self.roles.items():
            if not role.command:
                raise ValueError(f"the role {name!r} has no command")
        if all(self.in_background(name) for name in self.roles):
            raise ValueError("every role runs in the background, so the job could never succeed")
        if self.world_size > MAX_REPLICAS:
            raise ValueError(f"{self.world_size} replicas are asked for; a job has at most {MAX_REPLICAS}")
        return self

    def in_background(self, role: str) -> bool:
        """Whether the job may succeed while replicas of ``role`` still run."""
        chosen = self.roles[role].background
        return role == "ps" if chosen is None else chosen

    @property
    def world_size(self) -> int:
        """Replicas in all."""
        return sum(role.count for role in self.roles.values())


ROLE_SHORTCUTS = ("command", "count", "container", "instance_type", "ports")


class JobTemplate(JobSpec):
    """All of a submission but its name and place.

    ``command``, ``count``, ``container``, ``instance_type`` and ``ports`` beside ``roles`` are defaults for every role that
    lacks them; without ``roles`` they describe one role, ``worker``.
    """

    input_shortcuts: ClassVar[tuple[str, ...]] = ROLE_SHORTCUTS

    secrets: dict[str, SecretStr] = {}
    """More environment, never shown again."""
    workspace_credentials: Credentials | None = None

    @field_validator("secrets")
    @classmethod
    def _variables(cls, secrets: dict[str, SecretStr]) -> dict[str, SecretStr]:
        check_variables({name: value.get_secret_value() for name, value in secrets.items()})
        return secrets

    @model_validator(mode="before")
    @classmethod
    def _spread_shortcuts(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        value = dict(value)
        shortcuts = {key: value.pop(key) for key in ROLE_SHORTCUTS if value.get(key) is not None}
        for key in ROLE_SHORTCUTS:
            value.pop(key, None)
        roles = value.get("roles")
        if roles is None:
            if "command" in shortcuts:
                value["roles"] = {"worker": shortcuts}
            elif set(value) <= set(cls.model_fields):
                raise ValueError("a job needs a command or roles")
        elif isinstance(roles, dict) and shortcuts:
            value["roles"] = {n: {**shortcuts, **r} if isinstance(r, dict) else r for n, r in roles.items()}
        return value

    def to_spec(self) -> JobSpec:
        """The part that the record keeps: no name, no project, no secret."""
        return JobSpec.model_construct(**{name: getattr(self, name) for name in JobSpec.model_fields})


class JobCreate(JobTemplate):
    """A submission; see :class:`JobTemplate` for what may be left out."""

    name: Name
    project: Name
    start: bool = True


class Failure(Record):
    """Why a job failed, and who failed first."""

    replica: str | None = None
    rank: int | None = None
    exit_code: int | None = None
    signal: int | None = None
    reason: str
    last_lines: tuple[str, ...] = ()
    lost: bool = False
    """Whether its machine is gone, so that nobody can say how it ended."""


class Job(Record):
    """A piece of work and how it stands."""

    id: str
    project_id: str
    name: str
    run_id: str
    spec: JobSpec
    state: JobState = JobState.CREATED
    reason: str = ""
    """Why it is in this state, in words."""
    attempt: int = 0
    """The number of the present attempt, from 1; 0 before the first."""
    attempt_id: str | None = None
    retries_used: int = 0
    stop_requested: bool = False
    stop_hard: bool = False
    """Whether the stop that was asked for leaves no grace period."""
    ending_since: Timestamp | None = None
    """When the replicas of the present attempt were told to end."""
    failure: Failure | None = None
    replicas: tuple[ReplicaStatus, ...] = ()
    model_version_id: str | None = None
    outputs: tuple[FileEntry, ...] = ()
    """Files the job left in its output directory; of a failed job also those in its model directory, below ``model/``."""
    created_at: Timestamp
    created_by: str
    queued_at: Timestamp | None = None
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None
    state_changed_at: Timestamp

    @property
    def finished(self) -> bool:
        return self.state.finished
