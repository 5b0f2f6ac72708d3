"""Garbage collection: blobs that nothing refers to leave index and disk.

Mark, then sweep, while others work. What keeps a blob is a record that names it. Whoever adds such a record, or asks whether
a blob is there, sets the blob's moment to now in the same transaction (``BlobIndex.hold``), and a blob whose moment or file
is younger than the grace is never removed. So a record that the marking came too early to see has kept its blobs young, and
the sweep, which looks at the moment again in the transaction that forgets a blob, passes them by. A file goes only after
no project holds it, under the lock of its directory and only if it is old, too: one that was sent again meanwhile is young.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice

from headway.domain.base import PageRequest, now
from headway.domain.collection import CollectionReport, CollectionRequest
from headway.domain.runs import METRICS
from headway.errors import ConflictError, LeaseLostError, NotFoundError
from headway.server.actions import manifests, metrics, uploads
from headway.server.actions.leases import Lease, leased
from headway.server.context import Caller, Platform
from headway.serving import environment_store
from headway.serving.environment_store import KeptEnvironment
from headway.storage.base import Session
from headway.storage.series.base import EntryFilter

logger = logging.getLogger("headway.collection")
_DIGEST = re.compile(r'"([0-9a-f]{64})"')

SUBJECT = "garbage collection"
CANDIDATES = 250_000
"""Blobs that are looked at in one pass over all references; each takes about 100 bytes meanwhile."""
SWEPT_AT_ONCE = 200
MANIFESTS_AT_ONCE = 1000
ENTRIES_AT_ONCE = 1000
UNFOLDED = 1_000_000
"""Streams with bytes that are not folded; there are never nearly so many."""
SETTLING = timedelta(seconds=5)
"""How long a transaction may take from setting a blob's moment to its commit; also without any grace such a blob stays."""


def collect(platform: Platform, caller: Caller, request: CollectionRequest) -> CollectionReport:
    """Remove what nothing refers to and is older than the grace; with ``dry_run`` only say what that would be.

    Raises:
        ConflictError: A collection is under way.
    """
    before = now() - timedelta(hours=request.grace_hours) - SETTLING
    with leased(platform, SUBJECT) as lease:
        if lease is None:
            raise ConflictError("Garbage is being collected already.", hint="Wait until that is done.")
        collection = _Collection(platform, caller, lease, before, dry_run=request.dry_run)
        collection.run()
        count, size = uploads.remove_abandoned(platform, dry_run=request.dry_run)
        environments = _remove_environments(platform, before, dry_run=request.dry_run)
        report = CollectionReport(
            dry_run=request.dry_run,
            grace_hours=request.grace_hours,
            blobs=collection.blobs,
            bytes=collection.bytes,
            uploads=count,
            upload_bytes=size,
            environments=len(environments),
            environment_bytes=sum(each.bytes for each in environments),
            kept=collection.kept,
        )
        logger.info("garbage collection by %s: %s", caller.user.id, report)
        return report
    raise LeaseLostError("The lease was lost in between.", hint="Collect again; what was removed stays removed.")


def _remove_environments(platform: Platform, before: datetime, *, dry_run: bool) -> list[KeptEnvironment]:
    """Remove environments of models that nobody uses and nobody used since ``before``."""
    found = [each for each in environment_store.idle(platform.environments) if each.used_at < before.timestamp()]
    return found if dry_run else [each for each in found if environment_store.remove(each)]


class _Collection:
    """One pass over everything that is stored."""

    def __init__(self, platform: Platform, caller: Caller, lease: Lease, before: datetime, *, dry_run: bool) -> None:
        self._platform, self._caller, self._lease = platform, caller, lease
        self._before, self._dry_run = before, dry_run
        self.blobs = self.bytes = self.kept = 0
        self._doomed = 0

    def run(self) -> None:
        after = ""
        while candidates := self._candidates(after):
            after = max(candidates)
            self._mark(candidates)
            self._sweep(candidates)
        self._sweep_unknown()
        self.kept = max(0, self._count_known() - self._doomed)

    def _candidates(self, after: str) -> dict[str, int]:
        with self._platform.storage.read() as session:
            return dict(session.blobs.idle(self._before, after=after, limit=CANDIDATES))

    def _count_known(self) -> int:
        """How many blobs projects hold, young ones too."""
        count, after = 0, ""
        while True:
            with self._platform.storage.read() as session:
                found = session.blobs.idle(now() + timedelta(days=1), after=after, limit=CANDIDATES)
            if not found:
                return count
            count, after = count + len(found), found[-1][0]

    def _mark(self, candidates: dict[str, int]) -> None:
        """Leave in ``candidates`` what no record names."""
        with self._platform.storage.read() as session:
            for holder in session.holders_of_blobs():
                for digest in holder.referenced_digests():
                    candidates.pop(digest, None)
        for digest in self._entry_digests():
            candidates.pop(digest, None)
        seen: set[str] = set()
        for manifest in self._manifests():
            if manifest in seen:
                continue
            seen.add(manifest)
            candidates.pop(manifest, None)
            try:
                for digest in manifests.file_digests(self._platform, manifest):
                    candidates.pop(digest, None)
            except NotFoundError:
                logger.error("the manifest %s of an artifact version or an input is not stored", manifest)

    def _entry_digests(self) -> Iterator[str]:
        """What media entries of runs name, folded into series or not yet."""
        with self._platform.storage.read() as session:
            runs = {stream.run_id for stream in session.streams.unfolded([METRICS], limit=UNFOLDED)}
        for run in sorted(runs.union(self._platform.series.run_ids())):
            cursor: str | None = None
            while True:
                page = PageRequest(limit=ENTRIES_AT_ONCE, cursor=cursor)
                try:
                    found = metrics.entries(self._platform, self._caller, run, EntryFilter(), page)
                except NotFoundError:
                    break  # a run that was deleted; its series are still going
                for entry in found.items:
                    yield from _DIGEST.findall(entry.model_dump_json())
                cursor = found.next_cursor
                if cursor is None:
                    break

    def _manifests(self) -> Iterator[str]:
        """Those of artifact versions, then those of jobs: an input that was an artifact's when the job was made is found
        with one or the other, also when the version is deleted just now."""
        yield from self._artifact_manifests()
        with self._platform.storage.read() as session:
            yield from session.jobs.manifests()

    def _artifact_manifests(self) -> Iterator[str]:
        after = ""
        while True:
            with self._platform.storage.read() as session:
                found = session.artifact_versions.manifests(after=after, limit=MANIFESTS_AT_ONCE)
            if not found:
                return
            yield from found
            after = found[-1]

    def _sweep(self, garbage: dict[str, int]) -> None:
        remaining = iter(sorted(garbage))
        while some := list(islice(remaining, SWEPT_AT_ONCE)):
            if self._dry_run:
                for digest in some:
                    self._count(garbage[digest])
                self._doomed += len(some)
                continue
            with self._platform.storage.write() as session:
                gone = self._forget(session, some)
            self._remove(gone)

    def _forget(self, session: Session, digests: list[str]) -> list[str]:
        self._lease.check(session)
        return list(session.blobs.drop(digests, self._before))

    def _remove(self, digests: list[str]) -> None:
        for digest in digests:
            freed = self._platform.blobs.delete_older(digest, self._before)
            if freed is not None:
                self._count(freed)

    def _count(self, size: int) -> None:
        self.blobs += 1
        self.bytes += size

    def _sweep_unknown(self) -> None:
        """Remove stored bytes that no project holds: a crash came between storing them and saying so."""
        remaining = self._platform.blobs.stored(self._before)
        while some := {blob.digest: blob.size for blob in islice(remaining, SWEPT_AT_ONCE)}:
            with self._platform.storage.read() as session:
                known = set(session.blobs.known(list(some)))
            unknown = [digest for digest in some if digest not in known]
            if self._dry_run:
                for digest in unknown:
                    self._count(some[digest])
            else:
                self._remove(unknown)
