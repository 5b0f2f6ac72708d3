"""What narrowed, revoked and foreign tokens may not do, where the table of routes says too little."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from headway.domain.base import new_id, now
from headway.domain.jobs import JobState
from headway.domain.users import Role, TokenKind, token_digest
from headway.server.actions import users
from headway.server.actions.access import authenticate
from headway.server.actions.subjects import subject_finished
from headway.server.app import PREFIX, create_app
from headway.server.context import Caller
from headway.server.settings import ServerSettings
from headway.testing.server import ServerProcess

STREAM = {"Accept": "text/event-stream"}


def token_id(world: Any, secret: str) -> str:
    with world.platform.storage.read() as session:
        return str(session.tokens.by_digest(token_digest(secret)).id)


@pytest.mark.parametrize("narrow", ["project", "role"])
def test_a_narrowed_token_makes_no_project(world: Any, narrow: str) -> None:
    fields = {"project_id": world.project().id} if narrow == "project" else {"role": Role.MEMBER}
    secret = world.token(world.user(new_id("u")), **fields)
    answer = world.client.post(f"{PREFIX}/projects", headers=world.headers(secret), json={"name": new_id("p")})
    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")


def test_a_narrowed_token_neither_sees_nor_revokes_what_is_wider(world: Any) -> None:
    user, project = world.user(new_id("u")), world.project()
    world.member(project, user, Role.ADMIN)
    wide = world.token(user)
    fields = {"project_id": project.id, "role": Role.VIEWER}
    narrow, same = world.token(user, **fields), world.token(user, **fields)
    headers = world.headers(narrow)
    shown = {token["id"] for token in world.client.get(f"{PREFIX}/tokens", headers=headers).json()["items"]}
    assert shown == {token_id(world, narrow), token_id(world, same)}
    wide_url = f"{PREFIX}/tokens/{token_id(world, wide)}"
    assert world.client.request("DELETE", wide_url, headers=headers).status_code == 404
    assert world.client.get(f"{PREFIX}/me", headers=world.headers(wide)).status_code == 200
    same_url = f"{PREFIX}/tokens/{token_id(world, same)}"
    assert world.client.request("DELETE", same_url, headers=headers).status_code == 204


def test_what_a_deleted_user_left_running_goes_on(world: Any) -> None:
    """An agent's token is its attempt's, and a gateway's is the server's: neither ends with the account."""
    other = world.user(new_id("u"), admin=True)
    secrets = {kind: world.token(other, kind=kind, project_id=None) for kind in (TokenKind.JOB, TokenKind.GATEWAY)}
    mine = world.token(other)
    with world.platform.storage.write() as session:
        session.users.put(other.evolve(disabled_at=now()))
    assert world.client.get(f"{PREFIX}/me", headers=world.headers(mine)).status_code == 401
    assert world.client.get("/version", headers=world.headers(secrets[TokenKind.JOB])).status_code == 200
    routes = world.client.get(f"{PREFIX}/gateway/routes", headers=world.headers(secrets[TokenKind.GATEWAY]))
    assert routes.status_code == 200


def test_the_end_of_a_foreign_job_is_not_told(world: Any) -> None:
    """A stream about a job that may not be seen goes on silently, ended or not."""
    job = world.job(world.project())
    with world.platform.storage.write() as session:
        session.jobs.put(job.evolve(state=JobState.STOPPED))
    user = world.user(new_id("u"))
    with world.platform.storage.read() as session:
        token = session.tokens.by_digest(token_digest(world.admin_token))
    stranger = Caller(user=user, token=token, roles={})
    assert not subject_finished(world.platform, stranger, job.id)
    assert subject_finished(world.platform, world.admin, job.id)


def test_a_live_stream_ends_when_its_token_is_revoked(running_server: ServerProcess) -> None:
    base = running_server.url + PREFIX
    admin = httpx.Client(base_url=base, headers={"Authorization": f"Bearer {running_server.token}"}, trust_env=False)
    with admin:
        made = admin.post("/tokens", json={"name": "short"}).json()
        received: list[bytes] = []
        opened, ended = threading.Event(), threading.Event()

        def follow() -> None:
            headers = {"Authorization": f"Bearer {made['secret']}", **STREAM}
            try:
                with httpx.stream("GET", f"{base}/events", headers=headers, timeout=30, trust_env=False) as response:
                    for chunk in response.iter_raw():
                        received.append(chunk)
                        opened.set()
            finally:
                ended.set()

        thread = threading.Thread(target=follow)
        thread.start()
        assert opened.wait(20)
        admin.delete(f"/tokens/{made['token']['id']}").raise_for_status()
        secret_name = new_id("after")
        while not ended.wait(0.3):
            admin.post("/projects", json={"name": secret_name + new_id("p")}).raise_for_status()
            assert len(received) < 200, "the stream goes on"
        thread.join()


def test_a_live_log_of_a_job_that_is_deleted_ends_in_order(running_server: ServerProcess) -> None:
    base = running_server.url + PREFIX
    headers = {"Authorization": f"Bearer {running_server.token}"}
    with httpx.Client(base_url=base, headers=headers, trust_env=False, timeout=30) as api:
        project = api.post("/projects", json={"name": new_id("p")}).json()["id"]
        job = api.post("/jobs", json={"name": "j", "project": project, "command": "true", "start": False}).json()["id"]
        chunks: list[bytes] = []
        with api.stream("GET", f"/jobs/{job}/logs/stream", headers=STREAM) as response:
            for chunk in response.iter_raw():
                chunks.append(chunk)
                if len(chunks) == 1:
                    httpx.delete(f"{base}/jobs/{job}", headers=headers, trust_env=False).raise_for_status()
        assert b"event: end" not in b"".join(chunks)


def test_a_first_token_that_could_not_be_shown_is_not_the_last(tmp_path: Path) -> None:
    server = create_app(ServerSettings(data=tmp_path / "server"), "http://127.0.0.1:1")
    try:
        with pytest.raises(BrokenPipeError):
            users.first_token(server.platform, raise_broken_pipe)
        shown: list[str] = []
        users.first_token(server.platform, shown.append)
        users.first_token(server.platform, shown.append)
        assert len(shown) == 1
        assert authenticate(server.platform, shown[0]).admin
    finally:
        server.close()


def raise_broken_pipe(_: str) -> None:
    raise BrokenPipeError
