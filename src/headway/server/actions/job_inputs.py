"""What a job is made with: sources as what they mean, parameters without secrets, commands with their arguments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headway.domain.base import now
from headway.domain.jobs import Job, JobCreate, JobInput, JobSpec
from headway.domain.lineage import Link, NodeKind, Relation
from headway.domain.parameters import with_arguments
from headway.domain.projects import Project
from headway.domain.redaction import redact_url, redact_values
from headway.domain.replicas import INIT_MODEL, InputFiles
from headway.domain.sources import ARTIFACT, MODELS, RUNS
from headway.domain.users import Permission
from headway.domain.workspaces import FilesWorkspace, ObjectsWorkspace
from headway.errors import HeadwayError, InvalidRequestError, NotFoundError
from headway.server.actions import artifacts, blobs, sources
from headway.server.actions.lookup import find_project
from headway.server.actions.sources import Resolved
from headway.server.context import Caller, Platform
from headway.storage.base import Session

PARAMETERS = "parameters"
INPUT_PREFIX = "input."
"""Names of secrets: all parameters as JSON, and the full address of an input."""


@dataclass
class Prepared:
    """A job's spec as it is recorded, and what must be written beside it."""

    spec: JobSpec
    secrets: dict[str, str] = field(default_factory=dict)
    resolved: list[Resolved] = field(default_factory=list)
    manifests: dict[str, int] = field(default_factory=dict)
    """Manifest blobs that were stored for it, and their sizes."""

    def hold(self, session: Session, project_id: str) -> None:
        """Say that everything is in use, in the transaction that makes the job.

        Raises:
            NotFoundError, InvalidRequestError: Something was deleted since it was resolved.
        """
        for digest, size in self.manifests.items():
            session.blobs.add(project_id, digest, size, now())
        for found in self.resolved:
            if found.kind is NodeKind.ARTIFACT_VERSION and session.artifact_versions.find(found.node_id) is None:
                raise NotFoundError(f"{found.uri} was deleted just now.")
            if found.files:
                blobs.check_held(session, project_id, found.files)

    def link(self, session: Session, job: Job) -> None:
        for found in self.resolved:
            _link(session, job, found.kind, found.node_id, found.label)


def prepare(platform: Platform, caller: Caller, request: JobCreate) -> Prepared:
    """Resolve everything that a request names. Manifests are stored, which nothing refers to until the job is made.

    Raises:
        InvalidRequestError, NotFoundError: A source is wrong; it is named.
    """
    spec, secrets = with_parameters(request.to_spec(), request.parameters)
    prepared = Prepared(spec, secrets)
    changes: dict[str, Any] = {}
    if request.inputs or request.init_model or isinstance(request.workspace, ObjectsWorkspace):
        with platform.storage.read() as session:
            project = find_project(session, caller, request.project, Permission.WRITE)
        changes |= _Resolver(platform, caller, project, prepared).resolve(request)
    prepared.spec = prepared.spec.model_copy(update=changes)
    return prepared


def with_parameters(spec: JobSpec, parameters: dict[str, Any]) -> tuple[JobSpec, dict[str, str]]:
    """``spec`` with these parameters, in its commands too where it says so; and the secrets to keep beside it where some of
    them are masked."""
    masked: dict[str, Any] = redact_values(parameters)
    changes: dict[str, Any] = {"parameters": masked}
    if spec.parameter_arguments:
        changes["roles"] = {
            name: role.model_copy(update={"command": with_arguments(role.command, masked)})
            for name, role in spec.roles.items()
        }
    secrets = {PARAMETERS: json.dumps(parameters)} if masked != parameters else {}
    return spec.model_copy(update=changes), secrets


@dataclass(frozen=True)
class _Resolver:
    platform: Platform
    caller: Caller
    project: Project
    prepared: Prepared

    def resolve(self, request: JobCreate) -> dict[str, Any]:
        """Inputs, init model and workspace as they are recorded."""
        inputs = {name: self._input(name, f"inputs.{name}", given) for name, given in request.inputs.items()}
        changes: dict[str, Any] = {"inputs": inputs}
        if request.init_model is not None:
            changes["init_model"] = self._input(INIT_MODEL, "init_model", request.init_model)
        if isinstance(request.workspace, ObjectsWorkspace):
            changes["workspace"] = self._workspace(request.workspace)
        return changes

    def _input(self, name: str, place: str, given: JobInput) -> JobInput:
        found = self._resolved(place, given.source)
        manifest = found.manifest
        if found.files:
            manifest, size = sources.write_manifest(self.platform, found.files)
            self.prepared.manifests[manifest] = size
        source = given.source
        if found.manifest is None and not found.files and redact_url(source) != source:
            self.prepared.secrets[INPUT_PREFIX + name] = source
            source = redact_url(source)
        return JobInput(source=source, resolved=found.uri, digest=found.digest, manifest=manifest)

    def _workspace(self, given: ObjectsWorkspace) -> FilesWorkspace:
        found = self._resolved("workspace", given.address)
        return FilesWorkspace(files=found.files, source=found.uri)

    def _resolved(self, place: str, source: str) -> Resolved:
        try:
            found = sources.resolve(self.platform, self.caller, self.project, source)
        except (InvalidRequestError, NotFoundError) as error:
            raise type(error)(f"{place}: {error.message}", hint=error.hint, details=error.details) from None
        self.prepared.resolved.append(found)
        return found


def relink(session: Session, job: Job) -> None:
    """Link a job's new run to what the record says of its inputs, as far as that is still there."""
    for found in (*job.spec.inputs.values(), *([job.spec.init_model] if job.spec.init_model else ())):
        uri = found.resolved or found.source
        try:
            if uri.startswith(ARTIFACT):
                version = artifacts.named_version(session, uri, job.project_id)
                label = f"{version.name}:v{version.version}"
                _link(session, job, NodeKind.ARTIFACT_VERSION, version.id, label)
            elif uri.startswith(MODELS):
                name, _, number = uri.removeprefix(MODELS).rpartition("/")
                model = session.models.by_name(job.project_id, name)
                made = None if model is None else session.model_versions.by_number(model.id, int(number))
                if made is not None:
                    _link(session, job, NodeKind.MODEL_VERSION, made.id, f"{made.name}:v{made.version}")
            elif uri.startswith(RUNS):
                run_id = uri.removeprefix(RUNS).partition("/")[0]
                _link(session, job, NodeKind.RUN, run_id, run_id)
            else:
                _link(session, job, NodeKind.EXTERNAL, *sources.external_node(uri, found.digest))
        except HeadwayError:
            continue


def _link(session: Session, job: Job, kind: NodeKind, other_id: str, label: str) -> None:
    session.links.put(
        Link(
            project_id=job.project_id,
            run_id=job.run_id,
            kind=kind,
            other_id=other_id,
            relation=Relation.INPUT,
            label=label,
            created_at=now(),
        )
    )


def parameters_of(spec: JobSpec, secrets: Mapping[str, str]) -> dict[str, Any]:
    """The parameters as the program gets them."""
    return dict(json.loads(secrets[PARAMETERS])) if PARAMETERS in secrets else dict(spec.parameters)


def command_of(command: Sequence[str], spec: JobSpec, secrets: Mapping[str, str]) -> tuple[str, ...]:
    """The command as it is run: a recorded one may have a mask where an argument is a secret."""
    if not spec.parameter_arguments or PARAMETERS not in secrets:
        return tuple(command)
    arguments = with_arguments((), parameters_of(spec, secrets))
    return (*command[: len(command) - len(arguments)], *arguments)


def files_of(spec: JobSpec, secrets: Mapping[str, str]) -> tuple[tuple[InputFiles, ...], InputFiles | None]:
    """Inputs and init model as agents bring them."""
    inputs = tuple(_files(name, given, secrets) for name, given in spec.inputs.items())
    return inputs, None if spec.init_model is None else _files(INIT_MODEL, spec.init_model, secrets)


def _files(name: str, given: JobInput, secrets: Mapping[str, str]) -> InputFiles:
    if given.manifest is not None:
        return InputFiles(name=name, manifest=given.manifest)
    return InputFiles(name=name, uri=secrets.get(INPUT_PREFIX + name, given.source), digest=given.digest)
