"""What a server is started with, before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from headway.server.settings import ServerSettings


def test_the_data_directory_means_the_same_to_processes_that_start_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert ServerSettings().data == tmp_path / ".headway" / "server"
    assert ServerSettings(data=Path("here")).data == tmp_path / "here"
    assert ServerSettings(data=Path("~/there")).data == tmp_path / "home" / "there"
