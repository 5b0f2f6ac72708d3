"""What the server and its scanning process say to each other: JSON lines, an answer for every request, in order."""

from __future__ import annotations

from typing import Any

from headway.domain.base import Record
from headway.domain.runs import Stream
from headway.monitors.reading import Place

__all__ = ["Place", "ScanAnswer", "ScanRequest", "ScanResult"]


class ScanRequest(Record):
    """Go on through a log stream, at most some megabytes, points and (but for one line) a quarter of a second."""

    stream: Stream
    regex: str
    place: Place
    points: int
    """Those found before."""


class ScanResult(Record):
    """What was found from the request's place on."""

    place: Place
    lines: int
    matches: int
    points: int
    rows: str
    """The points as frames of a metrics stream, in base64."""
    last_match: str | None = None
    last_time: int = 0
    """Milliseconds since 1970."""
    done: bool
    """Whether nothing more can be read now."""


class ScanAnswer(Record):
    """``error`` is a problem document."""

    error: dict[str, Any] | None = None
    scan: ScanResult | None = None
