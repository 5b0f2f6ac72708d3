"""Runs of this machine, read from their directories: no server is asked."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.domain.facts import PlacedFact, RunFacts, fold_facts
from headway.domain.metrics import View, normal_stage, series_key
from headway.domain.names import friendly_name
from headway.domain.runs import METRICS, SYSTEM, RunState
from headway.errors import HeadwayError, NotFoundError
from headway.journal import facts
from headway.journal.codec import JournalHeader
from headway.journal.liveness import is_live
from headway.journal.reader import read_frames, read_header
from headway.journal.rows import Row, RowDecoder
from headway.tracking.directory import RunDirectory, base_directory, check_run_id, run_directories

if TYPE_CHECKING:
    from headway.domain.metrics import SeriesSummary
    from headway.sdk.compare import ComparedRun
    from headway.sdk.series import MetricSeries
    from headway.sdk.summaries import RunSummary

Points = list[tuple["int | None", "int | float", int, "float | None"]]
"""Step, value, milliseconds since 1970, epoch."""


class LocalRun:
    """One run as its directory tells of it, at the moment when each question is asked first. ``refresh`` asks anew."""

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory

    def __repr__(self) -> str:
        return f"LocalRun(id={self.id!r}, name={self.name!r}, state={self.state.value!r})"

    @staticmethod
    def at(path: Path) -> LocalRun:
        """The run whose directory ``path`` is."""
        return LocalRun(RunDirectory(path))

    def journals(self, kind: str | None = None) -> list[Path]:
        """Its journals, of one kind or all."""
        return self._directory.journals(kind)

    def refresh(self) -> LocalRun:
        """The same run as it is now."""
        return LocalRun(self._directory)

    @cached_property
    def facts(self) -> RunFacts:
        """What the run says of itself."""
        return read_facts(self._directory)

    @property
    def id(self) -> str:
        return self._directory.id

    @property
    def path(self) -> Path:
        return self._directory.path

    @property
    def name(self) -> str:
        return str(self.facts.identity.get("name") or friendly_name(self.id))

    @property
    def alternative_name(self) -> str | None:
        return self.facts.identity.get("alternative_name")

    @property
    def project(self) -> str | None:
        return self.facts.identity.get("project") or self._directory.read_target().project

    @property
    def folder(self) -> str:
        return str(self.facts.identity.get("folder") or "")

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.facts.identity.get("labels") or ())

    @property
    def description(self) -> str:
        return str(self.facts.identity.get("description") or "")

    @property
    def config(self) -> dict[str, Any]:
        """Hyperparameters, with NaN and infinities as the strings that stand for them."""
        return self.facts.config

    @property
    def environment(self) -> dict[str, Any]:
        return self.facts.environment

    @property
    def health(self) -> dict[str, int]:
        return self.facts.health

    @property
    def attempts(self) -> int:
        return max(self.facts.attempts, self._directory.latest_attempt() + 1)

    @property
    def reason(self) -> str | None:
        return self.facts.reason

    @property
    def finished_at(self) -> datetime | None:
        return self.facts.finished_at

    @cached_property
    def is_live(self) -> bool:
        """Whether a process is writing it."""
        return any(_is_live(path) for path in self._directory.journals())

    @property
    def state(self) -> RunState:
        """As it said; ``lost`` when it did not say and nobody writes it any more."""
        found = self.facts.state
        return RunState.LOST if found is RunState.RUNNING and not self.is_live else found

    @cached_property
    def created_at(self) -> datetime | None:
        """When its first stream was begun."""
        return min((header.created for _, header in self._headers()), default=None)

    @property
    def url(self) -> str | None:
        """The server that it was meant for."""
        return self._directory.read_target().url

    @property
    def synced(self) -> bool:
        """Whether that server holds everything that lies here."""
        return self._directory.read_target().synced

    @property
    def size(self) -> int:
        """Bytes of its journals."""
        return sum(path.stat().st_size for path in self._directory.journals())

    def metrics(
        self, name: str, stage: str | None = None, *, view: View | str = View.DEFAULT, system: bool = False
    ) -> MetricSeries:
        """Every point of one metric, exactly as logged, a line for each rank (and attempt, with ``view="all"``).

        Args:
            name: As it was logged.
            stage: Any word for the stage; None is the series without one.
            view: ``default``: a later attempt hides what earlier ones logged at its first step and above.
            system: Among the system metrics instead.

        Raises:
            NotFoundError: The run has series, but not this one; names the closest one. Of a run that has none yet there
                are no points.
        """
        from headway.sdk.columns import pack
        from headway.sdk.resources.metrics import unknown_series
        from headway.sdk.series import MetricSeries

        wanted, known = normal_stage(stage), self._points(system)
        found = known.get((wanted, name), {})
        if known and not found:
            raise unknown_series(self.id, wanted, name, known)
        lines = found if View(view) is View.ALL else _merged(found)
        return MetricSeries(
            run_id=self.id,
            name=name,
            stage=wanted,
            lines=tuple(
                pack(points, replica=replica, attempt=attempt)
                for (replica, attempt), points in sorted(lines.items(), key=_order)
            ),
        )

    def series(self, *, system: bool = False) -> list[str]:
        """The keys of everything that was logged: ``loss``, ``val.loss``."""
        return sorted(series_key(*key) for key in self._points(system))

    def summary(self) -> RunSummary:
        """Last, min, max and mean of each series, over all ranks, in the default view."""
        from headway.sdk.summaries import RunSummary

        found = self._points(system=False).items()
        return RunSummary(_summary(*key, _merged(lines)) for key, lines in sorted(found))

    def compared(self) -> ComparedRun:
        """What :func:`headway.diff` compares."""
        from headway.sdk.compare import ComparedRun

        inputs = tuple(mark.name or mark.path or mark.id or mark.kind for mark in self.facts.inputs)
        return ComparedRun(self.id, self.name, self.config, self.environment, self.summary(), inputs)

    def _headers(self, kind: str | None = None) -> Iterator[tuple[Path, JournalHeader]]:
        for path in self._directory.journals(kind):
            try:
                yield path, read_header(path)
            except HeadwayError:
                continue  # `headway doctor` says what is wrong with it

    def _points(self, system: bool) -> dict[tuple[str, str], dict[tuple[str, int | None], Points]]:
        return self._system_points if system else self._metric_points

    @cached_property
    def _metric_points(self) -> dict[tuple[str, str], dict[tuple[str, int | None], Points]]:
        return self._read_points(METRICS)

    @cached_property
    def _system_points(self) -> dict[tuple[str, str], dict[tuple[str, int | None], Points]]:
        return self._read_points(SYSTEM)

    def _read_points(self, kind: str) -> dict[tuple[str, str], dict[tuple[str, int | None], Points]]:
        """By stage and name, then by rank and attempt; of several writers of a rank in the order of time."""
        found: dict[tuple[str, str], dict[tuple[str, int | None], Points]] = {}
        for path, header in self._headers(kind):
            line = (header.replica or "", header.attempt)
            for row in RowDecoder().feed(read_frames(path)):
                _spread(row, line, found)
        for lines in found.values():
            for points in lines.values():
                points.sort(key=lambda point: point[2])
        return found


def _order(item: tuple[tuple[str, int | None], Points]) -> tuple[str, int]:
    (replica, attempt), _ = item
    return replica, -1 if attempt is None else attempt


def _spread(
    row: Row, line: tuple[str, int], found: dict[tuple[str, str], dict[tuple[str, int | None], Points]]
) -> None:
    stage, time_ms = normal_stage(row.stage), row.time_ns // 1_000_000
    for name, value in zip(row.names, row.values, strict=True):
        found.setdefault((stage, name), {}).setdefault(line, []).append((row.step, value, time_ms, row.epoch))


def _merged(lines: Mapping[tuple[str, int | None], Points]) -> dict[tuple[str, int | None], Points]:
    """The default view: one line a rank, in which later attempts hide earlier ones from their first step on."""
    merged: dict[tuple[str, int | None], Points] = {}
    for (replica, _), points in sorted(lines.items(), key=_order):
        before = merged.get((replica, None), [])
        first = min((point[0] for point in points if point[0] is not None), default=None)
        kept = before if first is None else [point for point in before if point[0] is None or point[0] < first]
        merged[replica, None] = kept + points
    return merged


def _summary(stage: str, name: str, lines: Mapping[tuple[str, int | None], Points]) -> SeriesSummary:
    from headway.domain.metrics import SeriesSummary
    from headway.sdk.summaries import to_json_number

    points = [point for line in lines.values() for point in line]
    # Of equal ones the latest logged, so the search begins at the end.
    last = max(reversed(points), key=lambda point: (point[0] is not None, point[0] or 0, point[2]))
    numbers = [point[1] for point in points if not math.isnan(point[1])]
    finite = [number for number in numbers if math.isfinite(number)]
    return SeriesSummary(
        name=name,
        stage=stage,
        count=len(points),
        last=to_json_number(last[1]),
        last_step=last[0],
        min=to_json_number(min(numbers)) if numbers else None,
        max=to_json_number(max(numbers)) if numbers else None,
        mean=to_json_number(math.fsum(finite) / len(finite)) if finite else None,
        nan_count=len(points) - len(numbers),
    )


def _is_live(path: Path) -> bool:
    try:
        return is_live(path)
    except OSError:
        return False


def read_facts(directory: RunDirectory) -> RunFacts:
    """The run that the facts in ``directory`` tell of."""
    return fold_facts(_placed(directory))


def _placed(directory: RunDirectory) -> Iterator[PlacedFact]:
    for path in directory.journals("facts"):
        try:
            yield from facts.read_facts(path)
        except HeadwayError:
            continue


def local_runs(dir: str | Path | None = None) -> list[LocalRun]:
    """The runs of this machine, the newest first.

    Args:
        dir: Where runs lie, or a directory above. Without it: HEADWAY_DIR, else ``.headway``.
    """
    found = [LocalRun(directory) for directory in run_directories(base_directory(dir))]
    oldest = datetime.fromtimestamp(0, timezone.utc)
    return sorted(found, key=lambda run: (run.created_at or oldest, run.id), reverse=True)


def find_local(run: str, dir: str | Path | None = None) -> LocalRun:
    """The run with that id, or the directory of a run.

    Raises:
        NotFoundError: There is none.
    """
    as_path = RunDirectory(Path(run).expanduser().absolute())
    if as_path.exists():
        return LocalRun(as_path)
    base = base_directory(dir)
    if "/" not in run and (found := RunDirectory(base / "runs" / check_run_id(run))).exists():
        return LocalRun(found)
    raise NotFoundError(f"There is no run {run!r} below {base}.", hint="`headway run list` shows what there is.")
