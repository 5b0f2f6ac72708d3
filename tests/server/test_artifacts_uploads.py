"""Uploads in parts over HTTP: resumed, refused, finished once, abandoned."""

from __future__ import annotations

import hashlib
import random
from datetime import timedelta
from typing import Any

import pytest

from headway.domain.base import now
from headway.domain.uploads import LARGE_BYTES, UploadCreate
from headway.server.actions import uploads
from headway.storage.blobs.filesystem import FileBlobs

API = "/api/v1"
SIZE = LARGE_BYTES + 5


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Sender:
    """An administrator who sends one blob to one project."""

    def __init__(self, world: Any, data: bytes | None = None) -> None:
        self.world, self.project = world, world.project()
        self.data = data if data is not None else random.randbytes(SIZE)
        self.digest = sha(self.data)
        self.base = f"{API}/projects/{self.project.id}"

    def ask(self, verb: str, path: str, status: int, **keywords: Any) -> Any:
        headers = {**self.world.headers(self.world.admin_token), **keywords.pop("headers", {})}
        answer = self.world.client.request(verb, self.base + path, headers=headers, **keywords)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content and "json" in answer.headers["content-type"] else answer

    def begin(self, status: int = 200, **changes: Any) -> Any:
        body = {"digest": self.digest, "size": len(self.data), **changes}
        return self.ask("POST", "/uploads", status, json=body)

    def part(self, upload: str, number: int, status: int = 204, data: bytes | None = None, **headers: str) -> Any:
        content = self.data[number * LARGE_BYTES : (number + 1) * LARGE_BYTES] if data is None else data
        sent = {"Content-Type": "application/octet-stream", "Digest-SHA256": sha(content), **headers}
        return self.ask("PUT", f"/uploads/{upload}/parts/{number}", status, content=content, headers=sent)

    def finish(self, upload: str, status: int = 200) -> Any:
        return self.ask("POST", f"/uploads/{upload}/finish", status)

    def held(self) -> bool:
        return self.ask("POST", "/blobs/missing", 200, json={"digests": [self.digest]})["missing"] == []


def test_a_blob_in_parts_goes_on_where_it_stopped(world: Any) -> None:
    sender = Sender(world)
    begun = sender.begin()
    assert (begun["held"], begun["part_size"], begun["parts"]) == (False, LARGE_BYTES, [False, False])
    sender.part(begun["id"], 1)
    assert sender.begin() == {**begun, "parts": [False, True]}
    assert sender.finish(begun["id"], 409)["details"]["missing"] == [0]
    assert not sender.held()
    sender.part(begun["id"], 0)
    assert sender.finish(begun["id"]) == {"digest": sender.digest, "size": SIZE}
    assert sender.held()
    assert sender.begin() == {"held": True, "id": None, "part_size": 0, "parts": []}
    sender.finish(begun["id"], 404)
    answer = sender.ask("GET", f"/blobs/{sender.digest}", 206, headers={"Range": f"bytes={SIZE - 7}-"})
    assert answer.content == sender.data[-7:]


def test_a_part_that_was_changed_on_the_way_is_refused_and_nothing_is_kept_of_it(world: Any) -> None:
    sender = Sender(world)
    upload = sender.begin()["id"]
    good = sender.data[LARGE_BYTES:]
    for data in (b"?" + good[1:], good[:-1], good + b"!"):
        problem = sender.part(upload, 1, 422, data, **{"Digest-SHA256": sha(good)})
        assert "Part 1" in problem["detail"]
    sender.part(upload, 2, 422, b"x")
    sender.part(upload, 1, 422, good, **{"Digest-SHA256": "no digest"})
    assert sender.begin()["parts"] == [False, False]


def test_the_whole_is_never_a_blob_when_it_is_not_what_was_promised(world: Any) -> None:
    sender = Sender(world)
    upload = sender.begin()["id"]
    sender.part(upload, 0)
    sender.part(upload, 1, 204, b"other")
    assert sender.digest in sender.finish(upload, 422)["detail"]
    assert not sender.held()
    assert world.platform.blobs.size(sender.digest) is None
    assert sender.begin()["parts"] == [False, False]


def test_a_size_that_contradicts_the_one_before_is_refused(world: Any) -> None:
    sender = Sender(world)
    sender.begin()
    assert str(SIZE) in sender.begin(422, size=SIZE + 1)["detail"]
    for wrong in ({"size": -1}, {"size": 1 << 50}, {"digest": "x"}, {"more": 1}):
        sender.begin(422, **wrong)


def test_what_cannot_fit_is_said_before_the_first_byte(world: Any) -> None:
    sender = Sender(world)
    assert sender.begin(507, size=1 << 45)["code"] == "storage_full"


def test_two_projects_do_not_share_an_upload_nor_what_it_made(world: Any) -> None:
    one = Sender(world)
    two = Sender(world, one.data)
    upload = one.begin()["id"]
    two.part(upload, 0, 404)
    two.finish(upload, 404)
    assert two.begin()["id"] != upload
    for number in range(2):
        one.part(upload, number)
    one.finish(upload)
    assert two.begin()["held"] is False
    assert not two.held()


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", ""])
def test_a_part_is_bytes_and_nothing_else(world: Any, content_type: str) -> None:
    sender = Sender(world)
    sender.part(sender.begin()["id"], 1, 415, **{"Content-Type": content_type})


class Crash(Exception):
    """Stands for kill -9 at a point where the order of steps matters."""


@pytest.mark.parametrize("point", ["verify", "publish", "abandon", "add"])
def test_a_finish_that_crashed_anywhere_is_completed_without_sending_a_part_again(
    world: Any, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    sender = Sender(world)
    upload = sender.begin()["id"]
    for number in range(2):
        sender.part(upload, number)

    def crash(*_: Any, **__: Any) -> Any:
        raise Crash

    caller, platform = world.admin, world.platform
    found = uploads.find(platform, caller, sender.project.id, upload)
    with monkeypatch.context() as patch, pytest.raises(Crash):
        if point == "add":
            patch.setattr("headway.storage.sql.blobs.Blobs.add", crash)
        else:
            patch.setattr(FileBlobs, point, crash)
        uploads.finish(platform, found)
    again = sender.begin()
    if not again["held"]:
        assert again["parts"] == [True, True]
        sender.finish(upload)
    assert sender.held()
    with platform.storage.read() as session:
        assert session.uploads.find(upload) is None
    assert platform.blobs.touched(found.place) is None


def test_an_upload_whose_bytes_are_gone_begins_anew(world: Any) -> None:
    sender = Sender(world)
    upload = sender.begin()["id"]
    sender.part(upload, 0)
    with world.platform.storage.read() as session:
        world.platform.blobs.abandon(session.uploads.get(upload).place)
    sender.part(upload, 1, 404)
    begun = sender.begin()
    assert begun["id"] != upload
    assert begun["parts"] == [False, False]


def test_an_upload_that_nobody_goes_on_with_is_removed_after_a_day(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    old, young, busy = Sender(world), Sender(world), Sender(world)
    ids = {sender: sender.begin()["id"] for sender in (old, young, busy)}
    for sender in (old, busy):
        sender.part(ids[sender], 1)
    yesterday = now() - timedelta(hours=25)
    with world.platform.storage.write() as session:
        for sender in (old, busy):
            session.uploads.put(session.uploads.get(ids[sender]).evolve(created_at=yesterday))
        place = session.uploads.get(ids[busy]).place
    touched = FileBlobs.touched
    monkeypatch.setattr(FileBlobs, "touched", lambda self, p: touched(self, p) if p == place else yesterday)
    assert uploads.remove_abandoned(world.platform, dry_run=True)[0] == 1
    count, size = uploads.remove_abandoned(world.platform)
    assert (count, size > 0) == (1, True)
    with world.platform.storage.read() as session:
        assert session.uploads.find(ids[old]) is None
        assert session.uploads.find(ids[young]) is not None
        assert session.uploads.find(ids[busy]) is not None


def test_who_loses_the_race_to_begin_goes_on_with_the_winners_upload(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = Sender(world)
    request = UploadCreate(digest=sender.digest, size=SIZE)
    real, won = FileBlobs.begin, []

    def begin(self: FileBlobs, size: int) -> str:
        place = real(self, size)
        if not won:
            won.append(None)
            won[0] = uploads.begin(world.platform, world.admin, sender.project.id, request)
        return place

    monkeypatch.setattr(FileBlobs, "begin", begin)
    lost = uploads.begin(world.platform, world.admin, sender.project.id, request)
    assert lost == won[0]
    monkeypatch.undo()
    with world.platform.storage.read() as session:
        assert session.uploads.by_digest(sender.project.id, sender.digest).id == lost.id
