"""Trying an expression over a log file, without a server."""

from __future__ import annotations

from typing import BinaryIO

from headway.domain.monitors import MonitorMatch, MonitorReport
from headway.journal.lines import LineSplitter
from headway.monitors.expressions import Expression, Match, readable
from headway.monitors.reading import SHOWN

_READ = 256 << 10


def try_file(expression: Expression, file: BinaryIO, *, name: str, limit: int) -> MonitorReport:
    """What ``expression`` finds in a log that a program printed, line by line as an agent would store them.

    Args:
        expression: What to look for.
        file: The log's bytes.
        name: Stands where a replica's name stands.
        limit: Matches to bring.
    """
    splitter = LineSplitter()
    shown: list[MonitorMatch] = []
    lines = matches = points = 0
    while True:
        data = file.read(_READ)
        for batch in splitter.feed(data, 0) if data else splitter.flush(0):
            text = readable(batch.lines)
            lines += batch.line_count
            for match in expression.scan(text):
                matches += 1
                points += match.point is not None
                if len(shown) < limit:
                    number = batch.first_line + text.count(b"\n", 0, match.start)
                    shown.append(_shown(match, text, number, name))
        if not data:
            return MonitorReport(lines=lines, matches=matches, points=points, complete=True, shown=tuple(shown))


def _shown(match: Match, text: bytes, number: int, name: str) -> MonitorMatch:
    value, step = (None, None) if match.point is None else match.point
    line = text[match.start : min(match.end, match.start + 4 * SHOWN)].decode(errors="ignore")[:SHOWN]
    return MonitorMatch(replica=name, line=number, message=line, value=value, step=step)
