"""``headway.diff``: two runs side by side, wherever each of them is kept."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from headway.config import look_up
from headway.errors import InvalidRequestError, NotFoundError
from headway.sdk.compare import Comparable, RunDiff, compare
from headway.tracking.directory import RunDirectory
from headway.tracking.local import LocalRun, find_local
from headway.tracking.run import TrackedRun

if TYPE_CHECKING:
    from headway.sdk.client import Client


def diff(a: str | Comparable | TrackedRun, b: str | Comparable | TrackedRun) -> RunDiff:
    """What differs between two runs: config, environment (code, packages, machine), metrics and inputs.

    Args:
        a: A run that a client or :func:`headway.tracking.local.local_runs` gave, the run that this program tracks, or an
            id. An id is looked for on the configured server, and then (or without one) in HEADWAY_DIR or ``.headway``.
        b: The same.

    Returns:
        Only what differs: false when nothing does; ``to_dict()`` for programs, a table in notebooks.

    Raises:
        NotFoundError: There is no run of that id.
    """
    with ExitStack() as stack:
        return compare(_found(a, stack), _found(b, stack))


def _found(run: str | Comparable | TrackedRun, stack: ExitStack) -> Comparable:
    if isinstance(run, str):
        return _by_id(run, stack)
    if isinstance(run, TrackedRun):
        if run.directory is None:
            raise InvalidRequestError(f"The run {run.id!r} is disabled: nothing of it is kept.")
        return LocalRun(RunDirectory(run.directory))
    if not hasattr(run, "compared"):
        raise InvalidRequestError(f"{type(run).__name__} is no run.", hint="Pass an id or a run.")
    return run


def _by_id(run: str, stack: ExitStack) -> Comparable:
    if look_up() is None:
        return find_local(run)
    from headway.sdk.client import Client

    client: Client = stack.enter_context(Client())
    try:
        return client.runs.get(run)
    except NotFoundError as error:
        try:
            return find_local(run)
        except NotFoundError:
            raise error from None
