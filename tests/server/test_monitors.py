"""Monitors on the server: what is refused, and that each stored line becomes a point once, whatever is done meanwhile."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headway.domain.base import now
from headway.domain.metrics import MetricQuery, View
from headway.domain.monitors import MAX_MONITORS, Monitor, MonitorSpec, MonitorState, MonitorUpdate
from headway.domain.runs import Run, RunState
from headway.errors import HeadwayError, UnavailableError
from headway.journal.codec import (
    KIND_END,
    KIND_HEADER,
    KIND_LOG,
    MAGIC,
    JournalHeader,
    encode_frame,
    encode_header,
    encode_lines,
)
from headway.server.actions import metrics, monitor_points, monitors, runs, streams
from headway.server.app import create_app
from headway.server.settings import ServerSettings
from headway.server.workers import monitors as worker
from headway.server.workers.folding import FoldingWorker
from headway.server.workers.monitors import MonitorWorker
from headway.storage.segments.files import FileSegments
from headway.testing.factories import make_run
from headway.testing.faults import until

LOSS = r"loss (\S+)(?: at (\d+))?"


class Log:
    """A log stream as an agent ships it, batch by batch."""

    def __init__(self, world: Any, run: Run, replica: str = "worker-0", attempt: int = 1) -> None:
        self._world, self._run_id, self._replica, self._attempt = world, run.id, replica, attempt
        self.writer = f"{replica}-{attempt}"
        self.name = f"logs/{self.writer}"
        self._lines = self._sent = 0
        header = JournalHeader(
            run=run.id, stream=self.name, writer=self.writer, attempt=attempt, replica=replica, created=now()
        )
        self._ship(MAGIC + encode_frame(KIND_HEADER, encode_header(header)))

    def print(self, *lines: bytes, time_ms: int = 1000) -> None:
        self._ship(encode_frame(KIND_LOG, encode_lines(self._lines + 1, time_ms, b"\n".join(lines))))
        self._lines += len(lines)

    def close(self) -> None:
        self._ship(encode_frame(KIND_END, b""), close=True)

    def _ship(self, data: bytes, *, close: bool = False) -> None:
        streams.append(
            self._world.platform,
            self._run_id,
            self.name,
            data,
            offset=self._sent,
            writer=self.writer,
            attempt=self._attempt,
            replica=self._replica,
            close=close,
        )
        self._sent += len(data)


class Watch:
    """The workers of one server over a world, called by hand, and what readers see."""

    def __init__(self, world: Any) -> None:
        self.world, self.platform = world, world.platform
        self.monitors, self.folding = MonitorWorker(self.platform), FoldingWorker(self.platform)

    def run(self, *, ended: bool = False) -> Run:
        run = make_run(project_id=self.world.project().id, state=RunState.COMPLETE if ended else RunState.RUNNING)
        with self.platform.storage.write() as session:
            session.runs.add(run)
        return run

    def add(self, run: Run, name: str = "loss", regex: str = LOSS, **fields: Any) -> Monitor:
        spec = MonitorSpec(name=name, regex=regex, **fields)
        return monitors.create(self.platform, self.world.admin, run.id, spec)

    def get(self, run: Run, name: str = "loss") -> Monitor:
        return monitors.get(self.platform, self.world.admin, run.id, name)

    def points(self, run: Run, name: str = "loss") -> list[tuple[str, int | None, int | None, float]]:
        """Replica, attempt, step and value of each point that readers see."""
        query = MetricQuery(name=name, view=View.ALL)
        found = metrics.read(self.platform, self.world.admin, run.id, query)
        return [
            (str(line.replica), line.attempt, int(step) if has else None, value)
            for line in found
            for step, has, value in zip(line.points.step, line.points.has_step, line.points.values(), strict=True)
        ]

    def progress(self, monitor: Monitor) -> list[tuple[str, int]]:
        with self.platform.storage.read() as session:
            return [(found.target, found.points) for found in session.monitors.progress(monitor.id, monitor.revision)]

    def active(self, monitor: Monitor) -> bool:
        with self.platform.storage.read() as session:
            return monitor.id in {found.id for found in session.monitors.active()}

    def close(self) -> None:
        self.monitors.close()
        self.folding.close()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look reads all there is."""
    monkeypatch.setattr(worker, "WAIT_SECONDS", 0.0)
    monkeypatch.setattr(worker, "REST", 0)


@pytest.fixture
def watch(world: Any, at_once: None) -> Iterator[Watch]:
    found = Watch(world)
    yield found
    found.close()


def call(world: Any, verb: str, path: str, **keywords: Any) -> Any:
    headers = world.headers(world.admin_token)
    return world.client.request(verb, f"/api/v1/runs/{path}", headers=headers, **keywords)


def test_monitors_are_made_listed_changed_and_removed_over_http(watch: Watch) -> None:
    run = watch.run()
    log = Log(watch.world, run)
    log.print(b"loss 1 at 5", b"nothing", b"loss x")
    made = call(watch.world, "POST", f"{run.id}/monitors", json={"name": "loss", "regex": LOSS, "sample": "loss 3"})
    assert made.status_code == 201
    assert made.json()["state"] == "scanning"
    watch.monitors.look()
    (listed,) = call(watch.world, "GET", f"{run.id}/monitors").json()["items"]
    assert listed == call(watch.world, "GET", f"{run.id}/monitors/loss").json()
    assert listed == call(watch.world, "GET", f"{run.id}/monitors/{made.json()['id']}").json()
    counts = {name: listed[name] for name in ("lines", "matches", "points", "last_match", "state", "revision")}
    assert counts == {
        "lines": 3,
        "matches": 2,
        "points": 1,
        "last_match": "loss x",
        "state": "following",
        "revision": 1,
    }
    changed = call(watch.world, "PATCH", f"{run.id}/monitors/loss", json={"regex": "loss (x|3)"})
    assert (changed.status_code, changed.json()["revision"], changed.json()["points"]) == (200, 2, 0)
    tried = call(watch.world, "POST", f"{run.id}/monitors/test", json={"regex": "loss (.)", "limit": 1}).json()
    assert tried["shown"] == [{"replica": "worker-0", "line": 1, "message": "loss 1 at 5", "value": 1.0, "step": None}]
    assert (tried["lines"], tried["matches"], tried["points"], tried["complete"]) == (3, 2, 1, True)
    assert call(watch.world, "DELETE", f"{run.id}/monitors/loss").status_code == 204
    missing = call(watch.world, "GET", f"{run.id}/monitors/loss")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"regex": r"(?=loss)", "name": "a"}, "RE2 does not know this kind of group"),
        ({"regex": "(a)(b)(c)", "name": "a"}, "it has 3 groups"),
        ({"regex": "loss (.*)", "name": "a", "sample": "acc 1"}, "does not match the sample 'acc 1'"),
        ({"regex": "loss", "name": "a", "sample": "loss"}, "holds no number"),
        ({"regex": "", "name": "a"}, "regex"),
        ({"regex": "a" * 5000, "name": "a"}, "regex"),
        ({"regex": "a", "name": "\0"}, "name"),
        ({"regex": "a", "name": "a", "sampel": "x"}, "Did you mean 'sample'?"),
    ],
)
def test_what_cannot_be_watched_is_refused_in_words(watch: Watch, body: dict[str, str], words: str) -> None:
    run = watch.run()
    answer = call(watch.world, "POST", f"{run.id}/monitors", json=body)
    assert answer.status_code == 422
    assert words in answer.json()["detail"] + str(answer.json().get("hint"))
    assert monitors.of_run(watch.platform, watch.world.admin, run.id) == []


def test_a_change_must_fit_the_sample_that_stays(watch: Watch) -> None:
    run = watch.run()
    watch.add(run, sample="loss 3")
    refused = call(watch.world, "PATCH", f"{run.id}/monitors/loss", json={"regex": "acc (.*)"})
    assert (refused.status_code, watch.get(run).revision) == (422, 1)
    with_sample = {"regex": "acc (.*)", "sample": "acc 3"}
    assert call(watch.world, "PATCH", f"{run.id}/monitors/loss", json=with_sample).json()["revision"] == 2
    # A sample alone does not change what was found.
    only_sample = call(watch.world, "PATCH", f"{run.id}/monitors/loss", json={"sample": None}).json()
    assert (only_sample["sample"], only_sample["revision"]) == (None, 2)


def test_a_run_has_one_monitor_of_a_name_and_no_more_than_its_share(watch: Watch) -> None:
    run = watch.run()
    for number in range(MAX_MONITORS):
        watch.add(run, f"m{number}")
    for name, words in (("m0", "and no more are kept"), ("new", "and no more are kept")):
        refused = call(watch.world, "POST", f"{run.id}/monitors", json={"name": name, "regex": "a"})
        assert (refused.status_code, words in refused.json()["detail"]) == (409, True)
    close = call(watch.world, "GET", f"{run.id}/monitors/m00")
    assert "Did you mean" in close.json()["hint"]


def test_a_job_with_monitors_that_cannot_be_is_not_made(watch: Watch) -> None:
    project = watch.world.project()
    for wrong in (
        [{"name": "a", "regex": "(?=a)"}],
        [{"name": "a", "regex": "loss (.*)", "sample": "x"}],
        [{"name": "a", "regex": "b"}, {"name": "a", "regex": "c"}],
    ):
        with pytest.raises(HeadwayError, match=r"cannot be used|does not match|Two monitors"):
            watch.world.job(project, monitors=wrong)
    job = watch.world.job(project, monitors=[{"name": "loss", "regex": LOSS}])
    (found,) = monitors.of_run(watch.platform, watch.world.admin, job.run_id)
    assert (found.name, found.regex, found.project_id) == ("loss", LOSS, project.id)


def test_streams_of_replicas_and_attempts_stay_apart(watch: Watch) -> None:
    run = watch.run(ended=True)
    every, one = watch.add(run), watch.add(run, "one", replica="worker-1")
    for replica in ("worker-0", "worker-1"):
        for attempt in (1, 2):
            log = Log(watch.world, run, replica, attempt)
            for step in range(3):
                log.print(b"loss %d at %d" % (10 * attempt, step))
            log.close()
    watch.monitors.look()
    expected = [
        (replica, attempt, step, 10.0 * attempt)
        for replica in ("worker-0", "worker-1")
        for attempt in (1, 2)
        for step in range(3)
    ]
    assert watch.points(run) == expected
    assert watch.points(run, "one") == expected[6:]
    assert [points for _, points in watch.progress(every)] == [3, 3, 3, 3]
    assert watch.get(run).state is watch.get(run, "one").state is MonitorState.COMPLETE
    assert not watch.active(every)
    assert not watch.active(one)


def test_points_are_the_same_before_and_after_they_are_folded(watch: Watch) -> None:
    run = watch.run(ended=True)
    monitor = watch.add(run)
    log = Log(watch.world, run)
    values = [0.1, math.inf, -3.0, 1e300]
    log.print(*(b"loss %r at %d" % (value, step) for step, value in enumerate(values)), time_ms=5)
    watch.monitors.look()
    before = watch.points(run)
    assert before == [("worker-0", 1, step, value) for step, value in enumerate(values)]
    watch.folding.look()
    log.print(b"loss 7")
    log.close()
    watch.monitors.look()
    watch.folding.look()
    assert watch.points(run) == [*before, ("worker-0", 1, None, 7.0)]
    with watch.platform.storage.read() as session:
        (target,) = session.streams.of_run(run.id, kind="metrics")
    assert (target.folded, target.closed, target.writer_id) == (target.committed, True, monitor.id)

    def summarised() -> bool:
        watch.folding.look()
        with watch.platform.storage.read() as session:
            return [(found.key, found.count) for found in session.run_metrics.of_run(run.id)] == [("loss", 5)]

    until(summarised, 30, "the summary, which is made once a second")


def test_lines_that_come_after_a_monitor_rests_wake_it(watch: Watch) -> None:
    run = watch.run(ended=True)
    monitor = watch.add(run)
    Log(watch.world, run).close()
    watch.monitors.look()
    assert not watch.active(monitor)
    late = Log(watch.world, run, attempt=2)
    late.print(b"loss 4")
    assert watch.active(monitor)
    assert watch.get(run).state is MonitorState.SCANNING
    watch.monitors.look()
    assert watch.points(run) == [("worker-0", 2, None, 4.0)]
    late.close()
    watch.monitors.look()
    assert watch.get(run).state is MonitorState.COMPLETE
    assert not watch.active(monitor)


def test_lines_of_any_bytes_are_read_as_readers_see_them(watch: Watch) -> None:
    run = watch.run(ended=True)
    watch.add(run)
    watch.add(run, "broken", "^\ufffd\ufffd(\\d+)$")
    log = Log(watch.world, run)
    log.print(b"\0loss 1\0", b"\xff\xfe\xfaloss 2 at 2", b"y" * ((1 << 20) - 10) + b"loss 3 at 3", b"\xff\xfe7")
    log.close()
    watch.monitors.look()
    # NUL is no white space, so it is part of what \S+ takes, which then is no number.
    assert watch.points(run) == [("worker-0", 1, 2, 2.0), ("worker-0", 1, 3, 3.0)]
    assert (watch.get(run).matches, watch.get(run).lines) == (3, 4)
    assert watch.points(run, "broken") == [("worker-0", 1, None, 7.0)]


def test_what_a_changed_monitor_had_found_is_gone_and_its_space_given_back(watch: Watch) -> None:
    run = watch.run(ended=True)
    monitor = watch.add(run)
    log = Log(watch.world, run)
    for start in range(0, 3000, 100):
        log.print(*(b"loss %d at %d" % (step, step) for step in range(start, start + 100)))
    log.close()
    watch.monitors.look()
    watch.folding.look()
    assert len(watch.points(run)) == 3000
    ((target, _),) = watch.progress(monitor)
    with watch.platform.series.read() as snapshot:
        assert [state.key.name for state in snapshot.streams(run.id)] == [target]

    changed = MonitorUpdate(regex=r"loss \d at (\d)$")
    fresh = monitors.update(watch.platform, watch.world.admin, run.id, "loss", changed)
    assert watch.points(run) == []
    watch.folding.look()
    with watch.platform.series.read() as snapshot:
        assert list(snapshot.streams(run.id)) == []
    with watch.platform.storage.read() as session:
        assert session.monitors.retired() == []
        assert session.run_metrics.of_run(run.id) == []
    assert watch.platform.segments.read(run.id, target, watch.platform.segments.start(run.id, target), 10) == b""
    watch.monitors.look()
    watch.folding.look()
    assert watch.points(run) == [("worker-0", 1, None, float(step)) for step in range(10)]
    assert [points for _, points in watch.progress(fresh)] == [10]


def test_a_deleted_monitor_leaves_the_series_that_others_logged_of_that_name(watch: Watch) -> None:
    run = watch.run(ended=True)
    watch.add(run)
    one, other = Log(watch.world, run), Log(watch.world, run, "worker-1")
    one.print(b"loss 1")
    other.print(b"acc 2")
    other.close()
    one.close()
    watch.add(run, "acc", "acc (.*)")
    watch.monitors.look()
    watch.folding.look()
    monitors.delete(watch.platform, watch.world.admin, run.id, "loss")
    watch.folding.look()
    assert (watch.points(run), watch.points(run, "acc")) == ([], [("worker-1", 1, None, 2.0)])
    with watch.platform.storage.read() as session:
        assert [summary.key for summary in session.run_metrics.of_run(run.id)] == ["acc"]


def test_a_step_that_two_servers_take_counts_once(watch: Watch) -> None:
    run = watch.run()
    monitor = watch.add(run)
    log = Log(watch.world, run)
    log.print(b"loss 1", b"loss 2")
    first, second = steps_of(watch, monitor), steps_of(watch, monitor)
    monitor_points.commit(watch.platform, [first])
    monitor_points.commit(watch.platform, [second, first])
    assert [value for *_, value in watch.points(run)] == [1.0, 2.0]
    log.print(b"loss 3")
    third = steps_of(watch, monitor)
    monitors.update(watch.platform, watch.world.admin, run.id, "loss", MonitorUpdate(regex="x"))
    monitor_points.commit(watch.platform, [third])
    assert watch.points(run) == []
    runs.delete(watch.platform, watch.world.admin, run.id)
    monitor_points.commit(watch.platform, [third])
    with watch.platform.storage.read() as session:
        assert session.streams.of_run(run.id) == []


def steps_of(watch: Watch, monitor: Monitor) -> monitor_points.Found:
    """What a server would commit for the only log stream of the monitor's run."""
    with watch.platform.storage.read() as session:
        (stream,) = session.streams.of_run(monitor.run_id, kind="logs")
        known = session.monitors.find_progress(monitor.id, monitor.revision, stream.name)
    place, points = monitor_points.place_of(known), 0 if known is None else known.points
    result = watch.monitors._child.scan(stream, monitor.regex, place, points)
    return monitor_points.Found(monitor, stream, known, result)


class Torn(Exception):
    """Stands for the end of the process."""


def test_bytes_that_a_killed_server_left_behind_are_replaced(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the bytes of the points and the commit, at every step; and with longer bytes than come again."""
    run = watch.run(ended=True)
    monitor = watch.add(run)
    log = Log(watch.world, run)
    write = type(watch.platform.segments).write

    def torn(self: FileSegments, run_id: str, name: str, offset: int, data: bytes) -> None:
        write(self, run_id, name, offset, data + b"left behind" * 50 if name.startswith("metrics") else data)
        if name.startswith("metrics"):
            raise Torn

    for number in range(5):
        log.print(b"loss %d" % number)
        found = steps_of(watch, monitor)
        with monkeypatch.context() as patch:
            patch.setattr(FileSegments, "write", torn)
            with pytest.raises(Torn):
                monitor_points.commit(watch.platform, [found])
        assert len(watch.points(run)) == number
        watch.monitors.look()
    assert [value for *_, value in watch.points(run)] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_scanning_process_that_is_killed_is_started_again_and_goes_on(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "TROUBLE_PAUSE", 0.0)
    run = watch.run()
    watch.add(run)
    log = Log(watch.world, run)
    chance = random.Random(5)
    for number in range(6):
        log.print(b"loss %d" % number)
        if chance.random() < 0.7:
            kill_child(watch)
        for _ in range(200):
            watch.monitors.look()
            if watch.get(run).points == number + 1:
                break
    assert [value for *_, value in watch.points(run)] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def kill_child(watch: Watch) -> None:
    process = watch.monitors._child._process
    if process is not None:
        process.kill()
        process.wait()


def test_a_log_over_which_the_process_dies_again_and_again_keeps_no_other_waiting(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "TROUBLE_PAUSE", 0.0)
    run, other = watch.run(), watch.run()
    deadly = watch.add(run, regex="deadly (.*)")
    watch.add(other)
    for one in (run, other):
        Log(watch.world, one).print(b"loss 1")
    child = watch.monitors._child
    scan = child.scan

    def dying(stream: Any, regex: str, place: Any, points: int) -> Any:
        if regex == deadly.regex:
            child.deaths += 1
            raise UnavailableError("The scanning process ended; it is started again.")
        return scan(stream, regex, place, points)

    monkeypatch.setattr(child, "scan", dying)
    for _ in range(worker.DEATHS + 1):
        watch.monitors.look()
    assert [value for *_, value in watch.points(other)] == [1.0]


def test_one_stream_that_cannot_be_read_keeps_no_other_waiting(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    run, other = watch.run(), watch.run()
    bad = watch.add(run)
    watch.add(other)
    for one in (run, other):
        Log(watch.world, one).print(b"loss 1")
    commit = monitor_points._commit

    def failing(platform: Any, session: Any, found: monitor_points.Found) -> None:
        if found.monitor.id == bad.id:
            raise monitor_points.ConflictError("Somebody else wrote.")
        commit(platform, session, found)

    with monkeypatch.context() as patch:
        patch.setattr(monitor_points, "_commit", failing)
        watch.monitors.look()
    assert (watch.points(run), len(watch.points(other))) == ([], 1)
    with pytest.raises(UnavailableError):
        watch.monitors.close()
        watch.monitors._child.scan(steps_stream(watch, run), LOSS, monitor_points.Place(), 0)


def steps_stream(watch: Watch, run: Run) -> Any:
    with watch.platform.storage.read() as session:
        return session.streams.of_run(run.id, kind="logs")[0]


def test_two_servers_on_one_database_find_each_point_once(
    new_postgres_database: Callable[[], str],
    tmp_path: Path,
    world: Any,
    at_once: None,
) -> None:
    """Both look at the same time, over and over, while lines come."""
    url = new_postgres_database()
    servers = [
        create_app(ServerSettings(data=tmp_path / name, database_url=url), "http://127.0.0.1:1") for name in ("a", "b")
    ]
    first = type(world)(servers[0])
    one = Watch(first)
    other = MonitorWorker(servers[1].platform)
    try:
        run = one.run()
        one.add(run)
        log = Log(first, run)
        for number in range(0, 200, 10):
            log.print(*(b"loss %d" % value for value in range(number, number + 10)))
            looks = [threading.Thread(target=look) for look in (one.monitors.look, other.look)]
            for thread in looks:
                thread.start()
            for thread in looks:
                thread.join()
        assert [value for *_, value in one.points(run)] == [float(value) for value in range(200)]
        assert one.get(run).lines == 200
    finally:
        one.close()
        other.close()
        first.client.close()
        for server in servers:
            server.close()
