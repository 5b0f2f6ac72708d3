"""What a server is started with."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from headway.domain.base import Request
from headway.fetch import parse_networks

DEFAULT_PORT = 8473


class ServerSettings(Request):
    """Everything that `headway up` lets one choose. Nothing changes after the start."""

    data: Path = Field(default=Path(".headway/server"), validate_default=True)
    host: str = "127.0.0.1"
    port: int = Field(default=DEFAULT_PORT, ge=0, le=65535)
    """0 takes any free port and prints it."""
    database_url: str | None = None
    """None is SQLite below ``data``; else ``postgresql://…``."""
    engine: str = "local"
    containers: Literal["process"] = "process"
    """How a job's ``container`` is honoured: as a plain process, with the image recorded."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names beside localhost, its addresses and ``host`` that requests may name."""
    allow_remote: bool = False
    """Listening beyond this machine exposes a service that runs arbitrary code to whoever has a token, in the clear."""
    fetch_networks: tuple[str, ...] = ()
    """Networks with private addresses (``10.0.0.0/8``) that inputs of jobs may be fetched from over ``https``."""
    keep_failed_hours: float = Field(default=24.0, ge=0)
    """How long the workspace of an attempt that did not succeed is kept."""
    keep_environments: int = Field(default=16, ge=0)
    """How many virtual environments of models are kept; those in use stay in any case."""
    run_lost_seconds: float = Field(default=60.0, gt=0)
    """After so long without a word a tracked run counts as lost, until something is heard of it again."""

    @field_validator("fetch_networks")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        parse_networks(value)
        return value

    @field_validator("data")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @property
    def loopback(self) -> bool:
        """Whether ``host`` can only be reached from this machine."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
