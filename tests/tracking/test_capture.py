"""What a run captures of its code and machine, with the real git program."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from headway.domain.redaction import MASK
from headway.errors import StorageFullError
from headway.tracking.blobs import KeptBlob, LocalBlobs
from headway.tracking.capture import Capture, start_capture
from headway.tracking.git import Git
from headway.tracking.snapshot import SnapshotLimits, describe_repository, take_snapshot

CANARY = "c4naryPassw0rd"
WHO = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org", "-c", "init.defaultBranch=main")


def git(directory: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *WHO, *arguments], cwd=directory, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    (root / "src").mkdir(parents=True)
    git(root, "init", "--quiet")
    (root / "src" / "train.py").write_text("lr = 0.1\nepochs = 3\n")
    (root / "notes.txt").write_text("one\n")
    (root / ".gitignore").write_text("*.log\n")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "first")
    return root


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    (tmp_path / "run").mkdir()
    return LocalBlobs(tmp_path / "run")


def snapshot(root: Path, blobs: LocalBlobs, limits: SnapshotLimits | None = None) -> dict[str, Any]:
    return take_snapshot(Git(root, 60), root, blobs.keep, limits)


def text_of(blobs: LocalBlobs, told: Mapping[str, Any]) -> str:
    data = blobs.path(told["digest"]).read_bytes()
    assert len(data) == told["size"]
    assert hashlib.sha256(data).hexdigest() == told["digest"]
    return data.decode("utf-8", "surrogateescape")


class TestRepository:
    def test_commit_branch_and_remote(self, repository: Path) -> None:
        git(repository, "remote", "add", "origin", f"https://me:{CANARY}@example.org/team/code.git")
        found = describe_repository(Git(repository / "src", 60), repository / "src")
        assert found == {
            "root": str(repository),
            "commit": git(repository, "rev-parse", "HEAD"),
            "branch": "main",
            "remote": "https://example.org/team/code.git",
        }

    def test_the_remote_of_the_branch(self, repository: Path) -> None:
        git(repository, "remote", "add", "origin", "git@example.org:a.git")
        git(repository, "remote", "add", "fork", "git@example.org:b.git")
        git(repository, "config", "branch.main.remote", "fork")
        found = describe_repository(Git(repository, 60), repository)
        assert found is not None
        assert found["remote"] == "git@example.org:b.git"

    def test_before_the_first_commit_and_off_any_branch(self, repository: Path, tmp_path: Path) -> None:
        fresh = tmp_path / "fresh"
        fresh.mkdir()
        git(fresh, "init", "--quiet")
        assert describe_repository(Git(fresh, 60), fresh) == {"root": str(fresh), "branch": "main"}
        git(repository, "checkout", "--quiet", "--detach")
        found = describe_repository(Git(repository, 60), repository)
        assert found is not None
        assert set(found) == {"root", "commit"}

    def test_no_repository(self, tmp_path: Path, repository: Path) -> None:
        assert describe_repository(Git(tmp_path, 60), tmp_path) is None
        assert describe_repository(Git(tmp_path / "gone", 60), tmp_path / "gone") is None
        assert describe_repository(Git(repository / ".git", 60), repository / ".git") is None

    def test_without_the_git_program(self, repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        assert describe_repository(Git(repository, 60), repository) is None

    def test_a_repository_of_another_account_is_not_trusted(self, repository: Path) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root can give files away")
        for path in [repository, *repository.rglob("*")]:
            os.chown(path, 12345, 12345)
        assert describe_repository(Git(repository, 60), repository) is None

    def test_a_work_tree_that_lies_elsewhere_is_not_looked_through(self, repository: Path, tmp_path: Path) -> None:
        private = tmp_path / "private"
        private.mkdir()
        git(repository, "config", "core.worktree", str(private))
        assert describe_repository(Git(repository, 60), repository) is None

    def test_variables_of_git_itself_do_not_mislead(
        self, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = tmp_path / "other"
        other.mkdir()
        git(other, "init", "--quiet")
        monkeypatch.setenv("GIT_DIR", str(other / ".git"))
        monkeypatch.setenv("GIT_WORK_TREE", str(other))
        monkeypatch.setenv("GIT_TRACE", "1")
        found = describe_repository(Git(repository, 60), repository)
        assert found is not None
        assert found["root"] == str(repository)


class TestSnapshot:
    def test_clean(self, repository: Path, blobs: LocalBlobs) -> None:
        assert snapshot(repository, blobs) == {"dirty": False}
        assert list(blobs.pending()) == []

    def test_the_diff_brings_a_clean_copy_to_the_same_state(
        self, repository: Path, blobs: LocalBlobs, tmp_path: Path
    ) -> None:
        clean = tmp_path / "clean"
        git(tmp_path, "clone", "--quiet", str(repository), str(clean))
        (repository / "src" / "train.py").write_bytes(b"lr = 0.2\nepochs = 3\r\n# \xff caf\xe9")
        (repository / "notes.txt").unlink()
        (repository / "tool.sh").write_text("#!/bin/sh\n")
        (repository / "tool.sh").chmod(0o755)
        git(repository, "add", "tool.sh")
        found = snapshot(repository, blobs)
        assert found["dirty"] is True
        assert found["diff"]["redacted_lines"] == 0
        git(clean, "apply", str(blobs.path(found["diff"]["digest"])))
        for name in ("src/train.py", "tool.sh"):
            assert (clean / name).read_bytes() == (repository / name).read_bytes()
        assert not (clean / "notes.txt").exists()
        assert os.access(clean / "tool.sh", os.X_OK)

    def test_untracked_files(self, repository: Path, blobs: LocalBlobs) -> None:
        (repository / "new.py").write_text("x = 1\n")
        (repository / "src" / "run.sh").write_text("echo hi\n")
        (repository / "src" / "run.sh").chmod(0o755)
        (repository / "debug.log").write_text("ignored by git")
        found = snapshot(repository, blobs)
        assert found["dirty"] is False
        assert [entry["path"] for entry in found["untracked"]] == ["new.py", "src/run.sh"]
        assert [text_of(blobs, entry) for entry in found["untracked"]] == ["x = 1\n", "echo hi\n"]
        assert found["untracked"][1]["executable"] is True
        assert "left_out" not in found

    def test_a_home_under_version_control(
        self, repository: Path, blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(repository))
        (repository / "diary.txt").write_text("private\n")
        (repository / "notes.txt").write_text("two\n")
        found = snapshot(repository, blobs)
        assert found["dirty"] is True
        assert "untracked" not in found
        assert "home directory" in found["left_out"][0]["reason"]

    def test_names_of_every_kind(self, repository: Path, blobs: LocalBlobs) -> None:
        names = ["a b.py", "größe.py", 'quo"te.py', "back`tick.py", "-dash.py", "日本/語.py"]
        for name in names:
            (repository / name).parent.mkdir(exist_ok=True)
            (repository / name).write_text("x\n")
        found = snapshot(repository, blobs)
        assert sorted(entry["path"] for entry in found["untracked"]) == sorted(names)
        git(repository, "add", "--all")
        git(repository, "commit", "--quiet", "--message", "names")
        for name in names:
            (repository / name).write_bytes(b"\0")
        found = snapshot(repository, blobs)
        assert sorted(item["path"] for item in found["left_out"]) == sorted(names)

    def test_odd_files_are_named_and_never_waited_for(
        self, repository: Path, blobs: LocalBlobs, tmp_path: Path
    ) -> None:
        (tmp_path / "outside").write_text(CANARY)
        (repository / "link.py").symlink_to(tmp_path / "outside")
        (repository / "linked").symlink_to(tmp_path)
        (repository / "line\nbreak.py").write_text("x")
        os.mkfifo(repository / "pipe")
        (repository / "nested").mkdir()
        git(repository / "nested", "init", "--quiet")
        (repository / os.fsdecode(b"\xff.py")).write_text("x")
        found = snapshot(repository, blobs)
        assert "untracked" not in found
        left_out = {item["path"]: item["reason"] for item in found["left_out"]}
        assert left_out["link.py"] == "is no readable regular file"
        assert {"linked", "line\nbreak.py", "nested/", "\ufffd.py"} <= set(left_out)
        json.dumps(found).encode("utf-8")
        assert list(blobs.pending()) == []

    def test_secrets_are_masked_and_files_made_for_them_left_out(self, repository: Path, blobs: LocalBlobs) -> None:
        (repository / "src" / "train.py").write_text(f'lr = 0.1\npassword = "{CANARY}"\nnum_tokens = 5\n')
        (repository / "settings.yaml").write_text(f"num_tokens: 5\napi_key: {CANARY}\nuse_cls_token: true\n")
        for name in (".env", "server.pem", "credentials.json"):
            (repository / name).write_text(CANARY)
        found = snapshot(repository, blobs)
        assert {item["path"] for item in found["left_out"]} == {".env", "server.pem", "credentials.json"}
        assert found["diff"]["redacted_lines"] == 1
        assert f'+password = "{MASK}"\n+num_tokens = 5\n' in text_of(blobs, found["diff"])
        assert text_of(blobs, found["untracked"][0]) == f"num_tokens: 5\napi_key: {MASK}\nuse_cls_token: true\n"
        assert found["untracked"][0]["redacted_lines"] == 1
        assert all(CANARY.encode() not in blob.path.read_bytes() for blob in blobs.pending())
        assert CANARY not in json.dumps(found)

    def test_a_tracked_secret_file_that_changed(self, repository: Path, blobs: LocalBlobs) -> None:
        (repository / ".env").write_text("A=1\n")
        git(repository, "add", "--force", ".env")
        found = snapshot(repository, blobs)
        assert found == {
            "dirty": True,
            "left_out": [{"path": ".env", "reason": "may hold secrets"}],
            "left_out_count": 1,
        }

    def test_headwayignore(self, repository: Path, blobs: LocalBlobs) -> None:
        (repository / ".headwayignore").write_text("data/\nnotes.txt\n")
        (repository / "data").mkdir()
        (repository / "data" / "a.csv").write_text("1")
        (repository / "notes.txt").write_text("two\n")
        (repository / "src" / ".headwayignore").write_text("*.tmp\n!keep.tmp\n")
        (repository / "src" / "a.tmp").write_text("1")
        (repository / "src" / "keep.tmp").write_text("1")
        (repository / "__pycache__").mkdir()
        (repository / "__pycache__" / "x.pyc").write_text("1")
        found = snapshot(repository, blobs)
        taken = [entry["path"] for entry in found["untracked"]]
        assert taken == [".headwayignore", "src/.headwayignore", "src/keep.tmp"]
        assert found["left_out"] == [{"path": "notes.txt", "reason": "is ignored by .headwayignore"}]

    def test_binary_and_large_files_are_named(self, repository: Path, blobs: LocalBlobs) -> None:
        (repository / "notes.txt").write_bytes(b"\0\1\2")
        (repository / "src" / "train.py").write_text("x = 1\n" * 100)
        (repository / "model.bin").write_bytes(b"\0" * 10)
        (repository / "big.txt").write_text("x" * 1001)
        (repository / "small.txt").write_text("x" * 100)
        found = snapshot(repository, blobs, SnapshotLimits(file_bytes=1000))
        assert {item["path"]: item["reason"] for item in found["left_out"]} == {
            "notes.txt": "is binary",
            "model.bin": "is binary",
            "big.txt": "is too large",
        }
        assert [entry["path"] for entry in found["untracked"]] == ["small.txt"]
        assert "b/src/train.py" in text_of(blobs, found["diff"])
        assert "notes.txt" not in text_of(blobs, found["diff"])

    def test_all_together_are_bounded(self, repository: Path, blobs: LocalBlobs) -> None:
        for number in range(10):
            (repository / f"{number}.txt").write_text(f"{number}" * 100)
        found = snapshot(repository, blobs, SnapshotLimits(total_bytes=450, named=3))
        assert len(found["untracked"]) == 4
        assert found["left_out_count"] == 6
        assert [item["path"] for item in found["left_out"]] == ["4.txt", "5.txt", "6.txt"]
        found = snapshot(repository, blobs, SnapshotLimits(files=2))
        assert len(found["untracked"]) == 2
        assert found["left_out_count"] == 8

    def test_a_diff_that_is_too_large_to_be_read(self, repository: Path, blobs: LocalBlobs) -> None:
        (repository / "src" / "train.py").write_text("x = 1\n" * 100_000)
        (repository / "notes.txt").write_text("two\n")
        found = snapshot(repository, blobs, SnapshotLimits(read_bytes=100_000, file_bytes=50_000))
        assert found["dirty"] is True
        assert "+two" in text_of(blobs, found["diff"])
        reasons = [item["reason"] for item in found["left_out"]]
        assert reasons == ["is too large", "the diff is too large to be read to its end"]

    def test_before_the_first_commit(self, tmp_path: Path, blobs: LocalBlobs) -> None:
        fresh = tmp_path / "fresh"
        fresh.mkdir()
        git(fresh, "init", "--quiet")
        (fresh / "a.py").write_text("x = 1\n")
        assert [entry["path"] for entry in snapshot(fresh, blobs)["untracked"]] == ["a.py"]
        git(fresh, "add", "a.py")
        assert "+x = 1" in text_of(blobs, snapshot(fresh, blobs)["diff"])

    def test_nothing_of_the_repository_is_run(self, repository: Path, blobs: LocalBlobs, tmp_path: Path) -> None:
        """Its configuration names a program in every place where git would start one."""
        marks = tmp_path / "marks"
        marks.mkdir()

        def program(name: str) -> str:
            path = tmp_path / f"evil-{name}"
            path.write_text(f"#!/bin/sh\ntouch {marks}/{name}\ncat\n")
            path.chmod(0o755)
            return str(path)

        (repository / ".gitattributes").write_text("*.txt diff=evil filter=evil\n*.py diff=evil filter=driver\n")
        for key, name in {
            "core.fsmonitor": "fsmonitor",
            "core.pager": "pager",
            "diff.external": "external",
            "diff.evil.command": "command",
            "diff.evil.textconv": "textconv",
            "filter.evil.clean": "clean",
            "filter.evil.smudge": "smudge",
            "filter.driver.process": "process",
            "core.sshCommand": "ssh",
            "credential.helper": "credential",
            "core.editor": "editor",
        }.items():
            git(repository, "config", key, program(name))
        git(repository, "config", "filter.driver.required", "true")
        hooks = repository / ".git" / "hooks"
        hooks.mkdir(exist_ok=True)
        for hook in ("post-index-change", "fsmonitor-watchman", "pre-commit"):
            (hooks / hook).write_text(f"#!/bin/sh\ntouch {marks}/{hook}\n")
            (hooks / hook).chmod(0o755)
        (repository / "notes.txt").write_text("two\n")
        (repository / "src" / "train.py").write_text("lr = 0.3\n")
        assert describe_repository(Git(repository, 60), repository) is not None
        found = snapshot(repository, blobs)
        text = text_of(blobs, found["diff"])
        assert "+two" in text
        assert "+lr = 0.3" in text
        assert list(marks.iterdir()) == []

    def test_the_repository_is_left_as_it_was(self, repository: Path, blobs: LocalBlobs) -> None:
        (repository / "notes.txt").touch()
        (repository / ".git" / "index.lock").touch()  # somebody else is at work
        before = {path: path.stat().st_mtime_ns for path in (repository / ".git").rglob("*")}
        assert snapshot(repository, blobs) == {"dirty": False}
        assert {path: path.stat().st_mtime_ns for path in (repository / ".git").rglob("*")} == before


CAPTURING = """
import json, os, sys
from pathlib import Path
from headway.tracking.capture import start_capture
facts = open(os.environ["FACTS"], "a", buffering=1)
def say(fact):
    facts.write(json.dumps(fact) + "\\n")
capture = start_capture(say, Path(os.environ["RUN"]))
"""


class TestCapture:
    @staticmethod
    def run(
        tmp_path: Path, command: list[str], *, directory: Path, environment: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """What a program of its own captured, by name; later facts replace earlier ones."""
        (tmp_path / "run").mkdir(exist_ok=True)
        facts = tmp_path / "facts"
        facts.unlink(missing_ok=True)
        extra = {"FACTS": str(facts), "RUN": str(tmp_path / "run"), **(environment or {})}
        subprocess.run(command, cwd=directory, env={**os.environ, **extra}, check=True, timeout=120)
        found: dict[str, Any] = {}
        for line in facts.read_text().splitlines():
            fact = json.loads(line)
            assert fact.keys() == {"type", "values"}
            assert fact["type"] == "environment"
            found.update(fact["values"])
        return found

    def test_everything_of_a_script(self, repository: Path, tmp_path: Path) -> None:
        script = repository / "src" / "train.py"
        script.write_text(CAPTURING + "assert capture.wait(60)\n")
        arguments = ["--password", CANARY, "--num-tokens", "5", f"--url=https://u:{CANARY}@h/", f"api_key={CANARY}"]
        found = self.run(
            tmp_path,
            [sys.executable, "src/train.py", *arguments],
            directory=repository,
            environment={"MY_SECRET_VARIABLE": CANARY + "2"},
        )
        cleaned = ["--password", MASK, "--num-tokens", "5", f"--url=https://{MASK}@h/", f"api_key={MASK}"]
        assert found["program"] == {
            "entry_point": str(script),
            "arguments": ["src/train.py", *cleaned],
            "command": [sys.executable, "src/train.py", *cleaned],
            "directory": str(repository),
            "executable": sys.executable,
            "python": ".".join(map(str, sys.version_info[:3])),
            "implementation": sys.implementation.name,
        }
        assert found["git"]["entry_point"] == "src/train.py"
        assert found["git"]["commit"] == git(repository, "rev-parse", "HEAD")
        assert found["git"]["dirty"] is True
        machine = found["machine"]
        assert machine["host"] == os.uname().nodename
        assert machine["processors"] == os.cpu_count()
        assert machine["processors_available"] == len(os.sched_getaffinity(0))
        assert machine["memory_bytes"] == psutil.virtual_memory().total
        assert found["packages"]["psutil"] == psutil.__version__
        assert list(found["packages"]) == sorted(found["packages"], key=lambda name: name.lower().replace("_", "-"))
        stored = "".join(path.read_text() for path in tmp_path.joinpath("run").rglob("*") if path.is_file())
        assert CANARY not in json.dumps(found) + stored

    def test_a_module(self, repository: Path, tmp_path: Path) -> None:
        (repository / "src" / "tool.py").write_text(CAPTURING + "capture.wait(60)\n")
        found = self.run(tmp_path, [sys.executable, "-m", "src.tool"], directory=repository)
        assert found["program"]["module"] == "src.tool"
        assert found["git"]["entry_point"] == "src/tool.py"

    def test_no_file_at_all(self, repository: Path, tmp_path: Path) -> None:
        found = self.run(tmp_path, [sys.executable, "-c", CAPTURING + "capture.wait(60)\n"], directory=repository)
        assert "entry_point" not in found["program"]
        assert "entry_point" not in found["git"]
        assert found["git"]["root"] == str(repository)

    def test_what_the_program_changes_later_does_not_count(self, repository: Path, tmp_path: Path) -> None:
        code = CAPTURING + "sys.argv[:] = ['changed']\nos.chdir('/')\ncapture.wait(60)\n"
        found = self.run(tmp_path, [sys.executable, "-c", code, "given"], directory=repository)
        assert found["program"]["arguments"] == ["-c", "given"]
        assert found["program"]["directory"] == found["git"]["root"] == str(repository)

    def test_a_working_directory_that_is_gone(self, tmp_path: Path) -> None:
        gone = tmp_path / "gone"
        gone.mkdir()
        code = f"import os\nos.rmdir({str(gone)!r})\n" + CAPTURING + "capture.wait(60)\n"
        found = self.run(tmp_path, [sys.executable, "-c", code], directory=gone)
        assert "directory" not in found["program"]
        assert "git" not in found
        assert found["machine"]

    def test_the_end_of_a_program_waits_for_quick_parts(self, tmp_path: Path) -> None:
        found = self.run(tmp_path, [sys.executable, "-c", CAPTURING], directory=tmp_path)
        assert "program" in found

    def test_a_git_that_hangs_keeps_nobody(self, repository: Path, tmp_path: Path) -> None:
        """Neither the beginning of a run nor the end of its program; and it does not outlive it."""
        tools = tmp_path / "tools"
        tools.mkdir()
        (tools / "git").write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 1000\n")
        (tools / "git").chmod(0o755)
        code = CAPTURING + f"import time\nwhile not os.path.exists({str(tmp_path / 'pid')!r}): time.sleep(0.01)\n"
        path = f"{tools}:{os.environ['PATH']}"
        found = self.run(tmp_path, [sys.executable, "-c", code], directory=repository, environment={"PATH": path})
        assert "program" in found
        assert "git" not in found
        assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))

    def test_nothing_is_said_after_stop(self, repository: Path, tmp_path: Path) -> None:
        said: list[Mapping[str, Any]] = []
        first = threading.Event()

        def say(fact: Mapping[str, Any]) -> None:
            said.append(fact)
            first.set()

        (tmp_path / "run").mkdir()
        capture = start_capture(say, tmp_path / "run")
        assert first.wait(60)
        capture.stop()
        count = len(said)
        assert capture.wait(60)
        assert len(said) == count
        capture.stop()

    def test_what_cannot_be_kept_costs_only_that_part(self, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (repository / "new.py").write_text("x = 1\n")
        monkeypatch.chdir(repository)
        monkeypatch.setattr(sys.modules["__main__"], "__file__", str(repository / "new.py"), raising=False)
        found: dict[str, Any] = {}

        def full(content: bytes | Path, media_type: str) -> KeptBlob:
            raise StorageFullError("No space is left.")

        capture = Capture(lambda fact: found.update(fact["values"]), full, None)
        capture.start()
        assert capture.wait(60)
        capture.stop()
        assert found["git"]["commit"]
        assert "untracked" not in found["git"]
        assert found["packages"]

    def test_a_listener_that_fails_costs_only_that_fact(self, tmp_path: Path) -> None:
        names: list[str] = []

        def say(fact: Mapping[str, Any]) -> None:
            names.extend(fact["values"])
            raise OSError("no")

        (tmp_path / "run").mkdir()
        capture = start_capture(say, tmp_path / "run")
        assert capture.wait(60)
        capture.stop()
        assert {"program", "machine", "packages"} <= set(names)

    def test_in_a_fork_it_is_over(self, tmp_path: Path) -> None:
        code = CAPTURING + (
            "for _ in range(5):\n"
            "    pid = os.fork()\n"
            "    if pid == 0:\n"
            "        assert capture.wait(60)\n        capture.stop()\n"
            "        import subprocess, importlib.metadata, psutil, pathspec\n"
            "        sys.exit(3)\n"
            "    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3\n"
            "assert capture.wait(60)\n"
        )
        found = self.run(tmp_path, [sys.executable, "-c", code], directory=tmp_path)
        assert found["program"]

    def test_ctrl_c_does_not_reach_git(self, repository: Path) -> None:
        """git is in a session of its own."""
        helper = Git(repository, 60)
        process = helper._start(["-c", "alias.hang=!exec sleep 1000", "hang"])
        assert process is not None
        assert os.getsid(process.pid) == process.pid
        helper.stop()
        assert process.wait(60) == -signal.SIGKILL
        assert process.stdout is not None
        process.stdout.close()
        assert helper.text("rev-parse", "HEAD") is None
