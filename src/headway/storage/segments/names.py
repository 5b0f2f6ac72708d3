"""Which runs and streams may have a place in a segment store."""

from __future__ import annotations

import re

from headway.errors import InvalidRequestError

_RUN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_STREAM = re.compile(r"[a-z]{1,16}/[A-Za-z0-9_.-]{1,128}")


def check_run(run_id: str) -> str:
    """``run_id`` if it is an id as this platform makes them, else InvalidRequestError."""
    if not _RUN.fullmatch(run_id):
        raise InvalidRequestError(f"{run_id!r} is not the id of a run.")
    return run_id


def check_stream(name: str) -> str:
    """``name`` if it is ``<kind>/<name>`` as :data:`headway.domain.runs.StreamName` says, else InvalidRequestError."""
    if not _STREAM.fullmatch(name):
        raise InvalidRequestError(f"{name!r} is not the name of a stream.", hint="Streams are named kind/role-writer.")
    return name
