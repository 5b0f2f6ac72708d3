"""What ``headway.init`` was asked for: arguments, a file that beats them, the environment, and defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headway.config import Connection, default_project, look_up
from headway.domain.base import did_you_mean, parse_request
from headway.domain.runs import RunCreate
from headway.errors import ConfigurationError, InvalidRequestError
from headway.journal.writer import Durability
from headway.tracking.directory import base_directory, check_run_id
from headway.tracking.hyperparameters import Config, recorded

MODES = ("online", "offline", "disabled")
RESUMES = ("allow", "must", "never")
DEFAULT_PROJECT = "default"
SWITCHES = ("make_folder", "capture", "console", "system")
IDENTITY = ("name", "alternative_name", "folder", "make_folder", "conflict_strategy", "labels", "description")
"""Fields of :class:`headway.domain.runs.RunCreate` that init's keywords are passed on to."""


@dataclass(frozen=True)
class Options:
    """Init's keywords, checked. ``identity`` holds those of :data:`IDENTITY` that were given."""

    project: str
    mode: str
    base: Path
    config: dict[str, Any]
    identity: Mapping[str, Any] = field(default_factory=dict)
    id: str | None = None
    resume: str | None = None
    rank: int | None = None
    attempt: int | None = None
    capture: bool = True
    console: bool = True
    system: bool = True
    durability: Durability = Durability.PROCESS
    connection: Connection | None = field(default=None, repr=False)

    def creation(self, run: str, name: str | None, **more: Any) -> RunCreate:
        """The request that makes the run on a server."""
        values = {**self.identity, **more, "id": run, "project": self.project}
        if name is not None:
            values["name"] = name
        return parse_request(RunCreate, {**values, "config": recorded(self.config)}, what="The run")


def read_options(arguments: Mapping[str, Any], unknown: Mapping[str, Any], config_path: Any = None) -> Options:
    """The options that the keywords of ``init`` come to; nothing is sent or made yet.

    Raises:
        InvalidRequestError: A keyword or a key of the file is unknown or wrong; it is named.
        ConfigurationError: ``mode="online"`` and no server is configured, or a setting is wrong.
    """
    for word in unknown:
        raise InvalidRequestError(f"init has no keyword {word!r}.", hint=did_you_mean(word, sorted(arguments)))
    values = dict(arguments)
    if config_path is not None:
        values.update(_file_values(Path(config_path), values))
    return _checked(values)


def _file_values(path: Path, known: Mapping[str, Any]) -> dict[str, Any]:
    from headway.documents import read_yaml

    document = read_yaml(path)
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise InvalidRequestError(f"{str(path)!r} must hold keywords of init and their values.")
    for key in document:
        if key not in known:
            raise InvalidRequestError(
                f"{str(path)!r}: unknown key {key!r}.", hint=did_you_mean(str(key), sorted(known))
            )
    return document


def _checked(values: Mapping[str, Any]) -> Options:
    for name in SWITCHES:
        if not isinstance(values[name], bool):
            raise InvalidRequestError(f"{name} must be True or False, not {values[name]!r}.")
    mode = _mode(values["mode"])
    connection = None if mode == "disabled" else look_up(values["url"], values["token"], values["project"])
    if mode == "online" and connection is None:
        raise ConfigurationError(
            "mode is 'online' and no server is configured.", hint="Set HEADWAY_URL, or pass url=…."
        )
    project = (connection and connection.project) or default_project(values["project"]) or DEFAULT_PROJECT
    identity = {name: values[name] for name in IDENTITY if values[name] not in (None, "", (), False)}
    options = Options(
        project=project,
        mode=mode or ("online" if connection else "offline"),
        base=base_directory(values["dir"]),
        config=_config(values["config"]),
        identity=identity,
        id=_run_id(values["id"]),
        resume=_resume(values["resume"], values["id"]),
        rank=values["rank"],
        attempt=_attempt(),
        capture=values["capture"],
        console=values["console"],
        system=values["system"],
        durability=_durability(values["durability"]),
        connection=connection,
    )
    request = options.creation(options.id or "run", None)
    return _tidied(options, request)


def _tidied(options: Options, request: RunCreate) -> Options:
    """The identity as the request understood it: folders without slashes at the ends, lists as tuples."""
    from dataclasses import replace

    return replace(options, identity={name: getattr(request, name) for name in options.identity})


def _mode(given: Any) -> str | None:
    source, mode = ("mode", given) if given is not None else ("HEADWAY_MODE", os.environ.get("HEADWAY_MODE") or None)
    if mode is not None and mode not in MODES:
        raise InvalidRequestError(
            f"{source} must be one of {', '.join(MODES)}, not {mode!r}.", hint=did_you_mean(str(mode), MODES)
        )
    return mode


def _resume(given: Any, run: Any) -> str | None:
    if given is not None and given not in RESUMES:
        raise InvalidRequestError(
            f"resume must be None or one of {', '.join(RESUMES)}, not {given!r}.",
            hint=did_you_mean(str(given), RESUMES),
        )
    if given == "must" and run is None and not os.environ.get("HEADWAY_RUN_ID"):
        raise InvalidRequestError("resume='must' needs the id of a run.", hint="Pass id=…, or set HEADWAY_RUN_ID.")
    return given if given is None else str(given)


def _run_id(given: Any) -> str | None:
    run = given if given is not None else os.environ.get("HEADWAY_RUN_ID") or None
    return None if run is None else check_run_id(run)


def _attempt() -> int | None:
    text = os.environ.get("HEADWAY_ATTEMPT")
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise InvalidRequestError(f"HEADWAY_ATTEMPT must be a whole number, not {text!r}.")
    return int(text)


def _durability(given: Any) -> Durability:
    try:
        return Durability(given)
    except ValueError:
        known = [policy.value for policy in Durability]
        raise InvalidRequestError(
            f"durability must be one of {', '.join(known)}, not {given!r}.", hint=did_you_mean(str(given), known)
        ) from None


def _config(given: Any) -> dict[str, Any]:
    if given is None:
        return {}
    config = Config()
    config.parse(given)
    return config.as_dict()
