"""headway deploy show --watch: a deployment as it changes."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any

from headway.cli.deploy_update import spec_text
from headway.cli.output import clean, local_time, note, print_json_line, say

if TYPE_CHECKING:
    from headway.cli.deploy_show import DeploymentPage
    from headway.domain.deployments import Deployment
    from headway.domain.events import Event
    from headway.errors import HeadwayError
    from headway.sdk.client import Client

REFRESH = 2.0
"""Seconds after which it is looked at again though no event tells of a change: traffic passes without any."""
DELETED = "deployment.deleted"


def watch_deployment(client: Client, deployment: str, *, as_json: bool) -> None:
    """Show a deployment until it is deleted: drawn anew on a terminal; elsewhere, and as JSON, a line for each change."""
    pages = _pages(client, client.deployments.get(deployment))
    if as_json:
        _print_records(pages)
    elif sys.stdout.isatty():
        _draw(pages)
    else:
        _print_changes(pages)
    note("The deployment was deleted.")


def _pages(client: Client, found: Deployment) -> Iterator[DeploymentPage]:
    """What there is to show, whenever an event tells of a change, and after :data:`REFRESH`; to the deployment's end."""
    from headway.cli.deploy_show import look_at
    from headway.errors import NotFoundError

    news = _News(client, found.id)
    page = None
    try:
        while True:
            told = news.wait(0 if page is None else REFRESH)
            if any(event.type == DELETED for event in told):
                return
            found = client.deployments.get(found.id)
            page = look_at(client, found) if page is None or told or _moved(page, found) else _passed(client, page)
            yield page
    except NotFoundError:
        return


def _moved(page: DeploymentPage, found: Deployment) -> bool:
    return page.found != found


def _passed(client: Client, page: DeploymentPage) -> DeploymentPage:
    """The same with the present traffic."""
    from headway.cli.deploy_show import lately

    return replace(page, traffic=lately(client, page.found))


class _News:
    """The events of a deployment from now on, read by a thread of their own."""

    def __init__(self, client: Client, deployment_id: str) -> None:
        last = max((event.sequence for event in client.events.list(subject=deployment_id)), default=0)
        self._events = client.events.stream(subject=deployment_id, after=last)
        self._queue: Queue[Event | HeadwayError] = Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def wait(self, seconds: float) -> list[Event]:
        """What came, waited for at most so long; an error where no more can come."""
        from headway.errors import HeadwayError

        found = []
        try:
            found.append(self._queue.get(timeout=seconds) if seconds else self._queue.get_nowait())
            while True:
                found.append(self._queue.get_nowait())
        except Empty:
            pass
        events: list[Event] = []
        for one in found:
            if isinstance(one, HeadwayError):
                raise one
            events.append(one)
        return events

    def _read(self) -> None:
        from headway.errors import HeadwayError

        try:
            for event in self._events:
                self._queue.put(event)
        except HeadwayError as error:
            self._queue.put(error)


@dataclass(frozen=True)
class _Facts:
    """What a line is printed for when it changes."""

    state: tuple[str, str]
    serves: tuple[int, str]
    pending: tuple[int, str] | None
    alarm: str | None
    replicas: dict[str, tuple[str, str, str]]

    @classmethod
    def of(cls, page: DeploymentPage) -> _Facts:
        found, pending = page.found, page.pending
        return cls(
            state=(found.state.value, found.reason),
            serves=(found.revision, spec_text(found)),
            pending=None if pending is None else (pending.number, spec_text(pending.spec)),
            alarm=page.alarm,
            replicas={each.name: (each.phase.value, each.address or "", each.reason or "") for each in found.replicas},
        )

    def lines(self, before: _Facts | None) -> list[str]:
        """What is new since ``before``."""
        lines = []
        if before is None or self.serves != before.serves:
            lines.append("revision {} live: {}".format(*self.serves))
        if self.pending is not None and (before is None or self.pending != before.pending):
            lines.append("revision {} pending: {}".format(*self.pending))
        if before is None or self.state != before.state:
            lines.append(_joined(*self.state))
        if self.alarm is not None and (before is None or self.alarm != before.alarm):
            lines.append(f"alarm: {self.alarm}")
        known = {} if before is None else before.replicas
        lines += [_joined(name, *facts) for name, facts in self.replicas.items() if facts != known.get(name)]
        lines += [_joined(name, "gone") for name in known if name not in self.replicas]
        return lines


def _joined(*parts: str) -> str:
    return "  ".join(filter(None, parts))


def _print_changes(pages: Iterator[DeploymentPage]) -> None:
    from headway.domain.base import now

    before = None
    for page in pages:
        facts = _Facts.of(page)
        for line in facts.lines(before):
            say(f"{local_time(now())}  {clean(line)}".replace("\n", " "))
        before = facts


def _print_records(pages: Iterator[DeploymentPage]) -> None:
    """A whole record whenever anything but the traffic changed."""
    before: dict[str, Any] | None = None
    for page in pages:
        record = page.to_record()
        lasting = {name: value for name, value in record.items() if name != "traffic"}
        if lasting != before:
            print_json_line(record)
        before = lasting


def _draw(pages: Iterator[DeploymentPage]) -> None:
    """On a screen of its own; the last page stays when it is left."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    lines: list[str] = []
    try:
        with Live(console=Console(highlight=False), screen=True, auto_refresh=False) as live:
            for page in pages:
                lines = page.lines()
                live.update(Text.from_ansi("\n".join(lines)), refresh=True)
    finally:
        for line in lines:
            say(line)
