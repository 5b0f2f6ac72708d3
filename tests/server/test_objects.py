"""Objects over HTTP: what is refused, what stays together, what is kept and forgotten; and what other actions ask for."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import tenacity

from headway.domain.base import PageRequest, new_id, now
from headway.domain.collection import CollectionRequest
from headway.domain.files import FileEntry
from headway.domain.objects import ObjectPut
from headway.errors import InvalidRequestError, NotFoundError, UnavailableError
from headway.server.actions import collection, objects, projects

API = "/api/v1"


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Area:
    """An administrator and a project's object area."""

    def __init__(self, world: Any) -> None:
        self.world, self.project = world, world.project()

    def ask(self, verb: str, path: str, status: int, **keywords: Any) -> Any:
        headers = {**self.world.headers(self.world.admin_token), **keywords.pop("headers", {})}
        url = f"{API}/projects/{self.project.id}/buckets{path}"
        answer = self.world.client.request(verb, url, headers=headers, **keywords)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content and "json" in answer.headers["content-type"] else answer

    def named(self, key: str, data: bytes = b"content", **changes: Any) -> dict[str, Any]:
        """What names ``data``, which is uploaded."""
        self.world.blob(self.project, data)
        return {"key": key, "digest": sha(data), "size": len(data), **changes}

    def put(self, *keys: str, bucket: str = "data", data: bytes = b"content") -> Any:
        return self.ask("POST", f"/{bucket}/objects", 200, json={"objects": [self.named(key, data) for key in keys]})

    def keys(self, bucket: str = "data") -> list[str]:
        return [one["key"] for one in self.ask("GET", f"/{bucket}/objects", 200)["items"]]

    def events(self) -> list[str]:
        with self.world.platform.storage.read() as session:
            return [event.type for event in session.events.after(0, project_ids=[self.project.id], limit=1000)]


@pytest.fixture
def area(world: Any) -> Area:
    return Area(world)


def test_a_bucket_is_made_once(area: Area) -> None:
    made = area.ask("POST", "", 201, json={"name": "data"})
    assert area.ask("POST", "", 200, json={"name": "data"}) == made
    assert area.ask("GET", "/data", 200) == made
    assert area.ask("GET", "", 200)["items"] == [made]
    for name in ("", "..", "a/b", "-a", "a" * 64, "ä", "a\0"):
        area.ask("POST", "", 422, json={"name": name})
    assert area.ask("GET", "/dat", 404)["hint"] == "Did you mean 'data'?"
    area.ask("DELETE", "/data", 204)
    area.ask("DELETE", "/data", 404)
    assert area.events() == ["bucket.created", "bucket.deleted"]


def test_all_are_named_or_none(area: Area) -> None:
    good = area.named("good")
    absent = {"key": "absent", "digest": sha(b"never sent"), "size": 10}
    problem = area.ask("POST", "/data/objects", 422, json={"objects": [good, absent]})
    assert problem["details"]["missing"] == [absent["digest"]]
    assert "'absent'" in problem["detail"]
    wrong_size = area.ask("POST", "/data/objects", 422, json={"objects": [good, area.named("long", b"12", size=3)]})
    assert "has 2 bytes" in wrong_size["detail"]
    area.ask("POST", "/data/objects", 422, json={"objects": [good, good]})
    area.ask("POST", "/data/objects", 422, json={"objects": []})
    area.ask("POST", "/data/objects", 422, json={"objects": [{**good, "key": "a\0"}]})
    area.ask("POST", "/data/objects", 422, json={"objects": [{**good, "md5": "no"}]})
    area.ask("POST", "/da..ta/objects", 200, json={"objects": [good]})
    area.ask("POST", "/.../objects", 422, json={"objects": [good]})
    area.ask("GET", "/data", 404)
    answer = area.ask("POST", "/data/objects", 200, json={"objects": [good, area.named("b", b"2", md5="ab" * 16)]})
    assert [(one["key"], one["md5"]) for one in answer["items"]] == [("good", None), ("b", "ab" * 16)]


def test_a_digest_alone_opens_nothing_and_tells_no_size(area: Area) -> None:
    """Another project's content cannot be named, and whether it is there is not told."""
    other = Area(area.world)
    secret = other.named("secret", b"of another project")
    answers = [area.ask("POST", "/data/objects", 422, json={"objects": [{**secret, "size": size}]}) for size in (1, 18)]
    unknown = area.ask("POST", "/data/objects", 422, json={"objects": [{**secret, "digest": sha(b"unknown")}]})
    assert {answer["detail"] for answer in answers} == {unknown["detail"]}


def test_bytes_come_as_an_attachment_whole_and_in_part(area: Area) -> None:
    area.put("a/<b>.html", data=b"<script>0123456789")
    query = {"params": {"key": "a/<b>.html"}}
    whole = area.ask("GET", "/data/object", 200, **query)
    assert whole.content == b"<script>0123456789"
    assert whole.headers["etag"] == f'"{sha(whole.content)}"'
    assert whole.headers["content-disposition"] == "attachment; filename*=UTF-8''%3Cb%3E.html"
    assert "sandbox" in whole.headers["content-security-policy"]
    assert whole.headers["content-type"] == "application/octet-stream"
    part = area.ask("GET", "/data/object", 206, headers={"Range": "bytes=8-9"}, **query)
    assert (part.content, part.headers["content-range"]) == (b"01", "bytes 8-9/18")
    area.ask("GET", "/data/object", 416, headers={"Range": "bytes=18-"}, **query)
    head = area.ask("HEAD", "/data/object", 200, **query)
    assert (head.headers["content-length"], head.headers["etag"]) == ("18", whole.headers["etag"])
    area.ask("GET", "/data/object", 404, params={"key": "a"})


def test_deleting_says_what_it_means(area: Area) -> None:
    area.put("a", "a/b", "a/c", "b")
    area.ask("DELETE", "/data/objects", 422)
    area.ask("DELETE", "/data/objects", 422, params={"key": "a", "prefix": "a"})
    assert area.ask("DELETE", "/data/objects", 200, params={"key": "a"}) == {"deleted": 1}
    assert area.ask("DELETE", "/data/objects", 200, params={"key": "a"}) == {"deleted": 0}
    assert area.ask("DELETE", "/data/objects", 200, params={"prefix": "a/"}) == {"deleted": 2}
    area.ask("DELETE", "/data", 409)
    assert area.keys() == ["b"]
    area.ask("DELETE", "/data", 204, params={"force": "true"})
    area.put("a")
    assert area.keys() == ["a"], "objects of a deleted bucket came back with a new one of its name"
    assert area.events()[-1] == "bucket.objects_put"


def test_named_contents_are_kept_and_others_collected(area: Area) -> None:
    world = area.world
    kept, replaced, deleted = b"kept %s", b"replaced %s", b"deleted %s"
    kept, replaced, deleted = (word % area.project.id.encode() for word in (kept, replaced, deleted))
    area.put("kept", data=kept)
    area.put("changed", data=replaced)
    area.put("gone", data=deleted)
    area.put("changed", data=kept)
    area.ask("DELETE", "/data/objects", 200, params={"key": "gone"})
    with world.platform.storage.write() as session:
        for data in (kept, replaced, deleted):
            session.blobs.add(area.project.id, sha(data), len(data), now() - timedelta(days=30))
    collection.collect(world.platform, world.admin, CollectionRequest(grace_hours=24))
    with world.platform.storage.read() as session:
        left = [session.blobs.has(area.project.id, sha(data)) for data in (kept, replaced, deleted)]
    assert left == [True, False, False]
    assert area.ask("GET", "/data/object", 200, params={"key": "changed"}).content == kept


def test_a_project_takes_its_objects_along(area: Area) -> None:
    data = area.project.id.encode()
    area.put("a", "b", data=data)
    with area.world.platform.storage.read() as session:
        assert sha(data) in set(session.objects.referenced_digests())
    projects.delete(area.world.platform, area.world.admin, area.project.id)
    with area.world.platform.storage.read() as session:
        assert session.buckets.list(PageRequest(), project_ids=[area.project.id]).items == ()
        assert sha(data) not in set(session.objects.referenced_digests())


def entries(area: Area, address: str) -> list[tuple[str, int]]:
    with area.world.platform.storage.read() as session:
        return [(entry.path, entry.size) for entry in objects.manifest(session, area.project.id, address)]


def test_the_manifest_of_an_address(area: Area) -> None:
    area.put("in/", "in/empty/", data=b"")
    area.put("in/b", "in/a/x", "in/a.x", "other", "in-beside", "é/\u0301")
    wanted = [("a.x", 7), ("a/x", 7), ("b", 7)]
    assert entries(area, "s3://data/in") == entries(area, "s3://data/in/") == wanted
    assert entries(area, "s3://data/in/a/x") == [("x", 7)]
    assert entries(area, "s3://data/in/a") == [("x", 7)]
    assert entries(area, "s3://data/é") == [("\u0301", 7)]
    assert [path for path, _ in entries(area, "s3://data")] == sorted(
        ["in-beside", "in/a.x", "in/a/x", "in/b", "other", "é/\u0301"]
    )
    for address in ("s3://data/absent", "s3://data/i", "s3://nothing/in", "s3://data/in/empty"):
        with pytest.raises(NotFoundError):
            entries(area, address)
    for number, key in enumerate(("d/../x", "d//x", "d/./x", "/etc/passwd", "d/a\\b", "..")):
        area.put(key, bucket=f"odd{number}")
        with pytest.raises(InvalidRequestError, match="cannot be a file"):
            entries(area, f"s3://odd{number}")
    area.put("d/a", "d/a/b", bucket="nested")
    with pytest.raises(InvalidRequestError, match="directory"):
        entries(area, "s3://nested/d")
    with pytest.raises(InvalidRequestError, match="no address"):
        entries(area, "data/in")


def test_the_manifest_of_more_than_one_page(area: Area) -> None:
    self_named = [ObjectPut(**area.named(f"many/{number:05}")) for number in range(2500)]
    for start in range(0, 2500, 1000):
        objects.put(area.world.platform, area.world.admin, area.project.id, "data", self_named[start : start + 1000])
    assert [path for path, _ in entries(area, "s3://data/many")] == [f"{number:05}" for number in range(2500)]


def test_files_are_named_below_an_address(area: Area) -> None:
    data = b"output"
    area.world.blob(area.project, data)
    files = [FileEntry(path=path, digest=sha(data), size=6, executable=path == "run") for path in ("a/b", "run")]

    def name(address: str, some: list[FileEntry]) -> list[str]:
        with area.world.platform.storage.write() as session:
            named = objects.name_files(session, area.project.id, address, some, actor="platform")
            return [stored.uri for stored in named]

    assert name("s3://out/job1", files) == ["s3://out/job1/a/b", "s3://out/job1/run"]
    assert name("s3://out", files[:1]) == ["s3://out/a/b"]
    assert name("s3://out/job1/", []) == []
    assert area.keys("out") == ["a/b", "job1/a/b", "job1/run"]
    assert area.ask("GET", "/out/object/info", 200, params={"key": "job1/run"})["executable"] is True
    for address, some, words in [
        ("s3://out/" + "x" * 1023, files, "1024"),
        ("s3://-/x", files, "bucket"),
        ("s3://out/x", [files[0].evolve(digest=sha(b"absent"))], "not uploaded"),
    ]:
        with pytest.raises(InvalidRequestError, match=words):
            name(address, some)
    assert len(area.keys("out")) == 3


@pytest.mark.parametrize("database", ["world", "postgres_world"])
def test_fifty_at_once_make_one_bucket_and_lose_nothing(request: pytest.FixtureRequest, database: str) -> None:
    world = request.getfixturevalue(database)
    area = Area(world)
    shared = [ObjectPut(**area.named(f"shared/{number}", b"shared")) for number in range(5)]
    own = [ObjectPut(**area.named(f"own/{number:02}", b"%d" % number)) for number in range(50)]
    bucket = new_id("b")

    def put(number: int) -> None:
        some = [*shared, own[number]]
        # As a client does where a machine is so busy that sessions wait too long for their turn.
        for attempt in tenacity.Retrying(retry=tenacity.retry_if_exception_type(UnavailableError)):
            with attempt:
                objects.put(world.platform, world.admin, area.project.id, bucket, some if number % 2 else some[::-1])

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(put, range(50)))
    assert area.keys(bucket) == sorted([*(one.key for one in own), *(one.key for one in shared)])
    assert len(area.ask("GET", "", 200)["items"]) == 1
    assert area.events().count("bucket.created") == 1


@pytest.mark.parametrize("database", ["world", "postgres_world"])
def test_a_bucket_that_is_deleted_while_others_write_is_whole_or_gone(
    request: pytest.FixtureRequest, database: str
) -> None:
    """No object is left behind in a bucket that is not there."""
    world = request.getfixturevalue(database)
    area = Area(world)
    wanted = ObjectPut(**area.named("key", area.project.id.encode()))

    def step(number: int) -> None:
        if number % 3:
            objects.put(world.platform, world.admin, area.project.id, "data", [wanted])
            return
        try:
            objects.delete_bucket(world.platform, world.admin, area.project.id, "data", force=True)
        except NotFoundError:
            pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(step, range(60)))
    objects.put(world.platform, world.admin, area.project.id, "data", [wanted])
    assert area.keys() == ["key"]
    objects.delete_bucket(world.platform, world.admin, area.project.id, "data", force=True)
    with world.platform.storage.read() as session:
        assert wanted.digest not in set(session.objects.referenced_digests())
