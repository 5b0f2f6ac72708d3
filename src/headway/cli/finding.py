"""Which runs a command is about: those of the server, or those in a directory here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from headway.cli.options import connected
from headway.cli.output import note

if TYPE_CHECKING:
    from headway.domain.expressions import Order
    from headway.domain.runs import Run
    from headway.domain.search import Searched
    from headway.sdk.summaries import RunSummary
    from headway.sdk.tables import RunTable
    from headway.sdk.views import RunView
    from headway.tracking.local import LocalRun

    FoundRun: TypeAlias = RunView | LocalRun

LocalOption = Annotated[
    bool, typer.Option("--local", help="Runs in HEADWAY_DIR or .headway here; so it is where no server is configured.")
]
RunArgument = Annotated[str, typer.Argument(help="Run id.")]


def is_local(asked: bool) -> bool:
    """Whether runs are looked for on this disk: it was asked for, or no server is configured."""
    from headway.config import look_up

    return asked or look_up() is None


@contextmanager
def finding(local: bool) -> Iterator[Finder]:
    """What finds runs by id, connected to the server unless ``local``."""
    if is_local(local):
        yield Finder(None)
        return
    with connected() as client:
        yield Finder(client)


class Finder:
    """Runs by id: of a server, or without one of the directory here."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def find(self, run: str) -> FoundRun:
        """NotFoundError when there is none; it names one that is nearly called so, or that lies here."""
        if self._client is None:
            return find_local(run)
        from headway.errors import NotFoundError

        try:
            found: FoundRun = self._client.runs.get(run)
        except NotFoundError as error:
            if run in {each.record.id for each in _local_runs()}:
                raise NotFoundError(
                    f"The server has no run {run!r}; one lies here.", hint="Add --local, or run `headway sync`."
                ) from error
            raise
        return found


def find_local(run: str) -> LocalRun:
    """The run with this id, or the only one of this name, in the directory here."""
    from headway.domain.base import did_you_mean
    from headway.errors import NotFoundError

    found = _local_runs()
    matching = [each for each in found if each.record.id == run] or [each for each in found if each.record.name == run]
    if len(matching) == 1:
        return matching[0]
    if matching:
        ids = ", ".join(each.record.id for each in matching)
        raise NotFoundError(f"{len(matching)} runs here are called {run!r}.", hint=f"Their ids: {ids}.")
    known = [word for each in found for word in (each.record.id, each.record.name)]
    hint = did_you_mean(run, known) or "`headway run list --local` lists those that there are."
    raise NotFoundError(f"There is no run {run!r} in {_where()}.", hint=hint)


def local_table(
    filter_text: str | None, order_by: str | None, columns: Sequence[str] | None, limit: int | None
) -> RunTable:
    """Runs of the directory here as a table, searched and sorted as a server would."""
    from headway.domain.filters import parse_filter, parse_order
    from headway.domain.search import Searched, matches
    from headway.sdk.tables import RunTable

    wanted = parse_filter(filter_text) if filter_text else None
    order = parse_order(order_by) if order_by else None
    rows: list[tuple[Searched, Run, RunSummary]] = []
    for found in _local_runs():
        summary = found.summary
        searched = Searched.of(found.record, summary.values())
        if wanted is None or matches(wanted, searched):
            rows.append((searched, found.record, summary))
    rows.sort(key=lambda row: row[1].created_at, reverse=True)
    ordered = _ordered(rows, order) if order else rows
    return RunTable([(run, summary) for _, run, summary in ordered[:limit]], columns)


def _ordered(rows: list[Any], order: Order) -> list[Any]:
    """By one field: numbers before texts, and runs without it last, whatever the direction."""
    values = [(row[0].value(order.field), row) for row in rows]
    known = [(value, row) for value, row in values if value is not None]
    known.sort(key=lambda pair: (pair[0].number or 0.0, pair[0].rest, pair[0].text or ""), reverse=order.descending)
    known.sort(key=lambda pair: pair[0].form)
    return [row for _, row in known] + [row for value, row in values if value is None]


def remark_on_local() -> None:
    """Say on stderr how many runs lie here that the server does not have yet."""
    waiting = [each for each in _local_runs() if not each.synced]
    if waiting:
        lie = "run lies" if len(waiting) == 1 else "runs lie"
        note(f"{len(waiting)} {lie} in {_where()} and did not reach the server yet: `headway sync` sends them.")


def _local_runs() -> list[LocalRun]:
    from headway.tracking.local import local_runs

    return local_runs()


def _where() -> str:
    from headway.tracking.directory import base_directory

    return str(base_directory())
