"""client.objects against a real server: what goes up comes down, under exactly its key, and nowhere else."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headway import Client
from headway.domain.base import new_id
from headway.domain.uploads import LARGE_BYTES
from headway.errors import (
    ConflictError,
    CorruptDataError,
    InvalidRequestError,
    NotFoundError,
    PayloadTooLargeError,
    PlatformError,
    WorkspaceError,
)
from headway.sdk.transport import HttpTransport, Request, Response
from headway.testing.server import ServerProcess


@pytest.fixture
def client(running_server: ServerProcess) -> Iterator[Client]:
    """In a project of its own."""
    name = new_id("project")
    with Client(running_server.url, running_server.token, project=name) as found:
        found.projects.create(name)
        yield found


def keys(client: Client, address: str) -> list[str]:
    return [stored.key for stored in client.objects.list(address)]


def files_below(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "folder"
    (root / "sub" / "deeper").mkdir(parents=True)
    (root / "a").write_text("a")
    (root / "sub" / "b b").write_text("bb")
    (root / "sub" / "deeper" / "é").write_text("")
    (root / "sub" / "run.sh").write_text("#!/bin/sh\n")
    (root / "sub" / "run.sh").chmod(0o755)
    return root


def test_bytes_and_files_are_put_read_replaced_and_deleted(client: Client, folder: Path) -> None:
    stored = client.objects.put("s3://data/x/y", b"one")
    assert (stored.bucket, stored.key, stored.size, stored.uri) == ("data", "x/y", 3, "s3://data/x/y")
    assert client.objects.read("s3://data/x/y") == b"one"
    assert client.objects.get("s3://data/x/y") == stored
    later = client.objects.put("s3://data/x/y", folder / "sub" / "run.sh")
    assert (later.size, later.executable) == (10, True)
    assert client.objects.read("s3://data/x/y") == b"#!/bin/sh\n"
    client.objects.put("s3://data/empty", b"")
    assert client.objects.read("s3://data/empty") == b""
    assert [client.objects.delete("s3://data/x/y"), client.objects.delete("s3://data/x/y")] == [1, 0]
    with pytest.raises(NotFoundError, match="s3://data/x/y"):
        client.objects.read("s3://data/x/y")
    client.objects.put("s3://data/big", b"123")
    with pytest.raises(PayloadTooLargeError):
        client.objects.read("s3://data/big", limit=2)


def test_buckets_are_made_listed_and_deleted(client: Client) -> None:
    made = client.objects.create_bucket("one")
    assert client.objects.create_bucket("s3://one/").id == made.id
    client.objects.put("s3://two/a", b"a")
    assert {bucket.name for bucket in client.objects.buckets()} == {"one", "two"}
    with pytest.raises(ConflictError, match="holds objects"):
        client.objects.delete_bucket("two")
    client.objects.delete_bucket("two", force=True)
    client.objects.delete_bucket("s3://one")
    assert list(client.objects.buckets()) == []
    with pytest.raises(NotFoundError):
        list(client.objects.list("s3://two"))
    client.objects.put("s3://data/a", b"a")
    with pytest.raises(NotFoundError, match="'data'"):
        client.objects.get("s3://dat/a")


def test_a_folder_goes_up_and_comes_down(client: Client, folder: Path, tmp_path: Path) -> None:
    stored = client.objects.upload(folder, "s3://data/in")
    wanted = ["a", "sub/b b", "sub/deeper/é", "sub/run.sh"]
    assert [one.key for one in stored] == [f"in/{name}" for name in wanted]
    assert keys(client, "s3://data/in/") == [f"in/{name}" for name in wanted]
    client.objects.put("s3://data/input", b"beside")
    target = tmp_path / "target"
    found = client.objects.download("s3://data/in", target)
    assert found == [target / name for name in wanted]
    assert files_below(target) == files_below(folder)
    assert os.access(target / "sub" / "run.sh", os.X_OK)
    assert not os.access(target / "a", os.X_OK)
    assert client.objects.delete("s3://data/in", recursive=True) == 4
    assert keys(client, "s3://data") == ["input"]


def test_a_folder_keeps_its_name_where_that_is_asked_for(
    client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.objects.upload(folder, "s3://data/x", keep_name=True)
    assert keys(client, "s3://data/x/folder/a") == ["x/folder/a"]
    monkeypatch.chdir(folder)
    client.objects.upload(".", "s3://data", keep_name=True)
    assert keys(client, "s3://data/folder/a") == ["folder/a"]
    client.objects.upload("a", "s3://data/files/")
    client.objects.upload("a", "s3://data/renamed")
    assert client.objects.read("s3://data/files/a") == client.objects.read("s3://data/renamed") == b"a"


def test_one_object_goes_where_copying_would_put_it(client: Client, tmp_path: Path) -> None:
    client.objects.put("s3://data/x/file.txt", b"text")
    assert client.objects.download("s3://data/x/file.txt", tmp_path) == [tmp_path / "file.txt"]
    assert client.objects.download("s3://data/x/file.txt", tmp_path / "other") == [tmp_path / "other"]
    assert client.objects.download("s3://data/x/file.txt", f"{tmp_path}/new/") == [tmp_path / "new" / "file.txt"]
    assert set(files_below(tmp_path)) == {"file.txt", "other", "new/file.txt"}
    with pytest.raises(NotFoundError, match="s3://data/x/absent"):
        client.objects.download("s3://data/x/absent", tmp_path)


def test_links_inside_are_followed_and_those_outside_refused(client: Client, folder: Path, tmp_path: Path) -> None:
    (folder / "link").symlink_to("sub/b b")
    (folder / "folder-link").symlink_to("sub")
    client.objects.upload(folder, "s3://data/links")
    assert client.objects.read("s3://data/links/link") == b"bb"
    assert client.objects.read("s3://data/links/folder-link/b b") == b"bb"
    secret = tmp_path / "secret"
    secret.write_text("secret")
    for target in (secret, Path("/etc"), Path("../secret"), Path("sub/../../secret")):
        (folder / "out").symlink_to(target)
        with pytest.raises(InvalidRequestError, match="outside"):
            client.objects.upload(folder, "s3://data/refused")
        (folder / "out").unlink()
    (folder / "sub" / "circle").symlink_to("..")
    with pytest.raises(InvalidRequestError, match="circle"):
        client.objects.upload(folder, "s3://data/refused")
    (folder / "sub" / "circle").unlink()
    os.mkfifo(folder / "pipe")
    with pytest.raises(InvalidRequestError, match="pipe"):
        client.objects.upload(folder, "s3://data/refused")
    assert keys(client, "s3://data/refused") == []


def test_files_that_are_there_are_left_alone(client: Client, folder: Path, tmp_path: Path) -> None:
    client.objects.upload(folder, "s3://data/in")
    target = tmp_path / "target"
    client.objects.download("s3://data/in", target)
    (target / "a").write_text("changed")
    (target / "own").write_text("own")
    before = (target / "sub" / "b b").stat()
    client.objects.download("s3://data/in", target)
    after = (target / "sub" / "b b").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert (target / "a").read_text() == "a"
    assert (target / "own").read_text() == "own"


def test_what_cannot_be_a_path_refuses_the_download_before_anything_is_written(client: Client, tmp_path: Path) -> None:
    for number, key in enumerate(["d/../x", "d//x", "d/./x", "d/a\\b", "d//", "d/x/"]):
        bucket = f"b{number}"
        client.objects.put(f"s3://{bucket}/d/aaa", b"first")
        client.objects.put(f"s3://{bucket}/{key}", b"content")
        with pytest.raises(InvalidRequestError) as caught:
            client.objects.download(f"s3://{bucket}/d", tmp_path / "target")
        assert key in str(caught.value).replace("\\\\", "\\")
        assert not (tmp_path / "target").exists()
    client.objects.put("s3://nested/d/a", b"")
    client.objects.put("s3://nested/d/a/b", b"")
    with pytest.raises(InvalidRequestError, match="directory of"):
        client.objects.download("s3://nested/d/", tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_marks_of_directories_are_left_out(client: Client, tmp_path: Path) -> None:
    client.objects.put("s3://data/d/", b"")
    client.objects.put("s3://data/d/sub/", b"")
    with pytest.raises(NotFoundError):
        client.objects.download("s3://data/d", tmp_path / "target")
    client.objects.put("s3://data/d/sub/x", b"x")
    assert client.objects.download("s3://data/d", tmp_path / "target") == [tmp_path / "target" / "sub" / "x"]


def test_a_link_where_something_would_be_written_is_refused(client: Client, tmp_path: Path) -> None:
    client.objects.put("s3://data/d/sub/x", b"evil")
    client.objects.put("s3://data/d/y", b"evil")
    target, outside = tmp_path / "target", tmp_path / "outside"
    target.mkdir()
    outside.mkdir()
    (outside / "y").write_text("kept")
    (target / "sub").symlink_to(outside)
    with pytest.raises(WorkspaceError, match="sub/x"):
        client.objects.download("s3://data/d/", target)
    (target / "sub").unlink()
    (target / "y").unlink(missing_ok=True)
    (target / "y").symlink_to(outside / "y")
    with pytest.raises(InvalidRequestError, match="symbolic link"):
        client.objects.download("s3://data/d/", target)
    assert files_below(outside) == {"y": b"kept"}


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("data/key", "no address"),
        ("s3:/data/key", "no address"),
        ("s3://", "no address"),
        ("s3:///key", "no address"),
        ("s3://../key", "name"),
        ("s3://a b/key", "name"),
        ("s3://data", "names no object"),
        ("s3://data/", "names no object"),
        ("s3://data/a\0b", "control character"),
        ("s3://data/a\nb", "control character"),
        ("s3://data/\ud800", "half a character"),
        ("s3://data/" + "x" * 1025, "1024 bytes"),
        ("s3://data/" + "é" * 513, "1024 bytes"),
        (5, "no address"),
    ],
)
def test_what_is_no_address_is_refused_before_anything_is_sent(address: str, words: str) -> None:
    with Client("http://127.0.0.1:9", "t", project="p", retry_for=0.1) as client:
        for verb in (client.objects.get, client.objects.read, client.objects.delete):
            with pytest.raises(InvalidRequestError, match=words):
                verb(address)
        with pytest.raises(InvalidRequestError, match=words):
            client.objects.put(address, b"")


def test_what_is_no_content_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with Client("http://127.0.0.1:9", "t", project="p", retry_for=0.1) as client:
        with pytest.raises(InvalidRequestError, match="folder"):
            client.objects.put("s3://data/key", tmp_path)
        with pytest.raises(InvalidRequestError, match="int"):
            client.objects.put("s3://data/key", 5)  # type: ignore[arg-type]
        with pytest.raises(InvalidRequestError, match="Cannot read"):
            client.objects.upload(tmp_path / "absent", "s3://data/key")
        with pytest.raises(InvalidRequestError, match="no file"):
            client.objects.upload(tmp_path, "s3://data/key")
        (tmp_path / ("x" * 200)).write_text("")
        with pytest.raises(InvalidRequestError, match="1024"):
            client.objects.upload(tmp_path, "s3://data/" + "y" * 900)
        with pytest.raises(InvalidRequestError, match="limit"):
            client.objects.list("s3://data", limit=-1)


def test_pages_fold_and_go_on(client: Client) -> None:
    for key in ("a", "b/1", "b/2", "c/1", "d"):
        client.objects.put(f"s3://data/{key}", b"")
    first = client.objects.page("s3://data", limit=2)
    assert ([one.key for one in first.items], first.prefixes) == (["a"], ("b/",))
    rest = client.objects.page("s3://data", limit=10, cursor=first.next_cursor)
    assert ([one.key for one in rest.items], rest.prefixes, rest.next_cursor) == (["d"], ("c/",), None)
    assert [one.key for one in client.objects.list("s3://data", limit=3)] == ["a", "b/1", "b/2"]
    assert [one.key for one in client.objects.list("s3://data/b/2")] == ["b/2"]
    assert client.objects.page("s3://data/b", delimiter="").prefixes == ()


def test_fifty_clients_put_one_key_at_once(client: Client) -> None:
    bucket = new_id("b")

    def put(number: int) -> str:
        return client.objects.put(f"s3://{bucket}/same", b"%d" % number * 1000).digest

    with ThreadPoolExecutor(50) as pool:
        digests = set(pool.map(put, range(50)))
    assert len(digests) == 50
    (stored,) = client.objects.list(f"s3://{bucket}")
    assert stored.digest in digests
    assert hashlib.sha256(client.objects.read(stored.uri)).hexdigest() == stored.digest
    assert [found.name for found in client.objects.buckets() if found.name == bucket] == [bucket]


def test_a_large_object_goes_in_parts_and_comes_in_ranges(client: Client, tmp_path: Path) -> None:
    data = os.urandom(1 << 20) * 17 + b"tail"
    assert len(data) > LARGE_BYTES
    (tmp_path / "large").write_bytes(data)
    client.objects.put("s3://data/large", tmp_path / "large")
    (found,) = client.objects.download("s3://data/large", tmp_path / "again")
    assert found.read_bytes() == data


class Meddling:
    """Real HTTP, and a hand in between."""

    def __init__(self, url: str, meddle: Callable[[Request, Response], Response]) -> None:
        self._inner, self._meddle = HttpTransport(url), meddle

    def send(self, request: Request) -> Response:
        return self._meddle(request, self._inner.send(request))

    def close(self) -> None:
        self._inner.close()


@pytest.fixture
def meddled(running_server: ServerProcess, client: Client) -> Iterator[Callable[..., Client]]:
    made: list[Client] = []

    def make(meddle: Callable[[Request, Response], Response]) -> Client:
        transport = Meddling(running_server.url, meddle)
        made.append(Client(running_server.url, running_server.token, project=client.project, transport=transport))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_a_server_that_lies_writes_nothing_outside(
    client: Client, meddled: Callable[..., Client], tmp_path: Path
) -> None:
    client.objects.put("s3://data/d/x", b"content")

    def other_key(request: Request, answer: Response) -> Response:
        if "/objects?" not in request.url:
            return answer
        body = answer.read(1 << 20).replace(b'"d/x"', b'"d/../../x"')
        return Response(answer.status, {"Content-Type": "application/json"}, body)

    def other_content(request: Request, answer: Response) -> Response:
        if "/object?" not in request.url:
            return answer
        kept = {name: answer.headers[name] for name in ("content-range", "etag")}
        return Response(answer.status, kept, answer.read(1 << 20).replace(b"content", b"CONTENT"))

    def outside(request: Request, answer: Response) -> Response:
        if "/objects?" not in request.url:
            return answer
        body = answer.read(1 << 20).replace(b'"d/x"', b'"../x"')
        return Response(answer.status, {"Content-Type": "application/json"}, body)

    target = tmp_path / "a" / "b"
    for meddle, error in (
        (other_key, InvalidRequestError),
        (other_content, CorruptDataError),
        (outside, PlatformError),
    ):
        with pytest.raises(error):
            meddled(meddle).objects.download("s3://data/d/", target)
    assert files_below(tmp_path) == {}


def test_an_object_that_is_replaced_while_it_is_downloaded_is_told(
    client: Client, meddled: Callable[..., Client], tmp_path: Path
) -> None:
    client.objects.put("s3://data/d/x", b"former")

    def replaced(request: Request, answer: Response) -> Response:
        if "/objects?" in request.url:
            client.objects.put("s3://data/d/x", b"newest")
        return answer

    with pytest.raises(ConflictError, match="replaced"):
        meddled(replaced).objects.download("s3://data/d/", tmp_path / "target")
    assert files_below(tmp_path) == {}


def test_an_object_that_loses_its_content_in_between_is_sent_again(
    running_server: ServerProcess, client: Client, meddled: Callable[..., Client], folder: Path
) -> None:
    """Between the question what is missing and the naming garbage collection may come: then the server says so."""
    asked: list[str] = []

    def forgetful(request: Request, answer: Response) -> Response:
        if request.url.endswith("/blobs/missing") and not asked:
            asked.append(request.url)
            return Response(200, {"Content-Type": "application/json"}, b'{"missing": []}')
        return answer

    stored = meddled(forgetful).objects.upload(folder, "s3://data/in")
    assert len(stored) == 4
    assert asked
    assert client.objects.read("s3://data/in/a") == b"a"
