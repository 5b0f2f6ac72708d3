"""The whole contract in one class to subclass."""

from __future__ import annotations

from headway.testing.storage.artifacts import ArtifactContract, BlobIndexContract
from headway.testing.storage.events import EventContract
from headway.testing.storage.folders import FolderContract
from headway.testing.storage.leases import LeaseContract
from headway.testing.storage.lists import ListContract
from headway.testing.storage.lookups import LookupContract
from headway.testing.storage.monitors import MonitorContract
from headway.testing.storage.objects import ObjectContract
from headway.testing.storage.records import RecordContract
from headway.testing.storage.registry import RegistryContract
from headway.testing.storage.revisions import RevisionContract
from headway.testing.storage.search import SearchContract
from headway.testing.storage.sessions import SessionContract
from headway.testing.storage.sweeps import SweepContract
from headway.testing.storage.text import TextContract
from headway.testing.storage.traffic import TrafficContract
from headway.testing.storage.values import ValueContract


class StorageContract(
    SessionContract,
    RecordContract,
    ListContract,
    LookupContract,
    EventContract,
    LeaseContract,
    ValueContract,
    TextContract,
    FolderContract,
    SearchContract,
    ArtifactContract,
    BlobIndexContract,
    RevisionContract,
    RegistryContract,
    TrafficContract,
    ObjectContract,
    MonitorContract,
    SweepContract,
):
    """Subclass it, and override the fixtures ``storage`` and, where several servers may share a database, ``peer``."""
