"""What ``workspace=`` means, what of a folder travels, and archives that are not trusted."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from headway.domain.workspaces import FilesWorkspace, GitWorkspace, ObjectsWorkspace
from headway.errors import HeadwayError, InvalidRequestError, WorkspaceError
from headway.sdk.archives import read_archive
from headway.sdk.folders import Limits, read_folder
from headway.sdk.ignores import Everything
from headway.sdk.workspaces import describe_workspace


def write(root: Path, *names: str, text: str = "x") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def names(root: Path, **options: Any) -> list[str]:
    return [file.entry.path for file in read_folder(root, **options)]


@pytest.mark.parametrize(
    ("text", "url", "ref"),
    [
        ("https://h/x.git", "https://h/x.git", None),
        ("https://github.com/user/repo", "https://github.com/user/repo", None),
        ("git+https://h/x.git@v1", "https://h/x.git", "v1"),
        ("git+https://h/x.git@feature/y", "https://h/x.git", "feature/y"),
        ("git+ssh://git@h/x.git", "ssh://git@h/x.git", None),
        ("git+ssh://git@h:22/x.git@main", "ssh://git@h:22/x.git", "main"),
        ("git+file:///a/x.git@v1", "file:///a/x.git", "v1"),
        ("ssh://git@h/x", "ssh://git@h/x", None),
        ("git@h:user/x.git", "git@h:user/x.git", None),
        ("file:///a/b", "file:///a/b", None),
    ],
)
def test_git_urls(text: str, url: str, ref: str | None) -> None:
    assert describe_workspace(text) == GitWorkspace(url=url, ref=ref)


def test_objects() -> None:
    meant = ObjectsWorkspace(address="s3://bucket/code/")
    assert describe_workspace("s3://bucket/code/") == meant
    assert describe_workspace({"kind": "objects", "address": "s3://bucket/code/"}) == meant
    assert describe_workspace(meant) is meant


def test_mappings_records_and_local_repositories(tmp_path: Path) -> None:
    assert describe_workspace({"git": "https://h/x", "ref": "main"}) == GitWorkspace(url="https://h/x", ref="main")
    record = FilesWorkspace()
    assert describe_workspace(record) is record
    assert describe_workspace(None) is None
    write(tmp_path, "x.git/HEAD", "plain/a")
    assert describe_workspace(str(tmp_path / "x.git")) == GitWorkspace(url=str(tmp_path / "x.git"))
    assert describe_workspace(str(tmp_path / "plain")) == tmp_path / "plain"


@pytest.mark.parametrize(
    "value",
    [
        "gs://bucket/x",
        "https://h/x.zip",
        "https://u:secret@h/x.git",
        "git+https://h/x.git#subdirectory=a",
        "",
        5,
        {"git": "https://h/x", "reff": "main"},
        {"kind": "svn"},
        "does/not/exist",
        __file__,
    ],
)
def test_what_is_no_workspace_is_one_error(value: Any) -> None:
    with pytest.raises((InvalidRequestError, WorkspaceError)) as caught:
        describe_workspace(value)
    assert "secret" not in str(caught.value)


def test_a_folder_without_what_stays_at_home(tmp_path: Path) -> None:
    write(tmp_path, "train.py", "lib/a.py", "lib/a.pyc", ".git/config", "__pycache__/x", ".venv/x", "node_modules/x")
    write(tmp_path, "data/big.bin", "data/keep.txt", "logs/a.log", "lib/logs/b.log", "dist/x")
    (tmp_path / ".gitignore").write_text("*.log\n/data/*\n!keep.txt\ndist/\n")
    (tmp_path / ".headwayignore").write_text("!dist/\n# comment\n")
    (tmp_path / "lib" / ".gitignore").write_text("!b.log\n")
    assert names(tmp_path) == [
        ".gitignore",
        ".headwayignore",
        "data/keep.txt",
        "dist/x",
        "lib/.gitignore",
        "lib/a.py",
        "lib/logs/b.log",
        "train.py",
    ]
    assert "lib/a.pyc" in names(tmp_path, rules=Everything())


def test_entries_carry_content_size_and_mode(tmp_path: Path) -> None:
    write(tmp_path, "run.sh", text="echo hi")
    (tmp_path / "run.sh").chmod(0o755)
    [file] = read_folder(tmp_path)
    assert file.entry.digest == hashlib.sha256(b"echo hi").hexdigest()
    assert (file.entry.size, file.entry.executable) == (7, True)


def test_links_inside_count_as_content_and_links_outside_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write(root, "real/a.txt")
    (root / "file-link").symlink_to("real/a.txt")
    (root / "folder-link").symlink_to("real")
    assert names(root) == ["file-link", "folder-link/a.txt", "real/a.txt"]
    write(tmp_path, "secret.txt")
    (root / "out").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(WorkspaceError, match="'out' leads outside"):
        read_folder(root)
    (root / ".headwayignore").write_text("out\n")
    assert "out" not in names(root)


@pytest.mark.parametrize("target", ["missing", "loop", ".", ".."])
def test_links_to_nowhere_or_in_a_circle_are_refused(tmp_path: Path, target: str) -> None:
    root = tmp_path / "root"
    write(root, "a.txt")
    (root / "loop").symlink_to(target)
    with pytest.raises(WorkspaceError, match="'loop'"):
        read_folder(root)


def test_pipes_are_left_out_and_odd_names_refused(tmp_path: Path) -> None:
    write(tmp_path, "a.txt")
    os.mkfifo(tmp_path / "pipe")
    assert names(tmp_path) == ["a.txt"]
    write(tmp_path, "odd\nname")
    with pytest.raises(WorkspaceError, match="control character"):
        read_folder(tmp_path)


def test_limits_of_a_folder(tmp_path: Path) -> None:
    write(tmp_path, "a", "b", "c", text="12345")
    with pytest.raises(WorkspaceError, match="more than 2 files"):
        read_folder(tmp_path, limits=Limits(files=2))
    with pytest.raises(WorkspaceError, match="more than 12 bytes"):
        read_folder(tmp_path, limits=Limits(total_bytes=12))


def tar_of(path: Path, *items: tarfile.TarInfo | tuple[str, bytes]) -> Path:
    mode = "w:gz" if path.name.endswith("gz") else "w"
    with tarfile.open(path, mode) as archive:
        for item in items:
            info = item if isinstance(item, tarfile.TarInfo) else tarfile.TarInfo(item[0])
            data = b"" if isinstance(item, tarfile.TarInfo) else item[1]
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz", ".zip"])
def test_archives_are_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"code{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.mkdir("lib") if hasattr(archive, "mkdir") else None
            archive.writestr("train.py", "a")
            archive.writestr("lib/b.py", "bb")
    else:
        tar_of(path, special("lib", tarfile.DIRTYPE), ("./train.py", b"a"), ("lib/b.py", b"bb"))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    found = {file.entry.path: file.open for file in read_archive(path, scratch)}
    assert sorted(found) == ["lib/b.py", "train.py"]
    with found["lib/b.py"]() as file:
        assert file.read() == b"bb"


@pytest.mark.parametrize(
    "item",
    [
        ("../evil", b"x"),
        ("/etc/evil", b"x"),
        ("a/../../evil", b"x"),
        ("a\\b", b"x"),
        special("link", tarfile.SYMTYPE, "/etc/passwd"),
        special("hard", tarfile.LNKTYPE, "train.py"),
        special("device", tarfile.CHRTYPE),
        special("pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda item: item[0] if isinstance(item, tuple) else item.name,
)
def test_archives_with_what_does_not_belong_are_refused(tmp_path: Path, item: Any) -> None:
    path = tar_of(tmp_path / "evil.tar", ("train.py", b"a"), item)
    (tmp_path / "scratch").mkdir()
    with pytest.raises(WorkspaceError, match=r"evil\.tar"):
        read_archive(path, tmp_path / "scratch")
    assert all(file.name.isdigit() for file in (tmp_path / "scratch").iterdir())


def test_zip_links_bombs_and_doubles_are_refused(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    for name, contents in {
        "link.zip": [(link, "/etc/passwd")],
        "bomb.zip": [(zipfile.ZipInfo("a"), "0" * 100_000)],
    }.items():
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for info, text in contents:
                archive.writestr(info, text, zipfile.ZIP_DEFLATED)
    with pytest.raises(WorkspaceError, match="not a regular file"):
        read_archive(tmp_path / "link.zip", tmp_path / "scratch")
    with pytest.raises(WorkspaceError, match="more than is allowed"):
        read_archive(tmp_path / "bomb.zip", tmp_path / "scratch", limits=Limits(total_bytes=5000))
    twice = tar_of(tmp_path / "twice.tar", ("a", b"1"), ("./a", b"2"))
    (tmp_path / "other").mkdir()
    with pytest.raises(WorkspaceError, match="twice"):
        read_archive(twice, tmp_path / "other")


@pytest.mark.parametrize("name", ["broken.zip", "broken.tar", "broken.tgz"])
@pytest.mark.parametrize("data", [b"", b"not an archive at all", b"\x1f\x8b\x08\x00broken", b"PK\x03\x04broken"])
def test_a_broken_archive_is_one_error(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    (tmp_path / "scratch").mkdir()
    with pytest.raises(HeadwayError, match="broken"):
        read_archive(tmp_path / name, tmp_path / "scratch")
