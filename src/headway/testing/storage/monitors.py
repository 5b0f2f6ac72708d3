"""Monitors, and how far they have read."""

from __future__ import annotations

import pytest

from headway.domain.base import new_id, now
from headway.domain.metrics import SeriesSummary
from headway.domain.monitors import Monitor, MonitorProgress
from headway.errors import ConflictError, NotFoundError
from headway.storage.base import Storage
from headway.testing import factories as make
from headway.testing.storage.fixtures import StorageFixtures


def make_monitor(run_id: str, name: str = "loss") -> Monitor:
    """A monitor of a run."""
    moment = now()
    return Monitor(
        id=new_id("mon"),
        project_id="p",
        run_id=run_id,
        name=name,
        regex="loss = (.*)",
        created_at=moment,
        created_by="usr1",
        updated_at=moment,
    )


def make_progress(monitor: Monitor, stream: str = "logs/worker-0-a") -> MonitorProgress:
    """Nothing read yet of ``stream``."""
    return MonitorProgress(
        monitor_id=monitor.id,
        revision=monitor.revision,
        run_id=monitor.run_id,
        name=monitor.name,
        stream=stream,
        target=f"metrics/worker-0-monitor-{monitor.id}-1.0",
    )


class MonitorContract(StorageFixtures):
    def test_a_monitor_is_known_by_id_and_by_name_within_its_run(self, storage: Storage) -> None:
        first, second, other = make_monitor("run1", "loss"), make_monitor("run1", "acc"), make_monitor("run2", "loss")
        with storage.write() as session:
            for monitor in (first, second, other):
                session.monitors.add(monitor)
            with pytest.raises(ConflictError, match="'loss' already"):
                session.monitors.add(make_monitor("run1", "loss"))
            changed = first.evolve(revision=2, regex="x")
            session.monitors.put(changed)
            with pytest.raises(NotFoundError):
                session.monitors.put(make_monitor("run1", "other"))
        with storage.read() as session:
            assert session.monitors.get(first.id) == changed
            assert session.monitors.by_name("run1", "loss") == changed
            assert session.monitors.by_name("run2", "acc") is None
            assert set(session.monitors.of_run("run1")) == {changed, second}
        with storage.write() as session:
            session.monitors.delete(first.id)
            session.monitors.delete(first.id)
        with storage.read() as session:
            assert session.monitors.find(first.id) is None
            assert session.monitors.of_run("run2") == [other]

    def test_a_monitor_is_active_until_it_rests_and_again_when_more_came(self, storage: Storage) -> None:
        first, second, other = make_monitor("run1", "loss"), make_monitor("run1", "acc"), make_monitor("run2", "loss")
        with storage.write() as session:
            for monitor in (first, second, other):
                session.monitors.add(monitor)
            session.monitors.rest(first.id)
            session.monitors.rest(other.id)
            session.monitors.put(first.evolve(revision=2))
        with storage.read() as session:
            assert session.monitors.active() == [second]
        with storage.write() as session:
            session.monitors.wake("run1")
        with storage.read() as session:
            assert {monitor.id for monitor in session.monitors.active()} == {first.id, second.id}
            assert len(session.monitors.active(limit=1)) == 1

    def test_progress_is_kept_by_revision_and_stream_until_it_is_forgotten(self, storage: Storage) -> None:
        monitor = make_monitor("run1")
        progress = make_progress(monitor)
        other = make_progress(monitor, "logs/worker-1-a")
        later = make_progress(monitor.evolve(revision=2))
        with storage.write() as session:
            session.monitors.add(monitor)
            session.monitors.put_progress(other)
            session.monitors.put_progress(progress)
            moved = progress.evolve(offset=100, skip=3, points=7, last_match="loss = \0")
            session.monitors.put_progress(moved)
            assert session.monitors.find_progress(monitor.id, 1, progress.stream) == moved
            assert session.monitors.find_progress(monitor.id, 2, progress.stream) is None
            assert session.monitors.retired() == []
        with storage.write() as session:
            assert session.monitors.progress(monitor.id, 1) == [moved, other]
            assert session.monitors.retire(monitor.id) == [moved, other]
            assert session.monitors.retire(monitor.id) == []
            session.monitors.put_progress(later)
            session.monitors.delete(monitor.id)
        with storage.write() as session:
            assert sorted(session.monitors.retired(), key=lambda found: found.stream) == [moved, other]
            assert len(session.monitors.retired(limit=1)) == 1
            session.monitors.forget_progress(moved)
            session.monitors.forget_progress(moved)
        with storage.read() as session:
            assert session.monitors.retired() == [other]
            assert session.monitors.progress(monitor.id, 2) == [later]

    def test_monitors_and_their_progress_go_with_the_run(self, storage: Storage) -> None:
        run = make.make_run()
        monitor = make_monitor(run.id)
        with storage.write() as session:
            session.runs.add(run)
            session.monitors.add(monitor)
            session.monitors.put_progress(make_progress(monitor))
            session.monitors.retire(monitor.id)
            session.runs.delete(run.id)
        with storage.read() as session:
            assert session.monitors.of_run(run.id) == []
            assert session.monitors.retired() == []

    def test_a_stream_and_a_series_can_be_forgotten_by_themselves(self, storage: Storage) -> None:
        run = make.make_run()
        kept, dropped = make.make_stream(run_id=run.id), make.make_stream(run_id=run.id, name="metrics/gone-a")
        with storage.write() as session:
            session.runs.add(run)
            session.streams.put(kept)
            session.streams.put(dropped)
            session.streams.delete(run.id, dropped.name)
            session.streams.delete(run.id, dropped.name)
            summaries = [SeriesSummary(name=name, stage="", count=1, last=1.0) for name in ("loss", "acc")]
            session.run_metrics.put(run.id, summaries)
            session.run_metrics.drop(run.id, "loss")
            session.run_metrics.drop(run.id, "absent")
        with storage.read() as session:
            assert session.streams.of_run(run.id) == [kept]
            assert [summary.key for summary in session.run_metrics.of_run(run.id)] == ["acc"]
