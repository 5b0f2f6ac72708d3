"""Runs, as people and trackers ask for them. What follows from their facts is in facts.py."""

from __future__ import annotations

import math
from typing import Any

from headway.domain.base import Page, PageRequest, new_id, now
from headway.domain.filters import parse_filter, parse_order
from headway.domain.folders import ConflictStrategy
from headway.domain.metrics import SeriesSummary
from headway.domain.names import alternative_name, friendly_name
from headway.domain.runs import (
    ROW_SERIES,
    Run,
    RunCreate,
    RunCreated,
    RunDetails,
    RunOutcome,
    RunRow,
    RunState,
    RunUpdate,
)
from headway.domain.users import Permission
from headway.errors import ConflictError, InvalidRequestError, UnavailableError
from headway.server.actions import folders
from headway.server.actions.leases import leased
from headway.server.actions.lookup import find_project, find_run
from headway.server.actions.recording import record
from headway.server.context import Caller, Platform
from headway.storage.base import Session

MAX_NESTING = 128
"""How deep a configuration may be nested."""
REMOVAL = "removal of runs"
REMOVED_AT_ONCE = 100


def search(
    platform: Platform,
    caller: Caller,
    page: PageRequest,
    *,
    project: str | None = None,
    filter: str | None = None,
    order_by: str | None = None,
) -> Page[Run]:
    """Runs that ``filter`` holds of, sorted by ``order_by``; newest first without it.

    Raises:
        InvalidRequestError: The filter or the order is not of the language; says where.
    """
    where = parse_filter(filter) if filter is not None else None
    order = parse_order(order_by) if order_by is not None else None
    with platform.storage.read() as session:
        ids = caller.visible if project is None else {find_project(session, caller, project).id}
        return session.runs.search(page, project_ids=ids, where=where, order=order)


def with_summaries(platform: Platform, found: Page[Run]) -> Page[RunRow]:
    """The same runs, each with the summaries of its first series."""
    with platform.storage.read() as session:
        known = session.run_metrics.of_runs([run.id for run in found.items], limit=ROW_SERIES + 1)
    rows = tuple(_row(run, tuple(known.get(run.id, ()))) for run in found.items)
    # Everything in it was validated when it was stored.
    return Page[RunRow].model_construct(items=rows, next_cursor=found.next_cursor)


def _row(run: Run, summary: tuple[SeriesSummary, ...]) -> RunRow:
    return RunRow.model_construct(run=run, summary=summary[:ROW_SERIES], complete=len(summary) <= ROW_SERIES)


def get(platform: Platform, caller: Caller, run_id: str) -> Run:
    with platform.storage.read() as session:
        return find_run(session, caller, run_id)


def environment(platform: Platform, caller: Caller, run_id: str) -> dict[str, Any]:
    with platform.storage.read() as session:
        details = session.run_details.find(find_run(session, caller, run_id).id)
    return {} if details is None else details.environment


def create(platform: Platform, caller: Caller, request: RunCreate) -> RunCreated:
    """A run, new or found; :class:`headway.domain.runs.RunOutcome` says what was done.

    Raises:
        ConflictError: The id is taken, or the name is and the strategy is ``error``.
        NotFoundError: No such project or folder.
    """
    request = request.model_copy(update={"config": plain_config(request.config)})
    replaced: list[str] = []
    with platform.storage.write() as session:
        project = find_project(session, caller, request.project, Permission.WRITE)
        answer = _same(session, project.id, request)
        if answer is None:
            folders.place(session, project.id, request.folder, make=request.make_folder)
            answer = _settle(session, caller, project.id, request, replaced)
        was_there = answer.outcome in (RunOutcome.FOUND, RunOutcome.SKIPPED)
        caller.remember(session, answer, 200 if was_there else 201)
    if replaced:
        remove_bytes(platform)
    return answer


def _same(session: Session, project_id: str, request: RunCreate) -> RunCreated | None:
    """The run that is meant, when it is there already."""
    if request.id is not None:
        found = session.runs.find(request.id)
        if found is None:
            return None
        if found.project_id != project_id:
            # Nothing is said of a run that may belong to somebody else.
            raise ConflictError(f"The id {request.id!r} is taken.", hint="Choose another id, or give none.")
        return _answer(found, RunOutcome.FOUND)
    if request.conflict_strategy is None or request.alternative_name is None:
        return None
    for name in {request.name, request.alternative_name} - {None}:
        for found in session.runs.named(project_id, request.folder, str(name)):
            if found.alternative_name == request.alternative_name:
                return _answer(found, RunOutcome.FOUND)
    return None


def _settle(session: Session, caller: Caller, project_id: str, request: RunCreate, replaced: list[str]) -> RunCreated:
    """Make the run, under which name and instead of what the strategy says."""
    run_id = request.id or new_id("run")
    name = request.name or friendly_name(run_id)
    strategy = request.conflict_strategy
    rivals = session.runs.named(project_id, request.folder, name) if strategy is not None else ()
    if not rivals:
        return _add(session, caller, project_id, run_id, name, request, RunOutcome.CREATED)
    if strategy is ConflictStrategy.SKIP:
        return _answer(rivals[0], RunOutcome.SKIPPED)
    if strategy is ConflictStrategy.ERROR:
        raise ConflictError(
            f"There is a run {name!r} in the folder {request.folder!r} already.",
            hint="Choose another name, or conflict_strategy skip, new or replace.",
            details={"run": rivals[0].id},
        )
    if strategy is ConflictStrategy.NEW:
        other = request.alternative_name or alternative_name(name)
        while session.runs.named(project_id, request.folder, other):
            other = alternative_name(name)
        return _add(session, caller, project_id, run_id, other, request, RunOutcome.RENAMED, asked=name)
    for rival in rivals:
        check_deletable(session, rival)
        erase(session, rival, actor=caller.user.id)
        replaced.append(rival.id)
    return _add(session, caller, project_id, run_id, name, request, RunOutcome.REPLACED)


def _add(
    session: Session,
    caller: Caller,
    project_id: str,
    run_id: str,
    name: str,
    request: RunCreate,
    outcome: RunOutcome,
    *,
    asked: str | None = None,
) -> RunCreated:
    check_gone(session, run_id)
    moment = now()
    run = Run(
        id=run_id,
        project_id=project_id,
        name=name,
        alternative_name=request.alternative_name or (name if asked is not None else None),
        folder=request.folder,
        labels=tuple(dict.fromkeys(request.labels)),
        description=request.description,
        config=request.config,
        created_at=min(request.created_at or moment, moment),
        created_by=caller.user.id,
        heartbeat_at=moment,
    )
    session.runs.add(run)
    if asked is not None:
        session.run_details.put(RunDetails(run_id=run.id, given=given(run), asked_name=asked))
    _tell(session, "run.created", run, actor=caller.user.id, outcome=outcome.value)
    return _answer(run, outcome)


def check_gone(session: Session, run_id: str) -> None:
    """UnavailableError while bytes of an earlier run of that id are still to be removed."""
    if session.removed_runs.has(run_id):
        raise UnavailableError(f"A run {run_id!r} was deleted and is being removed.", hint="Try again in a moment.")


def given(run: Run) -> dict[str, Any]:
    """What a run says of itself before its first fact; :mod:`headway.server.actions.facts` applies facts on top."""
    return {
        "name": run.name,
        "labels": list(run.labels),
        "description": run.description,
        "folder": run.folder,
        "config": run.config,
    }


def _answer(run: Run, outcome: RunOutcome) -> RunCreated:
    return RunCreated(**dict(run), outcome=outcome)


def update(platform: Platform, caller: Caller, run_id: str, request: RunUpdate) -> Run:
    """Change what people write about a run. Facts that are older leave these fields alone."""
    changes = request.model_dump(exclude_unset=True, exclude_none=True)
    with platform.storage.write() as session:
        run = find_run(session, caller, run_id, Permission.WRITE)
        if not changes:
            return run
        if "folder" in changes:
            folders.place(session, run.project_id, changes["folder"], make=False)
        if "labels" in changes:
            changes["labels"] = tuple(dict.fromkeys(changes["labels"]))
        details = session.run_details.find(run.id) or RunDetails(run_id=run.id, given=given(run))
        edited = {**details.edited, **dict.fromkeys(changes, int(now().timestamp() * 1000))}
        session.run_details.put(details.evolve(edited=edited))
        run = run.evolve(**changes)
        session.runs.put(run)
        _tell(session, "run.updated", run, actor=caller.user.id, changed=sorted(changes))
        return run


def delete(platform: Platform, caller: Caller, run_id: str) -> None:
    """Remove a run with everything that it has sent.

    Raises:
        ConflictError: Its job has not finished, or its deployment exists.
    """
    with platform.storage.write() as session:
        run = find_run(session, caller, run_id, Permission.WRITE)
        check_deletable(session, run)
        erase(session, run, actor=caller.user.id)
    remove_bytes(platform)


def check_deletable(session: Session, run: Run) -> None:
    """ConflictError while a job or deployment needs the run."""
    job = session.jobs.find(run.job_id) if run.job_id is not None else None
    if job is not None and not job.finished:
        raise ConflictError(
            f"The run {run.name!r} belongs to the job {job.name!r} ({job.id}), which is {job.state.value}.",
            hint="Stop the job first, or delete it.",
        )
    if run.deployment_id is not None and session.deployments.find(run.deployment_id) is not None:
        raise ConflictError(
            f"The run {run.name!r} belongs to the deployment {run.deployment_id!r}.",
            hint="Delete the deployment first.",
        )


def erase(session: Session, run: Run, *, actor: str) -> None:
    """Remove a run's records. Its bytes follow with :func:`remove_bytes`, once this is durable."""
    drop_records(session, run.id)
    _tell(session, "run.deleted", run, actor=actor)


def drop_records(session: Session, run_id: str) -> None:
    """Everything that is recorded of a run, without a word."""
    session.links.delete_run(run_id)
    session.runs.delete(run_id)


def remove_bytes(platform: Platform) -> None:
    """Give back the disk of all deleted runs. What is interrupted is done again by a worker.

    The id of a deleted run can be used again only when this is done, so nothing of a later run is ever removed.
    """
    with leased(platform, REMOVAL) as lease:
        while lease is not None:
            with platform.storage.read() as session:
                removed = session.removed_runs.list(limit=REMOVED_AT_ONCE)
            if not removed:
                return
            for run_id in removed:
                platform.segments.delete_run(run_id)
            with platform.storage.write() as session:
                lease.check(session)
                for run_id in removed:
                    session.removed_runs.delete(run_id)


def revive(platform: Platform, run_id: str) -> None:
    """Something was heard of a run that counted as lost."""
    with platform.storage.write() as session:
        run = session.runs.find(run_id)
        if run is not None:
            heard = revived(session, run)
            if heard is not run:
                session.runs.put(heard.evolve(heartbeat_at=now()))


def revived(session: Session, run: Run) -> Run:
    """``run``, running again if it was lost; the run of a job is as its job is. The caller puts it."""
    if run.state is not RunState.LOST or run.job_id is not None or run.deployment_id is not None:
        return run
    _tell(session, "run.revived", run, actor="platform")
    return run.evolve(state=RunState.RUNNING, reason=None, finished_at=None)


def _tell(session: Session, type: str, run: Run, *, actor: str, **data: Any) -> None:
    record(session, type, run.id, project_id=run.project_id, actor=actor, name=run.name, **data)


def plain_config(config: dict[str, Any]) -> dict[str, Any]:
    """``config`` with NaN and infinities in words, as records carry them.

    Raises:
        InvalidRequestError: It is nested too deeply.
    """
    return {name: _plain(value, 1) for name, value in config.items()}


def _plain(value: Any, depth: int) -> Any:
    if depth > MAX_NESTING:
        raise InvalidRequestError(f"The configuration is nested more than {MAX_NESTING} deep.")
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {name: _plain(item, depth + 1) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, depth + 1) for item in value]
    return value
