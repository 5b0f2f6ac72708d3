"""Following a job or deployment on the terminal: its states, its log, its outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from headway.cli.output import clean, colours, local_time, note, print_json_line, say

if TYPE_CHECKING:
    from headway.domain.events import Event
    from headway.domain.logs import LogRow
    from headway.sdk.client import Client

_PALETTE = ("36", "33", "35", "32", "34", "96", "93", "95")


def _own_name(row: LogRow) -> str:
    return row.replica


def print_logs(rows: Iterable[LogRow], as_json: bool, *, named: Callable[[LogRow], str] = _own_name) -> None:
    """Each row with its replica's name before it, as ``named`` tells it."""
    printer = _json_row if as_json else _RowPrinter(named)
    for row in rows:
        printer(row)


def _json_row(row: LogRow) -> None:
    print_json_line(row)


class _RowPrinter:
    """Gives each replica a colour of its own, where there are colours."""

    def __init__(self, named: Callable[[LogRow], str]) -> None:
        self._named = named
        self._coloured = colours()
        self._known: dict[str, str] = {}

    def __call__(self, row: LogRow) -> None:
        message = clean(row.message, keep_colours=self._coloured)
        say(f"{self._name(self._named(row))} | {message}")

    def _name(self, replica: str) -> str:
        name = clean(replica)
        if not self._coloured:
            return name
        colour = self._known.setdefault(name, _PALETTE[len(self._known) % len(_PALETTE)])
        return f"\x1b[{colour}m{name}\x1b[0m"


def print_event(event: Event, as_json: bool) -> None:
    """One event on one line."""
    if as_json:
        print_json_line(event)
        return
    moved = event.data.get("to")
    what = f"{event.data.get('from')} → {moved}" if moved else event.message
    reason = event.data.get("reason") if moved else ""
    said = clean(f"{local_time(event.time)}  {event.type}  {event.subject_id}  {what}").replace("\n", " ")
    say(f"{said}  {clean(str(reason))}".rstrip())


def watch_job(client: Client, job: str, *, as_json: bool, timeout: float | None = None) -> None:
    """Each state of a job as it is reached; JobFailedError unless it succeeds."""
    for event in client.jobs.watch(job, timeout=timeout):
        if as_json:
            print_json_line(event)
        else:
            reason = clean(str(event.data.get("reason") or ""))
            say(f"{local_time(event.time)}  {clean(str(event.data.get('to')))}{f'  ({reason})' if reason else ''}")
    client.jobs.wait(job, timeout=timeout)


def follow_job(client: Client, job: str, *, as_json: bool) -> None:
    """A job's log to its end; JobFailedError unless it succeeds."""
    print_logs(client.jobs.logs(job, follow=True), as_json)
    finished = client.jobs.wait(job)
    if not as_json:
        note(f"{finished.id} {finished.state.value}")
