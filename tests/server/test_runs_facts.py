"""What runs say of themselves becomes their record, in whatever order and however often it arrives."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headway.domain.base import format_time, new_id, now
from headway.domain.jobs import JobState
from headway.domain.lineage import NodeKind, Relation
from headway.domain.runs import Run, RunState
from headway.errors import UnavailableError
from headway.journal.codec import FrameDecoder
from headway.journal.facts import encode_fact
from headway.journal.frames import KIND_FACT, MAGIC, encode_frame
from headway.server.actions import facts, streams
from headway.server.actions.facts import FactReader, readable_fact
from headway.server.workers import runs as workers
from headway.server.workers.runs import RunWorker
from headway.testing.factories import make_run

START = 1_767_312_000_000
"""Milliseconds: when the facts of these tests begin."""


def said(*facts_: dict[str, Any]) -> bytes:
    """A facts stream; facts without a time follow each other second by second."""
    frames = [
        encode_frame(KIND_FACT, encode_fact({"time": START + 1000 * place, **fact}))
        for place, fact in enumerate(facts_)
    ]
    return MAGIC + b"".join(frames)


class Facts:
    """A run of its own, streams of facts to it, and the worker that takes them in."""

    def __init__(self, world: Any, **fields: Any) -> None:
        self.world, self.platform = world, world.platform
        self.project = world.project()
        self.run = make_run(project_id=self.project.id, **fields)
        with self.platform.storage.write() as session:
            session.runs.add(self.run)
        self.reader = FactReader(self.platform)

    def send(
        self, data: bytes, *, stream: str = "rank0-a", attempt: int = 0, offset: int = 0, close: bool = False
    ) -> None:
        streams.append(
            self.platform,
            self.run.id,
            f"facts/{stream}",
            data,
            offset=offset,
            writer=stream,
            attempt=attempt,
            close=close,
        )

    def fold(self) -> Run:
        facts.fold(self.platform, self.reader, self.run.id)
        return self.get()

    def get(self) -> Run:
        with self.platform.storage.read() as session:
            return session.runs.get(self.run.id)

    def events(self) -> list[str]:
        with self.platform.storage.read() as session:
            return [event.type for event in session.events.after(0, subject_id=self.run.id)]


@pytest.fixture
def tracked(world: Any) -> Facts:
    return Facts(world)


ALL = [
    {"type": "identity", "name": "digits", "labels": ["a", "b"], "description": "text", "alternative_name": "digits_1"},
    {"type": "config", "set": {"lr": 0.1, "gone": 1, "nan": float("nan")}},
    {"type": "config", "set": {"lr": 0.2}, "delete": ["gone"]},
    {"type": "environment", "values": {"python": "3.12", "git": {"commit": "c", "dirty": True}}},
    {"type": "health", "counters": {"dropped": 3, "sync_errors": 0}},
    {"type": "unheard of", "x": 1},
    {"type": "state", "state": "complete"},
]


class TestFolding:
    def test_everything_that_is_said_is_in_the_record(self, tracked: Facts) -> None:
        tracked.send(said(*ALL))
        run = tracked.fold()
        assert (run.name, run.labels, run.description, run.alternative_name) == (
            "digits",
            ("a", "b"),
            "text",
            "digits_1",
        )
        assert run.config == {"lr": 0.2, "nan": "NaN"}
        assert (run.state.value, run.attempts, run.health) == ("complete", 1, {"dropped": 3})
        assert run.finished_at is not None
        assert format_time(run.finished_at) == "2026-01-02T00:00:06.000Z"
        assert tracked.events() == ["run.finished"]
        with tracked.platform.storage.read() as session:
            details = session.run_details.find(run.id)
            assert details is not None
            assert details.environment == {"python": "3.12", "git": {"commit": "c", "dirty": True}}
            assert session.streams.unfolded(["facts"]) == []

    def test_the_worker_finds_what_is_new_and_rests_otherwise(
        self, world: Any, tracked: Facts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        worker = RunWorker(world.platform)
        data = said(*ALL)
        tracked.send(data[:-5])
        worker.look()
        assert tracked.get().state.value == "running"
        folded: list[str] = []
        real = facts.fold

        def counted(platform: Any, reader: FactReader, run_id: str) -> None:
            folded.append(run_id)
            real(platform, reader, run_id)

        monkeypatch.setattr(facts, "fold", counted)
        worker.look()
        assert folded == []
        monkeypatch.setattr(worker, "_folding", workers.Pacer(0.0))
        tracked.send(data, close=True)
        for _ in range(3):
            worker.look()
        assert folded == [tracked.run.id]
        assert tracked.get().state.value == "complete"

    def test_one_run_that_cannot_be_taken_in_does_not_keep_the_others_waiting(
        self, world: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broken, fine = Facts(world), Facts(world)
        for tracked in (broken, fine):
            tracked.send(said(*ALL))
        real = facts.fold

        def fold(platform: Any, reader: FactReader, run_id: str) -> None:
            if run_id == broken.run.id:
                raise UnavailableError("not now")
            real(platform, reader, run_id)

        worker = RunWorker(world.platform)
        monkeypatch.setattr(facts, "fold", fold)
        worker.look()
        assert (broken.get().state.value, fine.get().state.value) == ("running", "complete")
        monkeypatch.setattr(facts, "fold", real)
        monkeypatch.setattr(worker, "_failing", workers.Pacer(0.0))
        monkeypatch.setattr(worker, "_folding", workers.Pacer(0.0))
        worker.look()
        assert broken.get().state.value == "complete"

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_however_the_bytes_arrive_the_run_is_the_same(self, world: Any, data: st.DataObject) -> None:
        written = {"rank0-a": (said(*ALL[:4], ALL[6]), 0), "rank1-b": (said(*ALL[3:6], ALL[6]), 0)}
        at_once, in_pieces = Facts(world), Facts(world)
        for stream, (whole, attempt) in written.items():
            at_once.send(whole, stream=stream, attempt=attempt)
        expected = at_once.fold()
        sent = dict.fromkeys(written, 0)
        order = data.draw(st.lists(st.tuples(st.sampled_from(sorted(written)), st.integers(1, 400), st.booleans())))
        rest = [(stream, 1 << 20, True) for stream in written]
        for stream, size, fold in [*order, *rest]:
            whole = written[stream][0]
            part = whole[sent[stream] : sent[stream] + size]
            if part:
                in_pieces.send(part, stream=stream, offset=sent[stream])
                sent[stream] += len(part)
            if fold:
                in_pieces.fold()
        found = in_pieces.fold()
        ignored = {"id": "", "project_id": "", "created_at": now(), "heartbeat_at": None, "name": ""}
        assert found.evolve(**ignored) == expected.evolve(
            **{**ignored, "created_at": found.evolve(**ignored).created_at}
        )

    def test_a_run_is_complete_once_all_ranks_are_and_wrong_when_one_is(self, tracked: Facts) -> None:
        complete, failed = {"type": "state", "state": "complete"}, {"type": "state", "state": "error", "reason": "boom"}
        tracked.send(said(complete))
        tracked.send(said({"type": "state", "state": "running"}), stream="rank1-b")
        assert tracked.fold().state.value == "running"
        tracked.send(said({"type": "state", "state": "running"}, failed), stream="rank1-b")
        run = tracked.fold()
        assert (run.state.value, run.reason) == ("error", "boom")

    def test_a_later_attempt_goes_on(self, tracked: Facts) -> None:
        tracked.send(said({"type": "state", "state": "error", "reason": "boom"}))
        assert tracked.fold().state.value == "error"
        tracked.send(said({"type": "config", "set": {"b": 1}}), stream="rank0-b", attempt=1)
        run = tracked.fold()
        assert (run.state.value, run.reason, run.finished_at, run.attempts) == ("running", None, None, 2)
        tracked.send(
            said({"type": "config", "set": {"b": 1}}, {"type": "state", "state": "complete"}),
            stream="rank0-b",
            attempt=1,
        )
        assert tracked.fold().state.value == "complete"
        assert tracked.events() == ["run.finished", "run.resumed", "run.finished"]

    def test_facts_that_arrive_later_than_the_loss_decide(self, tracked: Facts) -> None:
        with tracked.platform.storage.write() as session:
            session.runs.put(tracked.run.evolve(state=RunState.LOST, reason="silent", finished_at=now()))
        tracked.send(said({"type": "config", "set": {"a": 1}}))
        run = tracked.fold()
        assert (run.state.value, run.reason, run.finished_at) == ("running", None, None)
        assert tracked.events() == ["run.revived"]

    def test_an_end_in_the_future_is_now(self, tracked: Facts) -> None:
        ahead = 253_402_300_799_000
        tracked.send(said({"type": "state", "state": "complete", "time": ahead}))
        finished_at = tracked.fold().finished_at
        assert finished_at is not None
        assert finished_at <= now()

    def test_the_run_of_a_job_takes_its_words_and_not_its_end(self, world: Any) -> None:
        job = world.job(world.project())
        tracked = Facts(world)
        with world.platform.storage.read() as session:
            tracked.run = session.runs.get(job.run_id)
        tracked.send(said(*ALL))
        run = tracked.fold()
        assert (run.config["lr"], run.state.value, run.finished_at) == (0.2, "running", None)
        with world.platform.storage.write() as session:
            session.jobs.put(job.evolve(state=JobState.FAILED))
        assert tracked.fold().state.value == "running"


class TestPeopleAndFacts:
    """What somebody changed on the server, and what the run says."""

    def test_a_change_on_the_server_outlives_older_facts_and_yields_to_newer_ones(self, world: Any) -> None:
        tracked = Facts(world, name="made")
        headers = world.headers(world.admin_token)
        tracked.send(said({"type": "identity", "name": "said", "labels": ["said"], "description": "said"}))
        change = {"name": "edited", "labels": ["edited"]}
        answer = world.client.request("PATCH", f"/api/v1/runs/{tracked.run.id}", json=change, headers=headers)
        assert answer.status_code == 200
        run = tracked.fold()
        assert (run.name, run.labels, run.description) == ("edited", ("edited",), "said")
        later = int(now().timestamp() * 1000) + 60_000
        tracked.send(said({"type": "identity", "name": "renamed", "time": later}), stream="rank0-b")
        run = tracked.fold()
        assert (run.name, run.labels, run.description) == ("renamed", ("edited",), "said")

    def test_what_a_run_was_made_with_stays_where_facts_say_nothing(self, world: Any) -> None:
        tracked = Facts(world, name="made", config={"a": 1, "b": 1}, description="made", labels=("x",))
        tracked.send(said({"type": "config", "set": {"b": 2, "c": 3}, "delete": ["a"]}))
        run = tracked.fold()
        assert (run.name, run.config, run.description, run.labels) == ("made", {"b": 2, "c": 3}, "made", ("x",))
        tracked.send(said({"type": "config", "delete": ["b"]}), stream="rank0-b", attempt=1)
        assert tracked.fold().config == {"c": 3}

    def test_a_name_that_a_conflict_gave_stays(self, world: Any) -> None:
        tracked = Facts(world, name="digits")
        headers = world.headers(world.admin_token)
        body = {"project": tracked.project.id, "name": "digits", "conflict_strategy": "new", "id": new_id("run")}
        made = world.client.post("/api/v1/runs", json=body, headers=headers).json()
        with world.platform.storage.read() as session:
            tracked.run = session.runs.get(made["id"])
        tracked.send(said({"type": "identity", "name": "digits"}))
        assert tracked.fold().name == made["name"] != "digits"
        tracked.send(said({"type": "identity", "name": "digits"}, {"type": "identity", "name": "other"}))
        assert tracked.fold().name == "other"

    def test_a_folder_that_is_not_there_is_not_entered(self, tracked: Facts) -> None:
        tracked.send(said({"type": "identity", "folder": "default"}, {"type": "identity", "folder": "absent"}))
        assert tracked.fold().folder == "default"

    @pytest.mark.parametrize(
        "identity",
        [
            {"name": ""},
            {"name": "a\0b"},
            {"name": 5},
            {"name": None},
            {"labels": "abc"},
            {"labels": ["a\nb"]},
            {"description": "\0"},
            {"folder": "../x"},
            {"name": "x" * 300},
        ],
    )
    def test_an_identity_that_cannot_be_is_passed_over(self, world: Any, identity: dict[str, Any]) -> None:
        tracked = Facts(world, name="made", labels=("x",), description="d")
        tracked.send(said({"type": "identity", **identity}, {"type": "config", "set": {"ok": 1}}))
        run = tracked.fold()
        assert (run.name, run.labels, run.description, run.folder) == ("made", ("x",), "d", "")
        assert run.config == {"ok": 1}


class TestDamage:
    def frames(self, payloads: Sequence[bytes]) -> bytes:
        return MAGIC + b"".join(encode_frame(KIND_FACT, payload) for payload in payloads)

    def test_what_cannot_be_understood_is_counted_and_the_rest_is_taken(self, tracked: Facts) -> None:
        good = encode_fact({"type": "config", "set": {"ok": 1}, "time": START})
        bad = [
            b"",
            b"{",
            b"[]",
            b"null",
            b'"x"',
            b"\xff\xfe",
            b'{"type": "config", "set": {"a": 1}}',
            b'{"type": "config", "time": "now", "set": {"a": 1}}',
            b'{"type": "config", "time": true}',
            b'{"type": "config", "time": 1e3}',
            b'{"type": "config", "time": -1}',
            b'{"type": "state", "time": 99999999999999999, "state": "complete"}',
            b'{"type": "config", "time": 1, "set": [1]}',
            b'{"type": "config", "time": 1, "delete": 5}',
            b'{"type": "state", "time": 1, "state": 5}',
            b'{"type": "state", "time": 1, "state": "error", "reason": {}}',
            b'{"type": "input", "time": 1, "artifact": {"kind": 5}}',
            b'{"type": "input", "time": 1}',
            b'{"type": "health", "time": 1, "counters": {"a": "b"}}',
            b'{"type": "config", "time": 1, "set": {"a": "\\ud800"}}',
            b'{"type": "config", "time": 1, "set": {"a": ' + b"9" * 5000 + b"}}",
            b'{"type": "config", "time": 1, "set": ' + b'{"a":' * 500 + b"1" + b"}" * 500 + b"}",
            b"[" * 100_000,
        ]
        tracked.send(self.frames([good, *bad, good]))
        run = tracked.fold()
        assert run.config == {"ok": 1}
        assert run.health == {"damaged_facts": len(bad)}
        assert run.state.value == "running"

    def test_a_damaged_stretch_is_counted_and_stepped_over(self, tracked: Facts) -> None:
        data = bytearray(said(*[{"type": "config", "set": {f"k{number}": number}} for number in range(9)]))
        data[200] ^= 0xFF
        tracked.send(bytes(data), close=True)
        run = tracked.fold()
        assert 7 <= len(run.config) <= 8
        assert run.health == {"damaged_facts": 1}

    @settings(max_examples=200, deadline=None)
    @given(payload=st.binary(max_size=200))
    def test_any_bytes_are_a_fact_or_none(self, payload: bytes) -> None:
        readable_fact(payload)

    @settings(max_examples=200, deadline=None)
    @given(
        fact=st.dictionaries(
            st.sampled_from(
                ["type", "time", "set", "delete", "values", "state", "reason", "artifact", "counters", "name"]
            ),
            st.recursive(
                st.one_of(
                    st.none(),
                    st.booleans(),
                    st.integers(),
                    st.floats(),
                    st.text(),
                    st.sampled_from(["config", "state", "input", "health", "identity", "environment", "complete"]),
                ),
                lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
            ),
        )
    )
    def test_any_json_is_folded_or_refused_without_harm(self, fact: dict[str, Any]) -> None:
        from headway.domain.facts import PlacedFact, fold_facts

        found = readable_fact(json.dumps(fact).encode())
        if found is not None:
            fold_facts([PlacedFact(0, "facts/a", 0, found)])


class TestLinks:
    def links(self, tracked: Facts) -> set[tuple[NodeKind, str, Relation]]:
        with tracked.platform.storage.read() as session:
            return {(link.kind, link.other_id, link.relation) for link in session.links.of_run(tracked.run.id)}

    def test_what_a_run_used_and_made_is_linked(self, world: Any, tracked: Facts) -> None:
        version = world.version(tracked.project)
        foreign = world.version(world.project())
        marks = [
            {"type": "input", "artifact": {"kind": "model-version", "id": version.id}},
            {"type": "input", "artifact": {"kind": "model-version", "id": foreign.id}},
            {"type": "input", "artifact": {"kind": "artifact", "name": "absent", "digest": "0" * 64}},
            {"type": "input", "artifact": {"kind": "artifact", "id": "a\0b"}},
            {"type": "output", "artifact": {"kind": "branch", "id": "asset:main", "path": "/x"}},
        ]
        tracked.send(said(*marks))
        for _ in range(2):
            tracked.fold()
        assert self.links(tracked) == {
            (NodeKind.MODEL_VERSION, version.id, Relation.INPUT),
            (NodeKind.EXTERNAL, "branch:asset:main", Relation.OUTPUT),
        }

    def test_an_artifact_is_found_by_id_and_by_content(self, world: Any, tracked: Facts) -> None:
        version = world.artifact(tracked.project)
        tracked.send(said({"type": "input", "artifact": {"name": version.name, "digest": version.digest}}))
        tracked.send(said({"type": "output", "artifact": {"id": version.id}}), stream="rank0-b")
        tracked.fold()
        assert self.links(tracked) == {
            (NodeKind.ARTIFACT_VERSION, version.id, Relation.INPUT),
            (NodeKind.ARTIFACT_VERSION, version.id, Relation.OUTPUT),
        }


def test_a_fold_that_was_overtaken_is_not_applied(tracked: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two servers at once: the one that read less must not write last."""
    first, second = said(ALL[0]), said(*ALL)
    tracked.send(first)
    slow = FactReader(tracked.platform)
    real_read = slow.read

    def read_and_wait(run_id: str, found: Any) -> Any:
        tapes = real_read(run_id, found)
        tracked.send(second)
        tracked.fold()
        return tapes

    monkeypatch.setattr(slow, "read", read_and_wait)
    facts.fold(tracked.platform, slow, tracked.run.id)
    assert tracked.get().state.value == "complete"
    with tracked.platform.storage.read() as session:
        assert session.streams.unfolded(["facts"]) == []


def test_reading_again_reads_only_what_is_new(tracked: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    data = said(*ALL)
    tracked.send(data[:100])
    tracked.fold()
    places: list[int] = []
    real = tracked.platform.segments.read

    def read(run_id: str, name: str, offset: int, length: int) -> bytes:
        places.append(offset)
        return bytes(real(run_id, name, offset, length))

    monkeypatch.setattr(tracked.platform.segments, "read", read)
    tracked.send(data)
    tracked.fold()
    assert places == [100]


def test_facts_of_a_run_that_is_gone_do_nothing(tracked: Facts) -> None:
    tracked.send(said(*ALL))
    with tracked.platform.storage.write() as session:
        session.runs.delete(tracked.run.id)
    facts.fold(tracked.platform, tracked.reader, tracked.run.id)


def test_damage_anywhere_never_stops_a_run(world: Any) -> None:
    chooser = random.Random(4)
    whole = said(*[{"type": "config", "set": {f"k{number}": number}} for number in range(30)])
    for _ in range(25):
        tracked = Facts(world)
        data = bytearray(whole)
        for _ in range(chooser.randint(1, 6)):
            data[chooser.randrange(len(data))] = chooser.randrange(256)
        tracked.send(bytes(data), close=True)
        run = tracked.fold()
        assert set(run.config) <= {f"k{number}" for number in range(30)}
        intact = {frame.payload for frame in _intact(whole)} & {frame.payload for frame in _intact(bytes(data))}
        assert len(run.config) >= len(intact)


def _intact(data: bytes) -> list[Any]:
    decoder = FrameDecoder()
    return [*decoder.feed(data), *decoder.finish()]
