"""Everything that is known of one model version, gathered: what it is, where it came from, who uses it."""

from __future__ import annotations

from html import escape
from typing import Any

from headway.domain.artifacts import ArtifactVersion
from headway.domain.base import Record
from headway.domain.deployments import Deployment
from headway.domain.jobs import Job
from headway.domain.lineage import Node, NodeKind
from headway.domain.models import GitInfo, ModelVersion
from headway.domain.runs import Run
from headway.domain.workspaces import GitWorkspace
from headway.errors import NotFoundError
from headway.sdk.resources.lineage import LineageResource
from headway.sdk.session import Session, segment

API = "/api/v1"
_RECORDS: dict[NodeKind, tuple[type[ArtifactVersion] | type[ModelVersion], str]] = {
    NodeKind.ARTIFACT_VERSION: (ArtifactVersion, "artifact-versions"),
    NodeKind.MODEL_VERSION: (ModelVersion, "model-versions"),
}


class UsedData(Record):
    """Something that a model version was made of."""

    name: str
    """What people call it: ``digits:v3``, ``s3://bucket/prefix``."""
    id: str | None = None
    digest: str | None = None
    """SHA-256 over its files; None for what the server does not hold."""


class ModelVersionPage(Record):
    """A model version with the run and the job that made it, its data and the deployments that serve it. What was
    deleted since, or may not be seen, is None or missing.
    """

    version: ModelVersion
    aliases: tuple[str, ...] = ()
    run: Run | None = None
    job: Job | None = None
    code: GitInfo | None = None
    """Of the version; without one where the job's workspace came from."""
    data: tuple[UsedData, ...] = ()
    deployments: tuple[Deployment, ...] = ()

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(name)}</td><td style='text-align:left'>{escape(text)}</td></tr>"
            for name, text in self.summary().items()
        )
        return f"<table><caption>{escape(self.version.uri)}</caption>{rows}</table>"

    def summary(self) -> dict[str, str]:
        """A line a thing, for people."""
        found: dict[str, Any] = {
            "version": self.version.version_name or self.version.version,
            "aliases": ", ".join(self.aliases),
            "files": f"{len(self.version.files)} ({self.version.size} bytes)",
            "run": None if self.run is None else f"{self.run.name} ({self.run.id})",
            "job": None if self.job is None else f"{self.job.name} ({self.job.id})",
            "commit": None if self.code is None else self.code.commit,
            "data": ", ".join(used.name for used in self.data),
            "deployments": ", ".join(deployment.name for deployment in self.deployments),
        }
        return {name: str(value) for name, value in found.items() if value not in (None, "")}


def version_page(session: Session, version: ModelVersion, aliases: tuple[str, ...]) -> ModelVersionPage:
    """Ask for everything around ``version``."""
    run = None if version.run_id is None else _found(session, Run, f"{API}/runs/{segment(version.run_id, 'a run')}")
    job = None if version.job_id is None else _found(session, Job, f"{API}/jobs/{segment(version.job_id, 'a job')}")
    query = {"model_version": version.id, "project": version.project_id}
    return ModelVersionPage(
        version=version,
        aliases=aliases,
        run=run,
        job=job,
        code=version.git or _workspace(job),
        data=_data(session, version, job),
        deployments=tuple(session.pages(Deployment, f"{API}/deployments", query, None)),
    )


def _workspace(job: Job | None) -> GitInfo | None:
    workspace = None if job is None else job.spec.workspace
    return GitInfo(url=workspace.url, commit=workspace.ref) if isinstance(workspace, GitWorkspace) else None


def _data(session: Session, version: ModelVersion, job: Job | None) -> tuple[UsedData, ...]:
    """What lineage leads up to, and inputs of the job that are in no lineage."""
    graph = LineageResource(session).trace(version, direction="up")
    found = [_used(session, node) for node in graph.upstream if node.kind in (*_RECORDS, NodeKind.EXTERNAL)]
    known = {used.digest for used in found} | {used.name for used in found}
    for given in job.spec.inputs.values() if job is not None else ():
        name = given.resolved or given.source
        if given.digest not in known and name not in known:
            found.append(UsedData(name=name, digest=given.digest))
    return tuple(found)


def _used(session: Session, node: Node) -> UsedData:
    if node.kind not in _RECORDS:
        return UsedData(name=node.label)
    record, place = _RECORDS[node.kind]
    version = _found(session, record, f"{API}/{place}/{segment(node.id, 'a version')}")
    digest = None if version is None else version.digest
    return UsedData(name=node.label, id=node.id, digest=digest)


def _found(session: Session, record: type[Any], path: str) -> Any:
    try:
        return session.get(record, path)
    except NotFoundError:
        return None
