"""What `headway status` shows."""

from __future__ import annotations

from headway.domain.base import Record
from headway.domain.instances import Capacity


class PlatformStatus(Record):
    """A server at a glance; counts cover what the caller may see."""

    version: str
    instance: str
    url: str
    gateway_url: str | None = None
    engine: str
    containers: str
    """How a job's container is honoured: ``process`` runs the command as a plain process and records the image."""
    capacity: Capacity
    jobs: dict[str, int] = {}
    deployments: dict[str, int] = {}
    runs: dict[str, int] = {}
