"""Event files of TensorBoard, as runs: what is taken, that it is taken once, and what damage does."""

from __future__ import annotations

import io
import json
import math
import os
import queue
import random
import shutil
import signal
import struct
import subprocess
import sys
import textwrap
import threading
import wave
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headway.errors import ConflictError, InvalidRequestError, MissingExtraError, NotFoundError
from headway.journal.reader import read_frames
from headway.journal.rows import RowDecoder
from headway.tracking.integrations.tensorboard import ImportedRun, ImportReport, import_directory, importing
from headway.tracking.integrations.tensorboard.records import RecordReader
from headway.tracking.integrations.tensorboard.values import masked_checksum
from headway.tracking.local import LocalRun, find_local

FULL = os.environ.get("HEADWAY_TEST_FULL") == "1"
T0 = 1_700_000_000.25


def event(step: int, time: float | None = None, **values: Any) -> Any:
    """An event with old-style scalars."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
    return Event(step=step, wall_time=T0 + step if time is None else time, summary=summary)


def with_values(step: int, *values: Any) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Event(step=step, wall_time=T0 + step, summary=Summary(value=values))


def tensor_value(tag: str, plugin: str, data: Any, content: bytes = b"") -> Any:
    """A value as TensorFlow 2 writes it."""
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.util.tensor_util import make_tensor_proto

    named = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=plugin, content=content))
    return Summary.Value(tag=tag, metadata=named, tensor=make_tensor_proto(data))


class EventFile:
    """An event file that is written as TensorBoard's own writer does, and looked at record by record."""

    def __init__(self, path: Path, begin: float = T0) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.add(Event(wall_time=begin, file_version="brain.Event:2"))

    def add(self, *events: Any) -> None:
        with self.path.open("ab") as file:
            for item in events:
                file.write(self.frame(item.SerializeToString()))

    @staticmethod
    def frame(payload: bytes) -> bytes:
        checksum = masked_checksum()
        head = struct.pack("<Q", len(payload))
        return head + struct.pack("<I", checksum(head)) + payload + struct.pack("<I", checksum(payload))


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    path = tmp_path / "logs"
    path.mkdir()
    return path


@pytest.fixture
def take(tmp_path: Path, logs: Path) -> Any:
    def take(**options: Any) -> ImportReport:
        return import_directory(logs, dir=tmp_path / "runs-here", project="digits", **options)

    return take


def events_file(directory: Path, number: int = 1) -> EventFile:
    return EventFile(directory / f"events.out.tfevents.170000000{number}.host.7.{number}", T0 + number)


def points(run: LocalRun, name: str) -> list[tuple[Any, ...]]:
    """Step, value and time of every point, in every stream, as stored."""
    found = []
    for row in rows(run):
        found += [
            (row.step, value, row.time_ns) for key, value in zip(row.names, row.values, strict=True) if key == name
        ]
    return found


def rows(run: LocalRun) -> list[Any]:
    paths = sorted(run.path.glob("metrics-*.hwj"), key=lambda path: path.stat().st_ctime_ns)
    return [row for path in paths for row in RowDecoder().feed(read_frames(path))]


def entries(run: LocalRun) -> list[dict[str, Any]]:
    found = []
    for path in sorted(run.path.glob("metrics-*.hwj")):
        decoder = RowDecoder()
        list(decoder.feed(read_frames(path)))
        found += [entry.document for entry in decoder.entries]
    return found


def blob(run: LocalRun, digest: str) -> bytes:
    return (run.path / "blobs" / "sha256" / digest[:2] / digest).read_bytes()


def only_run(report: ImportReport) -> LocalRun:
    (found,) = report.runs
    return find_local(found.path)


class TestWhatIsTaken:
    def test_scalars_with_their_steps_and_times_exactly(self, logs, take) -> None:
        file = events_file(logs)
        file.add(*(event(step, loss=1 / (step + 1)) for step in range(100)))
        run = only_run(take())
        expected = [
            (step, struct.unpack("f", struct.pack("f", 1 / (step + 1)))[0], int((T0 + step) * 4) * 250_000_000)
            for step in range(100)
        ]
        assert points(run, "loss") == expected
        assert (run.name, run.project, run.state.value) == ("logs", "digits", "complete")
        assert run.labels == ("tensorboard",)

    def test_the_run_begins_and_ends_when_its_events_did(self, logs, take) -> None:
        events_file(logs).add(event(1, loss=1.0), event(60, loss=0.5))
        run = only_run(take())
        assert run.created_at.timestamp() == T0 + 1
        assert run.finished_at.timestamp() == pytest.approx(T0 + 60)

    def test_odd_values_and_steps(self, logs, take) -> None:
        file = events_file(logs)
        file.add(event(5, loss=math.nan), event(-3, loss=math.inf), event(1 << 62, loss=-0.0), event(5, loss=2.0))
        found = points(only_run(take()), "loss")
        assert [step for step, _, _ in found] == [5, -3, 1 << 62, 5]
        assert math.isnan(found[0][1])
        assert found[1][1] == math.inf
        assert math.copysign(1, found[2][1]) == -1

    def test_a_run_for_every_directory(self, logs, take) -> None:
        for number, name in enumerate(("", "train", "deep/er/validation")):
            events_file(logs / name, number).add(event(1, loss=1.0))
        (logs / "empty").mkdir()
        (logs / "empty" / "notes.txt").write_text("no events")
        assert [run.name for run in take().runs] == ["logs", "deep/er/validation", "train"]

    def test_several_files_of_a_directory_are_one_run(self, logs, take) -> None:
        for number in (1, 2, 3):
            events_file(logs, number).add(event(number, loss=float(number)))
        report = take()
        assert [point[:2] for point in points(only_run(report), "loss")] == [(1, 1.0), (2, 2.0), (3, 3.0)]
        assert report.runs[0].points == 3

    def test_the_writer_of_tensorboard_itself(self, logs, take) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        writer = EventFileWriter(str(logs))
        for step in range(10):
            writer.add_event(event(step, loss=float(step)))
        writer.close()
        assert [point[1] for point in points(only_run(take()), "loss")] == [float(step) for step in range(10)]

    def test_tensors_of_one_element_are_scalars(self, logs, take) -> None:
        import numpy
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.util.tensor_util import make_tensor_proto

        later = Summary.Value(tag="loss", tensor=make_tensor_proto(numpy.float64(0.1)))  # its plugin was said before
        events_file(logs).add(
            with_values(1, tensor_value("loss", "scalars", numpy.float32(0.5))),
            with_values(2, later),
            with_values(3, tensor_value("count", "scalars", numpy.array([[7]], "int64"))),
        )
        run = only_run(take())
        assert [point[:2] for point in points(run, "loss")] == [(1, 0.5), (2, 0.1)]
        assert points(run, "count")[0][1] == 7.0

    def test_histograms_of_both_generations(self, logs, take) -> None:
        import numpy
        from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary

        largest = 1.7976931348623157e308
        old = HistogramProto(min=-1, max=2, num=6, bucket_limit=[-1.5, 0, 1, 3, largest], bucket=[0, 2, 1, 3, 0])
        new = numpy.array([[0, 0.5, 4], [0.5, 1, 0], [1, 1, 2]], "float32")
        events_file(logs).add(
            with_values(1, Summary.Value(tag="old", histo=old)),
            with_values(2, tensor_value("new", "histograms", new)),
            with_values(3, tensor_value("none", "histograms", numpy.zeros((0, 3), "float32"))),
        )
        report = take()
        run = only_run(report)
        found = {entry["name"]: (entry, json.loads(blob(run, entry["digest"]))) for entry in entries(run)}
        assert (found["old"][1]["edges"], found["old"][1]["counts"]) == ([-1, 0, 1, 2], [2, 1, 3])
        assert (found["new"][1]["edges"], found["new"][1]["counts"]) == ([0, 0.5, 1], [4, 2])
        assert [found[name][0]["step"] for name in ("old", "new")] == [1, 2]
        assert found["old"][0]["time"] == int((T0 + 1) * 1000)
        assert found["old"][0]["type"] == "histogram"
        assert report.runs[0].skipped == {"empty histogram": 1}

    def test_images_sounds_and_texts(self, logs, take) -> None:
        import numpy
        from tensorboard.compat.proto.summary_pb2 import Summary

        from headway.tracking.pictures import encode_png

        picture = encode_png(numpy.zeros((2, 3, 3), "uint8"))
        sound = io.BytesIO()
        with wave.open(sound, "wb") as writer:
            writer.setnchannels(1)
            writer.setsampwidth(2)
            writer.setframerate(8000)
            writer.writeframes(bytes(16))
        clip = Summary.Audio(sample_rate=8000, num_channels=1, encoded_audio_string=sound.getvalue())
        events_file(logs).add(
            with_values(1, Summary.Value(tag="old", image=Summary.Image(encoded_image_string=picture))),
            with_values(2, tensor_value("new", "images", [b"3", b"2", picture, picture])),
            with_values(3, Summary.Value(tag="clip", audio=clip)),
            with_values(4, tensor_value("note/text_summary", "text", [b"**bold**", "τ".encode()])),
            with_values(5, Summary.Value(tag="odd", image=Summary.Image(encoded_image_string=b"no picture"))),
        )
        report = take()
        run = only_run(report)
        found = [(entry["name"], entry["type"], entry["step"]) for entry in entries(run)]
        assert found == [
            ("old", "image", 1),
            ("new", "image", 2),
            ("new", "image", 2),
            ("clip", "audio", 3),
            ("note/text_summary", "text", 4),
        ]
        assert [entry["details"].get("index") for entry in entries(run)[1:3]] == [0, 1]
        assert entries(run)[0]["details"]["width"] == 3
        assert blob(run, entries(run)[0]["digest"]) == picture
        assert blob(run, entries(run)[4]["digest"]).decode() == "**bold**\nτ"
        assert (report.runs[0].media, report.runs[0].refused) == (5, 1)

    def test_hyperparameters_become_the_config(self, logs, take) -> None:
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

        said = HParamsPluginData()
        said.session_start_info.hparams["lr"].number_value = 0.1
        said.session_start_info.hparams["optimizer"].string_value = "adam"
        said.session_start_info.hparams["nesterov"].bool_value = True
        start = tensor_value("_hparams_/session_start_info", "hparams", 0.0, said.SerializeToString())
        ended = HParamsPluginData()
        ended.session_end_info.status = 1
        end = tensor_value("_hparams_/session_end_info", "hparams", 0.0, ended.SerializeToString())
        events_file(logs).add(with_values(0, start), event(1, loss=1.0), with_values(2, end))
        assert only_run(take()).config == {"lr": 0.1, "optimizer": "adam", "nesterov": True}

    def test_what_is_not_imported_is_counted(self, logs, take) -> None:
        import numpy
        from tensorboard.compat.proto.event_pb2 import Event

        events_file(logs).add(
            Event(wall_time=T0, graph_def=b"graph"),
            with_values(1, tensor_value("mesh", "mesh", numpy.zeros((2, 2)))),
            event(1, **{"loss": 1.0, "x" * 2000: 2.0}),
        )
        (run,) = take().runs
        assert run.skipped == {"graph_def": 1, "mesh": 1}
        assert (run.points, run.refused) == (1, 1)

    def test_a_clock_that_says_nonsense_does_not_stop_it(self, logs, take) -> None:
        events_file(logs).add(event(1, loss=1.0), event(2, math.nan, loss=2.0), event(3, -5.0, loss=3.0))
        found = points(only_run(take()), "loss")
        assert [point[:2] for point in found] == [(1, 1.0), (2, 2.0), (3, 3.0)]
        assert len({time for _, _, time in found}) == 1


class TestOnce:
    def test_importing_twice_adds_nothing(self, logs, take) -> None:
        events_file(logs).add(*(event(step, loss=1.0) for step in range(10)))
        first = take()
        journals = sorted(find_local(first.runs[0].path).path.glob("*.hwj"))
        second = take()
        assert (second.runs[0].id, second.runs[0].points, second.runs[0].is_new) == (first.runs[0].id, 0, False)
        assert sorted(find_local(first.runs[0].path).path.glob("*.hwj")) == journals

    def test_what_was_added_meanwhile_is_added(self, logs, take) -> None:
        file = events_file(logs)
        file.add(event(1, loss=1.0))
        take()
        file.add(event(2, loss=2.0))
        events_file(logs, 2).add(event(3, loss=3.0))
        events_file(logs / "new", 3).add(event(1, loss=9.0))
        report = take()
        assert [(run.name, run.points, run.is_new) for run in report.runs] == [("logs", 2, False), ("new", 1, True)]
        run = find_local(report.runs[0].path)
        assert [point[:2] for point in points(run, "loss")] == [(1, 1.0), (2, 2.0), (3, 3.0)]
        assert run.attempts == 1
        assert run.state.value == "complete"

    def test_a_step_that_comes_again_later_hides_nothing(self, logs, take) -> None:
        """Many writers leave the step at 0."""
        file = events_file(logs)
        file.add(event(0, loss=1.0))
        take()
        file.add(event(0, loss=2.0))
        run = only_run(take())
        assert sorted(run.metrics("loss").values) == [1.0, 2.0]

    def test_directories_that_were_moved_or_copied_are_known(self, logs, take, tmp_path) -> None:
        events_file(logs / "a").add(event(1, loss=1.0))
        first = take()
        shutil.move(logs / "a", logs / "b")
        again = take()
        assert [(run.id, run.points) for run in again.runs] == [(first.runs[0].id, 0)]
        shutil.copytree(logs, tmp_path / "elsewhere")
        copied = import_directory(tmp_path / "elsewhere", dir=tmp_path / "runs-here", project="digits")
        assert [(run.id, run.points) for run in copied.runs] == [(first.runs[0].id, 0)]

    def test_copies_beside_each_other_are_runs_beside_each_other(self, logs, take) -> None:
        file = events_file(logs / "a")
        file.add(event(1, loss=1.0))
        shutil.copytree(logs / "a", logs / "b")
        first = take()
        file.add(event(2, loss=2.0))
        second = take()
        assert [run.name for run in first.runs] == ["a", "b"]
        assert [run.id for run in first.runs] == [run.id for run in second.runs]
        assert [run.points for run in second.runs] == [1, 0]

    def test_another_project_has_runs_of_its_own(self, logs, tmp_path) -> None:
        events_file(logs).add(event(1, loss=1.0))
        ids = {import_directory(logs, dir=tmp_path / "here", project=name).runs[0].id for name in ("a", "b")}
        assert len(ids) == 2

    def test_somebody_else_who_imports_it_is_named(self, logs, take) -> None:
        events_file(logs).add(event(1, loss=1.0))
        stop, seen = threading.Event(), threading.Event()
        follower = threading.Thread(target=lambda: take(follow=True, stop=stop, on_run=lambda run: seen.set()))
        follower.start()
        try:
            assert seen.wait(30)
            with pytest.raises(ConflictError, match="Somebody else"):
                take()
        finally:
            stop.set()
            follower.join(30)
        assert not follower.is_alive()


class TestDamage:
    def test_a_cut_off_record_is_taken_once_it_is_whole(self, logs, take) -> None:
        file = events_file(logs)
        file.add(event(1, loss=1.0))
        whole = EventFile.frame(event(2, loss=2.0).SerializeToString())
        for cut in (1, 11, 12, 13, len(whole) - 1):
            before = file.path.read_bytes()
            file.path.write_bytes(before + whole[:cut])
            (run,) = take().runs
            assert (run.incomplete_bytes, run.corrupt) == (cut, 0)
            file.path.write_bytes(before)
        file.path.write_bytes(before + whole)
        assert [point[:2] for point in points(only_run(take()), "loss")] == [(1, 1.0), (2, 2.0)]

    @pytest.mark.parametrize("place", ["length", "checksum", "payload"])
    def test_a_damaged_record_takes_nothing_else_with_it(self, logs, take, place) -> None:
        file = events_file(logs)
        file.add(event(1, loss=1.0))
        begin = file.path.stat().st_size
        file.add(event(2, loss=2.0))
        file.add(event(3, loss=3.0))
        damaged = bytearray(file.path.read_bytes())
        damaged[begin + {"length": 2, "checksum": 9, "payload": 20}[place]] ^= 0xFF
        file.path.write_bytes(damaged)
        report = take()
        assert [point[0] for point in points(only_run(report), "loss")] == [1, 3]
        assert report.runs[0].corrupt == 1

    def test_a_damaged_tail_is_counted_and_what_follows_is_found(self, logs, take) -> None:
        file = events_file(logs)
        file.add(event(1, loss=1.0))
        with file.path.open("ab") as writing:
            writing.write(bytes(100_000) + b"\xff" * 1000)
        assert take().runs[0].corrupt == 1
        file.add(event(2, loss=2.0))
        assert [point[0] for point in points(only_run(take()), "loss")] == [1, 2]

    def test_a_file_that_is_none_at_all(self, logs, take) -> None:
        (logs / "x.tfevents.1").write_bytes(random.Random(0).randbytes(5000))
        (logs / "y.tfevents.2").write_bytes(b"")
        (run,) = take().runs
        assert (run.points, run.corrupt) == (0, 1)

    def test_a_payload_that_is_no_event(self, logs, take) -> None:
        file = events_file(logs)
        with file.path.open("ab") as writing:
            writing.write(EventFile.frame(b"\xff\xff\xff"))
        file.add(event(1, loss=1.0))
        report = take()
        assert (report.runs[0].corrupt, report.runs[0].points) == (1, 1)

    @settings(max_examples=2000 if FULL else 60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def test_whatever_is_damaged_every_record_given_is_one_that_was_written(self, data) -> None:
        written = data.draw(st.lists(st.binary(max_size=60), min_size=1, max_size=8))
        content = bytearray(b"".join(EventFile.frame(payload) for payload in written))
        for _ in range(data.draw(st.integers(0, 3))):
            at = data.draw(st.integers(0, len(content) - 1))
            content[at] ^= data.draw(st.integers(1, 255))
        cut = data.draw(st.integers(0, len(content)))
        reader = RecordReader(io.BytesIO(content[:cut]), 0, masked_checksum())
        given_first = list(reader.read())
        resumed = RecordReader(io.BytesIO(content), reader.offset, masked_checksum())
        found = given_first + list(resumed.read())
        remaining = iter(written)
        assert all(payload in remaining for payload in found)  # in order, none twice
        assert reader.offset <= cut

    @settings(max_examples=500 if FULL else 30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.binary(max_size=60), min_size=1, max_size=8), st.data())
    def test_undamaged_files_are_read_whole_wherever_they_were_cut(self, written, data) -> None:
        content = b"".join(EventFile.frame(payload) for payload in written)
        found: list[bytes] = []
        offset = 0
        for cut in [*sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=4))), len(content)]:
            reader = RecordReader(io.BytesIO(content[:cut]), offset, masked_checksum())
            found += reader.read()
            offset = reader.offset
        assert found == written
        assert reader.damage.corrupt == 0


class TestKilled:
    PROGRAM = textwrap.dedent("""
        import sys
        from headway.tracking.integrations.tensorboard import destination, importing

        destination.CHECKPOINT_ROWS = 7
        write = destination.Destination.write

        def write_and_say(self, event):
            write(self, event)
            if not said:
                said.append(True)
                print("writing", flush=True)

        said = []
        destination.Destination.write = write_and_say
        importing.import_directory(sys.argv[1], dir=sys.argv[2], project="digits", mode="offline")
    """)

    def test_an_import_killed_at_any_instant_goes_on_without_loss_or_doubles(self, logs, tmp_path) -> None:
        count = 5000
        for number in (1, 2):
            file = events_file(logs, number)
            file.add(
                *(event(step, loss=float(step), other=1.0) for step in range(number * count, number * count + count))
            )
        here, chance, kills = tmp_path / "here", random.Random(11), 0
        for _ in range(40 if FULL else 5):
            kills += self.run_and_kill(logs, here, chance.uniform(0.0, 0.05))
        report = import_directory(logs, dir=here, project="digits", mode="offline")
        assert len(report.runs) == 1
        steps = sorted(point[0] for point in points(only_run(report), "loss"))
        assert steps == list(range(count, 3 * count))
        assert kills > 0

    def run_and_kill(self, logs: Path, here: Path, after: float) -> int:
        process = subprocess.Popen([sys.executable, "-c", self.PROGRAM, str(logs), str(here)], stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            process.stdout.readline()
            try:
                process.wait(after)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
            return int(process.wait(30) == -signal.SIGKILL)
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


class TestFollowing:
    def test_what_is_written_meanwhile_is_taken_in_the_order_written(self, logs, take) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        seen: queue.Queue[ImportedRun] = queue.Queue()
        stop = threading.Event()
        reports: list[ImportReport] = []
        follower = threading.Thread(target=lambda: reports.append(take(follow=True, stop=stop, on_run=seen.put)))
        follower.start()
        try:
            writer = EventFileWriter(str(logs / "later"))
            for step in range(3):
                writer.add_event(event(step, loss=float(step)))
                writer.flush()
                run = seen.get(timeout=60)
                while run.points <= step:
                    run = seen.get(timeout=60)
                assert [point[0] for point in points(find_local(run.path), "loss")] == list(range(step + 1))
                assert find_local(run.path).state.value == "running"
            writer.close()
        finally:
            stop.set()
            follower.join(60)
        assert not follower.is_alive()
        assert only_run(reports[0]).state.value == "complete"

    def test_it_ends_by_itself_when_nothing_comes(self, logs, take) -> None:
        events_file(logs).add(event(1, loss=1.0))
        assert take(follow=True, idle=0).runs[0].points == 1

    def test_many_runs_do_not_keep_many_files_open(self, logs, take, monkeypatch) -> None:
        import psutil

        monkeypatch.setattr(importing, "OPEN_RUNS", 2)
        for number in range(20):
            events_file(logs / str(number), number).add(event(1, loss=1.0))
        opened: list[int] = []

        def journals() -> set[str]:
            return {file.path for file in psutil.Process().open_files() if file.path.endswith(".hwj")}

        before = journals()

        class LookOnce(threading.Event):
            def wait(self, timeout: float | None = None) -> bool:
                opened.append(len(journals() - before))
                return True

        report = take(follow=True, stop=LookOnce())
        assert len(report.runs) == 20
        assert opened[0] <= 2 * 2
        assert {find_local(run.path).state.value for run in report.runs} == {"complete"}


class TestRefusals:
    def test_no_directory(self, logs, take) -> None:
        logs.rmdir()
        with pytest.raises(NotFoundError, match="no directory"):
            take()

    def test_no_event_files(self, take) -> None:
        with pytest.raises(NotFoundError, match="no event file"):
            take()

    @pytest.mark.parametrize("options", [{"mode": "disabled"}, {"idle": -1}, {"project": "a\nb"}])
    def test_arguments_that_are_wrong(self, logs, options) -> None:
        with pytest.raises(InvalidRequestError):
            import_directory(logs, **{"project": "digits", **options})

    def test_without_the_package(self, logs, take, monkeypatch) -> None:
        for name in ("tensorboard.compat.tensorflow_stub.pywrap_tensorflow", "tensorboard"):
            monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(MissingExtraError, match=r"headway\[tensorboard\]"):
            take()


class TestServer:
    def test_a_directory_is_sent_and_followed_there(self, logs, tmp_path, running_server) -> None:
        from headway import Client

        file = events_file(logs)
        file.add(*(event(step, loss=float(step)) for step in range(10)))
        with Client(running_server.url, token=running_server.token) as client:
            client.projects.create("imported")
            options: dict[str, Any] = {
                "dir": tmp_path / "here",
                "url": running_server.url,
                "token": running_server.token,
            }
            first = import_directory(logs, project="imported", **options)
            assert first.ok, first
            assert first.runs[0].synced
            file.add(event(10, loss=10.0))
            again = import_directory(logs, project="imported", **options)
            assert again.ok, again
            run = client.runs.get(first.runs[0].id)
            assert (run.name, run.state.value) == ("logs", "complete")
            assert run.created_at.timestamp() == T0
            assert client.runs.metrics(run.id, "loss").values == [float(step) for step in range(11)]

    def test_a_server_that_does_not_answer_is_reported_and_nothing_is_lost(self, logs, tmp_path, monkeypatch) -> None:
        monkeypatch.setattr(importing, "SEND_SECONDS", 0.0)
        events_file(logs).add(event(1, loss=1.0))
        report = import_directory(
            logs, project="imported", dir=tmp_path / "here", url="http://127.0.0.1:9", token="hw_nothing"
        )
        assert not report.ok
        assert not report.runs[0].synced
        assert points(only_run(report), "loss")[0][:2] == (1, 1.0)


class TestCommand:
    @pytest.fixture
    def headway(self, tmp_path: Path) -> Any:
        variables = {**os.environ, "HEADWAY_DIR": str(tmp_path / "here"), "HEADWAY_CONFIG": str(tmp_path / "none.yaml")}

        def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "headway", *arguments]
            return subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True, timeout=120)

        return run

    def test_json_says_what_was_taken(self, logs, headway) -> None:
        events_file(logs).add(event(1, loss=1.0))
        found = headway("import", "tensorboard", str(logs), "--project", "digits", "--json")
        assert found.returncode == 0, found.stderr
        (run,) = json.loads(found.stdout)["runs"]
        assert (run["name"], run["points"], run["is_new"]) == ("logs", 1, True)

    def test_a_table_for_people_and_a_line_for_what_was_followed(self, logs, headway) -> None:
        file = events_file(logs)
        file.add(event(1, loss=1.0))
        with file.path.open("ab") as writing:
            writing.write(b"half")
        found = headway("import", "tensorboard", str(logs))
        assert found.returncode == 0, found.stderr
        assert "4 bytes cut off" in found.stdout
        file.path.write_bytes(file.path.read_bytes()[:-4])
        file.add(event(2, loss=1.0))
        followed = headway("import", "tensorboard", str(logs), "--follow", "--idle", "0")
        assert followed.returncode == 0, followed.stderr
        assert "logs: 1 points more" in followed.stderr

    def test_ctrl_c_ends_following_well(self, logs, tmp_path) -> None:
        events_file(logs).add(event(1, loss=1.0))
        command = [sys.executable, "-m", "headway", "import", "tensorboard", str(logs), "--follow", "--json"]
        variables = {**os.environ, "HEADWAY_DIR": str(tmp_path / "here"), "HEADWAY_CONFIG": str(tmp_path / "none.yaml")}
        with subprocess.Popen(command, env=variables, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                run = json.loads(process.stdout.readline())
                process.send_signal(signal.SIGINT)
                assert process.wait(60) == 0
            finally:
                process.kill()
        assert find_local(run["path"]).state.value == "complete"

    def test_nothing_there(self, tmp_path, headway) -> None:
        found = headway("import", "tensorboard", str(tmp_path / "nowhere"))
        assert found.returncode == 4
        assert "There is no directory" in found.stderr
