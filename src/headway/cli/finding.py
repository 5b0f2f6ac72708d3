"""Which runs a command is about: those of the server, or those in a directory here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from headway.cli.options import connected
from headway.cli.output import note

if TYPE_CHECKING:
    from headway.errors import NotFoundError
    from headway.sdk.views import RunView
    from headway.tracking.views import LocalView

    FoundRun: TypeAlias = RunView | LocalView

LocalOption = Annotated[
    bool, typer.Option("--local", help="Runs in HEADWAY_DIR or .headway here; so it is where no server is configured.")
]
RunArgument = Annotated[str, typer.Argument(help="Run id, or a name that only one run has.")]


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
            named = self._named(run)
            if named is None:
                raise _elsewhere(run, error) from error
            return named
        return found

    def search(self, filter_text: str) -> Iterable[FoundRun]:
        """All runs that the filter holds of."""
        if self._client is None:
            from headway.tracking.views import local_table

            found: Iterable[Any] = local_table(local_runs_here(), filter_text).runs
        else:
            found = self._client.runs.query(filter_text)
        return found

    def _named(self, name: str) -> FoundRun | None:
        """The only run of that name in the project; NotFoundError when there are several."""
        from headway.errors import NotFoundError

        quoted = name.replace("'", "''")
        found = [*self._client.runs.query(f"name = '{quoted}'", limit=5)]
        if len(found) > 1:
            raise NotFoundError(
                f"Several runs are called {name!r}.", hint=f"Their ids: {', '.join(each.id for each in found)}."
            )
        return found[0] if found else None


def _elsewhere(run: str, error: NotFoundError) -> NotFoundError:
    """The error, saying that the run lies here if it does."""
    from headway.errors import NotFoundError
    from headway.tracking.directory import base_directory, run_directories

    if run in {each.id for each in run_directories(base_directory())}:
        return NotFoundError(
            f"The server has no run {run!r}, but one lies here.", hint="Add --local, or run `headway sync`."
        )
    return NotFoundError(error.message, hint="`headway run list` shows what there is.", details=error.details)


def find_local(run: str) -> LocalView:
    """The run with this id, or the only one of this name, in the directory here."""
    from headway.domain.base import did_you_mean
    from headway.errors import NotFoundError

    found = local_runs_here()
    matching = [each for each in found if each.id == run] or [each for each in found if each.name == run]
    if len(matching) == 1:
        return matching[0]
    if matching:
        ids = ", ".join(each.id for each in matching)
        raise NotFoundError(f"{len(matching)} runs here are called {run!r}.", hint=f"Their ids: {ids}.")
    hint = did_you_mean(run, [word for each in found for word in (each.id, each.name)])
    raise NotFoundError(
        f"There is no run {run!r} in {_where()}.", hint=hint or "`headway run list --local` shows what there is."
    )


def remark_on_local() -> None:
    """Say on stderr how many runs lie here that have ended and did not reach the server."""
    from headway.tracking.directory import base_directory, run_directories
    from headway.tracking.local import LocalRun

    unsent = [each for each in run_directories(base_directory()) if not each.read_target().synced]
    count = sum(not LocalRun(each).is_live for each in unsent)
    if count:
        runs = "1 run lies" if count == 1 else f"{count} runs lie"
        note(f"{runs} in {_where()} and did not reach the server yet: `headway sync` sends what is missing.")


def local_runs_here() -> list[LocalView]:
    """Those in HEADWAY_DIR or .headway, newest first."""
    from headway.tracking.views import local_views

    return local_views()


def _where() -> str:
    from headway.tracking.directory import base_directory

    return str(base_directory())
