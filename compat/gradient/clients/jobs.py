"""``client.jobs``."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from gradient import records
from gradient.builders import to_job
from gradient.connection import BaseClient
from gradient.exceptions import CREATE, DELETE, FETCH, STOP_JOB, GradientSdkError, reported_as
from gradient.logs import DEFAULT_LIMIT, follow_logs, read_logs
from gradient.records import LogRow
from gradient.submissions import given, job_values, role
from headway.domain.files import FileEntry


class JobsClient(BaseClient):
    """Single jobs. Experiments are jobs too, and are listed here with their ``experiment_id``."""

    def create(
        self,
        machine_type: str,
        container: str,
        project_id: str,
        data: Any = None,
        name: str | None = None,
        command: str | None = None,
        ports: str | None = None,
        is_public: bool | None = None,
        workspace: str | None = None,
        workspace_archive: str | None = None,
        workspace_url: str | None = None,
        working_directory: str | None = None,
        ignore_files: str | None = None,
        experiment_id: str | None = None,
        job_env: dict[str, Any] | None = None,
        use_dockerfile: bool | None = None,
        is_preemptible: bool | None = None,
        project: str | None = None,
        started_by_user_id: str | None = None,
        rel_dockerfile_path: str | None = None,
        registry_username: str | None = None,
        registry_password: str | None = None,
        cluster: str | None = None,
        cluster_id: str | None = None,
        node_attrs: dict[str, Any] | None = None,
        workspace_file_name: str | None = None,
    ) -> str:
        """A job of one replica, which starts at once; its id.

        The code comes from ``workspace`` (a local folder), ``workspace_archive`` (a local archive) or
        ``workspace_url`` (git).
        ``data`` was the body of an upload and has no effect.
        """
        values = given(locals())
        values.pop("data")
        with reported_as(CREATE):
            roles = {"worker": role(values, "", self._known_instance_types())}
            request = job_values(values, roles, kind=None, start=True)
            local = workspace or workspace_archive
            if local and local != "none":
                request["workspace"] = Path(local)
            return self._headway.jobs.create(**request).id

    def delete(self, job_id: str) -> None:
        """Forget a job that has ended, with its logs and files."""
        with reported_as(DELETE):
            self._headway.jobs.delete(job_id)

    def stop(self, job_id: str) -> None:
        """End the job's program."""
        with reported_as(STOP_JOB):
            self._headway.jobs.stop(job_id)

    def list(
        self, project_id: str | None = None, project: str | None = None, experiment_id: str | None = None
    ) -> builtins.list[records.Job]:
        """Jobs of a project (by id, or by name as ``project``), of an experiment, or all."""
        with reported_as(FETCH):
            jobs = [to_job(job) for job in self._headway.jobs.list(project=project_id or project)]
        return [job for job in jobs if experiment_id is None or job.experiment_id == experiment_id]

    def logs(self, job_id: str, line: int = 0, limit: int = DEFAULT_LIMIT) -> builtins.list[LogRow]:
        """Rows that exist now, from line number ``line`` on; a row ``PSEOF`` ends them once the log is over."""
        return read_logs(self._headway, job_id, line, limit)

    def yield_logs(self, job_id: str, line: int = 0, limit: int = DEFAULT_LIMIT) -> Iterator[LogRow]:
        """Rows as they come, to the end of the log. ``limit`` was the size of a page and has no effect here."""
        return follow_logs(self._headway, job_id, line)

    def artifacts_delete(self, job_id: str, files: str | builtins.list[str] | None = None) -> None:
        """Not offered: outputs are kept with their job, and go when the job is deleted."""
        raise GradientSdkError(
            f"{DELETE}: Headway keeps the artifacts of a job as long as the job; jobs.delete({job_id!r}) removes both."
        )

    def artifacts_get(self, job_id: str) -> dict[str, Any]:
        """Where the job's outputs are: ``folder``, and ``files`` as path to URL. Each wants the key as bearer token."""
        with reported_as(FETCH):
            job = self._headway.jobs.get(job_id)
        return {"folder": self._folder(job_id), "files": {e.path: self._folder(job_id) + e.path for e in job.outputs}}

    def artifacts_list(
        self,
        job_id: str,
        files: str | builtins.list[str] | None = None,
        size: bool = False,
        links: bool = True,
    ) -> builtins.list[dict[str, Any]]:
        """The job's outputs that match a pattern of ``files``, with ``size`` (bytes) and ``url`` as asked for."""
        with reported_as(FETCH):
            job = self._headway.jobs.get(job_id)
        return [self._artifact(job_id, entry, size, links) for entry in job.outputs if _matches(entry.path, files)]

    def _artifact(self, job_id: str, entry: FileEntry, size: bool, links: bool) -> dict[str, Any]:
        artifact: dict[str, Any] = {"file": entry.path}
        if size:
            artifact["size"] = entry.size
        if links:
            artifact["url"] = self._folder(job_id) + entry.path
        return artifact

    def _folder(self, job_id: str) -> str:
        return f"{self._headway.url}/api/v1/jobs/{job_id}/outputs/"


def _matches(path: str, files: str | builtins.list[str] | None) -> bool:
    """Whether ``files`` (patterns, as a list or with commas between them) names ``path``; None names all."""
    if files is None:
        return True
    patterns = files.split(",") if isinstance(files, str) else files
    return any(fnmatch(path, pattern.strip()) for pattern in patterns)
