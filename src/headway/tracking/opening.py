"""``headway.init``: where a process takes its seat in a run."""

from __future__ import annotations

import inspect
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from headway.domain.base import did_you_mean, new_id, now
from headway.domain.folders import ConflictStrategy
from headway.domain.names import alternative_name, friendly_name
from headway.errors import ConflictError, HeadwayError, InvalidRequestError, NotFoundError
from headway.journal.writer import new_writer_id
from headway.tracking import endings
from headway.tracking.attachments import attach
from headway.tracking.config import Options, read_options
from headway.tracking.connection import RunConnection
from headway.tracking.directory import RUNS, RunDirectory, Target, fallback_base
from headway.tracking.launch import Gathering, Place, find_place
from headway.tracking.progress import in_job, say
from headway.tracking.recorder import Author
from headway.tracking.run import RunIdentity, TrackedRun
from headway.tracking.share import Seat, Share

_current_run: TrackedRun | None = None


def current_run() -> TrackedRun | None:
    """The run that this process began last, unless it has ended."""
    return _current_run if _current_run is not None and _current_run.is_running else None


def init(
    project: str | None = None,
    name: str | None = None,
    config: Mapping[str, Any] | Any | None = None,
    *,
    id: str | None = None,
    resume: str | None = None,
    folder: str = "",
    make_folder: bool = False,
    labels: Iterable[str] = (),
    description: str = "",
    alternative_name: str | None = None,
    mode: str | None = None,
    dir: str | Path | None = None,
    rank: int | None = None,
    conflict_strategy: str | None = None,
    config_path: str | Path | None = None,
    capture: bool = True,
    console: bool = True,
    system: bool = True,
    durability: str = "process",
    url: str | None = None,
    token: str | None = None,
    **unknown: Any,
) -> TrackedRun:
    """Begin a run, or go on with one. Nothing is waited for: a server hears of it in the background.

    Args:
        project: Where it belongs. Without it: HEADWAY_PROJECT, the project file, the profile, else ``default``.
        name: For people; two words are made up without one.
        config: Hyperparameters: a mapping, argparse namespace, dataclass or pydantic model of JSON values.
        id: Of the run. One that lies in ``dir`` already is continued as its next attempt. Without it: HEADWAY_RUN_ID,
            the run of this process's launch, else a new one.
        resume: None or ``allow`` continues a run with that ``id`` where there is one; ``must`` needs one and ``never``
            refuses one (these two ask the server, when there is one).
        folder: In the project, as ``experiments/2026``.
        make_folder: Make the folder when the server lacks it.
        labels: Words to find it by.
        description: Text about it.
        alternative_name: Made of name and time without one.
        mode: ``online`` (also sent to the server while it runs), ``offline``, or ``disabled`` (nothing happens at all).
            Without it: HEADWAY_MODE, else ``online`` where a server is configured.
        dir: Where runs lie. Without it: HEADWAY_DIR, else ``.headway``.
        rank: Of this process among those that share the run. Without it: RANK, SLURM_PROCID or OMPI_COMM_WORLD_RANK.
        conflict_strategy: What another run of that name in that folder means: ``skip``, ``error``, ``new`` or
            ``replace``. With ``error`` the server is asked at once, for 10 s at most.
        config_path: A YAML file with any of these keywords; it beats the arguments.
        capture: Note code, packages and machine.
        console: Copy stdout and stderr.
        system: Sample processor, memory, disk, network and GPUs.
        durability: ``process`` or ``power``, see :class:`headway.journal.writer.Durability`.
        url: The server. Without it: as for :class:`headway.Client`.
        token: The secret to present to it; the same.
        unknown: Nothing else is known.

    Raises:
        InvalidRequestError: A keyword or value is wrong; said before anything is made or sent.
        NotFoundError, ConflictError: ``resume`` or ``conflict_strategy`` say so.
        ConfigurationError: ``mode="online"`` and no server is configured.
    """
    given = {key: value for key, value in locals().items() if key not in ("unknown", "config_path")}
    return begin(read_options(given, unknown, config_path))


def keywords(given: Mapping[str, Any]) -> dict[str, Any]:
    """Init's keywords with their defaults, but for those that are given; an unknown one is refused."""
    parameters = inspect.signature(init).parameters
    known = {
        name: parameter.default for name, parameter in parameters.items() if name not in ("unknown", "config_path")
    }
    for word in given:
        if word not in known:
            raise InvalidRequestError(f"A run has no keyword {word!r}.", hint=did_you_mean(word, sorted(known)))
    return {**known, **given}


def begin(options: Options, directory: RunDirectory | None = None) -> TrackedRun:
    """A run as the options want it; in ``directory``, or below their base."""
    global _current_run
    if options.mode == "disabled":
        return TrackedRun(_identity(options, options.id or new_id("run"), {}), options.config, None)
    opening = _take_place(options, directory)
    share, identity, config = _started(options, opening)
    run = TrackedRun(identity, config, share)
    _check_conflict(options, run, share, opening)
    _current_run = run
    endings.watch(run)
    if opening.leads and run.url is not None and not in_job():
        say(f"run {run.name} ({run.id}) is tracked at {run.url}")
    run._attach(attach(share, options))
    return run


@dataclass(frozen=True)
class _Opening:
    """What was found and claimed on the disk."""

    directory: RunDirectory
    place: Place
    attempt: int
    is_new: bool
    named: bool
    """Whether the run gets a name of ours when none was given: nobody else can have named it."""

    @property
    def leads(self) -> bool:
        return self.place.rank == 0


def _take_place(options: Options, directory: RunDirectory | None) -> _Opening:
    """Claim an attempt of the run; below another base when the one that was asked for takes nothing."""
    place = find_place(options.rank)
    try:
        return _claimed(options, place, options.base, directory)
    except OSError as error:
        base = fallback_base(options.base) or options.base
        say(f"{options.base} takes no data ({error.strerror}): the run is written to {base}.")
        try:
            return _claimed(options, place, base)
        except OSError:
            # Nothing can be kept on any disk: what is logged is counted, and training goes on.
            directory = RunDirectory(options.base / RUNS / (options.id or new_id("run")))
            return _Opening(directory, place, options.attempt or 0, is_new=True, named=True)


def _claimed(options: Options, place: Place, base: Path, known: RunDirectory | None = None) -> _Opening:
    token, run = f"process {new_writer_id()}", options.id
    if place.launch is not None:
        gathering = Gathering(base, place.launch)
        number = gathering.join(place.rank)
        token = gathering.attempt_token(number)
        run = run or gathering.run_id(number)
    directory = known or RunDirectory(base / RUNS / (run or new_id("run")))
    _check_resume(options, directory, token)
    directory.make()
    earlier = directory.latest_attempt()
    attempt = directory.claim_attempt(token, options.attempt)
    is_new = earlier < 0 or (attempt == 0 and directory.attempts().get(0) == token)
    named = is_new and (
        options.id is None or (options.resume in (None, "never") and "HEADWAY_RUN_ID" not in os.environ)
    )
    return _Opening(directory, place, attempt, is_new, named)


def _check_resume(options: Options, directory: RunDirectory, token: str) -> None:
    if options.resume not in ("must", "never") or options.id is None:
        return
    others = {number: made_by for number, made_by in directory.attempts().items() if made_by != token}
    exists = bool(others) or (directory.exists() and not directory.attempts())
    if not exists and options.mode == "online" and options.connection is not None:
        with closing(RunConnection(options.connection, None)) as asked:
            exists = asked.find(options.id) is not None
    if exists and options.resume == "never":
        raise ConflictError(f"There is a run {options.id!r} already.", hint="Pass another id, or resume='allow'.")
    if not exists and options.resume == "must":
        raise NotFoundError(
            f"There is no run {options.id!r} to resume.", hint=f"It was looked for in {directory.path}."
        )


def _identity(options: Options, run: str, known: Mapping[str, Any]) -> RunIdentity:
    """Who the run is: what was given beats what its facts said before."""
    found = {**known, **options.identity}
    return RunIdentity(
        id=run,
        project=options.project,
        name=str(found.get("name") or friendly_name(run)),
        alternative_name=found.get("alternative_name"),
        folder=str(found.get("folder") or ""),
        labels=tuple(found.get("labels") or ()),
        description=str(found.get("description") or ""),
    )


def _started(options: Options, opening: _Opening) -> tuple[Share, RunIdentity, dict[str, Any]]:
    """The share in which everything that is known of the run at its beginning is said."""
    known: dict[str, Any] = {}
    config = options.config
    if not opening.is_new:
        from headway.tracking.local import read_facts

        facts = read_facts(opening.directory)
        known, config = facts.identity, {**facts.config, **options.config}
    identity = _identity(options, opening.directory.id, known)
    if (
        opening.is_new
        and opening.leads
        and identity.alternative_name is None
        and (opening.named or "name" in options.identity)
    ):
        identity = replace(identity, alternative_name=alternative_name(identity.name))
    seat = _seat(options, opening, identity)
    share = Share(seat)
    _note_target(options, opening)
    share.recorder.fact({"type": "state", "state": "running"})
    if opening.leads:
        _introduce(share, options, opening, identity)
    return share, identity, config


def _check_conflict(options: Options, run: TrackedRun, share: Share, opening: _Opening) -> None:
    """With the strategy ``error`` the script ends where the name is taken, so this one is asked at once."""
    connection = share.seat.connection
    if connection is None or options.identity.get("conflict_strategy") is not ConflictStrategy.ERROR:
        return
    try:
        connection.register()
    except (ConflictError, NotFoundError) as error:
        share.forget_server()
        run.finish("error", reason=error.message)
        _take_back(opening)
        raise
    except HeadwayError:
        pass  # it is asked again in the background


def _take_back(opening: _Opening) -> None:
    """Remove the directory that was made for a run which is refused, unless others have a part in it."""
    if opening.is_new and opening.place.launch is None:
        shutil.rmtree(opening.directory.path, ignore_errors=True)


def _seat(options: Options, opening: _Opening, identity: RunIdentity) -> Seat:
    connection = None
    if options.mode == "online" and options.connection is not None:
        of_a_job = bool(os.environ.get("HEADWAY_JOB_ID")) and os.environ.get("HEADWAY_RUN_ID") == identity.id
        more = {"alternative_name": identity.alternative_name} if identity.alternative_name else {}
        creation = options.creation(identity.id, identity.name, **more, created_at=now())
        connection = RunConnection(options.connection, None if of_a_job else creation)
    author = Author(identity.id, opening.attempt, opening.place.role, options.durability)
    return Seat(opening.directory, author, options.project, opening.leads, connection)


def _note_target(options: Options, opening: _Opening) -> None:
    url = options.connection.url if options.connection is not None else None
    try:
        strategy = options.identity.get("conflict_strategy")
        make_folder = bool(options.identity.get("make_folder"))
        opening.directory.write_target(
            Target(url, options.project, make_folder=make_folder, conflict_strategy=strategy and strategy.value)
        )
    except (HeadwayError, OSError):
        pass  # `headway sync` asks for the server again


def _introduce(share: Share, options: Options, opening: _Opening, identity: RunIdentity) -> None:
    """Say who the run is; of a run that is continued only what was given anew."""
    said = {name: value for name, value in options.identity.items() if name not in ("make_folder", "conflict_strategy")}
    if opening.named:
        said["name"] = identity.name
    if opening.is_new and identity.alternative_name is not None:
        said["alternative_name"] = identity.alternative_name
    said["project"] = options.project
    share.recorder.fact({"type": "identity", **{key: _listed(value) for key, value in said.items()}})
    if options.config:
        from headway.tracking.hyperparameters import recorded

        share.recorder.fact({"type": "config", "set": recorded(options.config)})


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def rejoin(path: str | None, attempt: int, role: str, run: str, project: str) -> TrackedRun:
    """A run that another process of this machine sent here: the same attempt, with streams of this process's own."""
    if path is None:
        return TrackedRun(RunIdentity(run, project, friendly_name(run)), {}, None)
    from headway.tracking.local import read_facts

    directory = RunDirectory(Path(path))
    facts = read_facts(directory)
    options = Options(project=project, mode="offline", base=directory.path.parent.parent, config={})
    share = Share(Seat(directory, Author(run, attempt, role), project, leads=False), inherited=True)
    found = TrackedRun(_identity(options, run, facts.identity), facts.config, share)
    endings.watch(found)
    return found
