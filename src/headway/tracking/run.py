"""A run as the program that trains holds it."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from html import escape
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

from headway.domain.base import did_you_mean, now, parse_request
from headway.domain.runs import RunState, RunUpdate
from headway.errors import ConflictError, InvalidRequestError
from headway.tracking import endings
from headway.tracking.attachments import Attachments
from headway.tracking.hyperparameters import Config, recorded
from headway.tracking.recorder import Recorder
from headway.tracking.share import FINISH_SECONDS, Share

if TYPE_CHECKING:
    from headway.domain.facts import ArtifactMark
    from headway.tracking.artifact import Artifact

QUICK_SECONDS = 2.0
"""How long a forked child waits for its rest; the process that forked it sends what is left."""
ENDS = {"complete": RunState.COMPLETE, "error": RunState.ERROR}

log = logging.getLogger(__name__)


@dataclass
class RunIdentity:
    """What people know a run by."""

    id: str
    project: str
    name: str
    alternative_name: str | None = None
    folder: str = ""
    labels: tuple[str, ...] = ()
    description: str = ""


class TrackedRun:
    """One run being tracked, made by :func:`headway.init`.

    ::

        with headway.init(project="digits", config={"lr": 0.1}) as run:
            for step in range(100):
                run.log({"loss": loss}, step=step)

    Every call returns once the data survives the death of the process; the network is never waited for. May be used
    from several threads, in signal handlers, and in forked children, which write streams of their own.
    """

    def __init__(self, identity: RunIdentity, config: Mapping[str, Any], share: Share | None) -> None:
        self._identity = identity
        self._share = share
        self._recorder: Recorder | _Nowhere = share.recorder if share is not None else _Nowhere(None)
        self._state = RunState.RUNNING
        self._started_at = now()
        self._finished_at: datetime | None = None
        self._attachments = Attachments()
        self._marks: list[tuple[str, ArtifactMark]] = []
        self._config = Config(config, self._note_config)

    # What it is

    @property
    def id(self) -> str:
        """The platform's id, unique on a server; the name of the run's directory."""
        return self._identity.id

    @property
    def name(self) -> str:
        """For people; need not be unique."""
        return self._identity.name

    @property
    def alternative_name(self) -> str | None:
        """``<name>_<date>_<time>_<suffix>``, unique in practice; None in a rank that does not lead."""
        return self._identity.alternative_name

    @property
    def project(self) -> str:
        return self._identity.project

    @property
    def folder(self) -> str:
        return self._identity.folder

    @property
    def labels(self) -> tuple[str, ...]:
        return self._identity.labels

    @property
    def description(self) -> str:
        return self._identity.description

    @property
    def config(self) -> Config:
        """The hyperparameters."""
        return self._config

    @config.setter
    def config(self, values: Mapping[str, Any]) -> None:
        fresh = Config(values).as_dict()
        for key in [key for key in self._config if key not in fresh]:
            del self._config[key]
        self._config.update(fresh)

    hparams = config

    @property
    def state(self) -> RunState:
        """``running`` until :meth:`finish`."""
        return self._state

    @property
    def is_running(self) -> bool:
        """Whether it can be logged to."""
        return self._state is RunState.RUNNING

    @property
    def started_at(self) -> datetime:
        """When this process began with it."""
        return self._started_at

    @property
    def finished_at(self) -> datetime | None:
        return self._finished_at

    @property
    def attempt(self) -> int:
        """0 at first, one more for each time that the run is continued."""
        return self._share.seat.author.attempt if self._share is not None else 0

    @property
    def url(self) -> str | None:
        """Where the run can be looked at; None without a server."""
        connection = self._share.seat.connection if self._share is not None else None
        return connection.run_url(self.id) if connection is not None else None

    @property
    def directory(self) -> Path | None:
        """Where its journals lie on this machine; None for a disabled run."""
        return self._share.seat.directory.path if self._share is not None else None

    @property
    def health(self) -> dict[str, int]:
        """Counters of this process: ``dropped`` points, ``sync_errors``, ``unsent_bytes``, ``unsent_blobs``."""
        return self._share.health() if self._share is not None else {}

    def __repr__(self) -> str:
        return f"TrackedRun(id={self.id!r}, name={self.name!r}, state={self._state.value!r})"

    def _repr_html_(self) -> str:
        fields = {"project": self.project, "id": self.id, "state": self._state.value, "directory": self.directory}
        rows = "".join(
            f"<tr><th style='text-align:left'>{key}</th><td style='text-align:left'>{escape(str(value))}</td></tr>"
            for key, value in fields.items()
        )
        link = f"<p><a href='{escape(self.url, quote=True)}'>{escape(self.url)}</a></p>" if self.url else ""
        return f"<table><caption>{escape(self.name)}</caption>{rows}</table>{link}"

    # What is said of it

    def log(
        self,
        metrics: Mapping[str, Any] | None = None,
        step: int | None = None,
        *,
        type: str | None = None,
        stage: str | None = None,
        epoch: float | None = None,
    ) -> None:
        """Log values of metrics, and media, as they are at this moment.

        Args:
            metrics: Name to value: Python numbers, one-element NumPy, Torch, TensorFlow or JAX arrays, or objects of
                :mod:`headway.tracking.media`.
            step: Any whole number, in any order, or none.
            type: The same as ``stage``.
            stage: ``train``, ``val``, ``test``, or any other word.
            epoch: Any number, or none.

        Raises:
            InvalidRequestError: A value, name or step cannot be stored exactly; nothing was logged.
            ConflictError: The run is finished.
        """
        if type is not None:
            stage = _one_word(type, stage)
        try:
            self._recorder.write(metrics, step, stage=stage, epoch=epoch)
        except InvalidRequestError:
            if self._share is None or not isinstance(metrics, Mapping) or not may_hold_media(metrics):
                raise
            from headway.tracking.mixed import log_mixed

            log_mixed(self._share, metrics, step, stage, epoch)

    def log_at(
        self,
        time: float,
        metrics: Mapping[str, Any],
        step: int | None = None,
        *,
        type: str | None = None,
        stage: str | None = None,
        epoch: float | None = None,
    ) -> None:
        """Log numbers that were measured at another time than now: what another tracker kept, a file of old results.

        Args:
            time: Seconds since 1970 (UTC), as ``time.time()`` gives them.
            metrics, step, type, stage, epoch: As for :meth:`log`, without media.

        Raises:
            InvalidRequestError: The time, or a value, name or step cannot be stored exactly; nothing was logged.
            ConflictError: The run is finished.
        """
        if type is not None:
            stage = _one_word(type, stage)
        self._recorder.write_at(time, metrics, step, stage=stage, epoch=epoch)

    def set(
        self, *, name: str | None = None, labels: Iterable[str] | None = None, description: str | None = None
    ) -> None:
        """Change what people know the run by; what is None stays."""
        words = None if labels is None else labels if isinstance(labels, str) else tuple(labels)
        given = {"name": name, "labels": words, "description": description}
        request = parse_request(RunUpdate, {key: value for key, value in given.items() if value is not None})
        said = request.model_dump(exclude_unset=True, mode="json")
        if said:
            self._fact({"type": "identity", **said})
            self._identity = replace(self._identity, **request.model_dump(exclude_unset=True))

    def mark_input(self, thing: Any) -> None:
        """Say that the run was made from ``thing``; marking it again changes nothing.

        Args:
            thing: What :func:`headway.tracking.marks.resolve_mark` takes: an artifact, an artifact or model version, a
                reference such as ``artifact:digits:v3``. An artifact that lies here is sent along.

        Raises:
            InvalidRequestError: It is something else.
        """
        self._mark("input", thing)

    def mark_output(self, thing: Any) -> None:
        """Say that the run made ``thing``; as for :meth:`mark_input`."""
        self._mark("output", thing)

    def log_artifact(self, path: str | Path, name: str | None = None, *, type: str = "artifact") -> Artifact:
        """Keep a file, or a folder with what is in it, as an artifact that the run made.

        Args:
            path: The file or folder; its content as it is now is copied.
            name: What the artifact is called; the name of the file or folder without it.
            type: What it is, for example ``model`` or ``dataset``.

        Raises:
            InvalidRequestError: The name cannot be one, or something lies there that cannot be copied.
        """
        from headway.tracking.artifact import Artifact

        source = Path(path)
        artifact = Artifact(source.stem if name is None else name, type=type)
        if source.is_dir():
            artifact.add_dir(source)
        else:
            artifact.add_file(source)
        self.mark_output(artifact)
        return artifact

    def upload(
        self,
        folder: str = "",
        make_folder: bool = False,
        conflict_strategy: str = "new",
        *,
        url: str | None = None,
        token: str | None = None,
    ) -> None:
        """Send what there is of it up to now; the run may be running, offline, or finished. See :func:`headway.upload`."""
        from headway.tracking.loading import upload

        if self.directory is None:
            raise ConflictError("A disabled run has nothing to send.")
        upload(self.directory, folder, make_folder, conflict_strategy, url=url, token=token)

    def finish(
        self, state: str | RunState = "complete", reason: str | None = None, timeout: float = FINISH_SECONDS
    ) -> None:
        """End the run. Calling it again does nothing.

        Args:
            state: ``complete`` or ``error``.
            reason: Why it ended badly, in words.
            timeout: Seconds to wait at most until the server holds everything. What is left then stays on the disk, and
                a line says how to send it. The network failing is never raised.

        Raises:
            InvalidRequestError: The state is none of the two.
        """
        end = _end(state)
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout >= 0:
            raise InvalidRequestError(f"timeout must be at least 0 seconds, not {timeout!r}.")
        self._finish(end, reason, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        reason = None
        if isinstance(error, SystemExit):
            reason = endings.exit_reason(error.code)
        elif error is not None and not isinstance(error, GeneratorExit):
            reason = endings.describe(error)
            self._quote(error)
        try:
            self._finish(RunState.ERROR if reason is not None else RunState.COMPLETE, reason, FINISH_SECONDS)
        except KeyboardInterrupt:
            if error is None:
                raise

    def _quote(self, error: BaseException) -> None:
        """Have the traceback in the run's log: the interpreter prints it only when the run has ended."""
        if self._attachments.quote is not None:
            self._attachments.quote("".join(traceback.format_exception(error)))

    def __del__(self) -> None:
        if getattr(self, "_config", None) is not None:  # it was made in full
            self._end_quietly(None, None)

    def __reduce__(self) -> tuple[Any, ...]:
        """For spawned processes: they write streams of their own, into the same attempt."""
        from headway.tracking.opening import rejoin

        if self._share is None:
            return rejoin, (None, 0, "", self.id, self.project)
        author = self._share.seat.author
        return rejoin, (str(self.directory), author.attempt, author.role, self.id, self.project)

    # How it is done

    def _attach(self, attachments: Attachments) -> None:
        """Have something stopped when the run ends."""
        self._attachments.stops += attachments.stops
        self._attachments.quote = attachments.quote or self._attachments.quote

    def _end_with_program(self, reason: str | None) -> None:
        """The interpreter ends. See :mod:`headway.tracking.endings`."""
        self._end_quietly(reason, FINISH_SECONDS)

    def _enter_child(self) -> None:
        """This process is a fork: what it logs goes to streams of its own, which are opened with the first row."""
        if self._share is not None and self._state is RunState.RUNNING:
            self._share = self._share.in_child()
            self._recorder = self._share.recorder
            self._attachments = Attachments()

    def _end_quietly(self, reason: str | None, timeout: float | None) -> None:
        while self._state is RunState.RUNNING:
            try:
                self._finish(RunState.ERROR if reason is not None else RunState.COMPLETE, reason, timeout)
            except KeyboardInterrupt:
                timeout = 0.0 if timeout is not None else None
            except Exception:
                log.exception("run %s could not be finished", self.id)

    def _finish(self, state: RunState, reason: str | None, timeout: float | None) -> None:
        """Without a timeout nothing is waited for now: the program's end does."""
        if self._state is not RunState.RUNNING:
            return
        try:
            hurried = endings.despite_interrupts(lambda: self._close(state, reason))
            self._deliver(timeout, hurried)
        except KeyboardInterrupt:
            if self._share is not None:
                endings.despite_interrupts(self._share.say_unsent)
                self._share.stop()
            raise
        if hurried:
            raise KeyboardInterrupt

    def _close(self, state: RunState, reason: str | None) -> None:
        """Write the end down. Calling it again goes on where the last call was interrupted."""
        self._state, self._finished_at = state, self._finished_at or now()
        endings.forget(self)
        self._recorder = _Nowhere(self.id)
        self._attachments.stop()
        if self._share is not None:
            said = {"type": "state", "state": state.value, "reason": reason}
            facts = [] if self._share.inherited else [{key: value for key, value in said.items() if value is not None}]
            self._share.close(facts)

    def _deliver(self, timeout: float | None, hurried: bool) -> None:
        share = self._share
        if share is None:
            return
        if timeout is None:
            share.let_go()
            return
        try:
            share.deliver(0.0 if hurried else min(timeout, QUICK_SECONDS) if share.inherited else timeout)
        finally:
            share.stop()

    def _fact(self, fact: Mapping[str, Any]) -> None:
        if self._state is not RunState.RUNNING:
            raise _finished(self.id)
        if self._share is not None:
            self._share.recorder.fact(fact)

    def _mark(self, side: str, thing: Any) -> None:
        from headway.tracking.marks import resolve_mark

        mark = resolve_mark(thing)
        if (side, mark) not in self._marks:
            self._fact({"type": side, "artifact": mark.model_dump(mode="json", exclude_none=True)})
            self._marks.append((side, mark))
            if self._share is not None:
                self._share.carry_artifact(side, mark)

    def _note_config(self, changed: dict[str, Any], gone: list[str]) -> None:
        fact: dict[str, Any] = {"type": "config"}
        if changed:
            fact["set"] = recorded(changed)
        if gone:
            fact["delete"] = gone
        self._fact(fact)


def may_hold_media(metrics: Mapping[str, Any]) -> bool:
    """Whether any value is of a kind that no number has; the modules that know media are imported only then."""
    return any(not isinstance(value, (int, float, str, bytes, type(None))) for value in metrics.values())


def _one_word(type_: str, stage: str | None) -> str:
    if stage is not None and stage != type_:
        raise InvalidRequestError(
            f"type is {type_!r} and stage is {stage!r}, and both mean the same.", hint="Give one of them."
        )
    return type_


def _end(state: str | RunState) -> RunState:
    word = state.value if isinstance(state, RunState) else state
    if word not in ENDS:
        raise InvalidRequestError(
            f"A run ends as 'complete' or 'error', not {state!r}.", hint=did_you_mean(str(word), ENDS)
        )
    return ENDS[word]


def _finished(run: str) -> ConflictError:
    return ConflictError(
        f"The run {run!r} is finished.", hint="Continue it with headway.load_run, or begin another one."
    )


class _Nowhere:
    """Where rows of a disabled run go (``finished`` is None), and those of one that is finished do not."""

    def __init__(self, finished: str | None) -> None:
        self._finished = finished

    def write(self, *_values: Any, **_more: Any) -> None:
        if self._finished is not None:
            raise _finished(self._finished)

    write_at = write
