"""Runs over HTTP: made once whatever is repeated, named by the strategy, searched, kept alive, deleted with all bytes."""

from __future__ import annotations

import json
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import pytest

from headway.domain.base import format_time, new_id, now
from headway.domain.folders import ConflictStrategy
from headway.domain.jobs import JobState
from headway.domain.metrics import SeriesSummary
from headway.domain.runs import RunCreate, RunOutcome, RunState
from headway.domain.users import Role
from headway.errors import ConflictError
from headway.journal.codec import KIND_END, KIND_LOG, MAGIC, encode_frame, encode_lines
from headway.journal.compression import compress
from headway.server.actions import heartbeats, jobs, runs
from headway.server.workers.runs import RunWorker

API = "/api/v1"


class Tracker:
    """Speaks for a program that tracks, with the rights of a member of one project."""

    def __init__(self, world: Any, *, role: Role = Role.MEMBER) -> None:
        self.world = world
        self.project = world.project()
        self.user = world.user(new_id("user"))
        world.member(self.project, self.user, role)
        self.headers = world.headers(world.token(self.user))

    def call(self, verb: str, path: str, **keywords: Any) -> httpx.Response:
        return self.world.client.request(verb, API + path, headers=self.headers, **keywords)

    def make(self, status: int = 201, **fields: Any) -> dict[str, Any]:
        answer = self.call("POST", "/runs", json={"project": self.project.id, **fields})
        assert answer.status_code == status, answer.text
        return dict(answer.json())

    def get(self, run: str) -> dict[str, Any]:
        return dict(self.call("GET", f"/runs/{run}").json())

    def send(self, run: str, stream: str, data: bytes, *, offset: int = 0, close: bool = False, **query: Any) -> None:
        query = {"offset": offset, "writer": stream.replace("/", "-"), "close": close, **query}
        headers = {**self.headers, "Content-Type": "application/zstd"}
        answer = self.world.client.request(
            "PUT", f"{API}/runs/{run}/streams/{stream}", params=query, headers=headers, content=compress(data)
        )
        assert answer.status_code == 200, answer.text

    def found(self, **query: Any) -> list[str]:
        answer = self.call("GET", "/runs", params={"project": self.project.id, **query})
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["items"]]

    def events(self, run: str) -> list[str]:
        answer = self.call("GET", "/events", params={"subject": run})
        return [item["type"] for item in answer.json()["items"]]


@pytest.fixture
def tracker(world: Any) -> Tracker:
    return Tracker(world)


class TestMaking:
    def test_a_run_gets_what_was_given_and_a_name_if_none_was(self, tracker: Tracker) -> None:
        made = tracker.make(labels=["a", "b", "a"], description="d", config={"lr": 0.1, "o": {"n": [1, None]}})
        assert made["outcome"] == "created"
        assert made["labels"] == ["a", "b"]
        assert made["config"] == {"lr": 0.1, "o": {"n": [1, None]}}
        assert len(made["name"].split("-")) == 2
        assert (made["state"], made["attempts"], made["folder"]) == ("running", 0, "")
        assert tracker.get(made["id"]) == {key: value for key, value in made.items() if key != "outcome"}
        assert tracker.events(made["id"]) == ["run.created"]

    def test_the_same_id_again_is_the_same_run_and_changes_nothing(self, tracker: Tracker) -> None:
        id = new_id("run")
        made = tracker.make(id=id, name="a", folder="f", make_folder=True)
        for fields in ({"name": "b"}, {"name": "a", "folder": "f", "conflict_strategy": "error"}, {"folder": "absent"}):
            again = tracker.make(200, id=id, **fields)
            assert again == {**made, "outcome": "found"}
        assert tracker.events(id) == ["run.created"]

    def test_an_id_of_another_project_is_taken_and_nothing_more_is_said(self, world: Any, tracker: Tracker) -> None:
        other = Tracker(world)
        hidden = other.make(name="secret-name")
        answer = tracker.call("POST", "/runs", json={"project": tracker.project.id, "id": hidden["id"]})
        assert answer.status_code == 409
        assert "secret" not in answer.text
        assert other.project.id not in answer.text
        world.member(other.project, tracker.user, Role.MEMBER)
        seen = tracker.call("POST", "/runs", json={"project": tracker.project.id, "id": hidden["id"]})
        ignored = {"request_id"}
        assert {k: v for k, v in seen.json().items() if k not in ignored} == {
            k: v for k, v in answer.json().items() if k not in ignored
        }

    def test_the_past_is_kept_and_the_future_is_not(self, tracker: Tracker) -> None:
        past = now() - timedelta(days=400)
        assert tracker.make(created_at=format_time(past))["created_at"] == format_time(past)
        ahead = tracker.make(created_at=format_time(now() + timedelta(days=1)))
        assert ahead["created_at"] <= format_time(now())

    def test_numbers_that_json_lacks_are_words(self, tracker: Tracker) -> None:
        body = f'{{"project": "{tracker.project.id}", "config": {{"a": NaN, "b": [1e999, -Infinity]}}}}'
        headers = {**tracker.headers, "Content-Type": "application/json"}
        answer = tracker.world.client.request("POST", f"{API}/runs", headers=headers, content=body)
        assert answer.status_code == 201, answer.text
        assert answer.json()["config"] == {"a": "NaN", "b": ["Infinity", "-Infinity"]}

    @pytest.mark.parametrize(
        "fields",
        [
            {"id": "../x"},
            {"id": "a" * 65},
            {"name": "a\0b"},
            {"name": ""},
            {"description": "a\0b"},
            {"folder": "a/../b"},
            {"labels": ["a\nb"]},
            {"conflict_strategy": "never"},
            {"nmae": "a"},
            {"config": [1]},
            {"config": {"a": "\ud800"}},
        ],
    )
    def test_what_is_wrong_is_named_and_nothing_is_made(self, tracker: Tracker, fields: dict[str, Any]) -> None:
        headers = {**tracker.headers, "Content-Type": "application/json"}
        body = json.dumps({"project": tracker.project.id, **fields})
        answer = tracker.world.client.request("POST", f"{API}/runs", headers=headers, content=body)
        assert answer.status_code == 422, answer.text
        assert tracker.found() == []

    def test_a_configuration_that_is_too_deep_is_refused(self, tracker: Tracker) -> None:
        deep: dict[str, Any] = {}
        for _ in range(140):
            deep = {"a": deep}
        answer = tracker.call("POST", "/runs", json={"project": tracker.project.id, "config": deep})
        assert answer.status_code == 422
        assert "nested" in answer.text

    def test_the_same_create_at_once_makes_one_run(self, postgres_world: Any) -> None:
        world = postgres_world
        project = world.project()
        request = RunCreate(project=project.id, id=new_id("run"))
        same = RunCreate(project=project.id, name="digits", conflict_strategy=ConflictStrategy.ERROR)
        with ThreadPoolExecutor(4) as pool:
            made = list(pool.map(lambda _: runs.create(world.platform, world.admin, request), range(4)))
            assert sorted(run.outcome for run in made).count(RunOutcome.CREATED) == 1

            def attempt(_: int) -> str:
                try:
                    return runs.create(world.platform, world.admin, same).id
                except ConflictError:
                    return "refused"

            assert list(pool.map(attempt, range(4))).count("refused") == 3


class TestNames:
    """What another run of that name in that folder means."""

    def test_without_a_strategy_names_may_repeat(self, tracker: Tracker) -> None:
        tracker.make(name="a")
        tracker.make(name="a")

    def test_skip_gives_the_other_run_back(self, tracker: Tracker) -> None:
        first = tracker.make(name="a", conflict_strategy="skip")
        second = tracker.make(200, name="a", conflict_strategy="skip", id=new_id("run"))
        assert second == {**first, "outcome": "skipped"}
        assert tracker.found() == [first["id"]]

    def test_error_refuses(self, tracker: Tracker) -> None:
        first = tracker.make(name="a", conflict_strategy="error")
        answer = tracker.call(
            "POST", "/runs", json={"project": tracker.project.id, "name": "a", "conflict_strategy": "error"}
        )
        assert answer.status_code == 409
        assert answer.json()["details"]["run"] == first["id"]

    def test_new_keeps_both(self, tracker: Tracker) -> None:
        tracker.make(name="a")
        given = tracker.make(name="a", conflict_strategy="new", alternative_name="a_2026")
        assert (given["name"], given["alternative_name"], given["outcome"]) == ("a_2026", "a_2026", "renamed")
        made = [tracker.make(name="a", conflict_strategy="new") for _ in range(2)]
        names = {run["name"] for run in made}
        assert len(names) == 2
        assert all(name.startswith("a_") for name in names)
        taken = tracker.make(name="a", conflict_strategy="new", alternative_name="a_2026", id=new_id("run"))
        assert taken["name"].startswith("a_")
        assert taken["name"] != "a_2026"

    def test_replace_deletes_the_other_with_its_bytes(self, world: Any, tracker: Tracker) -> None:
        first = tracker.make(name="a")
        tracker.send(first["id"], "logs/rank0-a", b"bytes")
        second = tracker.make(name="a", conflict_strategy="replace")
        assert second["outcome"] == "replaced"
        assert tracker.found() == [second["id"]]
        assert tracker.call("GET", f"/runs/{first['id']}").status_code == 404
        assert world.platform.segments.read(first["id"], "logs/rank0-a", 0, 5) == b""
        assert tracker.events(first["id"]) == ["run.created", "run.deleted"]

    def test_replace_leaves_the_run_of_a_job_that_works(self, world: Any, tracker: Tracker) -> None:
        job = world.job(tracker.project, name="a")
        answer = tracker.call(
            "POST", "/runs", json={"project": tracker.project.id, "name": "a", "conflict_strategy": "replace"}
        )
        assert answer.status_code == 409
        assert tracker.found() == [job.run_id]

    def test_other_folders_and_projects_are_no_rivals(self, world: Any, tracker: Tracker) -> None:
        tracker.make(name="a")
        tracker.make(name="a", folder="default", conflict_strategy="error")
        Tracker(world).make(name="a", conflict_strategy="error")

    def test_the_same_thing_again_without_an_id_is_known_by_its_alternative_name(self, tracker: Tracker) -> None:
        tracker.make(name="a")
        second = tracker.make(name="a", alternative_name="a_1", conflict_strategy="new")
        for strategy in ConflictStrategy:
            again = tracker.make(200, name="a", alternative_name="a_1", conflict_strategy=strategy.value)
            assert (again["id"], again["outcome"]) == (second["id"], "found")

    def test_a_repeated_key_gives_the_same_answer(self, tracker: Tracker) -> None:
        headers = {**tracker.headers, "Idempotency-Key": new_id("key")}
        body = {"project": tracker.project.id, "name": "a", "conflict_strategy": "error"}
        answers = [tracker.world.client.post(f"{API}/runs", json=body, headers=headers) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [201, 201]
        assert answers[0].json() == answers[1].json()


class TestFolders:
    def test_a_folder_must_be_there_or_be_made(self, tracker: Tracker) -> None:
        answer = tracker.call("POST", "/runs", json={"project": tracker.project.id, "folder": "exp/a"})
        assert answer.status_code == 404
        assert "exp/a" in answer.text
        assert tracker.make(folder="/exp/a/", make_folder=True)["folder"] == "exp/a"
        tracker.make(folder="exp")
        tracker.make(folder="default")
        listed = tracker.call("GET", f"/projects/{tracker.project.id}/folders").json()["items"]
        assert [folder["path"] for folder in listed] == ["default", "exp", "exp/a"]
        misspelt = tracker.call("POST", "/runs", json={"project": tracker.project.id, "folder": "exp/b"})
        assert misspelt.json()["hint"] == "Did you mean 'exp/a'?"

    def test_folders_are_made_and_removed_when_empty(self, tracker: Tracker) -> None:
        path = f"/projects/{tracker.project.name}/folders"
        assert tracker.call("POST", path, json={"path": "a/b"}).status_code == 404
        assert tracker.call("POST", path, json={"path": "a/b", "parents": True}).status_code == 201
        again = tracker.call("POST", path, json={"path": "a/b"})
        assert (again.status_code, again.json()["path"]) == (201, "a/b")
        run = tracker.make(folder="a/b")
        for folder, why in (("a/b", "runs"), ("a", "a/b")):
            refused = tracker.call("DELETE", path, params={"path": folder})
            assert refused.status_code == 409
            assert why in refused.json()["detail"]
        assert tracker.call("PATCH", f"/runs/{run['id']}", json={"folder": ""}).status_code == 200
        for folder in ("a/b", "a"):
            assert tracker.call("DELETE", path, params={"path": folder}).status_code == 204
        assert tracker.call("DELETE", path, params={"path": "a"}).status_code == 404
        assert tracker.call("DELETE", path, params={"path": "/"}).status_code == 422

    @pytest.mark.parametrize("path", ["", "/", "..", "a/../b", "a\\b", "a\0b", "x" * 2000])
    def test_paths_that_are_none(self, tracker: Tracker, path: str) -> None:
        answer = tracker.call("POST", f"/projects/{tracker.project.id}/folders", json={"path": path})
        assert answer.status_code == 422


class TestChanging:
    def test_what_is_given_changes_and_the_rest_stays(self, tracker: Tracker) -> None:
        run = tracker.make(name="a", labels=["x"], description="d")
        changed = tracker.call("PATCH", f"/runs/{run['id']}", json={"name": "b", "labels": []}).json()
        assert (changed["name"], changed["labels"], changed["description"]) == ("b", [], "d")
        assert tracker.get(run["id"]) == changed
        assert tracker.events(run["id"]) == ["run.created", "run.updated"]
        assert tracker.call("PATCH", f"/runs/{run['id']}", json={}).json() == changed
        assert tracker.call("PATCH", f"/runs/{run['id']}", json={"folder": "absent"}).status_code == 404
        assert tracker.call("PATCH", f"/runs/{run['id']}", json={"state": "complete"}).status_code == 422

    def test_a_deleted_run_is_gone_with_everything(self, world: Any, tracker: Tracker) -> None:
        run = tracker.make(config={"lr": 1})["id"]
        tracker.send(run, "metrics/rank0-a", b"bytes")
        with world.platform.storage.write() as session:
            session.run_metrics.put(run, [SeriesSummary(name="loss", stage="", count=1, last=1)])
        assert tracker.call("DELETE", f"/runs/{run}").status_code == 204
        for path in ("", "/streams", "/summary", "/environment", "/logs"):
            assert tracker.call("GET", f"/runs/{run}{path}").status_code == 404
        assert tracker.call("DELETE", f"/runs/{run}").status_code == 404
        with world.platform.storage.read() as session:
            assert session.streams.of_run(run) == []
            assert session.run_metrics.of_run(run) == []
            assert session.removed_runs.list() == []
        assert world.platform.segments.read(run, "metrics/rank0-a", 0, 5) == b""
        tracker.make(id=run)
        assert tracker.call("GET", f"/runs/{run}/summary").json()["items"] == []

    def test_bytes_whose_removal_was_interrupted_are_removed_before_the_id_is_used_again(
        self, world: Any, tracker: Tracker
    ) -> None:
        run = tracker.make()["id"]
        tracker.send(run, "logs/rank0-a", b"bytes")
        with world.platform.storage.write() as session:  # as a server that was killed after its commit leaves it
            runs.erase(session, session.runs.get(run), actor="x")
        refused = tracker.call("POST", "/runs", json={"project": tracker.project.id, "id": run})
        assert refused.status_code == 503
        RunWorker(world.platform).look()
        assert world.platform.segments.read(run, "logs/rank0-a", 0, 5) == b""
        tracker.make(id=run)

    def test_the_run_of_a_job_goes_only_after_it_ended(self, world: Any, tracker: Tracker) -> None:
        job = world.job(tracker.project)
        refused = tracker.call("DELETE", f"/runs/{job.run_id}")
        assert refused.status_code == 409
        assert job.id in refused.text
        with world.platform.storage.write() as session:
            session.jobs.put(job.evolve(state=JobState.FAILED))
        assert tracker.call("DELETE", f"/runs/{job.run_id}").status_code == 204
        assert tracker.call("GET", f"/jobs/{job.id}/logs").json()["rows"] == []
        jobs.retry(world.platform, world.admin, job.id)
        assert tracker.get(job.run_id)["job_id"] == job.id

    def test_the_run_of_a_deployment_stays_with_it(self, world: Any, tracker: Tracker) -> None:
        deployment = world.deployment(tracker.project)
        assert tracker.call("DELETE", f"/runs/{deployment.run_id}").status_code == 409

    def test_a_project_takes_its_runs_and_folders_along(self, world: Any, tracker: Tracker) -> None:
        run = tracker.make(folder="a", make_folder=True)["id"]
        tracker.send(run, "logs/rank0-a", b"bytes")
        headers = world.headers(world.admin_token)
        assert (
            world.client.request("DELETE", f"{API}/projects/{tracker.project.id}", headers=headers).status_code == 204
        )
        assert world.platform.segments.read(run, "logs/rank0-a", 0, 5) == b""
        with world.platform.storage.read() as session:
            assert session.runs.find(run) is None
            assert session.folders.of_project(tracker.project.id) == []


class TestSearching:
    def test_a_filter_an_order_and_pages(self, world: Any, tracker: Tracker) -> None:
        made = [tracker.make(config={"lr": number / 10, "o": {"name": "adam"}})["id"] for number in range(6)]
        with world.platform.storage.write() as session:
            for number, run in enumerate(made[:5]):
                summary = SeriesSummary(name="loss", stage="val", count=2, last=-number, min=math.pi)
                session.run_metrics.put(run, [summary])
        wanted = "params.lr > 0.05 and params.o.name like 'a%' and not metrics.val.loss = -2"
        assert tracker.found(filter=wanted, order_by="metrics.validation.loss") == [made[n] for n in (4, 3, 1, 5)]
        assert tracker.found(filter=wanted, order_by="-metrics.val.loss.last") == [made[n] for n in (1, 3, 4, 5)]
        query = {"project": tracker.project.id, "filter": wanted, "order_by": "-params.lr", "limit": 3}
        first = tracker.call("GET", "/runs", params=query).json()
        second = tracker.call("GET", "/runs", params={**query, "cursor": first["next_cursor"]}).json()
        assert [run["id"] for run in first["items"] + second["items"]] == [made[n] for n in (5, 4, 3, 1)]
        assert second["next_cursor"] is None

    def test_summaries_come_along_and_are_capped(self, world: Any, tracker: Tracker) -> None:
        run = tracker.make()["id"]
        some = [SeriesSummary(name=f"m{n:03}", stage="val", count=n, last="NaN", max=2**63 - 1) for n in range(201)]
        with world.platform.storage.write() as session:
            session.run_metrics.put(run, some[:200])
        query = {"project": tracker.project.id, "include": "summary"}
        (row,) = tracker.call("GET", "/runs", params=query).json()["items"]
        assert row["run"] == tracker.get(run)
        assert row["complete"] is True
        assert [SeriesSummary.model_validate(item) for item in row["summary"]] == some[:200]
        with world.platform.storage.write() as session:
            session.run_metrics.put(run, some)
        (row,) = tracker.call("GET", "/runs", params=query).json()["items"]
        assert (row["complete"], len(row["summary"])) == (False, 200)

    def test_only_what_may_be_seen_is_found(self, world: Any, tracker: Tracker) -> None:
        hidden = Tracker(world).make(name="same")["id"]
        own = tracker.make(name="same")["id"]
        answer = tracker.call("GET", "/runs", params={"filter": "name = 'same'", "order_by": "name"})
        assert [item["id"] for item in answer.json()["items"]] == [own]
        assert tracker.call("GET", "/runs", params={"filter": f"id = '{hidden}'"}).json()["items"] == []

    @pytest.mark.parametrize(
        "query",
        [
            {"filter": "nmae = 'a'"},
            {"filter": ""},
            {"filter": "name = 'a\0'"},
            {"order_by": "labels"},
            {"filter": "x" * 20_001},
            {"include": "everything"},
            {"order_by": "name", "cursor": "abc"},
        ],
    )
    def test_what_cannot_be_understood_is_refused_in_words(self, tracker: Tracker, query: dict[str, str]) -> None:
        assert tracker.call("GET", "/runs", params=query).status_code == 422

    def test_the_status_counts_runs(self, tracker: Tracker) -> None:
        tracker.make()
        assert tracker.call("GET", "/status").json()["runs"] == {"running": 1}


class TestLiveness:
    def age(self, world: Any, run: str, seconds: float) -> None:
        """As if nothing had been heard for so long."""
        with world.platform.storage.write() as session:
            old = now() - timedelta(seconds=seconds)
            session.runs.put(session.runs.get(run).evolve(heartbeat_at=old, created_at=old))
            for stream in session.streams.of_run(run):
                session.streams.put(stream.evolve(updated_at=old))

    def beat(self, tracker: Tracker, run: str, **fields: Any) -> dict[str, Any]:
        answer = tracker.call("POST", f"/runs/{run}/heartbeat", json={"writer": "w", **fields})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def test_a_silent_run_is_lost_and_a_heartbeat_revives_it(self, world: Any, tracker: Tracker) -> None:
        run = tracker.make()["id"]
        heartbeats.mark_lost(world.platform)
        assert tracker.get(run)["state"] == "running"
        self.age(world, run, 61)
        heartbeats.mark_lost(world.platform)
        lost = tracker.get(run)
        assert (lost["state"], lost["reason"]) == ("lost", "nothing was heard of it for 60 s")
        assert lost["finished_at"] is not None
        heartbeats.mark_lost(world.platform)
        alive = self.beat(tracker, run)
        assert (alive["state"], alive["reason"], alive["finished_at"]) == ("running", None, None)
        assert tracker.events(run) == ["run.created", "run.lost", "run.revived"]

    def test_bytes_are_a_sign_of_life(self, world: Any, tracker: Tracker) -> None:
        run = tracker.make()["id"]
        self.age(world, run, 61)
        tracker.send(run, "metrics/rank0-a", b"some")
        heartbeats.mark_lost(world.platform)
        assert tracker.get(run)["state"] == "running"
        self.age(world, run, 61)
        heartbeats.mark_lost(world.platform)
        assert tracker.get(run)["state"] == "lost"
        tracker.send(run, "metrics/rank0-a", b"somemore")
        assert tracker.get(run)["state"] == "running"
        heartbeats.mark_lost(world.platform)
        assert tracker.get(run)["state"] == "running"

    def test_the_run_of_a_job_is_as_the_job_is(self, world: Any, tracker: Tracker) -> None:
        job = world.job(tracker.project)
        self.age(world, job.run_id, 1000)
        heartbeats.mark_lost(world.platform)
        assert tracker.get(job.run_id)["state"] == "running"
        with world.platform.storage.write() as session:
            session.runs.put(session.runs.get(job.run_id).evolve(state=RunState.LOST))
        assert self.beat(tracker, job.run_id)["state"] == "lost"
        tracker.send(job.run_id, "metrics/rank0-a", b"some")
        assert tracker.get(job.run_id)["state"] == "lost"

    def test_a_heartbeat_that_says_nothing_new_is_not_recorded(self, world: Any, tracker: Tracker) -> None:
        run = tracker.make()["id"]
        first = self.beat(tracker, run)
        assert first["attempts"] == 1
        woken = threading.Event()
        stop = world.platform.storage.subscribe(woken.set)
        woken.wait(0.2)
        woken.clear()
        assert self.beat(tracker, run)["heartbeat_at"] == first["heartbeat_at"]
        assert not woken.wait(0.2)
        stop()
        self.age(world, run, 6)
        assert self.beat(tracker, run)["heartbeat_at"] > format_time(now() - timedelta(seconds=5))

    def test_counts_of_trouble_are_summed_over_writers(self, tracker: Tracker) -> None:
        run = tracker.make()["id"]
        self.beat(tracker, run, health={"dropped": 2, "sync_errors": 0})
        assert self.beat(tracker, run, writer="v", attempt=2, health={"dropped": 3})["health"] == {"dropped": 5}
        found = self.beat(tracker, run, health={"dropped": 4})
        assert (found["health"], found["attempts"]) == ({"dropped": 7}, 3)

    def test_a_jobs_token_speaks_for_its_own_run_only(self, world: Any, tracker: Tracker) -> None:
        replica, secret = world.attempt(world.job(tracker.project))
        other = tracker.make()["id"]
        headers = world.headers(secret)
        for run, status in ((replica.run_id, 200), (other, 404)):
            answer = world.client.post(f"{API}/runs/{run}/heartbeat", json={"writer": "w"}, headers=headers)
            assert answer.status_code == status


def log_bytes(*lines: str, first: int = 1) -> bytes:
    return encode_frame(KIND_LOG, encode_lines(first, 1_767_312_000_000, "\n".join(lines).encode()))


class TestLogs:
    def test_the_log_of_a_run_ends_when_it_has_ended_and_every_writer_closed(
        self, world: Any, tracker: Tracker
    ) -> None:
        run = tracker.make()["id"]
        data = MAGIC + log_bytes("a", "b")
        tracker.send(run, "logs/rank0-a", data, replica="rank0")
        page = tracker.call("GET", f"/runs/{run}/logs").json()
        assert [row["message"] for row in page["rows"]] == ["a", "b"]
        after = {"cursor": page["cursor"]}
        assert tracker.call("GET", f"/runs/{run}/logs", params=after).json()["ended"] is False
        with world.platform.storage.write() as session:
            session.runs.put(session.runs.get(run).evolve(state=RunState.COMPLETE))
        assert tracker.call("GET", f"/runs/{run}/logs", params=after).json()["ended"] is False
        tracker.send(run, "logs/rank0-a", encode_frame(KIND_END, b""), offset=len(data), close=True, replica="rank0")
        last = tracker.call("GET", f"/runs/{run}/logs", params=after).json()
        assert (last["rows"], last["ended"]) == ([], True)
        tail = tracker.call("GET", f"/runs/{run}/logs", params={"tail": 1, "replica": "rank0"}).json()
        assert [row["message"] for row in tail["rows"]] == ["b"]
        streamed = tracker.call("GET", f"/runs/{run}/logs/stream").text
        assert streamed.count("event: rows") == 1
        assert "event: end" in streamed

    def test_a_writer_that_was_killed_does_not_keep_the_log_open_for_ever(self, world: Any, tracker: Tracker) -> None:
        run = tracker.make()["id"]
        tracker.send(run, "logs/rank0-a", MAGIC + log_bytes("a"))
        with world.platform.storage.write() as session:
            session.runs.put(session.runs.get(run).evolve(state=RunState.LOST))
            (stream,) = session.streams.of_run(run)
            session.streams.put(stream.evolve(updated_at=now() - timedelta(seconds=61)))
        streamed = tracker.call("GET", f"/runs/{run}/logs/stream").text
        assert "event: end" in streamed
