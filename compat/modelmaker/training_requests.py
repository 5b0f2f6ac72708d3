"""A checked Estimator as a Headway job: what the SDK's ``client.jobs.create`` takes."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from headway.domain.catalogue import CatalogueKind
from headway.domain.parameters import input_variable
from headway.domain.redaction import redact_values
from headway.estimator.forms import Settings
from modelmaker import catalogues
from modelmaker.logger import logger
from modelmaker.session import S3, Session
from modelmaker.training_checks import BASIC, CUSTOM, DOCKER, PRESET, Given, is_local, session_of

REQUEST_LABEL = "modelmaker.request"
"""The request in ModelMaker's own words, as JSON without secrets, so that it can be shown as it was given."""
PLATFORM_TIME = timezone(timedelta(hours=8))
IN_OUTPUT = 'HEADWAY_MODEL_DIR="$HEADWAY_OUTPUT_DIR" exec "$@"'
"""A preset algorithm leaves its model in the output, which is where ModelMaker's models are made of."""


def job_fields(given: Given, inputs: str | None) -> dict[str, Any]:
    """All of the job but its name. Local code is uploaded to the session's bucket on the way."""
    session = session_of(given)
    code = None if given.framework_type == PRESET else _sent_code(session, given.code_dir)
    machine = catalogues.find(
        session,
        CatalogueKind.TRAIN_MACHINE,
        given.train_instance_type,
        "train_instance_type is not exist, please check it!",
    )
    fields: dict[str, Any] = {
        **_program(given, session, code),
        "count": int(given.train_instance_count),
        "instance_type": machine.instance_type,
        "workspace_gib": float(given.volume_size),
        "output_path": given.output_path,
        "monitors": _monitors(given.monitors or ()),
        "register_model": False,
        "labels": {REQUEST_LABEL: json.dumps(redact_values(_words(given, inputs, code)), default=str)},
    }
    if given.max_runtime is not None:
        fields["max_runtime"] = given.max_runtime
    _add_files(fields, given, inputs)
    return fields


def _program(given: Given, session: Session, code: str | None) -> dict[str, Any]:
    """What is run. Where that cannot be, a program that says why and fails."""
    parameters = {item["name"]: item["value"] for item in given.hyperparameters or ()}
    git, reason = _git(given.git_info) if code is None else None, None
    if code is None and given.git_info is not None and git is None:
        reason = "git_info has no url, so there is no code to run."
    if code is not None and code.startswith(DOCKER):
        reason = f"The code_dir {code!r} is not fetched here; use s3://bucket/directory/."
    environment = dict(_variable(item) for item in given.env or ())
    if given.framework_type == CUSTOM and not given.user_command:
        reason = reason or "An image's own command is not run here; set user_command."
    if reason is not None and given.framework_type != PRESET:
        return {"command": _failing(reason), "environment": environment}
    settings = Settings(
        image=given.user_image_url if given.framework_type == CUSTOM else None,
        command=_command(given) if given.framework_type == CUSTOM else None,
        framework=given.framework if given.framework_type == BASIC else None,
        entry_point=given.boot_file if given.framework_type == BASIC else None,
        source_dir=None if given.framework_type == PRESET else code,
        git=None if given.framework_type == PRESET else git,
        algorithm=given.algorithm if given.framework_type == PRESET else None,
        hyperparameters=parameters,
    )
    settings.check()
    fields = settings.program(session.client).fields
    if given.framework_type == PRESET:
        fields["command"] = ["/bin/sh", "-c", IN_OUTPUT, "sh", *fields["command"]]
    if given.framework_type == CUSTOM:
        fields["parameter_arguments"] = bool(parameters)
    return {**fields, "environment": environment}


def _command(given: Given) -> list[str]:
    return [given.user_command, *shlex.split(given.user_command_args or "")]


def _failing(reason: str) -> list[str]:
    return ["/bin/sh", "-c", 'echo "$1" >&2; exit 2', "sh", reason]


def _git(info: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Where code is cloned from, as Headway's Estimator takes it; None without a URL."""
    if info is None or not info.get("url"):
        return None
    words = {"url": info["url"], "ref": info.get("branch") or info.get("ref")}
    credentials = {"username": info.get("username") or "", "password": info["password"]} if info.get("password") else {}
    return {**{key: value for key, value in words.items() if value}, **credentials}


def _variable(item: Mapping[str, Any]) -> tuple[str, Any]:
    """Name and value; the value's key may have any name, as it has in the documentation."""
    (value,) = (value for key, value in item.items() if key != "name")
    return item["name"], value


def _monitors(given: Any) -> list[dict[str, Any]]:
    """Both forms: ``{name, regular, sample}``, and names to expressions."""
    found: list[dict[str, Any]] = []
    for item in given:
        if "regular" in item:
            found.append({"name": item["name"], "regex": item["regular"], "sample": item.get("sample")})
        else:
            found += [{"name": name, "regex": regular} for name, regular in item.items()]
    return found


def _add_files(fields: dict[str, Any], given: Given, inputs: str | None) -> None:
    """Inputs and the model to go on from. ``docker://`` is kept as given: a program that opens it finds no such file."""
    sources = {} if inputs is None else {"train": inputs}
    for item in given.input_files or ():
        if str(item["path"]).startswith(DOCKER):
            fields["environment"][input_variable(str(item["name"]))] = item["path"]
            logger.warning("input_files: %s is kept as given and not fetched.", item["path"])
        else:
            sources[item["name"]] = item["path"]
    if sources:
        fields["inputs"] = sources
    if given.init_model is None:
        return
    if given.init_model.startswith(DOCKER):
        fields["environment"]["HEADWAY_INIT_MODEL_DIR"] = given.init_model
        logger.warning("init_model: %s is kept as given and not fetched.", given.init_model)
    else:
        fields["init_model"] = given.init_model


def _sent_code(session: Session, code: str | None) -> str | None:
    """The address of the code; a local directory is uploaded to ``<bucket>/<MMDD-HHMMSS>/`` first."""
    if not code or not is_local(code):
        return code or None
    stamp = datetime.now(PLATFORM_TIME).strftime("%m%d-%H%M%S")
    target, number = f"{S3}{session.bucket}{stamp}/", 1
    objects = session.client.objects
    bucket = (session.bucket or "").partition("/")[0]
    objects.create_bucket(bucket, project=session.project)
    while any(objects.list(target, project=session.project, limit=1)):
        number += 1
        target = f"{S3}{session.bucket}{stamp}-{number}/"
    objects.upload(Path(code), target, project=session.project)
    return target


def _words(given: Given, inputs: str | None, code: str | None) -> dict[str, Any]:
    """The body that ModelMaker's own SDK sent, without the password of the repository."""
    git = None if given.git_info is None else {k: v for k, v in given.git_info.items() if k != "password"}
    words = {
        "type": given.framework_type,
        "resourceId": given.train_instance_type,
        "volumeSize": given.volume_size,
        "instance": given.train_instance_count,
        "maxRuntime": given.max_runtime,
        "description": given.description or given.job_description,
        "resourcePoolType": given.resource_pool_type or "PUBLIC_POOL",
        "customResource": given.custom_resource,
        "dataUrl": inputs,
        "output": given.output_path,
        "codeUrl": code,
        "codeVersion": given.code_version,
        "gitInfo": git,
        "frameworkId": given.framework,
        "algorithmId": given.algorithm,
        "startup": given.boot_file,
        "startupType": given.boot_type,
        "parameters": _pairs({item["name"]: item["value"] for item in given.hyperparameters or ()}),
        "modeUrl": given.init_model,
        "inputFiles": given.input_files,
        "monitors": given.monitors,
        "mirrorUrl": given.user_image_url,
        "envs": _pairs(dict(_variable(item) for item in given.env or ())),
        "command": given.user_command,
        "args": given.user_command_args,
    }
    return {key: value for key, value in words.items() if value is not None}


def _pairs(values: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Names and values as a list, without the values that are secrets by their names."""
    return [{"name": name, "value": value} for name, value in redact_values(values).items()] or None
