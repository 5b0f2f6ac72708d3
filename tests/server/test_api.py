"""The HTTP API where it needs no engine: creates that happen once, pages, events live, files as attachments."""

from __future__ import annotations

import json
import threading
from typing import Any

import httpx
import pytest

from headway.domain.base import new_id
from headway.domain.users import Role
from headway.journal.compression import compress
from headway.server.app import PREFIX
from headway.testing.server import ServerProcess


@pytest.fixture
def api(running_server: ServerProcess) -> Any:
    headers = {"Authorization": f"Bearer {running_server.token}"}
    with httpx.Client(base_url=running_server.url + PREFIX, headers=headers, trust_env=False, timeout=30) as found:
        yield found


def make_project(api: httpx.Client) -> str:
    return str(api.post("/projects", json={"name": new_id("p")}).raise_for_status().json()["id"])


def test_a_create_with_a_key_happens_once_however_often_it_is_sent(api: httpx.Client) -> None:
    body = {"name": new_id("job"), "project": make_project(api), "command": "true", "start": False}
    key = {"Idempotency-Key": new_id("key")}
    answers: list[httpx.Response] = []
    threads = [
        threading.Thread(target=lambda: answers.append(api.post("/jobs", json=body, headers=key))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(api.get("/jobs", params={"name": body["name"]}).json()["items"]) == 1


def test_a_key_that_was_used_for_something_else_is_refused(api: httpx.Client) -> None:
    key = {"Idempotency-Key": new_id("key")}
    assert api.post("/projects", json={"name": new_id("p")}, headers=key).status_code == 201
    answer = api.post("/projects", json={"name": new_id("p")}, headers=key)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


def test_pages_of_a_list_neither_repeat_nor_skip(api: httpx.Client) -> None:
    project = make_project(api)
    made = [
        api.post("/jobs", json={"name": f"j{i}", "project": project, "command": "true", "start": False}).json()["id"]
        for i in range(7)
    ]
    found, cursor = [], None
    while True:
        page = api.get(
            "/jobs", params={"project": project, "limit": 3, **({"cursor": cursor} if cursor else {})}
        ).json()
        found += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == made[::-1]
    assert api.get("/jobs", params={"cursor": "nonsense"}).status_code == 422


def read_events(api: httpx.Client, params: dict[str, Any], last: str | None = None) -> list[tuple[str, str, Any]]:
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
    found = []
    with api.stream("GET", "/events", params=params, headers=headers) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        for line in response.iter_lines():
            if not line and "event" in fields:
                found.append((fields["event"], fields.get("id", ""), json.loads(fields["data"])))
                fields = {}
            elif ": " in line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                fields[name] = value
    return found


def test_the_events_of_a_job_come_live_resume_after_the_last_one_and_end(api: httpx.Client) -> None:
    project = make_project(api)
    job = api.post("/jobs", json={"name": "j", "project": project, "command": "true"}).json()["id"]
    found = read_events(api, {"subject": job})
    assert found[-1][0] == "end"
    states = [event["data"]["to"] for _, _, event in found[:-1] if event["type"] == "job.state_changed"]
    assert states[0] == "queued"
    assert states[-1] == "succeeded"
    middle = found[3][1]
    again = read_events(api, {"subject": job}, last=middle)
    assert [entry[1] for entry in again[:-1]] == [entry[1] for entry in found[4:-1]]


def test_events_show_only_what_the_caller_may_see(world: Any) -> None:
    mine, theirs = world.project(), world.project()
    user = world.user(new_id("u"))
    world.member(mine, user, Role.VIEWER)
    world.job(mine)
    world.job(theirs)
    answer = world.client.get(f"{PREFIX}/events", headers=world.headers(world.token(user)), params={"limit": 1000})
    assert {event["project_id"] for event in answer.json()["items"]} == {mine.id}


def test_files_of_users_leave_as_attachments_in_a_sandbox(world: Any) -> None:
    version = world.version(world.project())
    answer = world.client.get(
        f"{PREFIX}/model-versions/{version.id}/files/predict.py", headers=world.headers(world.admin_token)
    )
    assert answer.status_code == 200
    assert answer.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["content-type"] == "application/octet-stream"


def test_a_manifest_whose_files_were_not_sent_is_refused(world: Any) -> None:
    project = world.project()
    entry = {"path": "a.bin", "digest": "0" * 64, "size": 1}
    answer = world.client.post(
        f"{PREFIX}/models",
        headers=world.headers(world.admin_token),
        json={"project": project.id, "name": "m", "files": [entry]},
    )
    assert (answer.status_code, answer.json()["details"]["missing"]) == (422, ["0" * 64])


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a//b", "a/./b", "a\\b", "", "a\x00b", "a/../../b"])
def test_a_manifest_with_a_path_that_leads_out_is_refused(world: Any, path: str) -> None:
    project = world.project()
    entry = {**world.blob(project).model_dump(mode="json"), "path": path}
    answer = world.client.post(
        f"{PREFIX}/models",
        headers=world.headers(world.admin_token),
        json={"project": project.id, "name": "m", "files": [entry]},
    )
    assert answer.status_code == 422


def test_a_blob_that_does_not_fit_its_digest_is_refused_and_not_kept(world: Any) -> None:
    project = world.project()
    url = f"{PREFIX}/projects/{project.id}/blobs/{'1' * 64}"
    headers = {**world.headers(world.admin_token), "Content-Type": "application/octet-stream"}
    assert world.client.request("PUT", url, headers=headers, content=b"other bytes").status_code == 422
    assert world.client.get(url, headers=world.headers(world.admin_token)).status_code == 404


def test_a_digest_alone_opens_nothing_in_another_project(world: Any) -> None:
    mine, theirs = world.project(), world.project()
    entry = world.blob(theirs, b"private bytes")
    user = world.user(new_id("u"))
    world.member(mine, user, Role.ADMIN)
    headers = world.headers(world.token(user))
    for project in (mine, theirs):
        url = f"{PREFIX}/projects/{project.id}/blobs/{entry.digest}"
        assert world.client.get(url, headers=headers).status_code == 404


def test_no_token_has_more_rights_than_the_one_that_made_it(world: Any) -> None:
    project = world.project()
    user = world.user(new_id("u"))
    world.member(project, user, Role.MEMBER)
    weak = world.token(user, role=Role.VIEWER, project_id=project.id)
    made = world.client.post(f"{PREFIX}/tokens", headers=world.headers(weak), json={"role": "admin"}).json()
    assert (made["token"]["role"], made["token"]["project_id"]) == ("viewer", project.id)
    answer = world.client.post(f"{PREFIX}/tokens", headers=world.headers(weak), json={"user": "admin"})
    assert answer.status_code == 403


def test_a_narrowed_token_of_a_server_admin_is_no_server_admin(world: Any) -> None:
    project = world.project()
    for fields in ({"project_id": project.id}, {"role": Role.VIEWER}):
        secret = world.token(world.admin.user, **fields)
        assert world.client.get(f"{PREFIX}/users", headers=world.headers(secret)).status_code == 403
        assert world.client.get(f"{PREFIX}/projects/{project.id}", headers=world.headers(secret)).status_code == 200


def test_a_revoked_token_and_a_deleted_user_are_refused_at_once(world: Any) -> None:
    user = world.user(new_id("u"))
    secret = world.token(user)
    assert world.client.get(f"{PREFIX}/me", headers=world.headers(secret)).status_code == 200
    world.client.request("DELETE", f"{PREFIX}/users/{user.name}", headers=world.headers(world.admin_token))
    assert world.client.get(f"{PREFIX}/me", headers=world.headers(secret)).status_code == 401


def test_metrics_are_in_the_format_that_prometheus_reads(world: Any) -> None:
    text = world.client.get("/metrics", headers=world.headers(world.admin_token)).text
    assert "# TYPE headway_jobs gauge" in text
    assert text.endswith("\n")


def test_the_openapi_document_covers_every_versioned_route(world: Any) -> None:
    document = world.client.get("/openapi.json", headers=world.headers(world.admin_token)).json()
    assert f"{PREFIX}/jobs/{{job}}/logs/stream" in document["paths"]
    assert "JobCreate" in document["components"]["schemas"]


def test_a_stream_takes_each_byte_once_and_nothing_after_its_end(world: Any) -> None:
    replica, secret = world.attempt(world.job(world.project()))
    url = f"{PREFIX}/runs/{replica.run_id}/streams/logs/worker-0-w1"
    headers = {**world.headers(secret), "Content-Type": "application/zstd"}

    def send(data: bytes, offset: int, **params: Any) -> httpx.Response:
        query = {"offset": offset, "writer": "w1", **params}
        return world.client.request("PUT", url, headers=headers, params=query, content=compress(data))

    assert send(b"hello ", 0).json() == {"committed": 6}
    assert send(b"hello world", 0).json() == {"committed": 11}
    gap = send(b"x", 20)
    assert (gap.status_code, gap.json()["code"], gap.json()["details"]["committed"]) == (409, "offset_conflict", 11)
    other = send(b"hello", 0, writer="w2")
    assert (other.status_code, other.json()["code"]) == (409, "offset_conflict")
    assert send(b"world", 6, close=True).json() == {"committed": 11}
    assert send(b"world", 6, close=True).json() == {"committed": 11}
    assert send(b"more", 11).status_code == 409
    assert world.platform.segments.read(replica.run_id, "logs/worker-0-w1", 0, 100) == b"hello world"


def test_a_stream_body_that_unpacks_beyond_the_limit_is_refused(world: Any) -> None:
    replica, secret = world.attempt(world.job(world.project()))
    url = f"{PREFIX}/runs/{replica.run_id}/streams/logs/bomb"
    headers = {**world.headers(secret), "Content-Type": "application/zstd"}
    query = {"offset": 0, "writer": "w1"}
    bomb = compress(b"\0" * (64 << 20))
    assert world.client.request("PUT", url, headers=headers, params=query, content=bomb).status_code == 413
    assert world.client.request("PUT", url, headers=headers, params=query, content=b"no zstd").status_code == 422


def test_the_list_of_tokens_shows_people_and_not_attempts(world: Any) -> None:
    world.attempt(world.job(world.project()))
    answer = world.client.get(f"{PREFIX}/tokens", headers=world.headers(world.admin_token), params={"limit": 1000})
    assert {token["kind"] for token in answer.json()["items"]} == {"user"}
