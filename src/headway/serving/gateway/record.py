"""What a gateway says of itself in ``gateway.json``, so that a restarted server finds it again."""

from __future__ import annotations

from pathlib import Path

from headway.domain.base import Record
from headway.paths import write_atomic
from headway.processes import ProcessIdentity

FILE_NAME = "gateway.json"


class GatewayRecord(Record):
    """Which process it is, and the URL at which this machine reaches it."""

    identity: ProcessIdentity
    url: str


def read_record(directory: Path) -> GatewayRecord | None:
    """The gateway that wrote its record below ``directory``, or None. It may have ended since."""
    try:
        return GatewayRecord.model_validate_json((directory / FILE_NAME).read_bytes())
    except (OSError, ValueError):
        return None


def write_record(directory: Path, record: GatewayRecord) -> None:
    """Replace the record, whole or not at all."""
    write_atomic(directory / FILE_NAME, record.model_dump_json().encode())


def remove_record(directory: Path, record: GatewayRecord) -> None:
    """Remove the record if it is still ``record``."""
    if read_record(directory) == record:
        (directory / FILE_NAME).unlink(missing_ok=True)
