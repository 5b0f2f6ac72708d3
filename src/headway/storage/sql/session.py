"""All nouns over one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from headway.storage.base import HoldsBlobs
from headway.storage.sql.artifacts import Artifacts, ArtifactVersions
from headway.storage.sql.blobs import Blobs
from headway.storage.sql.catalogue import Catalogue
from headway.storage.sql.deployments import Deployments
from headway.storage.sql.events import Events
from headway.storage.sql.folders import Folders
from headway.storage.sql.instances import InstanceTypes
from headway.storage.sql.jobs import Attempts, Jobs, Replicas
from headway.storage.sql.leases import Leases
from headway.storage.sql.links import Links
from headway.storage.sql.models import Models, ModelVersions
from headway.storage.sql.monitors import Monitors
from headway.storage.sql.objects import Buckets, Objects
from headway.storage.sql.projects import Members, Projects
from headway.storage.sql.revisions import Revisions
from headway.storage.sql.runs import RemovedRuns, RunDetailsTable, RunMetrics, Runs, Streams
from headway.storage.sql.sweeps import Sweeps, Trials
from headway.storage.sql.traffic import Traffic
from headway.storage.sql.transactions import Transaction
from headway.storage.sql.uploads import Uploads
from headway.storage.sql.users import Tokens, Users
from headway.storage.sql.values import Idempotency, Secrets, Settings

if TYPE_CHECKING:
    from headway.storage.base import Session


class SqlSession:
    """A :class:`headway.storage.base.Session`; it ends with its transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self.projects = Projects(transaction)
        self.users = Users(transaction)
        self.members = Members(transaction)
        self.tokens = Tokens(transaction)
        self.instance_types = InstanceTypes(transaction)
        self.catalogue = Catalogue(transaction)
        self.sweeps = Sweeps(transaction)
        self.trials = Trials(transaction)
        self.runs = Runs(transaction)
        self.run_details = RunDetailsTable(transaction)
        self.run_metrics = RunMetrics(transaction)
        self.removed_runs = RemovedRuns(transaction)
        self.folders = Folders(transaction)
        self.streams = Streams(transaction)
        self.monitors = Monitors(transaction)
        self.jobs = Jobs(transaction)
        self.attempts = Attempts(transaction)
        self.replicas = Replicas(transaction)
        self.models = Models(transaction)
        self.model_versions = ModelVersions(transaction)
        self.deployments = Deployments(transaction)
        self.revisions = Revisions(transaction)
        self.traffic = Traffic(transaction)
        self.events = Events(transaction)
        self.blobs = Blobs(transaction)
        self.secrets = Secrets(transaction)
        self.idempotency = Idempotency(transaction)
        self.settings = Settings(transaction)
        self.leases = Leases(transaction)
        self.artifacts = Artifacts(transaction)
        self.artifact_versions = ArtifactVersions(transaction)
        self.links = Links(transaction)
        self.uploads = Uploads(transaction)
        self.buckets = Buckets(transaction)
        self.objects = Objects(transaction)

    def holders_of_blobs(self) -> Sequence[HoldsBlobs]:
        return [noun for noun in vars(self).values() if isinstance(noun, HoldsBlobs)]


if TYPE_CHECKING:

    def _fits(session: SqlSession) -> Session:
        return session
