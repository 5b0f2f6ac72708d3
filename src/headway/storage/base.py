"""What the platform keeps, as small protocols, one a noun.

A :class:`Storage` gives sessions. A *read* session sees one consistent state and changes nothing; a *write* session is
a transaction: everything in it happens, durably, when the block ends, or nothing does when it raises.

Obligations of every implementation (headway/testing/storage/ checks them on SQLite and on PostgreSQL):

- Sessions are opened from any thread, and never nested within one thread. A session object stays in its thread.
- In a write session every ``get`` and ``find`` locks what it returns until the session ends, so that
  read-change-``put`` loses no update, also between servers. So do ``by_name``, ``by_number`` and ``by_digest``. Lists
  do not lock: ``get`` a record again before changing it.
- ``add`` raises ConflictError when the id, or a unique name, is taken; the session can still be used afterwards.
- ``get`` raises NotFoundError naming the id; ``find`` returns None. ``put`` replaces a record that exists
  (NotFoundError otherwise). ``delete`` of something that is not there does nothing.
- Lists are ordered newest first (creation time, then id, both descending) unless said otherwise, and pages of one list
  neither repeat nor skip a record that exists throughout.
- A full disk raises StorageFullError, a database that does not answer (or two sessions that wait for each other)
  UnavailableError; nothing is half-written, and the session cannot be used further.
- Text that a database cannot keep (NUL characters in names and ids, lone surrogates anywhere) raises
  InvalidRequestError.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol, TypeVar, runtime_checkable

from headway.domain.artifacts import Artifact, ArtifactVersion
from headway.domain.base import Page, PageRequest
from headway.domain.catalogue import CatalogueEntry, CatalogueKind
from headway.domain.deployments import Deployment, Revision
from headway.domain.events import Event
from headway.domain.expressions import Expression, Order
from headway.domain.folders import Folder
from headway.domain.instances import InstanceType
from headway.domain.jobs import Job, JobState
from headway.domain.lineage import Link
from headway.domain.metrics import SeriesSummary
from headway.domain.models import Model, ModelVersion
from headway.domain.monitors import Monitor, MonitorProgress
from headway.domain.objects import Bucket, StoredObject
from headway.domain.projects import Project
from headway.domain.replicas import Attempt, OwnerKind, Replica
from headway.domain.runs import Run, RunDetails, Stream
from headway.domain.sweeps import Sweep, SweepState, Trial, TrialState
from headway.domain.traffic import TrafficCell
from headway.domain.uploads import Upload
from headway.domain.users import Member, Token, TokenKind, User

R = TypeVar("R")


class Records(Protocol[R]):
    """The verbs that every noun has."""

    def add(self, record: R, /) -> None: ...
    def get(self, id: str, /) -> R: ...
    def find(self, id: str, /) -> R | None: ...
    def put(self, record: R, /) -> None: ...
    def delete(self, id: str, /) -> None: ...


class ProjectStorage(Records[Project], Protocol):
    """Names are unique."""

    def by_name(self, name: str) -> Project | None: ...
    def list(self, page: PageRequest, *, ids: Collection[str] | None = None) -> Page[Project]:
        """All, or those among ``ids``."""
        ...


class UserStorage(Records[User], Protocol):
    """Names are unique."""

    def by_name(self, name: str) -> User | None: ...
    def list(self, page: PageRequest) -> Page[User]: ...


class MemberStorage(Protocol):
    """One role a user and project."""

    def put(self, member: Member) -> None:
        """Add or replace."""
        ...

    def find(self, project_id: str, user_id: str) -> Member | None: ...
    def delete(self, project_id: str, user_id: str) -> None: ...
    def of_project(self, project_id: str) -> Sequence[Member]: ...
    def of_user(self, user_id: str) -> Sequence[Member]: ...


class TokenStorage(Protocol):
    """Tokens are found by the SHA-256 of their secret; the secret itself is never given to storage."""

    def add(self, token: Token, digest: str) -> None: ...
    def get(self, id: str) -> Token: ...
    def by_digest(self, digest: str) -> Token | None: ...
    def put(self, token: Token) -> None: ...
    def list(self, page: PageRequest, *, user_id: str | None = None, kind: TokenKind | None = None) -> Page[Token]: ...
    def usable_digests(self) -> Sequence[tuple[Token, str]]:
        """Every user token that is not revoked, with its digest: what gateways check against."""
        ...

    def revoke_attempt(self, attempt_id: str, moment: datetime) -> None:
        """Revoke the tokens of one attempt."""
        ...


class InstanceTypeStorage(Protocol):
    """By name."""

    def put(self, instance_type: InstanceType) -> None: ...
    def find(self, name: str) -> InstanceType | None: ...
    def delete(self, name: str) -> None: ...
    def list(self) -> Sequence[InstanceType]:
        """All, by name."""
        ...


class CatalogueStorage(Protocol):
    """By catalogue and number; names are unique in a catalogue."""

    def put(self, entry: CatalogueEntry) -> None:
        """Add or replace. ConflictError when another number has the name."""
        ...

    def find(self, kind: CatalogueKind, id: int) -> CatalogueEntry | None: ...
    def delete(self, kind: CatalogueKind, id: int) -> None: ...
    def list(self, kind: CatalogueKind | None = None) -> Sequence[CatalogueEntry]:
        """All, or those of one catalogue, by catalogue and number."""
        ...


class SweepStorage(Records[Sweep], Protocol):
    """Names are unique in a project."""

    def by_name(self, project_id: str, name: str) -> Sweep | None: ...
    def list(
        self,
        page: PageRequest,
        *,
        project_ids: Collection[str] | None = None,
        states: Collection[SweepState] | None = None,
        name: str | None = None,
    ) -> Page[Sweep]: ...
    def active(self) -> Sequence[Sweep]:
        """Those that have not ended, oldest first."""
        ...


class TrialStorage(Records[Trial], Protocol):
    """Numbers are unique in a sweep."""

    def of_sweep(self, sweep_id: str) -> Sequence[Trial]:
        """All, by number."""
        ...

    def list(
        self, sweep_id: str, *, after: int = 0, limit: int = 100, states: Collection[TrialState] | None = None
    ) -> Sequence[Trial]:
        """Those of greater number than ``after``, by number."""
        ...


class RunStorage(Records[Run], Protocol):
    """``add`` and ``put`` keep the index of hyperparameters in step with ``config``; ``delete`` also removes the run's
    streams, details and metric summaries, and notes in ``removed_runs`` that its bytes are still to go.
    """

    def list(self, page: PageRequest, *, project_ids: Collection[str] | None = None) -> Page[Run]: ...

    def search(
        self,
        page: PageRequest,
        *,
        project_ids: Collection[str] | None = None,
        where: Expression | None = None,
        order: Order | None = None,
    ) -> Page[Run]:
        """Those of which ``where`` holds, as :mod:`headway.domain.search` says, sorted by ``order``, equal ones newest
        first. Pages neither repeat nor skip a run that exists throughout and keeps its values.
        """
        ...

    def named(self, project_id: str, folder: str, name: str) -> Sequence[Run]:
        """Those of that name in that very folder, newest first."""
        ...

    def in_folder(self, project_id: str, folder: str) -> bool:
        """Whether a run lies in that very folder."""
        ...

    def silent(self, moment: datetime, *, limit: int = 1000) -> Sequence[Run]:
        """Running ones without a job or deployment of which nothing was heard since ``moment``, silent longest first."""
        ...

    def states(self, *, project_ids: Collection[str] | None = None) -> Mapping[str, int]:
        """How many runs are in each state."""
        ...


class RunDetailStorage(Protocol):
    """What belongs to a run beside its record, by the run's id. It goes with the run."""

    def put(self, details: RunDetails) -> None:
        """Add or replace."""
        ...

    def find(self, run_id: str) -> RunDetails | None: ...


class RunMetricStorage(Protocol):
    """What searches and lists know of a run's metrics: a summary a series. They go with the run."""

    def put(self, run_id: str, summaries: Sequence[SeriesSummary]) -> None:
        """Add or replace these series' summaries; others stay. Nothing happens when the run does not exist."""
        ...

    def drop(self, run_id: str, key: str) -> None:
        """Forget one series; one that is not there is harmless."""
        ...

    def of_run(self, run_id: str, *, prefix: str = "") -> Sequence[SeriesSummary]:
        """By key; those whose key begins with ``prefix``."""
        ...

    def of_runs(self, run_ids: Collection[str], *, limit: int) -> Mapping[str, Sequence[SeriesSummary]]:
        """By run, then by key; at most ``limit`` of each run, the first ones. Runs without any may be left out."""
        ...


class RemovedRunStorage(Protocol):
    """Deleted runs whose bytes (segments, series) are not known to be gone yet."""

    def has(self, run_id: str) -> bool:
        """Locked in a write session, so that the bytes of an id are never removed while a new run of it begins."""
        ...

    def list(self, *, limit: int = 1000) -> Sequence[str]:
        """Ids, removed longest ago first."""
        ...

    def delete(self, run_id: str) -> None:
        """The bytes are gone."""
        ...


class FolderStorage(Protocol):
    """Folders that were made, by project and path."""

    def add(self, folder: Folder) -> None:
        """ConflictError when it is there."""
        ...

    def find(self, project_id: str, path: str) -> Folder | None: ...
    def delete(self, project_id: str, path: str) -> None: ...
    def of_project(self, project_id: str) -> Sequence[Folder]:
        """By path."""
        ...


class StreamStorage(Protocol):
    """Streams of runs, by run and name."""

    def find(self, run_id: str, name: str) -> Stream | None: ...
    def put(self, stream: Stream) -> None:
        """Add or replace."""
        ...

    def of_run(self, run_id: str, *, kind: str | None = None) -> Sequence[Stream]:
        """In order of creation, then name."""
        ...

    def delete(self, run_id: str, name: str) -> None:
        """Forget one; its bytes are for the caller to remove."""
        ...

    def unfolded(self, kinds: Collection[str], *, limit: int = 1000) -> Sequence[Stream]:
        """Streams of these kinds with bytes that are not folded (``folded < committed``), oldest first."""
        ...


class MonitorStorage(Records[Monitor], Protocol):
    """Names are unique in a run. A new monitor is active, and ``put`` changes nothing about that. All go with their run."""

    def by_name(self, run_id: str, name: str) -> Monitor | None: ...
    def of_run(self, run_id: str) -> Sequence[Monitor]:
        """Oldest first."""
        ...

    def active(self, *, limit: int = 1000) -> Sequence[Monitor]:
        """Those that have not read all that will ever come, oldest first."""
        ...

    def wake(self, run_id: str) -> None:
        """More came: every monitor of the run is active. Locks them, so that none is put to rest by who did not see it."""
        ...

    def rest(self, id: str) -> None:
        """It has read all that will ever come. Lock it (``get``) before looking whether that is so."""
        ...

    def find_progress(self, monitor_id: str, revision: int, stream: str) -> MonitorProgress | None: ...
    def put_progress(self, progress: MonitorProgress) -> None:
        """Add or replace, by monitor, revision and stream."""
        ...

    def progress(self, monitor_id: str, revision: int) -> Sequence[MonitorProgress]:
        """By stream."""
        ...

    def retire(self, monitor_id: str) -> Sequence[MonitorProgress]:
        """Every progress there is of the monitor belongs to what was replaced or deleted from now on; those for which
        that is new."""
        ...

    def retired(self, *, limit: int = 1000) -> Sequence[MonitorProgress]:
        """What was retired and not forgotten, in no order; it does not go with its monitor, but with its run."""
        ...

    def forget_progress(self, progress: MonitorProgress) -> None: ...


class JobStorage(Records[Job], Protocol):
    def list(
        self,
        page: PageRequest,
        *,
        project_ids: Collection[str] | None = None,
        states: Collection[JobState] | None = None,
        name: str | None = None,
    ) -> Page[Job]: ...

    def unfinished(self) -> Sequence[Job]:
        """Jobs that were asked to run and have not ended (not CREATED, not finished), oldest first."""
        ...

    def manifests(self) -> Iterator[str]:
        """Digests of the manifests of every job's inputs, in any order, perhaps more than once, in bounded memory."""
        ...


class AttemptStorage(Records[Attempt], Protocol):
    def of_owner(self, kind: OwnerKind, owner_id: str) -> Sequence[Attempt]:
        """By number, ascending."""
        ...

    def open(self) -> Sequence[Attempt]:
        """Attempts without an end, oldest first: what holds capacity."""
        ...

    def by_tokens(self, tokens: Collection[str]) -> Sequence[Attempt]:
        """Those whose token is among ``tokens``, in any order."""
        ...


class ReplicaStorage(Records[Replica], Protocol):
    def of_attempt(self, attempt_id: str) -> Sequence[Replica]:
        """By rank."""
        ...

    def of_attempts(self, attempt_ids: Collection[str]) -> Sequence[Replica]:
        """By attempt id, then rank."""
        ...


class ModelStorage(Records[Model], Protocol):
    """Names are unique in a project."""

    def by_name(self, project_id: str, name: str) -> Model | None: ...
    def list(
        self,
        page: PageRequest,
        *,
        project_ids: Collection[str] | None = None,
        name: str | None = None,
        contains: str | None = None,
    ) -> Page[Model]:
        """Those of that very name, and those whose name has ``contains`` in it."""
        ...


class ModelVersionStorage(Records[ModelVersion], Protocol):
    """Numbers are unique in a model, and so are the names of versions that have one."""

    def by_number(self, model_id: str, version: int) -> ModelVersion | None: ...
    def by_version_name(self, model_id: str, version_name: str) -> ModelVersion | None:
        """Locked in a write session, as by ``by_number``."""
        ...

    def list(
        self,
        page: PageRequest,
        *,
        project_ids: Collection[str] | None = None,
        model_id: str | None = None,
        job_id: str | None = None,
        run_id: str | None = None,
        contains: str | None = None,
        version_name: str | None = None,
        alias: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Page[ModelVersion]:
        """Those of which all of this holds: the model's name has ``contains`` in it, an ``alias`` of the model names the
        version, and it has all of ``labels``. One query, whatever is asked for."""
        ...


class DeploymentStorage(Records[Deployment], Protocol):
    """Names are unique in a project."""

    def by_name(self, project_id: str, name: str) -> Deployment | None: ...
    def list(
        self,
        page: PageRequest,
        *,
        project_ids: Collection[str] | None = None,
        states: Collection[str] | None = None,
        name: str | None = None,
        model_version_id: str | None = None,
    ) -> Page[Deployment]: ...

    def all(self) -> Sequence[Deployment]:
        """Every deployment, oldest first: what the worker and the gateway routes go through."""
        ...


class RevisionStorage(Protocol):
    """Revisions of deployments, by deployment and number. They do not go with the deployment by themselves."""

    def add(self, revision: Revision) -> None:
        """ConflictError when the deployment has one of that number."""
        ...

    def put(self, revision: Revision) -> None: ...
    def get(self, deployment_id: str, number: int) -> Revision: ...
    def find(self, deployment_id: str, number: int) -> Revision | None: ...
    def of_deployment(self, deployment_id: str, page: PageRequest) -> Page[Revision]:
        """Highest number first."""
        ...

    def pending(self) -> Sequence[Revision]:
        """Those of every deployment that are pending, by deployment and number."""
        ...

    def delete_deployment(self, deployment_id: str) -> None: ...


class TrafficStorage(Protocol):
    """What gateways told of the requests that went through them. Cells wake nobody."""

    def put(self, gateway: str, cells: Sequence[TrafficCell]) -> int:
        """Add or replace, each by deployment, version, replica, window and gateway; how many were kept. Those of a
        deployment that does not exist are not."""
        ...

    def windows(self, deployment_id: str, since: int, until: int) -> Sequence[TrafficCell]:
        """The cells of every gateway whose windows start at ``since`` or later and before ``until`` (seconds since
        1970), by start."""
        ...

    def recent(self, since: int) -> Sequence[TrafficCell]:
        """Those of every deployment whose windows start at ``since`` or later, by start."""
        ...

    def prune(self, before: int) -> None:
        """Forget cells of windows that start before ``before``, and what waited until then."""
        ...

    def delete_deployment(self, deployment_id: str) -> None: ...

    def set_waiting(self, gateway: str, counts: Mapping[str, int], moment: datetime) -> None:
        """``counts`` (by deployment id) is all that waits at ``gateway``. Wakes the workers where something waits that
        did not."""
        ...

    def waiting(self, deployment_id: str, since: datetime) -> int:
        """How many requests wait, as gateways said at ``since`` or later."""
        ...

    def all_waiting(self, since: datetime) -> Mapping[str, int]:
        """The same of every deployment for which any waits."""
        ...


class EventStorage(Protocol):
    """Append-only, in one sequence."""

    def append(self, event: Event) -> Event:
        """Store ``event`` and return it with its sequence number.

        A reader that has seen number N never later finds a number below N that it had not seen: numbers become visible
        in order, also with several servers.
        """
        ...

    def after(
        self,
        sequence: int,
        *,
        limit: int = 1000,
        project_ids: Collection[str] | None = None,
        subject_id: str | None = None,
        types: Collection[str] | None = None,
    ) -> Sequence[Event]:
        """Ascending, those above ``sequence``."""
        ...

    def last_sequence(self) -> int:
        """0 when there is none."""
        ...


class BlobIndex(Protocol):
    """Which blobs a project may read: a digest alone opens nothing. Each is remembered with the moment when it was last
    added or held."""

    def add(self, project_id: str, digest: str, size: int, moment: datetime) -> None:
        """Record that ``project_id`` holds the blob; again is harmless, and sets the moment."""
        ...

    def has(self, project_id: str, digest: str) -> bool: ...
    def missing(self, project_id: str, digests: Collection[str]) -> Sequence[str]:
        """Those of ``digests`` that the project does not hold, in their order."""
        ...

    def hold(self, project_id: str, digests: Collection[str], moment: datetime) -> Sequence[str]:
        """Set the moment of those of ``digests`` that the project holds, and return the others, each once."""
        ...

    def idle(self, before: datetime, *, after: str, limit: int) -> Sequence[tuple[str, int]]:
        """Digests above ``after`` and their sizes, ascending, that no project added or held since ``before``."""
        ...

    def drop(self, digests: Collection[str], before: datetime) -> Sequence[str]:
        """Forget ``digests`` in every project, but not where they were added or held since ``before``; those that no
        project holds any more."""
        ...

    def known(self, digests: Collection[str]) -> Collection[str]:
        """Those of ``digests`` that some project holds."""
        ...

    def delete_project(self, project_id: str) -> None:
        """The project holds nothing any more."""
        ...


@runtime_checkable
class HoldsBlobs(Protocol):
    """A noun whose records name blobs. What one names is not collected as garbage."""

    def referenced_digests(self) -> Iterator[str]:
        """Every SHA-256 that a record names, in any order, perhaps more than once, in bounded memory."""
        ...


class ArtifactStorage(Records[Artifact], Protocol):
    """Names are unique in a folder of a project."""

    def by_name(self, project_id: str, folder: str, name: str) -> Artifact | None: ...
    def named(self, project_id: str, name: str) -> Sequence[Artifact]:
        """Those of that name in whatever folder, by folder. Not locked."""
        ...

    def list(
        self,
        page: PageRequest,
        *,
        project_ids: Collection[str] | None = None,
        folder: str | None = None,
        name: str | None = None,
        type: str | None = None,
    ) -> Page[Artifact]: ...


class ArtifactVersionStorage(Records[ArtifactVersion], Protocol):
    """Numbers and contents (digests) are unique in an artifact."""

    def by_number(self, artifact_id: str, version: int) -> ArtifactVersion | None: ...
    def by_content(self, artifact_id: str, digest: str) -> ArtifactVersion | None: ...
    def list(
        self,
        page: PageRequest,
        *,
        project_ids: Collection[str] | None = None,
        artifact_id: str | None = None,
        run_id: str | None = None,
    ) -> Page[ArtifactVersion]: ...

    def manifests(self, *, after: str, limit: int) -> Sequence[str]:
        """Digests of manifests above ``after``, ascending, each once."""
        ...


class LinkStorage(Protocol):
    """Edges between runs and what they used or made. A run has each edge once."""

    def put(self, link: Link) -> None:
        """Add; one that is there stays as it is."""
        ...

    def of_run(self, run_id: str) -> Sequence[Link]:
        """Oldest first."""
        ...

    def of_other(self, other_id: str) -> Sequence[Link]:
        """Those whose other end is ``other_id``, oldest first."""
        ...

    def delete_run(self, run_id: str) -> None: ...


class UploadStorage(Records[Upload], Protocol):
    """A project has one upload a digest."""

    def by_digest(self, project_id: str, digest: str) -> Upload | None: ...
    def begun_before(self, moment: datetime) -> Sequence[Upload]:
        """Oldest first."""
        ...


class BucketStorage(Records[Bucket], Protocol):
    """Names are unique in a project. Objects do not go with their bucket by themselves."""

    def by_name(self, project_id: str, name: str) -> Bucket | None: ...
    def list(self, page: PageRequest, *, project_ids: Collection[str] | None = None) -> Page[Bucket]: ...


class ObjectStorage(Protocol):
    """Objects, by bucket and key. Keys differ where their bytes do."""

    def put(self, bucket_id: str, objects: Sequence[StoredObject]) -> None:
        """Add or replace, each by its key; no key is there twice."""
        ...

    def find(self, bucket_id: str, key: str) -> StoredObject | None: ...
    def page(self, bucket_id: str, *, prefix: str = "", start: str = "", limit: int) -> Sequence[StoredObject]:
        """In the order of the bytes of their keys, those that begin with ``prefix`` and are ``start`` or come after
        it. Not locked."""
        ...

    def delete(self, bucket_id: str, key: str) -> int:
        """How many are gone: 0 or 1."""
        ...

    def delete_prefix(self, bucket_id: str, prefix: str) -> int:
        """Those whose keys begin with ``prefix``, with an empty one all; how many are gone."""
        ...


class SecretStorage(Protocol):
    """Secrets of a job, apart from its record, so that no answer can show them."""

    def put(self, owner_id: str, values: dict[str, str]) -> None: ...
    def get(self, owner_id: str) -> dict[str, str]:
        """Empty when there are none."""
        ...

    def delete(self, owner_id: str) -> None: ...


class IdempotencyStorage(Protocol):
    """Answers of creates, by token and key, for a day."""

    def find(self, token_id: str, key: str) -> tuple[str, int, bytes] | None:
        """The request's fingerprint, and the status and body that were answered."""
        ...

    def add(self, token_id: str, key: str, fingerprint: str, status: int, body: bytes, moment: datetime) -> None:
        """ConflictError when the key is there already."""
        ...

    def delete_before(self, moment: datetime) -> None: ...


class SettingStorage(Protocol):
    """Small facts about the installation that must survive: the gateway's port, the instance id."""

    def find(self, key: str) -> str | None: ...
    def put(self, key: str, value: str) -> None: ...


class LeaseStorage(Protocol):
    """Who works on what. A lease is held by a token, not by a name, so a late worker's token no longer fits."""

    def acquire(self, subject: str, seconds: float, moment: datetime) -> str | None:
        """A new token when nobody holds ``subject`` at ``moment``, else None."""
        ...

    def renew(self, subject: str, token: str, seconds: float, moment: datetime) -> bool: ...
    def check(self, subject: str, token: str, moment: datetime) -> None:
        """LeaseLostError unless ``token`` holds ``subject``; call it first in the session that applies a result."""
        ...

    def release(self, subject: str, token: str) -> None: ...


class Session(Protocol):
    """All nouns within one transaction."""

    @property
    def projects(self) -> ProjectStorage: ...
    @property
    def users(self) -> UserStorage: ...
    @property
    def members(self) -> MemberStorage: ...
    @property
    def tokens(self) -> TokenStorage: ...
    @property
    def instance_types(self) -> InstanceTypeStorage: ...
    @property
    def catalogue(self) -> CatalogueStorage: ...
    @property
    def sweeps(self) -> SweepStorage: ...
    @property
    def trials(self) -> TrialStorage: ...
    @property
    def runs(self) -> RunStorage: ...
    @property
    def run_details(self) -> RunDetailStorage: ...
    @property
    def run_metrics(self) -> RunMetricStorage: ...
    @property
    def removed_runs(self) -> RemovedRunStorage: ...
    @property
    def folders(self) -> FolderStorage: ...
    @property
    def streams(self) -> StreamStorage: ...
    @property
    def monitors(self) -> MonitorStorage: ...
    @property
    def jobs(self) -> JobStorage: ...
    @property
    def attempts(self) -> AttemptStorage: ...
    @property
    def replicas(self) -> ReplicaStorage: ...
    @property
    def models(self) -> ModelStorage: ...
    @property
    def model_versions(self) -> ModelVersionStorage: ...
    @property
    def deployments(self) -> DeploymentStorage: ...
    @property
    def revisions(self) -> RevisionStorage: ...
    @property
    def traffic(self) -> TrafficStorage: ...
    @property
    def events(self) -> EventStorage: ...
    @property
    def blobs(self) -> BlobIndex: ...
    @property
    def secrets(self) -> SecretStorage: ...
    @property
    def idempotency(self) -> IdempotencyStorage: ...
    @property
    def settings(self) -> SettingStorage: ...
    @property
    def leases(self) -> LeaseStorage: ...
    @property
    def artifacts(self) -> ArtifactStorage: ...
    @property
    def artifact_versions(self) -> ArtifactVersionStorage: ...
    @property
    def links(self) -> LinkStorage: ...
    @property
    def uploads(self) -> UploadStorage: ...
    @property
    def buckets(self) -> BucketStorage: ...
    @property
    def objects(self) -> ObjectStorage: ...

    def holders_of_blobs(self) -> Sequence[HoldsBlobs]:
        """Every noun whose records name blobs, but for the entries of artifacts, which are blobs themselves."""
        ...


class Storage(Protocol):
    """The door to everything kept in the database."""

    def read(self) -> AbstractContextManager[Session]: ...
    def write(self) -> AbstractContextManager[Session]: ...

    def subscribe(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call ``wake`` soon after any write session of any server committed; returns how to end that.

        A session that changed nothing, or nothing but leases and traffic, wakes nobody: workers that take a lease when
        they wake would wake themselves for ever.

        ``wake`` runs on a thread of the storage's, must be quick and must not raise. Wake-ups may be merged, and may
        come without need; after a lost connection one always comes.
        """
        ...

    def close(self) -> None:
        """Give up connections and locks. Calling it twice is harmless."""
        ...
