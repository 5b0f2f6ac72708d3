"""What a model version copies of the run that it came from: a run may be deleted, and goes on; the copy stays."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from headway.domain.base import Record
from headway.domain.metrics import SeriesSummary
from headway.domain.models import MAX_METRICS, MAX_PARAMETERS_BYTES, GitInfo, ModelVersion
from headway.domain.runs import FACTS, Run
from headway.errors import NotFoundError
from headway.server.actions import facts, metrics
from headway.server.context import Caller, Platform
from headway.storage.base import Session


class RunFacts(Record):
    """Of one run at one moment."""

    git: GitInfo | None = None
    parameters: dict[str, Any] = {}
    metrics: dict[str, float | int | str] = {}

    def apply(self, version: ModelVersion) -> ModelVersion:
        """``version`` with these, but for a git of its own."""
        changes = {"git": version.git or self.git, "parameters": self.parameters, "metrics": self.metrics}
        return version.evolve(**changes)


def present(platform: Platform, caller: Caller, run_id: str) -> RunFacts:
    """All that was sent of a run until now, taken in or not.

    Raises:
        NotFoundError: There is no such run that the caller may see.
    """
    series = metrics.summary(platform, caller, run_id)
    with platform.storage.read() as session:
        waiting = any(stream.folded < stream.committed for stream in session.streams.of_run(run_id, kind=FACTS))
    if waiting:
        facts.fold(platform, facts.FactReader(platform), run_id)
    with platform.storage.read() as session:
        run = session.runs.find(run_id)
        if run is None:
            raise NotFoundError(f"There is no run {run_id!r}.")
        return _facts(session, run, series)


def taken_in(session: Session, run_id: str) -> RunFacts:
    """What the server's records have of a run; :func:`refresh` brings the rest."""
    run = session.runs.find(run_id)
    return RunFacts() if run is None else _facts(session, run, session.run_metrics.of_run(run_id))


def refresh(platform: Platform, run_id: str) -> None:
    """Bring the version that a job left up to what its run is known to have been.

    A job's last metrics, and the points that monitors find in its log, are taken in after its model was registered; all of
    them are from before its end. Versions that people registered stay as they were made.
    """
    with platform.storage.read() as session:
        run = session.runs.find(run_id)
        job = None if run is None or run.job_id is None else session.jobs.find(run.job_id)
        if job is None or job.model_version_id is None:
            return
        found, version = taken_in(session, run_id), session.model_versions.find(job.model_version_id)
    if version is None or found.apply(version) == version:
        return
    with platform.storage.write() as session:
        version = session.model_versions.find(version.id)
        if version is not None:
            session.model_versions.put(found.apply(version))


def _facts(session: Session, run: Run, series: Iterable[SeriesSummary]) -> RunFacts:
    details = session.run_details.find(run.id)
    git = None if details is None else _git(details.environment.get("git"))
    return RunFacts(git=git, parameters=_bounded(run.config), metrics=_last(series))


def _git(captured: object) -> GitInfo | None:
    """What :mod:`headway.tracking.capture` says of the repository."""
    if not isinstance(captured, Mapping):
        return None
    dirty = captured.get("dirty")
    values = {"url": captured.get("remote"), "commit": captured.get("commit"), "branch": captured.get("branch")}
    try:
        found = GitInfo.model_validate({**values, "dirty": dirty if isinstance(dirty, bool) else None})
    except ValidationError:
        return None  # another tracker's words
    return found if found != GitInfo() else None


def _bounded(config: Mapping[str, Any]) -> dict[str, Any]:
    """The first hyperparameters that fit."""
    found: dict[str, Any] = {}
    left = MAX_PARAMETERS_BYTES
    for key, value in config.items():
        left -= len(json.dumps({key: value}, default=str).encode())
        if left < 0:
            break
        found[key] = value
    return found


def _last(series: Iterable[SeriesSummary]) -> dict[str, float | int | str]:
    known = {summary.key: summary.last for summary in series if summary.last is not None}
    return {key: known[key] for key in sorted(known)[:MAX_METRICS]}
