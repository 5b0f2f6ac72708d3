"""What a workspace may hold: measured, and ended with the reason."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.agent.quota import QuotaWatch, used_bytes
from headway.domain.artifacts import ArtifactEntry, manifest_line
from headway.domain.replicas import InputFiles, ReplicaPhase

EXITED = ReplicaPhase.EXITED
MIB = 1 << 20


class TestMeasuring:
    @settings(max_examples=20, deadline=None)
    @given(sizes=st.lists(st.integers(0, 64), max_size=6))
    def test_it_is_at_least_what_was_written_and_grows_with_it(
        self, tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
    ) -> None:
        root = tmp_path_factory.mktemp("root")
        before = used_bytes(root)
        for number, kib in enumerate(sizes):
            path = root / f"d{number % 2}" / f"{number}"
            path.parent.mkdir(exist_ok=True)
            with path.open("wb") as file:
                file.write(os.urandom(kib << 10))
                os.fsync(file.fileno())
        grown = used_bytes(root) - before
        assert grown >= sum(sizes) << 10
        assert grown <= (sum(sizes) << 10) + (len(sizes) + 4) * (64 << 10)

    def test_links_count_once_and_are_not_followed(self, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.write_bytes(os.urandom(8 * MIB))
        root = tmp_path / "root"
        root.mkdir()
        (root / "a").write_bytes(os.urandom(MIB))
        os.link(root / "a", root / "b")
        (root / "c").symlink_to(outside)
        (root / "d").symlink_to(tmp_path, target_is_directory=True)
        assert MIB <= used_bytes(root) < 2 * MIB

    def test_a_hole_takes_no_place(self, tmp_path: Path) -> None:
        with (tmp_path / "sparse").open("wb") as file:
            file.truncate(1 << 40)
        assert used_bytes(tmp_path) < MIB

    def test_what_is_not_there_yet_holds_nothing(self, tmp_path: Path) -> None:
        assert used_bytes(tmp_path / "later") == 0

    def test_it_is_told_once_with_both_numbers(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(os.urandom(3 * MIB))
        told: list[str] = []
        done = threading.Event()

        def tell(reason: str) -> None:
            told.append(reason)
            done.set()

        watch = QuotaWatch(tmp_path, MIB, on_exceeded=tell)
        watch.start()
        assert done.wait(30)
        watch.close()
        assert len(told) == 1 and "0.000977 GiB" in told[0]


class TestReplicas:
    GROW = "i=0; while :; do i=$((i+1)); dd if=/dev/urandom of=part$i bs=1M count=1 2>/dev/null; sleep 0.05; done"

    def test_a_program_that_writes_too_much_is_ended_with_the_reason(self, rig: Any, server: Any) -> None:
        spec = rig.spec(self.GROW, workspace_bytes=4 * MIB)
        rig.start(spec)
        last = server.wait_phase(spec.replica_id, EXITED, 60)
        assert "its workspace holds" in last.reason and "more than workspace_gib allows" in last.reason
        assert rig.survivors(spec) == []

    def test_ending_politely_makes_it_no_success(self, rig: Any, server: Any) -> None:
        spec = rig.spec(f"trap 'exit 0' TERM; {self.GROW}", workspace_bytes=4 * MIB)
        rig.start(spec)
        last = server.wait_phase(spec.replica_id, EXITED, 60)
        assert last.exit_code is None and "more than workspace_gib allows" in last.reason

    def test_neither_is_it_after_running_too_long(self, rig: Any, server: Any) -> None:
        spec = rig.spec("trap 'exit 0' TERM; while :; do sleep 0.05; done", max_runtime=1.0)
        rig.start(spec)
        last = server.wait_phase(spec.replica_id, EXITED, 60)
        assert last.exit_code is None and "max_runtime" in last.reason

    def test_a_program_that_stays_below_is_left_alone(self, rig: Any, server: Any) -> None:
        spec = rig.spec("echo fine", workspace_bytes=64 * MIB)
        rig.start(spec)
        assert server.wait_phase(spec.replica_id, EXITED, 60).exit_code == 0

    def test_inputs_that_are_too_large_end_it_before_the_start(self, rig: Any, server: Any, tmp_path: Path) -> None:
        first, second = os.urandom(4 * MIB), os.urandom(4 * MIB)
        entries = [
            ArtifactEntry(path=name, digest=server.add_blob(data), size=len(data))
            for name, data in (("a", first), ("b", second))
        ]
        manifest = server.add_blob(b"".join(manifest_line(entry) for entry in entries))
        released = threading.Event()
        server.before_blob = lambda digest: released.wait(60) if digest == entries[1].digest else None
        spec = rig.spec(
            f"touch {tmp_path}/ran", inputs=(InputFiles(name="train", manifest=manifest),), workspace_bytes=MIB
        )
        rig.start(spec)
        try:
            last = server.wait_phase(spec.replica_id, EXITED, 60)
        finally:
            released.set()
        assert last.exit_code is None and "more than workspace_gib allows" in last.reason
        assert not (tmp_path / "ran").exists()
