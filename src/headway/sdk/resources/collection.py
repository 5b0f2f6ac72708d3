"""client.gc: garbage collection."""

from __future__ import annotations

from headway.domain.base import parse_request
from headway.domain.collection import DEFAULT_GRACE_HOURS, CollectionReport, CollectionRequest
from headway.sdk import wire
from headway.sdk.resources.base import Resource

PATIENCE = 3600.0
"""Seconds that a server may take to look through everything it has."""


class Collection(Resource):
    path = "/api/v1/gc"
    noun = "collection"

    def collect(self, *, dry_run: bool = False, grace_hours: float = DEFAULT_GRACE_HOURS) -> CollectionReport:
        """See :meth:`headway.sdk.client.Client.gc`."""
        body = parse_request(CollectionRequest, {"dry_run": dry_run, "grace_hours": grace_hours})
        headers = {"Content-Type": "application/json"}
        with self._session.open(
            "POST", self.path, headers=headers, content=wire.encode(body), timeout=PATIENCE
        ) as answer:
            return wire.parse_record(CollectionReport, wire.decode(answer.read(1 << 20), self.path), self.path)
