"""client.artifacts, client.lineage and client.gc against a real server over HTTP."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headway import Client
from headway.domain.artifacts import CommitOutcome
from headway.domain.base import new_id
from headway.errors import (
    ConflictError,
    HeadwayError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    WorkspaceError,
)
from headway.sdk import uploads
from headway.sdk.resources.artifacts import Artifacts
from headway.testing.factories import digest_of
from headway.testing.faults import until
from headway.testing.server import ServerProcess


@pytest.fixture
def client(running_server: ServerProcess) -> Iterator[Client]:
    """A client with a project of its own."""
    with Client(running_server.url, running_server.token, project=new_id("project")) as found:
        assert found.project is not None
        found.projects.create(found.project)
        yield found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with what folders have."""
    root = tmp_path / "tree"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "empty").write_bytes(b"")
    (root / "deep" / "er" / "ünïcode 😀.txt").write_text("text")
    (root / "README").write_text("upper")
    (root / "readme").write_text("lower")
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    os.link(root / "README", root / "hard-link")
    (root / "link").symlink_to("deep/er/ünïcode 😀.txt")
    (root / "linked").symlink_to("deep")
    with (root / "sparse").open("wb") as file:
        file.truncate(3_000_000)
        file.seek(2_000_000)
        file.write(b"x")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("nothing is left out")
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_folder_goes_up_and_comes_down_as_it_was(client: Client, tree: Path, tmp_path: Path) -> None:
    version = client.artifacts.upload("tree", tree, labels={"k": "v"}, aliases=("first",))
    assert (version.uri, version.outcome, version.labels) == ("artifact:tree:v1", CommitOutcome.CREATED, {"k": "v"})
    target = tmp_path / "target"
    paths = client.artifacts.download("tree:first", target)
    expected = contents(tree) | {"linked/er/ünïcode 😀.txt": b"text"}
    assert contents(target) == expected
    assert sorted(str(path.relative_to(target)) for path in paths) == sorted(expected)
    assert os.access(target / "run.sh", os.X_OK)
    assert not os.access(target / "README", os.X_OK)
    assert not any(path.is_symlink() for path in target.rglob("*"))
    assert {entry.path for entry in client.artifacts.entries(version)} == set(expected)
    with client.artifacts.open(version, "deep/er/ünïcode 😀.txt") as answer:
        assert answer.read(100) == b"text"
    again = client.artifacts.upload("tree", tree)
    assert (again.id, again.outcome) == (version.id, CommitOutcome.FOUND)


def test_a_file_a_mapping_and_references(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    file.write_bytes(b"weights")
    assert [e.path for e in client.artifacts.entries(client.artifacts.upload("one", file))] == ["weights.bin"]
    version = client.artifacts.upload(
        "two", {"a/b": file, "c": str(file)}, references={"raw": "s3://bucket/raw"}, type="dataset"
    )
    entries = {entry.path: entry.uri or entry.size for entry in client.artifacts.entries(version)}
    assert entries == {"a/b": 7, "c": 7, "raw": "s3://bucket/raw"}
    assert client.artifacts.download(version, tmp_path / "out") == [tmp_path / "out/a/b", tmp_path / "out/c"]
    assert [found.name for found in client.artifacts.list(type="dataset")] == ["two"]


def bad_folder(root: Path, kind: str) -> Path:
    folder = root / kind
    folder.mkdir()
    (folder / "good").write_text("good")
    if kind == "pipe":
        os.mkfifo(folder / "p")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(folder / "s"))
    elif kind == "device":
        (folder / "d").symlink_to("/dev/null")
    elif kind == "outside":
        (folder / "o").symlink_to("/etc/hostname")
    elif kind == "loop":
        (folder / "l").symlink_to("l")
    elif kind == "circle":
        (folder / "c").symlink_to(".")
    elif kind == "dangling":
        (folder / "d").symlink_to("nowhere")
    elif kind == "bytes":
        Path(os.fsdecode(os.fsencode(str(folder)) + b"/\xff")).write_text("name")
    elif kind == "newline":
        (folder / "a\nb").write_text("name")
    return folder


KINDS = ("pipe", "socket", "device", "outside", "loop", "circle", "dangling", "bytes", "newline")


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_kept_is_refused_before_anything_is_sent(tmp_path: Path, mock: Any, kind: str) -> None:
    with mock.client() as client, pytest.raises(InvalidRequestError):
        client.artifacts.upload("bad", bad_folder(tmp_path, kind))
    assert mock.requests == []


@pytest.mark.parametrize(
    ("source", "fields"),
    [
        ("absent", {}),
        ({"../a": "file"}, {}),
        ({"/a": "file"}, {}),
        ({"a": "file", "a/b": "file"}, {}),
        ({"a": "folder"}, {}),
        ({"a": "file"}, {"references": {"a": "https://x/y"}}),
        ({"a": "file"}, {"references": {"b": "no uri"}}),
        ({"a": "file"}, {"references": {"../b": "https://x/y"}}),
        ("file", {"conflict_strategy": "maybe"}),
        ("file", {"folder": "../x"}),
        ("file", {"lables": {}}),
        ("file", {"aliases": ("a b",)}),
    ],
)
def test_a_wrong_argument_is_named_before_anything_is_sent(tmp_path: Path, mock: Any, source: Any, fields: Any) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    if isinstance(source, str):
        source = tmp_path / source
    else:
        source = {name: tmp_path / path for name, path in source.items()}
    with mock.client() as client, pytest.raises((InvalidRequestError, WorkspaceError)):
        client.artifacts.upload("bad", source, **fields)
    assert mock.requests == []


def test_a_file_that_changes_while_it_is_sent_is_refused_and_nothing_is_committed(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    real = uploads.upload

    def changed_first(*arguments: Any, **keywords: Any) -> None:
        for path in (small, large):
            if path.exists():
                path.write_bytes(path.read_bytes()[::-1])
        real(*arguments, **keywords)

    monkeypatch.setattr("headway.sdk.resources.artifacts.upload", changed_first)
    for path, data in ((small, b"small"), (large, os.urandom(17 << 20))):
        path.write_bytes(data)
        with pytest.raises(WorkspaceError, match="changed"):
            client.artifacts.upload(path.name, path)
        path.unlink()
    assert list(client.artifacts.list()) == []


def test_conflicts_are_decided_before_files_are_sent(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("1")
    two.write_text("2")
    first = client.artifacts.upload("data", one, alternative_name="a1")
    with monkeypatch.context() as patch:
        patch.setattr(Artifacts, "_send", lambda *_: pytest.fail("files were sent"))
        skipped = client.artifacts.upload("data", two, alternative_name="a2", conflict_strategy="skip")
        assert (skipped.id, skipped.outcome) == (first.id, CommitOutcome.SKIPPED)
        with pytest.raises(ConflictError, match="'data'"):
            client.artifacts.upload("data", two, alternative_name="a2", conflict_strategy="error")
    renamed = client.artifacts.upload("data", two, alternative_name="a2", conflict_strategy="new")
    assert (renamed.name, renamed.outcome) == ("a2", CommitOutcome.RENAMED)
    replaced = client.artifacts.upload("data", two, alternative_name="a3", conflict_strategy="replace")
    assert (replaced.name, replaced.outcome) == ("data", CommitOutcome.REPLACED)


def test_folders_aliases_and_deletion(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("1")
    with pytest.raises(NotFoundError, match="folder 'x/y'"):
        client.artifacts.upload("data", file, folder="x/y")
    one = client.artifacts.upload("data", file, folder="x/y", make_folder=True)
    file.write_text("2")
    two = client.artifacts.upload("data", file, folder="x/y")
    assert [version.version for version in client.artifacts.versions("data")] == [2, 1]
    assert client.artifacts.get("x/y/data").id == one.artifact_id
    assert client.artifacts.set_alias("data", "best", 1).aliases == {"best": 1}
    assert client.artifacts.resolve("data:best").id == one.id
    client.artifacts.delete_alias("data", "best")
    with pytest.raises(NotFoundError, match="best"):
        client.artifacts.resolve("artifact:data:best")
    client.artifacts.delete_version("data:v2")
    assert client.artifacts.resolve("data").id == one.id
    client.artifacts.delete("data")
    for reference in (one.id, two.id, "data"):
        with pytest.raises(NotFoundError):
            client.artifacts.resolve(reference)


def test_verify_finds_what_is_missing_damaged_and_unknown(client: Client, tree: Path, tmp_path: Path) -> None:
    version = client.artifacts.upload("tree", tree)
    stored = client.artifacts.verify(version)
    assert (stored.ok, stored.checked) == (True, version.entries)
    here = tmp_path / "here"
    client.artifacts.download(version, here)
    assert client.artifacts.verify(version, here).ok
    (here / "README").write_text("other")
    (here / "empty").unlink()
    (here / "more").write_text("more")
    found = client.artifacts.verify("tree:latest", here)
    assert (found.ok, found.damaged, found.missing, found.unknown) == (False, ("README",), ("empty",), ("more",))


def test_verify_looks_at_what_the_server_really_has(
    client: Client, running_server: ServerProcess, tmp_path: Path
) -> None:
    files = {}
    for name in ("good", "bad", "gone"):
        (tmp_path / name).write_text(f"{name} {new_id('x')}")
        files[name] = tmp_path / name
    version = client.artifacts.upload("data", files)
    entries = {entry.path: entry.digest or "" for entry in client.artifacts.entries(version)}

    def blob(name: str) -> Path:
        return running_server.data / "blobs" / "sha256" / entries[name][:2] / entries[name]

    blob("bad").write_bytes(blob("bad").read_bytes()[::-1])
    blob("gone").unlink()
    found = client.artifacts.verify(version)
    assert (found.damaged, found.missing, found.checked) == (("bad",), ("gone",), 3)
    with pytest.raises(HeadwayError):
        client.artifacts.download(version, tmp_path / "out")
    assert not (tmp_path / "out" / "bad").exists()


def test_what_was_collected_in_between_is_sent_again(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, running_server: ServerProcess
) -> None:
    file = tmp_path / "f"
    file.write_text(new_id("content"))
    digest = digest_of(file.read_bytes())
    stored = running_server.data / "blobs" / "sha256" / digest[:2] / digest
    real, sent = Artifacts._send, []

    def collected() -> bool:
        client.gc(grace_hours=0)
        return not stored.exists()

    def send(self: Artifacts, files: Any, project: str) -> None:
        real(self, files, project)
        if not sent:
            until(collected, 60, "the file was collected", pause=0.5)
        sent.append(None)

    monkeypatch.setattr(Artifacts, "_send", send)
    version = client.artifacts.upload("data", file)
    assert len(sent) == 2
    assert client.artifacts.verify(version).ok


def test_garbage_collection_really_gives_back_the_disk(
    client: Client, running_server: ServerProcess, tmp_path: Path
) -> None:
    def used() -> int:
        found = (running_server.data / "blobs").rglob("*")
        return sum(path.stat().st_blocks * 512 for path in found if path.is_file())

    file = tmp_path / "large"
    file.write_bytes(os.urandom(20 << 20))
    before = used()
    client.artifacts.upload("large", file)
    assert used() >= before + (20 << 20)
    client.artifacts.delete("large")
    promised = client.gc(dry_run=True)
    assert promised.blobs == 0
    until(lambda: client.gc(dry_run=True, grace_hours=0).bytes >= 20 << 20, 60, "old enough", pause=0.5)
    report = client.gc(grace_hours=0)
    assert report.bytes >= 20 << 20
    assert used() <= before
    assert client.gc(grace_hours=0).blobs == 0


def test_only_a_server_admin_collects(client: Client, running_server: ServerProcess) -> None:
    token = client.tokens.create("narrow", project=client.project).secret
    with Client(running_server.url, token) as narrow, pytest.raises(PermissionDeniedError):
        narrow.gc(dry_run=True)


@pytest.mark.parametrize("grace", [-1, "x", float("nan"), float("inf")])
def test_a_wrong_grace_is_refused_before_anything_is_sent(mock: Any, grace: Any) -> None:
    with mock.client() as client, pytest.raises(InvalidRequestError, match="grace_hours"):
        client.gc(grace_hours=grace)
    assert mock.requests == []


class TestLineage:
    def test_of_a_record_an_id_a_handle_and_a_name(self, client: Client, tmp_path: Path) -> None:
        (tmp_path / "f").write_text("1")
        job = client.jobs.create("maker", "true", start=False)
        version = client.artifacts.upload("data", tmp_path / "f", run=job.run_id)
        for subject in (version, version.id, "artifact:data:v1", "data"):
            found = client.lineage(subject)
            assert found.subject == version.id
            assert [node.kind.value for node in found.upstream] == ["run", "job"]
            assert found.downstream == ()
        below = client.lineage(job, direction="down")
        assert [node.id for node in below.downstream] == [job.run_id, version.id]
        assert client.lineage(client.runs.get(job.run_id)).subject == job.run_id

    def test_it_reads_as_a_tree_and_in_a_notebook_as_escaped_text(self, client: Client, tmp_path: Path) -> None:
        (tmp_path / "f").write_text("1")
        job = client.jobs.create("<script>alert(1)</script>", "true", start=False)
        version = client.artifacts.upload("data", tmp_path / "f", run=job.run_id)
        found = client.lineage(version)
        lines = repr(found).split("\n")
        assert lines[0] == f"artifact-version data:v1 [{version.id}]"
        assert lines[1] == "made of:"
        assert lines[2].startswith("  ← run <script>")
        assert lines[3].startswith("    ← job <script>")
        assert str(found) == repr(found)
        assert "<script>" not in found._repr_html_()
        assert "&lt;script&gt;" in found._repr_html_()

    @pytest.mark.parametrize(
        ("subject", "keywords"),
        [
            ("x", {"direction": "left"}),
            ("x", {"depth": 0}),
            ("x", {"depth": True}),
            ("x", {"depth": 1.5}),
            (object(), {}),
            ("", {}),
            (None, {}),
        ],
    )
    def test_a_wrong_question_is_refused_before_anything_is_sent(self, mock: Any, subject: Any, keywords: Any) -> None:
        with mock.client() as client, pytest.raises(InvalidRequestError):
            client.lineage(subject, **keywords)
        assert mock.requests == []
