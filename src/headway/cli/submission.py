"""headway job submit: a file, flags, or both."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from headway.cli.following import follow_job, watch_job
from headway.cli.options import JsonOption, ProjectOption, connected, pairs, secret_values
from headway.cli.output import print_json, say

Text = str | None


def submit(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[-- COMMAND ARGS…]", help="The program and its arguments.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="A job file (YAML); flags win over it.")] = None,
    name: Annotated[Text, typer.Option("--name", help="What to call it.")] = None,
    project: ProjectOption = None,
    command: Annotated[
        Text, typer.Option("--command", help="A line for /bin/sh, instead of arguments after --.")
    ] = None,
    count: Annotated[int | None, typer.Option("--count", help="How many replicas, for roles that do not say.")] = None,
    instance_type: Annotated[Text, typer.Option("--instance-type", help="A named size of machine.")] = None,
    image: Annotated[Text, typer.Option("--image", help="A container image.")] = None,
    env: Annotated[
        list[str] | None, typer.Option("--env", "-e", metavar="KEY=VALUE", help="A variable; KEY alone passes it on.")
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option("--secret", metavar="KEY", help="A variable whose value nobody sees; repeatable."),
    ] = None,
    workspace: Annotated[
        Text, typer.Option("--workspace", "-w", help="A folder, an archive, a git URL or s3://bucket/prefix.")
    ] = None,
    working_directory: Annotated[Text, typer.Option("--working-directory", help="Below the workspace.")] = None,
    model_path: Annotated[Text, typer.Option("--model-path", help="Where the program leaves its model.")] = None,
    model_name: Annotated[Text, typer.Option("--model-name", help="What to call that model.")] = None,
    model_type: Annotated[Text, typer.Option("--model-type", help="What kind of model it is, in your words.")] = None,
    input: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="NAME=SOURCE",
            help="Files for data/NAME: artifact:…, models:/…, runs:/…, s3://…, https://… or a local path; repeatable.",
        ),
    ] = None,
    init_model: Annotated[
        Text, typer.Option("--init-model", metavar="SOURCE", help="A model to go on training from.")
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", metavar="NAME=VALUE", help="A parameter, typed as YAML does; repeatable."),
    ] = None,
    param_arguments: Annotated[
        bool, typer.Option("--param-arguments", help="Give parameters to the command as --name value, too.")
    ] = False,
    param_variables: Annotated[
        bool, typer.Option("--param-variables", help="Give parameters to the program as plain variables, too.")
    ] = False,
    output: Annotated[
        Text, typer.Option("--output", metavar="s3://…", help="Where the output files are named when it has succeeded.")
    ] = None,
    workspace_gib: Annotated[
        float | None, typer.Option("--workspace-gib", help="GiB that a replica's workspace may hold.")
    ] = None,
    max_runtime: Annotated[float | None, typer.Option("--max-runtime", help="Seconds it may run.")] = None,
    retries: Annotated[int | None, typer.Option("--retries", help="Further attempts after a failure.")] = None,
    priority: Annotated[int | None, typer.Option("--priority", help="Higher leaves the queue first.")] = None,
    no_start: Annotated[bool, typer.Option("--no-start", help="Record it; `headway job start` queues it.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Print its log to the end; exit as it ends.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Print its states to the end; exit as it ends.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Submit a job.

    Examples:

      headway job submit -f job.yaml --follow

      headway job submit --name digits --workspace . --model-path model -- python train.py --epochs 5

      headway job submit --name digits --workspace . --input train=artifact:digits:latest --param lr=0.1 -- python train.py
    """
    flags: dict[str, Any] = {
        "name": name,
        "project": project,
        "command": _command(arguments, command),
        "count": count,
        "instance_type": instance_type,
        "container": image,
        "workspace": workspace,
        "working_directory": working_directory,
        "model_path": model_path,
        "model_name": model_name,
        "model_type": model_type,
        "init_model": init_model,
        "parameter_arguments": param_arguments or None,
        "parameter_variables": param_variables or None,
        "output_path": output,
        "workspace_gib": workspace_gib,
        "max_runtime": max_runtime,
        "retries": retries,
        "priority": priority,
        "start": False if no_start else None,
    }
    values = _merged(file, {key: value for key, value in flags.items() if value is not None}, env, secret)
    _add(values, "inputs", _sources(input or []))
    _add(values, "parameters", _parameters(param or []))
    _send(values, file, follow=follow, watch=watch, as_json=as_json)


def _command(arguments: list[str] | None, command: str | None) -> str | list[str] | None:
    from headway.errors import InvalidRequestError

    if arguments and command is not None:
        raise InvalidRequestError("The command was given twice.", hint="Use --command, or arguments after --.")
    return command if command is not None else arguments or None


def _merged(
    file: Path | None, flags: dict[str, Any], env: list[str] | None, secret: list[str] | None
) -> dict[str, Any]:
    """The file's fields with the flags over them; variables are added to the file's."""
    from headway.cli.files import read_job_file
    from headway.errors import InvalidRequestError

    values = read_job_file(file) if file is not None else {}
    values.update(flags)
    if "name" not in values:
        raise InvalidRequestError("The job has no name.", hint="Write --name NAME, or a name in the job file.")
    if env:
        values["environment"] = {**(values.get("environment") or {}), **pairs(env, "--env")}
    names = [*values.pop("secrets", []), *(secret or [])]
    if names:
        values["secrets"] = secret_values(names)
    return values


def _add(values: dict[str, Any], field: str, given: dict[str, Any]) -> None:
    """Options add to what the file has, and win over it."""
    from headway.errors import InvalidRequestError

    if not given:
        return
    there = values.get(field) or {}
    if not isinstance(there, dict):
        raise InvalidRequestError(f"{field} must be a mapping of names to values.")
    values[field] = {**there, **given}


def _sources(texts: list[str]) -> dict[str, Any]:
    return dict(_named(text, "--input", "NAME=SOURCE") for text in texts)


def _parameters(texts: list[str]) -> dict[str, Any]:
    pairs = [_named(text, "--param", "NAME=VALUE") for text in texts]
    return {name: typed_value(name, text) for name, text in pairs}


def typed_value(name: str, text: str) -> Any:
    """``0.1`` as a number, ``[1, 2]`` as a list, ``adam`` as a text: what JSON or YAML make of it. YAML 1.1 alone would
    take ``1e-3`` for a text and ``2026-01-02`` for a date, which JSON has not."""
    import json

    from headway.documents import parse_yaml

    try:
        return json.loads(text)
    except ValueError:
        found = parse_yaml(text, f"--param {name}")
    return found if found is None or isinstance(found, (str, int, float, list, dict)) else text


def _named(text: str, option: str, form: str) -> tuple[str, str]:
    from headway.errors import InvalidRequestError

    name, marker, value = text.partition("=")
    if not marker or not name:
        raise InvalidRequestError(f"{option} {text}: it has no name and value.", hint=f"Write {option} {form}.")
    return name, value


def _send(values: dict[str, Any], file: Path | None, *, follow: bool, watch: bool, as_json: bool) -> None:
    from headway.cli.files import named_after
    from headway.errors import InvalidRequestError

    project = values.pop("project", None)
    with connected(project) as client:
        try:
            job = client.jobs.create(values.pop("name"), **values)
        except InvalidRequestError as error:
            raise named_after(error, file) from None
        if as_json and not (follow or watch):
            print_json(job)
        elif not as_json:
            say(f"{job.id} {job.state.value}")
        if watch:
            watch_job(client, job.id, as_json=as_json)
        elif follow:
            follow_job(client, job.id, as_json=as_json)
