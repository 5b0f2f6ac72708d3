"""Runs, as far as this version grows them: what jobs and deployments are tracked by."""

from __future__ import annotations

from headway.domain.base import Page, PageRequest
from headway.domain.runs import Run
from headway.server.actions.lookup import find_project, find_run
from headway.server.context import Caller, Platform


def list_runs(platform: Platform, caller: Caller, page: PageRequest, project: str | None = None) -> Page[Run]:
    with platform.storage.read() as session:
        ids = caller.visible if project is None else {find_project(session, caller, project).id}
        return session.runs.list(page, project_ids=ids)


def get(platform: Platform, caller: Caller, run_id: str) -> Run:
    with platform.storage.read() as session:
        return find_run(session, caller, run_id)
