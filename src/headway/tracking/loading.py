"""Going on with runs that lie here, and sending them on request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headway.errors import NotFoundError
from headway.tracking.config import read_options
from headway.tracking.directory import RunDirectory, base_directory, check_run_id
from headway.tracking.local import find_local
from headway.tracking.opening import begin, keywords
from headway.tracking.run import TrackedRun
from headway.tracking.sync import SyncReport, sync


def load_run(run: str | Path, *, dir: str | Path | None = None, **options: Any) -> TrackedRun:
    """Go on with a run: its next attempt begins, and it is running again.

    Args:
        run: A run's directory, or its id: of one that lies in ``dir``, else of one on the server.
        dir: As for :func:`headway.init`.
        options: Any other keywords of :func:`headway.init`; what is given beats what the run said before.

    Raises:
        NotFoundError: There is no such run here, nor (with a server) there.
        InvalidRequestError: As for :func:`headway.init`.
    """
    given = keywords(options)
    try:
        found: RunDirectory | None = RunDirectory(find_local(str(run), dir).path)
    except NotFoundError:
        found = None
        if isinstance(run, Path) or "/" in run:
            raise
    identity = found.id if found is not None else check_run_id(str(run))
    base = dir if found is None else found.path.parent.parent
    chosen = read_options({**given, "id": identity, "resume": "must", "dir": base or base_directory(dir)}, {})
    return begin(chosen, found)


def upload(
    path: str | Path,
    folder: str = "",
    make_folder: bool = False,
    conflict_strategy: str = "new",
    *,
    url: str | None = None,
    token: str | None = None,
    project: str | None = None,
) -> SyncReport:
    """Send the run in ``path``, or every run below it, to a folder of the project.

    A run that is there already is brought up to date. What another run of that name in the folder means is said by
    ``conflict_strategy``: ``skip`` leaves it at that, ``error`` raises, ``new`` stores this one under its alternative
    name, and ``replace`` deletes the other one first.

    Raises:
        InvalidRequestError: A folder or strategy that is none; said before anything is sent.
        NotFoundError: No run lies there, or the folder does not exist and ``make_folder`` is False.
        ConflictError: The name is taken, and the strategy is ``error``.
        HeadwayError: The server refuses a run for another reason, or does not answer.
    """
    return sync(
        path,
        url,
        token,
        project,
        folder=folder,
        make_folder=make_folder,
        conflict_strategy=conflict_strategy,
        strict=True,
    )
