"""Brings each sweep on: values of trials that have ended, trials that do badly, and the next ones."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from headway.domain.base import new_id, now
from headway.domain.jobs import Job, JobState
from headway.domain.metrics import MetricQuery, SeriesSummary
from headway.domain.sweeps import Objective, Sweep, SweepState, Trial, TrialState
from headway.errors import ConflictError, HeadwayError
from headway.server.actions import jobs, metrics, monitors
from headway.server.actions import sweeps as actions
from headway.server.actions.job_inputs import relink
from headway.server.actions.recording import record
from headway.server.context import Platform
from headway.server.workers.reconciler import Pacer
from headway.storage.base import Session
from headway.storage.series.points import Points

if TYPE_CHECKING:
    from headway.server.workers.search import Curve

logger = logging.getLogger("headway.workers.sweeps")

CURVE_SECONDS = 1.0
"""How often the curves of one sweep are read, where it has a pruner."""


class SweepWorker:
    """One look goes over every sweep that has not ended; what it remembers may be lost without harm."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._pacer = Pacer(CURVE_SECONDS)
        self._curves: dict[str, Curve] = {}
        """Of trials that have ended, by trial."""

    def look(self) -> None:
        with self._platform.storage.read() as session:
            active = session.sweeps.active()
        for sweep in active:
            try:
                self._tend(sweep)
            except Exception:
                logger.exception("sweep %s: it could not be brought on; it is tried again", sweep.id)

    def _tend(self, sweep: Sweep) -> None:
        trials = self._settle(sweep)
        if sweep.state is SweepState.STOPPING:
            self._stop(trials)
        else:
            if sweep.pruner != "none" and self._pacer.due(sweep.id):
                self._prune(sweep, trials)
            trials = self._begin(sweep, trials)
        self._conclude(sweep, trials)

    # Trials that have ended.

    def _settle(self, sweep: Sweep) -> list[Trial]:
        """All trials; of those whose jobs have ended, with what they came to."""
        with self._platform.storage.read() as session:
            trials = list(session.trials.of_sweep(sweep.id))
            looked = {t.id: _ending(self._platform, session, t) for t in trials if not t.state.finished}
        ended = {trial_id: job for trial_id, (over, job) in looked.items() if over}
        for position, trial in enumerate(trials):
            if trial.id in ended:
                trials[position] = self._settled(sweep, trial, ended[trial.id])
        return trials

    def _settled(self, sweep: Sweep, trial: Trial, job: Job | None) -> Trial:
        changes = self._outcome(sweep, trial, job)
        with self._platform.storage.write() as session:
            present = session.trials.find(trial.id)
            if present is None or present.state.finished:
                return present or trial
            present = present.evolve(**changes, finished_at=now())
            session.trials.put(present)
            record(
                session,
                "sweep.trial_ended",
                sweep.id,
                project_id=sweep.project_id,
                message=f"trial {trial.number}: {present.state.value}{f', {present.reason}' if present.reason else ''}",
                trial=trial.number,
                state=present.state.value,
                value=_json_number(present.value),
            )
        return present

    def _outcome(self, sweep: Sweep, trial: Trial, job: Job | None) -> dict[str, object]:
        if job is None:
            return {"state": TrialState.FAILED, "reason": "its job or run was deleted"}
        if trial.step is not None:
            return {"state": TrialState.PRUNED}
        if job.state is JobState.STOPPED:
            return {"state": TrialState.STOPPED, "reason": job.reason}
        if job.state is not JobState.SUCCEEDED:
            return {"state": TrialState.FAILED, "reason": job.failure.reason if job.failure else job.reason}
        found = self._series(sweep.objective, trial.run_id)
        if isinstance(found, str):
            return {"state": TrialState.FAILED, "reason": found}
        value = _number(found, sweep.objective.statistic)
        if value is None or not math.isfinite(value):
            return {"state": TrialState.FAILED, "reason": f"its {sweep.objective.metric} is {value}"}
        return {"state": TrialState.SUCCEEDED, "value": value}

    def _series(self, objective: Objective, run_id: str) -> SeriesSummary | str:
        """The series that the objective names, by key (``val.loss``) or, where only one has it, by name; or what is
        wrong.
        """
        summaries = metrics.summary(self._platform, None, run_id)
        for summary in summaries:
            if objective.metric == summary.key:
                return summary
        named = [summary for summary in summaries if objective.metric == summary.name]
        if len(named) == 1:
            return named[0]
        if named:
            return f"several series are called {objective.metric!r}: {', '.join(each.key for each in named)}"
        known = ", ".join(summary.key for summary in summaries[:20]) or "none"
        return f"it logged nothing called {objective.metric!r}; it has {known}"

    # Trials that do badly.

    def _prune(self, sweep: Sweep, trials: Sequence[Trial]) -> None:
        from headway.server.workers.search import is_hopeless

        curves = {trial.id: self._curve(sweep.objective, trial) for trial in trials}
        for trial in trials:
            if trial.state is TrialState.RUNNING and trial.step is None and is_hopeless(sweep, trials, trial, curves):
                step = max(curves[trial.id])
                self._end_early(trial, step, curves[trial.id][step])

    def _curve(self, objective: Objective, trial: Trial) -> Curve:
        if trial.id in self._curves:
            return self._curves[trial.id]
        curve: dict[int, float] = {}
        found = self._series(objective, trial.run_id)
        if not isinstance(found, str):
            for line in metrics.read(
                self._platform, None, trial.run_id, MetricQuery(name=found.name, stage=found.stage)
            ):
                curve.update(_by_step(line.points))
        if trial.state.finished:
            self._curves[trial.id] = curve
        return curve

    def _end_early(self, trial: Trial, step: int, value: float) -> None:
        with self._platform.storage.write() as session:
            present = session.trials.find(trial.id)
            if present is None or present.state.finished:
                return
            session.trials.put(present.evolve(step=step, value=value, reason=f"worse than most at step {step}"))
            _stop_job(session, present, "its trial does worse than most")

    def _stop(self, trials: Sequence[Trial]) -> None:
        with self._platform.storage.write() as session:
            for trial in trials:
                if not trial.state.finished:
                    _stop_job(session, trial, "its sweep was stopped")

    # The next trials.

    def _begin(self, sweep: Sweep, trials: list[Trial]) -> list[Trial]:
        """``trials`` and those that were made now."""
        failures = sum(trial.state is TrialState.FAILED for trial in trials)
        if sweep.max_failures is not None and failures > sweep.max_failures:
            return trials
        while len(trials) < sweep.trials:
            if sum(not trial.state.finished for trial in trials) >= sweep.parallel:
                break
            try:
                made = self._make(sweep, trials, len(trials) + 1)
            except ConflictError:  # another server was faster; the next look sees what it made
                break
            if made is None:
                break
            trials.append(made)
        return trials

    def _make(self, sweep: Sweep, trials: Sequence[Trial], number: int) -> Trial | None:
        """The next trial and its job, together or not at all; None when the sweep has been stopped meanwhile."""
        from headway.server.workers.search import choose

        chosen = choose(sweep, trials, number)
        with self._platform.storage.write() as session:
            present = session.sweeps.find(sweep.id)
            if present is None or present.state is not SweepState.RUNNING:
                return None
            job, secrets = actions.trial_job(session, sweep, number, dict(chosen))
            trial = Trial(
                id=new_id("trl"),
                sweep_id=sweep.id,
                project_id=sweep.project_id,
                number=number,
                parameters=chosen,
                job_id=job.id,
                run_id=job.run_id,
                created_at=now(),
            )
            session.trials.add(trial)
            job = jobs.add(self._platform, session, job, secrets)
            relink(session, job)
            session.jobs.put(jobs.move(session, job, JobState.QUEUED, f"trial {number} of {sweep.name}"))
        return trial

    # The sweep.

    def _conclude(self, sweep: Sweep, trials: Sequence[Trial]) -> None:
        """Write down how it stands, and whether it has ended."""
        counts = dict(Counter(trial.state for trial in trials))
        best = best_of(sweep.objective, trials)
        with self._platform.storage.write() as session:
            present = session.sweeps.find(sweep.id)
            if present is None or present.state.finished:
                return
            changed = present.evolve(counts=counts, best=best)
            if not counts.get(TrialState.RUNNING):
                changed = _ended(changed, len(trials))
            if changed == present:
                return
            session.sweeps.put(changed)
            if changed.state is not present.state:
                record(
                    session,
                    "sweep.ended",
                    sweep.id,
                    project_id=sweep.project_id,
                    message=changed.reason,
                    state=changed.state.value,
                    best=None if best is None else best.number,
                )
        if changed.state.finished:
            for trial in trials:
                self._curves.pop(trial.id, None)


def best_of(objective: Objective, trials: Sequence[Trial]) -> Trial | None:
    """The trial that did best; of equals the first."""
    done = [trial for trial in trials if trial.state is TrialState.SUCCEEDED and trial.value is not None]
    sign = 1 if objective.goal == "minimize" else -1
    return min(done, key=lambda trial: (sign * (trial.value or 0.0), trial.number), default=None)


def _ended(sweep: Sweep, made: int) -> Sweep:
    """``sweep`` with no trial running: ended, unless more are to be made."""
    failures = sweep.counts.get(TrialState.FAILED, 0)
    if sweep.state is SweepState.STOPPING:
        return sweep.evolve(state=SweepState.STOPPED, finished_at=now())
    if sweep.max_failures is not None and failures > sweep.max_failures:
        reason = f"{failures} trials failed; at most {sweep.max_failures} may"
        return sweep.evolve(state=SweepState.FAILED, reason=reason, finished_at=now())
    if made < sweep.trials:
        return sweep
    if sweep.best is None:
        return sweep.evolve(state=SweepState.FAILED, reason="no trial has a value", finished_at=now())
    reason = f"trial {sweep.best.number} did best: {sweep.objective.metric} = {sweep.best.value:g}"
    return sweep.evolve(state=SweepState.SUCCEEDED, reason=reason, finished_at=now())


def _by_step(points: Points) -> dict[int, float]:
    floats, whole = points.bits.view(np.float64), points.bits.view(np.int64)
    values = np.where(points.is_integer, whole, floats)
    placed = points.has_step & np.isfinite(values)
    return {int(step): float(value) for step, value in zip(points.step[placed], values[placed], strict=True)}


def _ending(platform: Platform, session: Session, trial: Trial) -> tuple[bool, Job | None]:
    """Whether a trial's job has ended, and everything that its log may tell was read; and the job, if it is still there."""
    job, run = session.jobs.find(trial.job_id), session.runs.find(trial.run_id)
    if job is None or run is None:
        return True, None
    return job.finished and monitors.have_read_all(platform, session, run), job


def _stop_job(session: Session, trial: Trial, reason: str) -> None:
    job = session.jobs.find(trial.job_id)
    if job is None or job.finished or job.stop_requested:
        return
    try:
        jobs.ask_to_stop(session, job, actor="platform", reason=reason)
    except HeadwayError:
        logger.exception("trial %s: its job could not be stopped; it is tried again", trial.id)


def _number(summary: SeriesSummary, statistic: str) -> float | None:
    found: Mapping[str, float | int | str | None] = {
        "last": summary.last,
        "min": summary.min,
        "max": summary.max,
        "mean": summary.mean,
    }
    value = found[statistic]
    return None if value is None else float(value)


def _json_number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
