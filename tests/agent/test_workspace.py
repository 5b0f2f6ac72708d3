"""What is in the workspace before the program starts, and what is taken from it afterwards."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from headway.domain.files import FileEntry
from headway.domain.replicas import Action, ReplicaPhase
from headway.domain.workspaces import FilesWorkspace, GitWorkspace

EXITED = ReplicaPhase.EXITED


def entry(server: Any, path: str, data: bytes, **changes: Any) -> FileEntry:
    return FileEntry(path=path, digest=server.add_blob(data), size=len(data), **changes)


def run(rig: Any, server: Any, command: Any, **changes: Any) -> Any:
    """The last report of a replica that ran ``command``."""
    spec = rig.spec(command, **changes)
    rig.start(spec)
    return server.wait_phase(spec.replica_id, EXITED)


class TestFiles:
    def test_files_are_where_the_manifest_says(self, rig: Any, server: Any) -> None:
        files = (
            entry(server, "src/run.sh", b"#!/bin/sh\ncat data.txt", executable=True),
            entry(server, "src/data.txt", b"hello"),
            entry(server, "empty", b""),
        )
        last = run(rig, server, "./run.sh", workspace=FilesWorkspace(files=files), working_directory="src")
        assert (last.exit_code, server.lines()) == (0, ["hello"])

    def test_the_directories_are_there(self, rig: Any, server: Any) -> None:
        run(rig, server, 'ls -d params data/* model run/run1/*; basename "$HEADWAY_DATA_DIR" "$HEADWAY_PARAMS_FILE"')
        assert server.lines()[:7] == [
            "data/test",
            "data/train",
            "data/val",
            "model",
            "params",
            "run/run1/logs",
            "run/run1/output",
        ]

    def test_damaged_bytes_are_refused(self, rig: Any, server: Any) -> None:
        file = entry(server, "a", b"good")
        server.blobs[file.digest] = b"evil"
        last = run(rig, server, "true", workspace=FilesWorkspace(files=(file,)))
        assert last.exit_code is None and "'a' could not be brought" in last.reason

    def test_a_missing_blob_is_named(self, rig: Any, server: Any) -> None:
        file = FileEntry(path="gone.py", digest="0" * 64, size=3)
        last = run(rig, server, "true", workspace=FilesWorkspace(files=(file,)))
        assert "gone.py" in last.reason

    def test_a_file_in_the_place_of_a_directory_is_named(self, rig: Any, server: Any) -> None:
        files = (entry(server, "model", b"x"),)
        assert "'model' is to be a directory" in run(rig, server, "true", workspace=FilesWorkspace(files=files)).reason

    def test_a_working_directory_must_exist(self, rig: Any, server: Any) -> None:
        last = run(rig, server, "true", working_directory="no/such")
        assert "no directory 'no/such'" in last.reason

    def test_a_serving_replica_finds_its_model(self, rig: Any, server: Any) -> None:
        files = (entry(server, "w/weights.bin", b"123"),)
        run(rig, server, "cat $HEADWAY_MODEL_DIR/w/weights.bin", model_files=files, collect_files=False)
        assert server.lines() == ["123"]


class TestModelPath:
    def test_relative_is_below_the_workspace(self, rig: Any, server: Any) -> None:
        command = 'echo x > models/x/m; test "$HEADWAY_MODEL_DIR:$PS_MODEL_PATH" = "$PWD/models/x:$PWD/models/x"'
        last = run(rig, server, command, model_path="./models/x/")
        assert (last.exit_code, [file.path for file in last.model_files]) == (0, ["m"])

    def test_absolute_is_a_directory_that_replicas_share(self, rig: Any, server: Any) -> None:
        first = rig.spec("echo a > $PS_MODEL_PATH/a", model_path="/storage/models/x/", world_size=2)
        second = first.evolve(
            replica_id="rep-second", index=1, rank=1, command=("/bin/sh", "-c", "echo b > $PS_MODEL_PATH/b")
        )
        rig.specs.append(second)
        for spec in (first, second):
            rig.end(rig.start(spec))
        assert [f.path for f in server.reported(first.replica_id, EXITED).model_files] == ["a"]
        assert [f.path for f in server.reported(second.replica_id, EXITED).model_files] == ["a", "b"]

    def test_a_literal_path_that_was_written_is_honoured(self, rig: Any, server: Any, tmp_path: Path) -> None:
        literal = tmp_path / "storage"
        literal.mkdir()
        (literal / "old").write_text("from before")
        os.utime(literal / "old", (1, 1))
        last = run(rig, server, f"echo new > {literal}/new", model_path=str(literal))
        assert [file.path for file in last.model_files] == ["new"]

    @pytest.mark.parametrize("path", ["../outside", "a/../../b", "."])
    def test_a_path_that_leads_out_is_refused(self, rig: Any, server: Any, path: str) -> None:
        assert "model path" in run(rig, server, "true", model_path=path).reason

    def test_links_out_of_the_model_are_not_followed(self, rig: Any, server: Any, tmp_path: Path) -> None:
        (tmp_path / "private").write_text("secret")
        command = f"cd model; echo x > real; ln -s real inside; ln -s {tmp_path}/private outside; mkfifo pipe"
        last = run(rig, server, command)
        assert [file.path for file in last.model_files] == ["inside", "real"]

    def test_only_what_is_missing_is_sent(self, rig: Any, server: Any) -> None:
        server.add_blob(b"same\n")
        last = run(rig, server, "echo same > model/a; echo same > model/b; echo other > model/c")
        assert [server.blobs[file.digest] for file in last.model_files] == [b"same\n", b"same\n", b"other\n"]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits on main, the first tagged, and a branch."""
    path = tmp_path / "repository"
    path.mkdir()
    git(path, "init", "--quiet", "--initial-branch=main")
    for text, name in (("one", "v1"), ("two", None)):
        (path / "file").write_text(text)
        git(path, "add", "file")
        git(path, "commit", "--quiet", "-m", text)
        if name:
            git(path, "tag", name)
            git(path, "branch", "side/way")
    return path


def git(path: Path, *words: str) -> str:
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(path), *identity, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


class TestGit:
    @pytest.mark.parametrize(("ref", "text"), [(None, "two"), ("main", "two"), ("v1", "one"), ("side/way", "one")])
    @pytest.mark.parametrize("form", ["file://{}", "{}"])
    def test_a_repository_at_a_ref(
        self, rig: Any, server: Any, repository: Path, ref: str | None, text: str, form: str
    ) -> None:
        run(rig, server, "cat file", workspace=GitWorkspace(url=form.format(repository), ref=ref))
        assert server.lines() == [text]

    @pytest.mark.parametrize("length", [40, 8])
    def test_a_commit(self, rig: Any, server: Any, repository: Path, length: int) -> None:
        commit = git(repository, "rev-parse", "v1")[:length]
        run(rig, server, "cat file", workspace=GitWorkspace(url=f"file://{repository}", ref=commit))
        assert server.lines() == ["one"]

    @pytest.mark.parametrize("ref", [None, "v9", "0123456789abcdef0123456789abcdef01234567"])
    def test_what_cannot_be_brought_is_told_in_git_words(
        self, rig: Any, server: Any, repository: Path, tmp_path: Path, ref: str | None
    ) -> None:
        url = f"file://{repository}" if ref else f"file://{tmp_path}/nothing"
        last = run(rig, server, "true", workspace=GitWorkspace(url=url, ref=ref))
        assert last.exit_code is None and last.reason.startswith(f"git could not bring {url}")
        assert "fatal:" in last.reason or "error:" in last.reason

    def test_credentials_stay_out_of_sight(self, rig: Any, server: Any, tmp_path: Path) -> None:
        """A git server that wants a password: git asks the helper for it, and the refusal does not show it."""
        url = server.url + "/no/repository.git"
        server.git_password = "canary-77"
        spec = rig.spec(
            "true", workspace=GitWorkspace(url=url), workspace_username="someone", workspace_password="canary-77"
        )
        agent = rig.start(spec)
        last = server.wait_phase(spec.replica_id, EXITED)
        rig.end(agent)
        assert "someone:canary-77" in server.git_asked
        assert "canary-77" not in last.reason and "someone@" not in last.reason
        directory = rig.directory(spec)
        for file in directory.path.rglob("*"):
            if file.is_file() and file != directory.spec_file:
                assert b"canary-77" not in file.read_bytes(), file

    def test_a_stop_ends_a_git_that_hangs(self, rig: Any, server: Any, eventually: Any) -> None:
        server.git_hangs = True
        spec = rig.spec("true", workspace=GitWorkspace(url=f"{server.url}/slow.git"))
        agent = rig.start(spec)
        server.wait(lambda: server.git_asked)
        server.direct(spec.replica_id, Action.STOP)
        assert server.wait_phase(spec.replica_id, EXITED).reason == "stopped before it started"
        assert rig.end(agent) == 0

    def test_hooks_and_configuration_of_the_account_take_no_part(
        self, rig: Any, server: Any, repository: Path, tmp_path: Path
    ) -> None:
        home = tmp_path / "home"
        (home / "hooks").mkdir(parents=True)
        hook = home / "hooks" / "post-checkout"
        hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/hooked\n")
        hook.chmod(0o755)
        (home / ".gitconfig").write_text(f"[core]\n\thooksPath = {home}/hooks\n[init]\n\ttemplateDir = {home}\n")
        spec = rig.spec("cat file", workspace=GitWorkspace(url=f"file://{repository}"))
        rig.start(spec, HOME=str(home))
        assert server.wait_phase(spec.replica_id, EXITED).exit_code == 0
        assert not (tmp_path / "hooked").exists()
