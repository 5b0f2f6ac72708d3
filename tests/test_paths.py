"""The one containment helper, and files that are replaced whole."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from headway import paths
from headway.errors import InvalidRequestError, StorageFullError

LEADING_OUT = ["..", "../x", "/etc/passwd", "a/../../x", "a//b", "./a", "a/.", "", "a\\..\\b", "a\0b", "~\n"]


@pytest.mark.parametrize("name", LEADING_OUT)
def test_a_name_that_is_not_plain_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidRequestError):
        paths.open_beneath(tmp_path, name, os.O_WRONLY | os.O_CREAT, parents=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["link/secret", "link"])
def test_a_symbolic_link_on_the_way_is_not_followed(tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("canary")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "outside")
    with pytest.raises((InvalidRequestError, OSError)):
        os.close(paths.open_beneath(tmp_path / "root", name))
    with pytest.raises((InvalidRequestError, OSError)):
        os.close(paths.open_beneath(tmp_path / "root", "link/new", os.O_WRONLY | os.O_CREAT, parents=True))
    assert not (tmp_path / "outside" / "new").exists()


def test_missing_directories_are_made_when_asked_for(tmp_path: Path) -> None:
    os.close(paths.open_beneath(tmp_path, "a/b/c.txt", os.O_WRONLY | os.O_CREAT, parents=True))
    assert (tmp_path / "a" / "b" / "c.txt").exists()
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700


def test_a_replacement_that_fails_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "file"
    paths.write_atomic(target, b"old")

    def full(_: int, __: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("headway.paths.os.write", full)
    with pytest.raises(StorageFullError):
        paths.write_atomic(target, b"new")
    monkeypatch.undo()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]
    assert target.stat().st_mode & 0o777 == 0o600
