"""Lists: newest first, in pages, by what they can be filtered by."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.domain.base import PageRequest, new_id
from headway.domain.deployments import DeployedVersion, DeploymentState
from headway.domain.jobs import FINISHED_STATES, JobState
from headway.errors import InvalidRequestError
from headway.storage.base import Session, Storage
from headway.testing import factories as make
from headway.testing.storage.fixtures import StorageFixtures, on_one_storage

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)

LISTED: dict[str, Callable[..., Any]] = {
    "projects": make.make_project,
    "users": make.make_user,
    "runs": make.make_run,
    "jobs": make.make_job,
    "models": make.make_model,
    "model_versions": make.make_model_version,
    "deployments": make.make_deployment,
}


def at(milliseconds: int) -> datetime:
    return START + timedelta(milliseconds=milliseconds)


def ids(records: Any) -> list[str]:
    return [record.id for record in records]


def newest_first(records: list[Any]) -> list[Any]:
    return sorted(records, key=lambda record: (record.created_at, record.id), reverse=True)


def walk(session: Session, limit: int, **filters: Any) -> list[Any]:
    """All pages of the list of jobs, one after the other."""
    found: list[Any] = []
    cursor = None
    while True:
        page = session.jobs.list(PageRequest(limit=limit, cursor=cursor), **filters)
        assert len(page.items) <= limit
        found += page.items
        if page.next_cursor is None:
            return found
        cursor = page.next_cursor


class ListContract(StorageFixtures):
    @pytest.mark.parametrize("name", LISTED)
    def test_lists_are_newest_first_and_then_by_id(self, storage: Storage, name: str) -> None:
        records = [LISTED[name](id=f"id{number}", created_at=at(number // 2)) for number in (3, 0, 4, 1, 2)]
        with storage.write() as session:
            for record in records:
                getattr(session, name).add(record)
        with storage.read() as session:
            page = getattr(session, name).list(PageRequest())
        assert list(page.items) == newest_first(records)
        assert page.next_cursor is None

    def test_the_order_is_by_milliseconds_also_before_1970_and_far_ahead(self, storage: Storage) -> None:
        times = [datetime(1960, 1, 1, 0, 0, 0, 1000, timezone.utc), datetime(2200, 1, 1, tzinfo=timezone.utc), at(1)]
        jobs = [make.make_job(created_at=moment) for moment in [*times, at(0), at(2)]]
        with storage.write() as session:
            for job in jobs:
                session.jobs.add(job)
        with storage.read() as session:
            assert walk(session, 2) == newest_first(jobs)

    def test_the_last_page_says_so(self, storage: Storage) -> None:
        with storage.write() as session:
            for _ in range(4):
                session.users.add(make.make_user())
        with storage.read() as session:
            assert session.users.list(PageRequest(limit=4)).next_cursor is None
            first = session.users.list(PageRequest(limit=2))
            assert first.next_cursor is not None
            assert session.users.list(PageRequest(limit=2, cursor=first.next_cursor)).next_cursor is None

    @on_one_storage
    @given(times=st.lists(st.integers(0, 5), max_size=25), limit=st.integers(1, 7))
    def test_pages_give_each_record_once(self, storage: Storage, times: list[int], limit: int) -> None:
        project_id = new_id("prj")
        jobs = [make.make_job(project_id=project_id, created_at=at(moment)) for moment in times]
        with storage.write() as session:
            for job in jobs:
                session.jobs.add(job)
        with storage.read() as session:
            assert walk(session, limit, project_ids=[project_id]) == newest_first(jobs)

    @on_one_storage
    @given(
        times=st.lists(st.integers(0, 5), min_size=1, max_size=15),
        limit=st.integers(1, 4),
        between=st.lists(
            st.tuples(st.sampled_from(["add", "delete", "put"]), st.integers(0, 5), st.integers(0, 14)), max_size=15
        ),
    )
    def test_pages_neither_repeat_nor_skip_what_exists_throughout(
        self, storage: Storage, times: list[int], limit: int, between: list[tuple[str, int, int]]
    ) -> None:
        project_id = new_id("prj")
        lasting = {}
        with storage.write() as session:
            for moment in times:
                job = make.make_job(project_id=project_id, created_at=at(moment))
                session.jobs.add(job)
                lasting[job.id] = job
        seen: list[str] = []
        cursor = None
        steps = iter(between)
        while True:
            with storage.read() as session:
                page = session.jobs.list(PageRequest(limit=limit, cursor=cursor), project_ids=[project_id])
            seen += ids(page.items)
            if page.next_cursor is None:
                break
            cursor = page.next_cursor
            kind, moment, number = next(steps, ("none", 0, 0))
            chosen = list(lasting.values())[number % len(lasting)]
            with storage.write() as session:
                if kind == "add":
                    session.jobs.add(make.make_job(project_id=project_id, created_at=at(moment)))
                elif kind == "put":
                    session.jobs.put(chosen.evolve(reason="changed"))
                elif kind == "delete" and len(lasting) > 1:
                    session.jobs.delete(chosen.id)
                    del lasting[chosen.id]
        assert len(seen) == len(set(seen))
        assert set(lasting) <= set(seen)

    @on_one_storage
    @given(cursor=st.one_of(st.text(max_size=40), st.binary(max_size=30).map(lambda b: base64.b64encode(b).decode())))
    def test_a_cursor_from_elsewhere_is_refused(self, storage: Storage, cursor: str) -> None:
        with storage.read() as session, pytest.raises(InvalidRequestError, match="cursor"):
            session.jobs.list(PageRequest(cursor=cursor))

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "null",
            "{}",
            "[]",
            "[1]",
            '["a","b"]',
            "[1,2]",
            '[1.5,"a"]',
            '[true,"a"]',
            '[99999999999999999999,"a"]',
            '[1,"a\\u0000"]',
            '[1,"\\ud800"]',
            '[NaN,"a"]',
            "[" * 300,
        ],
    )
    def test_a_forged_cursor_is_refused(self, storage: Storage, text: str) -> None:
        cursor = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
        with storage.read() as session, pytest.raises(InvalidRequestError, match="cursor"):
            session.jobs.list(PageRequest(cursor=cursor))

    def test_projects_are_listed_among_ids(self, storage: Storage) -> None:
        projects = [make.make_project(created_at=at(number)) for number in range(3)]
        with storage.write() as session:
            for project in projects:
                session.projects.add(project)
        with storage.read() as session:
            page = session.projects.list(PageRequest(), ids=[projects[0].id, projects[2].id, "absent"])
            assert page.items == (projects[2], projects[0])
            assert session.projects.list(PageRequest(), ids=[]).items == ()

    def test_jobs_are_listed_by_project_state_and_name(self, storage: Storage) -> None:
        running = make.make_job(project_id="p1", state=JobState.RUNNING, name="a")
        failed = make.make_job(project_id="p1", state=JobState.FAILED, name="b")
        foreign = make.make_job(project_id="p2", state=JobState.RUNNING, name="a")
        with storage.write() as session:
            for job in (running, failed, foreign):
                session.jobs.add(job)
        with storage.read() as session:
            listed = session.jobs.list
            assert set(ids(listed(PageRequest(), project_ids=["p1"]).items)) == {running.id, failed.id}
            assert ids(listed(PageRequest(), states=[JobState.FAILED, JobState.LOST]).items) == [failed.id]
            assert set(ids(listed(PageRequest(), name="a").items)) == {running.id, foreign.id}
            both = listed(PageRequest(), project_ids={"p1", "p2"}, states={JobState.RUNNING}, name="a")
            assert set(ids(both.items)) == {running.id, foreign.id}
            assert listed(PageRequest(), project_ids=[]).items == ()
            assert listed(PageRequest(), states=[]).items == ()

    def test_a_change_of_state_moves_a_job_between_lists(self, storage: Storage) -> None:
        job = make.make_job(state=JobState.QUEUED)
        with storage.write() as session:
            session.jobs.add(job)
            session.jobs.put(job.evolve(state=JobState.SUCCEEDED))
        with storage.read() as session:
            assert session.jobs.list(PageRequest(), states=[JobState.QUEUED]).items == ()
            assert ids(session.jobs.list(PageRequest(), states=[JobState.SUCCEEDED]).items) == [job.id]

    def test_unfinished_jobs_are_those_asked_to_run_that_have_not_ended_oldest_first(self, storage: Storage) -> None:
        jobs = [make.make_job(state=state, created_at=at(-number)) for number, state in enumerate(JobState)]
        with storage.write() as session:
            for job in jobs:
                session.jobs.add(job)
        expected = [job for job in jobs if job.state is not JobState.CREATED and job.state not in FINISHED_STATES]
        with storage.read() as session:
            assert list(session.jobs.unfinished()) == list(reversed(newest_first(expected)))

    def test_models_and_versions_are_listed_by_what_they_came_from(self, storage: Storage) -> None:
        model = make.make_model(project_id="p1", name="digits")
        versions = [
            make.make_model_version(project_id="p1", model_id=model.id, version=1, job_id="j1", run_id="r1"),
            make.make_model_version(project_id="p1", model_id=model.id, version=2, job_id="j2", run_id="r2"),
            make.make_model_version(project_id="p2", model_id="other", version=1),
        ]
        with storage.write() as session:
            session.models.add(model)
            session.models.add(make.make_model(project_id="p2", name="letters"))
            for version in versions:
                session.model_versions.add(version)
        with storage.read() as session:
            assert session.models.list(PageRequest(), project_ids=["p1"]).items == (model,)
            assert session.models.list(PageRequest(), name="digits").items == (model,)
            listed = session.model_versions.list
            assert set(ids(listed(PageRequest(), project_ids=["p1"]).items)) == set(ids(versions[:2]))
            assert set(ids(listed(PageRequest(), model_id=model.id).items)) == set(ids(versions[:2]))
            assert listed(PageRequest(), job_id="j2").items == (versions[1],)
            assert listed(PageRequest(), run_id="r1").items == (versions[0],)
            assert listed(PageRequest(), run_id="r1", job_id="j2").items == ()

    def test_deployments_are_listed_by_project_state_name_and_model_version(self, storage: Storage) -> None:
        versions = (
            DeployedVersion(model_version_id="mv1", model="m", version=1),
            DeployedVersion(model_version_id="mv2", model="m", version=2),
        )
        both = make.make_deployment(project_id="p1", versions=versions, state=DeploymentState.RUNNING)
        one = make.make_deployment(project_id="p2", versions=versions[:1], name="one")
        with storage.write() as session:
            session.deployments.add(both)
            session.deployments.add(one)
        with storage.read() as session:
            listed = session.deployments.list
            assert listed(PageRequest(), project_ids=["p1"]).items == (both,)
            assert listed(PageRequest(), states=["running"]).items == (both,)
            assert listed(PageRequest(), states=[DeploymentState.STARTING, "error"]).items == (one,)
            assert listed(PageRequest(), name="one").items == (one,)
            assert set(ids(listed(PageRequest(), model_version_id="mv1").items)) == {both.id, one.id}
            assert listed(PageRequest(), model_version_id="mv2").items == (both,)

    def test_a_deployment_is_listed_by_the_versions_it_has_now(self, storage: Storage) -> None:
        deployment = make.make_deployment()
        old = deployment.versions[0].model_version_id
        new = DeployedVersion(model_version_id="new", model="m", version=2)
        with storage.write() as session:
            session.deployments.add(deployment)
            session.deployments.put(deployment.evolve(versions=(new, new)))
        with storage.read() as session:
            assert session.deployments.list(PageRequest(), model_version_id=old).items == ()
            assert ids(session.deployments.list(PageRequest(), model_version_id="new").items) == [deployment.id]
        with storage.write() as session:
            session.deployments.delete(deployment.id)
        with storage.read() as session:
            assert session.deployments.list(PageRequest(), model_version_id="new").items == ()

    def test_all_deployments_are_given_oldest_first(self, storage: Storage) -> None:
        deployments = [make.make_deployment(created_at=at(number)) for number in (2, 0, 1)]
        with storage.write() as session:
            for deployment in deployments:
                session.deployments.add(deployment)
        with storage.read() as session:
            assert list(session.deployments.all()) == list(reversed(newest_first(deployments)))

    def test_runs_are_listed_by_project(self, storage: Storage) -> None:
        mine, other = make.make_run(project_id="p1"), make.make_run(project_id="p2")
        with storage.write() as session:
            session.runs.add(mine)
            session.runs.add(other)
        with storage.read() as session:
            assert session.runs.list(PageRequest(), project_ids=["p1"]).items == (mine,)
            assert len(session.runs.list(PageRequest()).items) == 2
