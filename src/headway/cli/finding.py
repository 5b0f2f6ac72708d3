"""Which runs a command is about: those of the server, or those in a directory here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from headway.cli.options import connected
from headway.cli.output import note

if TYPE_CHECKING:
    from headway.sdk.views import RunView
    from headway.tracking.views import LocalView

    FoundRun: TypeAlias = RunView | LocalView

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
            if run in {each.id for each in local_runs_here()}:
                raise NotFoundError(
                    f"The server has no run {run!r}; one lies here.", hint="Add --local, or run `headway sync`."
                ) from error
            raise
        return found


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
    """Say on stderr how many runs lie here that the server does not have yet."""
    waiting = [each for each in local_runs_here() if not each.synced]
    if waiting:
        lie = "run lies" if len(waiting) == 1 else "runs lie"
        note(f"{len(waiting)} {lie} in {_where()} and did not reach the server yet: `headway sync` sends them.")


def local_runs_here() -> list[LocalView]:
    """Those in HEADWAY_DIR or .headway, newest first."""
    from headway.tracking.views import local_views

    return local_views()


def _where() -> str:
    from headway.tracking.directory import base_directory

    return str(base_directory())
