"""Lineage: edges from links and records, both ways, as deep as asked, and only what the caller may see."""

from __future__ import annotations

from typing import Any

import pytest

from headway.domain.base import new_id
from headway.domain.lineage import NodeKind, Relation
from headway.domain.users import Role
from headway.server.actions.registration import VersionDraft, add_version
from headway.testing.factories import make_link

API = "/api/v1"


class Line:
    """Data → run of a job → model → deployment, with a sibling that the data's other reader made."""

    def __init__(self, world: Any) -> None:
        self.world, self.project = world, world.project()
        self.data = world.artifact(self.project, name="data")
        self.job, self.other = world.job(self.project), world.job(self.project)
        self.link(self.job.run_id, self.data.id, Relation.INPUT, label="data:v1")
        self.link(self.other.run_id, self.data.id, Relation.INPUT, label="data:v1")
        self.report = world.artifact(self.project, name="report", run=self.job.run_id)
        entry = world.blob(self.project)
        draft = VersionDraft(files=(entry,), run_id=self.job.run_id)
        with world.platform.storage.write() as session:
            self.model = add_version(session, self.project.id, new_id("m"), draft, actor=world.admin.user.id)
        body = {"project": self.project.id, "name": new_id("dep"), "model": self.model.id, "start": False}
        self.deployment = world.client.post(
            f"{API}/deployments", json=body, headers=world.headers(world.admin_token)
        ).json()

    def link(self, run: str, other: str, relation: Relation, **fields: Any) -> None:
        link = make_link(project_id=self.project.id, run_id=run, other_id=other, relation=relation, **fields)
        with self.world.platform.storage.write() as session:
            session.links.put(link)

    def ask(self, subject: str, status: int = 200, token: str | None = None, **query: Any) -> Any:
        headers = self.world.headers(token or self.world.admin_token)
        answer = self.world.client.get(f"{API}/lineage", params={"subject": subject, **query}, headers=headers)
        assert answer.status_code == status, answer.text
        return answer.json()

    def ids(self, subject: str, **query: Any) -> set[str]:
        found = self.ask(subject, **query)
        known = {node["id"] for node in found["nodes"]}
        assert all({edge["source"], edge["target"]} <= known for edge in found["edges"])
        assert len(known) == len(found["nodes"])
        return known - {found["subject"]}


@pytest.fixture
def line(world: Any) -> Line:
    return Line(world)


def test_edges_point_the_way_data_flows(line: Line) -> None:
    found = line.ask(line.job.run_id)
    edges = {(edge["source"], edge["target"], edge["relation"]) for edge in found["edges"]}
    run = line.job.run_id
    assert edges == {
        (line.data.id, run, "input"),
        (line.job.id, run, "executes"),
        (run, line.report.id, "output"),
        (run, line.model.id, "output"),
        (line.model.id, line.deployment["id"], "serves"),
    }
    assert found["complete"] is True
    kinds = {node["id"]: (node["kind"], node["label"]) for node in found["nodes"]}
    assert kinds[line.data.id] == ("artifact-version", "data:v1")
    assert kinds[line.model.id] == ("model-version", f"{line.model.name}/1")
    assert kinds[line.deployment["id"]] == ("deployment", line.deployment["name"])
    assert kinds[run] == ("run", "a job")


def test_from_every_kind_of_thing_both_ways(line: Line) -> None:
    run, other, job = line.job.run_id, line.other.run_id, line.job.id
    made = {line.report.id, line.model.id, line.deployment["id"]}
    expected = {
        line.data.id: (set(), {run, other} | made),
        run: ({line.data.id, job}, made),
        job: (set(), {run} | made),
        line.report.id: ({run, job, line.data.id}, set()),
        line.model.id: ({run, job, line.data.id}, {line.deployment["id"]}),
        line.deployment["id"]: ({line.model.id, run, job, line.data.id}, set()),
    }
    for subject, (up, down) in expected.items():
        assert line.ids(subject, direction="up") == up
        assert line.ids(subject, direction="down") == down
        assert line.ids(subject) == up | down


def test_names_within_a_project_are_understood(line: Line) -> None:
    for reference in ("artifact:data:v1", "data", "data:latest"):
        assert line.ask(reference, project=line.project.name)["subject"] == line.data.id
    assert line.ask(f"models:/{line.model.name}/1", project=line.project.id)["subject"] == line.model.id
    assert line.ask(line.deployment["name"], project=line.project.id)["subject"] == line.deployment["id"]


@pytest.mark.parametrize("reference", ["absent", "artifact:absent:v1", "data:v9", "models:/absent/1"])
def test_what_is_not_there_is_not_found(line: Line, reference: str) -> None:
    line.ask(reference, 404, project=line.project.name)
    line.ask(reference, 404)


def test_a_depth_is_kept_and_said(line: Line) -> None:
    found = line.ask(line.deployment["id"], depth=1)
    assert {node["id"] for node in found["nodes"]} == {line.deployment["id"], line.model.id}
    assert found["complete"] is False
    assert line.ask(line.deployment["id"], depth=3)["complete"] is True
    for wrong in (0, 101, "x"):
        line.ask(line.deployment["id"], 422, depth=wrong)
    line.ask(line.deployment["id"], 422, direction="sideways")


def test_a_circle_is_followed_once(line: Line) -> None:
    line.link(line.job.run_id, line.data.id, Relation.OUTPUT)
    assert line.ids(line.data.id) >= {line.job.run_id, line.report.id}


def test_things_of_other_systems_are_shown_as_they_were_named(line: Line) -> None:
    line.link(line.job.run_id, "dataset-7", Relation.INPUT, kind=NodeKind.EXTERNAL, label="mnist")
    found = line.ask(line.job.run_id, direction="up")
    assert {"kind": "external", "id": "dataset-7", "label": "mnist"} in found["nodes"]


def test_what_was_deleted_keeps_its_label(line: Line) -> None:
    headers = line.world.headers(line.world.admin_token)
    path = f"{API}/artifact-versions/{line.data.id}"
    assert line.world.client.request("DELETE", path, headers=headers).status_code == 204
    nodes = line.ask(line.job.run_id, direction="up")["nodes"]
    assert {"kind": "artifact-version", "id": line.data.id, "label": "data:v1"} in nodes


def test_a_wide_graph_is_cut_and_says_so(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headway.server.actions.lineage.MAX_NODES", 20)
    for number in range(50):
        line.link(line.job.run_id, f"x{number}", Relation.INPUT, kind=NodeKind.EXTERNAL)
    found = line.ask(line.job.run_id, direction="up")
    assert (len(found["nodes"]), found["complete"]) == (20, False)


def test_only_what_the_caller_may_see_is_shown(line: Line) -> None:
    elsewhere = line.world.project()
    secret = line.world.artifact(elsewhere, name="secret")
    line.link(line.job.run_id, secret.id, Relation.INPUT, label="do not show")
    user = line.world.user(new_id("reader"))
    line.world.member(line.project, user, Role.VIEWER)
    token = line.world.token(user)
    seen = line.ask(line.job.run_id, token=token)
    assert secret.id not in str(seen)
    assert "do not show" not in str(seen)
    assert line.data.id in str(seen)
    line.ask(secret.id, 404, token=token)
    stranger = line.world.token(line.world.user(new_id("stranger")))
    line.ask(line.job.run_id, 404, token=stranger)
    line.world.member(elsewhere, user, Role.VIEWER)
    assert secret.id in str(line.ask(line.job.run_id, token=token))


def test_a_foreign_projects_run_does_not_show_that_it_used_a_thing(line: Line) -> None:
    elsewhere = line.world.project()
    foreign = line.world.job(elsewhere)
    with line.world.platform.storage.write() as session:
        session.links.put(make_link(project_id=elsewhere.id, run_id=foreign.run_id, other_id=line.data.id))
    user = line.world.user(new_id("reader"))
    line.world.member(line.project, user, Role.VIEWER)
    assert foreign.run_id not in str(line.ask(line.data.id, token=line.world.token(user)))
    assert foreign.run_id in str(line.ask(line.data.id))
