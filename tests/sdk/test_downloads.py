"""Downloads: parallel, resumed, verified; and a server that lies writes nothing outside of the target."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from headway import Client
from headway.domain.artifacts import ArtifactEntry, artifact_digest, manifest_line
from headway.domain.files import FileEntry
from headway.domain.uploads import LARGE_BYTES
from headway.errors import (
    ConnectionFailedError,
    CorruptDataError,
    HeadwayError,
    InvalidRequestError,
    PlatformError,
    WorkspaceError,
)
from headway.sdk.downloads import TRIES, Download
from headway.sdk.transport import MockTransport, Request, Response

MIB = 1 << 20


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def entry_of(path: str, data: bytes, **changes: Any) -> FileEntry:
    return FileEntry.model_validate({"path": path, "digest": sha(data), "size": len(data), **changes})


@dataclass
class Source:
    """Contents by digest, and what happens when they are asked for."""

    contents: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, int, int]] = field(default_factory=list)
    answer: Callable[[bytes, int], Iterator[bytes]] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, path: str, data: bytes, **changes: Any) -> FileEntry:
        self.contents[sha(data)] = data
        return entry_of(path, data, **changes)

    def __call__(self, entry: FileEntry, offset: int, length: int) -> Response:
        with self.lock:
            self.asked.append((entry.path, offset, length))
        data = self.contents[entry.digest][offset : offset + length]
        if self.answer is not None:
            return Response(206, content=self.answer(data, offset))
        return Response(206, content=[data[at : at + 65_536] for at in range(0, len(data), 65_536)])


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    root = tmp_path / "target"
    root.mkdir()
    return root


def bring(source: Source, target: Path, *entries: FileEntry) -> int:
    counted = []
    Download(target, source, counted.append).bring_all(entries)
    return sum(counted)


def files_below(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


def test_a_large_file_comes_in_parts_and_every_byte_is_counted(source: Source, target: Path) -> None:
    data = os.urandom(3 * LARGE_BYTES + 77)
    entry = source.add("deep/large", data)
    assert bring(source, target, entry) == len(data)
    assert (target / "deep/large").read_bytes() == data
    assert sorted(offset for _, offset, _ in source.asked) == [0, LARGE_BYTES, 2 * LARGE_BYTES, 3 * LARGE_BYTES]
    assert files_below(target) == {"deep/large"}
    source.asked.clear()
    assert bring(source, target, entry) == len(data)
    assert source.asked == []


def test_a_download_that_stopped_goes_on_with_the_parts_that_lack(source: Source, target: Path) -> None:
    data = os.urandom(4 * LARGE_BYTES)
    entry = source.add("large", data)
    reached = threading.Event()

    def stop(content: bytes, offset: int) -> Iterator[bytes]:
        if offset >= 2 * LARGE_BYTES:
            assert reached.wait(60)
            raise OSError(5, "the disk of the server fails")
        yield content
        if offset == LARGE_BYTES:
            reached.set()

    source.answer = stop
    with pytest.raises(HeadwayError):
        bring(source, target, entry)
    assert "large" not in files_below(target)
    source.answer = None
    source.asked.clear()
    assert bring(source, target, entry) == len(data)
    assert {offset for _, offset, _ in source.asked} <= {LARGE_BYTES, 2 * LARGE_BYTES, 3 * LARGE_BYTES}
    assert 0 not in {offset for _, offset, _ in source.asked}
    assert (target / "large").read_bytes() == data
    assert files_below(target) == {"large"}


def test_a_connection_that_breaks_is_taken_up_where_it_broke(source: Source, target: Path) -> None:
    data = os.urandom(100_000)
    entry = source.add("f", data)

    def breaking(content: bytes, _: int) -> Iterator[bytes]:
        yield content[:30_000]
        if len(content) > 30_000:
            raise ConnectionFailedError("it broke")

    source.answer = breaking
    bring(source, target, entry)
    assert (target / "f").read_bytes() == data
    assert [offset for _, offset, _ in source.asked] == [0, 30_000, 60_000, 90_000]


def test_a_connection_that_only_breaks_is_given_up(source: Source, target: Path) -> None:
    entry = source.add("f", b"data")

    def breaking(_: bytes, __: int) -> Iterator[bytes]:
        raise ConnectionFailedError("it broke")
        yield b""

    source.answer = breaking
    with pytest.raises(ConnectionFailedError):
        bring(source, target, entry)
    assert len(source.asked) == TRIES
    assert files_below(target) == set()


LIES: dict[str, Callable[[bytes, int], Iterator[bytes]]] = {
    "other": lambda data, _: iter([data[::-1]]),
    "short": lambda data, _: iter([data[:-1]]),
    "long": lambda data, _: iter([data, b"!"]),
    "nothing": lambda _, __: iter([]),
    "endless": lambda data, _: iter(lambda: data, None),
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("size", [1000, LARGE_BYTES + 1000])
def test_a_content_that_is_not_what_was_promised_is_not_kept(source: Source, target: Path, lie: str, size: int) -> None:
    entry = source.add("f", os.urandom(size))
    (target / "f").write_text("before")
    source.answer = LIES[lie]
    with pytest.raises(CorruptDataError, match="'f'"):
        bring(source, target, entry)
    assert (target / "f").read_text() == "before"
    source.answer = None
    bring(source, target, entry)
    assert sha((target / "f").read_bytes()) == entry.digest


def test_a_damaged_rest_of_an_earlier_download_is_found_and_thrown_away(source: Source, target: Path) -> None:
    entry = source.add("f", os.urandom(LARGE_BYTES + 5))
    (target / f".headway-{entry.digest}").write_bytes(b"\0" * entry.size)
    (target / f".headway-{entry.digest}.parts").write_bytes(b"11")
    with pytest.raises(CorruptDataError):
        bring(source, target, entry)
    assert files_below(target) == set()
    bring(source, target, entry)
    assert files_below(target) == {"f"}


@pytest.mark.parametrize("size", [10, LARGE_BYTES + 10])
@pytest.mark.parametrize("link", ["f", "folder", ".headway"])
def test_a_symbolic_link_in_the_target_is_not_followed(
    source: Source, tmp_path: Path, target: Path, size: int, link: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_text("precious")
    name = "folder/f" if link == "folder" else "f"
    entry = source.add(name, os.urandom(size))
    if link == "folder":
        (target / "folder").symlink_to(outside)
    elif link == "f":
        (target / "f").symlink_to(outside / "f")
    else:
        (target / f".headway-{entry.digest}").symlink_to(outside / "f")
    if link == ".headway" and size <= LARGE_BYTES:
        bring(source, target, entry)
    else:
        with pytest.raises((InvalidRequestError, WorkspaceError), match=f"'{name}'|symbolic link"):
            bring(source, target, entry)
    assert (outside / "f").read_text() == "precious"
    assert files_below(outside) == {"f"}


def test_a_folder_where_a_file_should_be_is_named(source: Source, target: Path) -> None:
    (target / "f").mkdir()
    with pytest.raises(HeadwayError, match="'f'"):
        bring(source, target, source.add("f", b"data"))


def test_files_become_executable_or_not_as_the_version_says(source: Source, target: Path) -> None:
    data = b"#!/bin/sh\n"
    for executable in (True, False, True):
        bring(source, target, source.add("f", data, executable=executable))
        assert os.access(target / "f", os.X_OK) is executable


class Liar:
    """A server that answers with whatever it is told to."""

    def __init__(self, entries: list[bytes], **version: Any) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifest = b"".join(entries)
        self.version: dict[str, Any] = {
            "id": "av1",
            "artifact_id": "art1",
            "project_id": "prj1",
            "name": "data",
            "version": 1,
            "digest": version.pop("digest", "0" * 64),
            "manifest": self.keep(self.manifest),
            "entries": 1,
            "size": 1,
            "created_at": "2026-01-02T03:04:05.678Z",
            "created_by": "usr1",
            **version,
        }

    def keep(self, data: bytes) -> str:
        self.blobs[sha(data)] = data
        return sha(data)

    def __call__(self, request: Request) -> Response:
        path = request.url.removeprefix("http://mock").split("?")[0]
        if path.endswith("/resolve"):
            return Response(200, {}, json.dumps(self.version).encode())
        match = re.search(r"/blobs/([0-9a-f]{64})$", path)
        data = self.blobs.get(match[1]) if match else None
        if data is None:
            return Response(404, {}, b"{}")
        return Response(200, {}, data)

    def client(self) -> Client:
        return Client("http://mock", "hw_secret", "digits", transport=MockTransport(self))


CONTENT = b"hostile content"
NAMES = [
    "../escaped",
    "/tmp/escaped",
    "a/../../escaped",
    "..",
    ".",
    "a//b",
    "a/./b",
    "a\\..\\escaped",
    "a\x00b",
    "a\nb",
    "",
    "x" * 5000,
    "a/../b",
]


def raw_line(path: str, data: bytes = CONTENT, **changes: Any) -> bytes:
    return json.dumps({"path": path, "digest": sha(data), "size": len(data), **changes}).encode() + b"\n"


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_leads_elsewhere_is_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    good = ArtifactEntry(path="!good", digest=sha(CONTENT), size=len(CONTENT))
    liar = Liar([manifest_line(good), raw_line(name)], digest=artifact_digest([good]))
    liar.keep(CONTENT)
    target = tmp_path / "a" / "target"
    with liar.client() as client, pytest.raises(CorruptDataError):
        client.artifacts.download("data", target)
    assert files_below(tmp_path) == set()


@pytest.mark.parametrize(
    "lines",
    [
        [raw_line("a"), raw_line("a")],
        [raw_line("b"), raw_line("a")],
        [raw_line("a"), raw_line("a/b")],
        [b"no json\n"],
        [b"[" * 100_000],
        [b'{"path": "a", "digest": "../../../etc/passwd", "size": 1}\n'],
        [raw_line("a", size=-1)],
        [b"{" + b" " * 400_000 + b"}"],
    ],
)
def test_a_list_of_files_that_makes_no_sense_is_refused(tmp_path: Path, lines: list[bytes]) -> None:
    liar = Liar(lines)
    with liar.client() as client, pytest.raises(CorruptDataError):
        client.artifacts.download("data", tmp_path / "target")
    assert files_below(tmp_path) == set()


def test_a_list_of_files_that_is_not_the_versions_is_refused(tmp_path: Path) -> None:
    entry = ArtifactEntry(path="a", digest=sha(CONTENT), size=len(CONTENT))
    for liar in (Liar([manifest_line(entry)], digest="1" * 64), Liar([manifest_line(entry)], manifest="2" * 64)):
        liar.keep(CONTENT)
        liar.blobs["2" * 64] = manifest_line(entry)
        with liar.client() as client, pytest.raises(CorruptDataError):
            client.artifacts.download("data", tmp_path / "target")
        assert files_below(tmp_path) == set()


def test_a_content_that_is_another_is_refused_by_a_client_that_trusts_nobody(tmp_path: Path) -> None:
    entry = ArtifactEntry(path="a", digest=sha(CONTENT), size=len(CONTENT))
    liar = Liar([manifest_line(entry)], digest=artifact_digest([entry]))
    liar.blobs[sha(CONTENT)] = CONTENT[::-1]
    with liar.client() as client:
        with pytest.raises(CorruptDataError):
            client.artifacts.download("data", tmp_path / "target")
        assert client.artifacts.verify("data").damaged == ("a",)
    assert files_below(tmp_path) == set()


def test_a_version_that_is_none_is_refused(tmp_path: Path) -> None:
    for changes in ({"manifest": "../../etc"}, {"manifest": None}, {"version": "x"}):
        with Liar([], **changes).client() as client, pytest.raises(PlatformError):
            client.artifacts.download("data", tmp_path / "target")


def test_an_answer_to_another_part_than_was_asked_for_is_refused(tmp_path: Path) -> None:
    data = os.urandom(LARGE_BYTES + MIB)
    entry = ArtifactEntry(path="a", digest=sha(data), size=len(data))
    liar = Liar([manifest_line(entry)], digest=artifact_digest([entry]))
    liar.keep(data)
    with liar.client() as client, pytest.raises(PlatformError, match="did not send the bytes"):
        client.artifacts.download("data", tmp_path / "target")
    assert "a" not in files_below(tmp_path / "target")
