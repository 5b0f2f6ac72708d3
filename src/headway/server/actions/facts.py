"""What runs say of themselves, taken into their records.

A run's record is made anew from all its facts whenever there are new ones, so it does not matter when which of them
arrived. Facts are read with no session open; the result is applied in one session, and only if nobody else has folded
meanwhile.
"""

from __future__ import annotations

import json
import logging
import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from headway.domain.base import Description, Name, now
from headway.domain.facts import ArtifactMark, FactType, PlacedFact, RunFacts, fold_facts
from headway.domain.folders import FolderPath
from headway.domain.lineage import Link, NodeKind, Relation
from headway.domain.model_references import parse_reference
from headway.domain.models import ModelVersion
from headway.domain.runs import FACTS, Run, RunDetails, RunLabels, RunState, Stream
from headway.errors import NotFoundError, RequestError
from headway.journal.codec import FrameDecoder
from headway.journal.frames import KIND_FACT, Frame
from headway.server.actions import artifacts, folders
from headway.server.actions.heartbeats import total_health
from headway.server.actions.recording import record
from headway.server.actions.runs import given, plain_config
from headway.server.context import Platform
from headway.storage.base import Session

logger = logging.getLogger("headway.runs")

READ_AT_ONCE = 1 << 20
KEPT_RUNS = 64
"""Runs whose facts stay in memory between two looks."""
KEPT_FACTS = 20_000
"""Of one run, beyond which they are read again instead."""
GIVEN_ATTEMPT = -1
"""Before every attempt: what the run was made with."""
LAST_MILLISECOND = 253_402_300_799_999
MAX_DEPTH = 120

IDENTITY: Mapping[str, TypeAdapter[Any]] = {
    "name": TypeAdapter(Name),
    "alternative_name": TypeAdapter(Name),
    "folder": TypeAdapter(FolderPath),
    "labels": TypeAdapter(RunLabels),
    "description": TypeAdapter(Description),
}
"""What of an identity is taken, and as what."""


@dataclass
class Tape:
    """One facts stream, as far as it was read."""

    writer: str
    decoder: FrameDecoder = field(default_factory=FrameDecoder)
    read: int = 0
    facts: list[PlacedFact] = field(default_factory=list)
    unreadable: int = 0

    @property
    def damaged(self) -> int:
        return self.unreadable + len(self.decoder.damage)


class FactReader:
    """Reads facts out of segments, and only what is new when it is asked again soon."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._kept: OrderedDict[str, dict[str, Tape]] = OrderedDict()

    def read(self, run_id: str, streams: Sequence[Stream]) -> list[Tape]:
        """What is said in ``streams``, each to its committed end."""
        known = self._kept.pop(run_id, {})
        tapes = {stream.name: self._advance(stream, known.get(stream.name)) for stream in streams}
        if sum(len(tape.facts) for tape in tapes.values()) <= KEPT_FACTS:
            self._kept[run_id] = tapes
        if len(self._kept) > KEPT_RUNS:
            self._kept.popitem(last=False)
        return list(tapes.values())

    def forget(self, run_id: str) -> None:
        """Read everything anew the next time."""
        self._kept.pop(run_id, None)

    def _advance(self, stream: Stream, tape: Tape | None) -> Tape:
        if tape is None or tape.writer != stream.writer_id or tape.read > stream.committed:
            tape = Tape(stream.writer_id)
        while tape.read < stream.committed:
            length = min(READ_AT_ONCE, stream.committed - tape.read)
            data = self._platform.segments.read(stream.run_id, stream.name, tape.read, length)
            if not data:
                logger.warning("run %s: the stream %s ends at byte %d", stream.run_id, stream.name, tape.read)
                break
            tape.read += len(data)
            _take(tape, stream, tape.decoder.feed(data))
        if stream.closed:
            _take(tape, stream, tape.decoder.finish())
        return tape


def _take(tape: Tape, stream: Stream, frames: Iterable[Frame]) -> None:
    for frame in frames:
        if frame.kind != KIND_FACT:
            continue
        fact = readable_fact(frame.payload)
        if fact is None:
            tape.unreadable += 1
        else:
            tape.facts.append(PlacedFact(stream.attempt, stream.name, frame.offset, fact))


def readable_fact(payload: bytes) -> dict[str, Any] | None:
    """The fact in a frame, with only what can be kept in it; None when it cannot be understood.

    >>> readable_fact(b'{"type": "config", "time": 1, "set": {"a": NaN}}')["set"]
    {'a': 'NaN'}
    """
    try:
        fact = json.loads(payload, parse_constant=str)
        json.dumps(fact, ensure_ascii=False).encode()  # a lone surrogate cannot be kept
        return _shaped(fact) if isinstance(fact, dict) else None
    except (ValueError, RecursionError, TypeError):
        return None


class _Config(BaseModel, strict=True):
    set: dict[str, Any] = {}
    delete: list[str] = []


class _Environment(BaseModel, strict=True):
    values: dict[str, Any] = {}


class _State(BaseModel, strict=True):
    state: str
    reason: str | None = None


class _Marked(BaseModel):
    artifact: ArtifactMark


class _Health(BaseModel, strict=True):
    counters: dict[str, int] = {}


class _Identity(BaseModel):
    """Checked field by field when it is applied."""


_SHAPES: Mapping[str, type[BaseModel]] = {
    FactType.IDENTITY.value: _Identity,
    FactType.CONFIG.value: _Config,
    FactType.ENVIRONMENT.value: _Environment,
    FactType.STATE.value: _State,
    FactType.INPUT.value: _Marked,
    FactType.OUTPUT.value: _Marked,
    FactType.HEALTH.value: _Health,
}


def _shaped(fact: dict[str, Any]) -> dict[str, Any] | None:
    """``fact`` if it has the shape of its type; a type that is not known is passed over later."""
    time, shape = fact.get("time"), _SHAPES.get(str(fact.get("type")))
    if not isinstance(time, int) or isinstance(time, bool) or not 0 <= time <= LAST_MILLISECOND:
        return None
    if _depth(fact) > MAX_DEPTH:
        return None
    if shape is not None:
        shape.model_validate(fact)  # a ValidationError is a ValueError
    return plain_config(fact)


def _depth(value: Any) -> int:
    """How deep ``value`` is nested."""
    deepest, level = 0, [value]
    while level and deepest <= MAX_DEPTH:
        deepest += 1
        held = [item for one in level for item in (one.values() if isinstance(one, dict) else one)]
        level = [item for item in held if isinstance(item, (dict, list))]
    return deepest


def fold(platform: Platform, reader: FactReader, run_id: str) -> None:
    """Bring the record of ``run_id`` up to its facts."""
    with platform.storage.read() as session:
        run = session.runs.find(run_id)
        streams = session.streams.of_run(run_id, kind=FACTS)
        details = session.run_details.find(run_id)
    if run is None:
        return
    tapes = reader.read(run_id, streams)
    base = given(run) if details is None or not details.given else details.given
    facts = [*_as_facts(base), *(fact for tape in tapes for fact in tape.facts)]
    folded = fold_facts(facts)
    with platform.storage.write() as session:
        application = _Application(session, run_id, base, facts, folded, sum(tape.damaged for tape in tapes))
        if not application.apply(streams):
            reader.forget(run_id)


def _as_facts(base: Mapping[str, Any]) -> list[PlacedFact]:
    identity = {name: base[name] for name in ("name", "labels", "description", "folder") if name in base}
    said = [{"type": "identity", "time": 0, **identity}, {"type": "config", "time": 0, "set": base.get("config", {})}]
    return [PlacedFact(GIVEN_ATTEMPT, "", place, fact) for place, fact in enumerate(said)]


class _Application:
    """One session's worth of changes."""

    def __init__(
        self,
        session: Session,
        run_id: str,
        base: dict[str, Any],
        facts: Sequence[PlacedFact],
        folded: RunFacts,
        damaged: int,
    ) -> None:
        self._session, self._run_id, self._base = session, run_id, base
        self._facts, self._folded, self._damaged = facts, folded, damaged

    def apply(self, seen: Sequence[Stream]) -> bool:
        """Change the records; False, and nothing happens, when somebody else folded since ``seen`` was read."""
        session = self._session
        before = session.runs.find(self._run_id)
        if before is None:
            return False
        current = [session.streams.find(self._run_id, stream.name) for stream in seen]
        if any(now_ is None or now_.folded != then.folded for now_, then in zip(current, seen, strict=True)):
            return False
        known = session.run_details.find(self._run_id)
        details = (known or RunDetails(run_id=self._run_id, given=self._base)).evolve(
            environment=self._folded.environment, told=self._folded.health, damaged=self._damaged
        )
        if not details.given:
            details = details.evolve(given=self._base)
        if details != known:
            session.run_details.put(details)
        run = self._described(before, details)
        if before.job_id is None and before.deployment_id is None:
            run = self._ended(run)
        if run != before:
            session.runs.put(run)
        self._link(run)
        for stream, then in zip(current, seen, strict=True):
            if stream is not None and stream.folded < then.committed:
                session.streams.put(stream.evolve(folded=then.committed))
        return True

    def _described(self, run: Run, details: RunDetails) -> Run:
        changes: dict[str, Any] = {
            "config": self._folded.config,
            "attempts": max(run.attempts, self._folded.attempts),
            "health": total_health(details),
        }
        for name, check in IDENTITY.items():
            value = self._said(name, check, details)
            if value is not None:
                changes[name] = value
        return run.evolve(**changes)

    def _said(self, name: str, check: TypeAdapter[Any], details: RunDetails) -> Any:
        """What the facts give for a field of the identity; None when the record's own value stays."""
        placed = [fact for fact in self._facts if fact.fact.get("type") == FactType.IDENTITY and name in fact.fact]
        for latest in sorted(placed, key=lambda fact: fact.order, reverse=True):
            if name in details.edited and latest.time <= details.edited[name]:
                return None
            value = _checked(check, latest.fact[name])
            if value is None or (name == "folder" and not self._has_folder(value)):
                continue
            if name == "name" and value == details.asked_name:
                return None  # a conflict gave the run another name
            return tuple(dict.fromkeys(value)) if name == "labels" else value
        return None

    def _has_folder(self, path: str) -> bool:
        project_id = self._session.runs.get(self._run_id).project_id
        try:
            folders.place(self._session, project_id, path, make=False)
        except NotFoundError:
            return False
        return True

    def _ended(self, run: Run) -> Run:
        """State, reason and end as the facts have it; data of a lost run makes it what the data says."""
        folded = self._folded
        finished_at = _not_later(folded.finished_at)
        if (run.state, run.finished_at) == (folded.state, finished_at):
            return run.evolve(reason=folded.reason)
        revived = run.state is RunState.LOST and folded.state is RunState.RUNNING
        event = "run.finished" if folded.state.final else "run.revived" if revived else "run.resumed"
        record(
            self._session,
            event,
            run.id,
            project_id=run.project_id,
            message=folded.reason or "",
            name=run.name,
            **{"from": run.state.value, "to": folded.state.value},
        )
        heard = {} if folded.state.final else {"heartbeat_at": now()}
        return run.evolve(state=folded.state, reason=folded.reason, finished_at=finished_at, **heard)

    def _link(self, run: Run) -> None:
        for marks, relation in ((self._folded.inputs, Relation.INPUT), (self._folded.outputs, Relation.OUTPUT)):
            for mark in marks:
                found = self._other_end(run, mark)
                if found is not None:
                    kind, other_id, label = found
                    self._session.links.put(
                        Link(
                            project_id=run.project_id,
                            run_id=run.id,
                            kind=kind,
                            other_id=other_id,
                            relation=relation,
                            label=label,
                            created_at=now(),
                        )
                    )

    def _other_end(self, run: Run, mark: ArtifactMark) -> tuple[NodeKind, str, str] | None:
        """What a mark names, if it is of the run's project; None for what is not on the server (yet)."""
        if mark.kind == "artifact":
            return self._artifact(run, mark)
        if mark.kind == "model-version":
            return self._model_version(run, mark)
        named = mark.id or mark.path or mark.name
        if not named:
            return None
        return NodeKind.EXTERNAL, _plain(f"{mark.kind}:{named}")[:1024], _plain(mark.name or named)[:256]

    def _model_version(self, run: Run, mark: ArtifactMark) -> tuple[NodeKind, str, str] | None:
        version = self._session.model_versions.find(_plain(mark.id))
        if version is None and mark.name:
            version = self._named_model_version(run, _plain(mark.name))
        if version is None or version.project_id != run.project_id:
            return None
        return NodeKind.MODEL_VERSION, version.id, f"{version.name}:v{version.version}"

    def _named_model_version(self, run: Run, reference: str) -> ModelVersion | None:
        """What a reference such as ``models:/digits/3`` means; an alias that moves later leaves the run as it is."""
        try:
            wanted = parse_reference(reference)
        except RequestError:
            return None
        model = self._session.models.by_name(run.project_id, wanted.model)
        if model is None:
            return None
        versions = self._session.model_versions
        if wanted.version_name is not None:
            return versions.by_version_name(model.id, wanted.version_name)
        if wanted.number is not None:
            return versions.by_number(model.id, wanted.number)
        for link in self._session.links.of_run(run.id):
            if link.kind is NodeKind.MODEL_VERSION and link.label.rpartition(":")[0] == model.name:
                return versions.find(link.other_id)
        number = model.latest_version if wanted.alias is None else model.aliases.get(wanted.alias)
        return None if number is None else versions.by_number(model.id, number)

    def _artifact(self, run: Run, mark: ArtifactMark) -> tuple[NodeKind, str, str] | None:
        session = self._session
        version = session.artifact_versions.find(_plain(mark.id))
        if version is None and mark.name and mark.digest:
            for artifact in session.artifacts.named(run.project_id, _plain(mark.name)):
                version = version or session.artifact_versions.by_content(artifact.id, _plain(mark.digest))
        elif version is None and mark.name:
            return self._referenced(run, _plain(mark.name))
        if version is None or version.project_id != run.project_id:
            return None
        return NodeKind.ARTIFACT_VERSION, version.id, f"{version.name}:v{version.version}"

    def _referenced(self, run: Run, reference: str) -> tuple[NodeKind, str, str] | None:
        """What a reference such as ``digits:latest`` means; once that was said of a run, it stays."""
        plain = reference.removeprefix("artifact:")
        name = (plain.rpartition(":")[0] or plain).rpartition("/")[2]
        for link in () if artifacts.is_exact(plain) else self._session.links.of_run(run.id):
            if link.kind is NodeKind.ARTIFACT_VERSION and link.label.rpartition(":")[0] == name:
                return link.kind, link.other_id, link.label
        try:
            version = artifacts.named_version(self._session, reference, run.project_id)
        except RequestError:
            return None
        return NodeKind.ARTIFACT_VERSION, version.id, f"{version.name}:v{version.version}"


def _checked(check: TypeAdapter[Any], value: Any) -> Any:
    try:
        found = check.validate_python(value)
    except ValidationError:
        return None
    return None if isinstance(found, str) and "\0" in found else found


def _plain(text: str | None) -> str:
    """``text`` as every database takes it; nothing has the id ``""``."""
    return (text or "").replace("\0", "")


def _not_later(moment: datetime | None) -> datetime | None:
    """The end as its writer's clock has it, but never in the future."""
    if moment is None:
        return None
    present = now()
    return moment if moment <= present and not math.isnan(moment.timestamp()) else present
