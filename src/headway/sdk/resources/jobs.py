"""client.jobs: what is executed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from headway.domain.base import parse_request
from headway.domain.events import Event
from headway.domain.files import FileEntry
from headway.domain.jobs import Failure, Job, JobCreate, JobState
from headway.domain.logs import LogRow
from headway.domain.replicas import Attempt
from headway.errors import JobFailedError, WaitTimeoutError
from headway.sdk.downloads import download_files
from headway.sdk.inputs import InputSource, LocalInputs
from headway.sdk.resources.artifacts import Artifacts
from headway.sdk.resources.base import Resource
from headway.sdk.resources.blobs import Blobs
from headway.sdk.resources.events import follow_events
from headway.sdk.resources.logs import read_logs
from headway.sdk.resources.monitors import check_specs
from headway.sdk.transport import Response
from headway.sdk.workspaces import WorkspaceInput, describe_workspace, send_workspace

STATE_CHANGED = "job.state_changed"
NOT_CONFUSED = "It goes on all the same; wait again, or stop it with `headway job stop`."


class Jobs(Resource):
    path = "/api/v1/jobs"
    noun = "job"

    def create(
        self,
        name: str,
        command: str | Sequence[str] | None = None,
        *,
        workspace: WorkspaceInput = None,
        inputs: Mapping[str, InputSource] | None = None,
        init_model: InputSource | None = None,
        project: str | None = None,
        **fields: Any,
    ) -> Job:
        """Submit a job; it is queued at once unless ``start=False``.

        Args:
            name: Any text; several jobs may share it.
            command: A text is run by ``/bin/sh -c``, a list as it is. It is the default of every role.
            workspace: A folder, an archive, a git URL, ``{"git": url, "ref": ref}``, ``s3://bucket/prefix`` or a Workspace
                record.
            inputs: By name the files that lie in ``data/<name>`` when the program starts: a source
                (``artifact:digits:latest``, ``models:/…``, ``runs:/…``, ``s3://…``, ``https://…``), a version's record, or
                a local file or folder, which becomes a version of the artifact ``<job>-<name>``; the same content is not
                sent again.
            init_model: A source or path in the same forms, for HEADWAY_INIT_MODEL_DIR.
            project: Id or name; the client's own without it.
            fields: The other fields of :class:`headway.domain.jobs.JobCreate`: ``roles``, ``count``, ``container``,
                ``instance_type``, ``environment``, ``secrets``, ``parameters``, ``parameter_arguments``,
                ``parameter_variables``, ``output_path``, ``workspace_gib``, ``monitors``, ``model_path``, ``model_type``,
                ``model_name``, ``max_runtime`` (seconds), ``retries``, ``priority``, ``start``, …

        Raises:
            InvalidRequestError: A field is wrong or unknown; found before anything is sent.
            WorkspaceError: The local files cannot be read.
        """
        values = {"name": name, "project": self._project(project), **fields}
        if command is not None:
            values["command"] = command
        local = LocalInputs.take(values, inputs or {}, init_model)
        request = parse_request(JobCreate, values, what="The job")
        check_specs(request.monitors)
        meant = describe_workspace(workspace)
        record = send_workspace(Blobs(self._session), meant, project=request.project)
        if record is not None:
            request = request.model_copy(update={"workspace": record})
        request = local.send(Artifacts(self._session), request)
        return self._session.create(Job, self.path, request)

    def get(self, job: str) -> Job:
        """By id."""
        return self._session.get(Job, self._address(job))

    def list(
        self,
        *,
        project: str | None = None,
        state: JobState | str | None = None,
        name: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Job]:
        """Jobs, newest first."""
        query = {"project": self._scope(project), "state": state, "name": name}
        return self._session.pages(Job, self.path, query, limit)

    def start(self, job: str) -> Job:
        """Queue a job that was made with ``start=False``."""
        return self._session.act(Job, "POST", self._address(job, "start"))

    def stop(self, job: str, *, hard: bool = False) -> Job:
        """Ask a job to end: SIGTERM, the grace period, SIGKILL; with ``hard`` without the grace."""
        return self._session.act(Job, "POST", self._address(job, "stop"), query={"hard": hard})

    def retry(self, job: str) -> Job:
        """Queue a finished job again, as a new attempt."""
        return self._session.act(Job, "POST", self._address(job, "retry"))

    def delete(self, job: str) -> None:
        """Delete a finished job with its logs and outputs. Models that it registered stay."""
        self._session.call("DELETE", self._address(job))

    def wait(self, job: str, *, timeout: float | None = None, raise_on_failure: bool = True) -> Job:
        """The job once it has finished.

        Args:
            job: Its id.
            timeout: Seconds to wait at most.
            raise_on_failure: Raise unless it succeeded.

        Raises:
            JobFailedError: It failed, was stopped or was lost; names the replica that failed first and its last lines.
            WaitTimeoutError: It has not finished in time.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        found = self.get(job)
        while not found.finished:
            for _ in self.watch(job, timeout=None if deadline is None else _left(deadline, found)):
                pass
            found = self.get(job)
        if raise_on_failure and found.state is not JobState.SUCCEEDED:
            raise _failure(found)
        return found

    def watch(self, job: str, *, timeout: float | None = None) -> Iterator[Event]:
        """Every state move of the job, each once and in order, from its creation to the move that ends it.

        An event's ``data`` has ``from``, ``to`` and ``reason``. The iterator waits for moves to come, also while
        the server is away; after ``timeout`` seconds it raises WaitTimeoutError.
        """
        query: dict[str, object] = {"subject": self.get(job).id, "type": STATE_CHANGED, "after": 0}
        for event in follow_events(self._session, query, timeout=timeout, what=f"The end of job {job!r}"):
            if event.type == STATE_CHANGED:
                yield event

    def logs(
        self,
        job: str,
        *,
        follow: bool = False,
        replica: str | None = None,
        attempt: int | None = None,
        tail: int | None = None,
        timeout: float | None = None,
    ) -> Iterator[LogRow]:
        """What the replicas printed.

        Args:
            job: Its id.
            follow: Wait for rows to come, before the start too, until nothing ever follows: the job has finished
                and what it leaves (its model) is registered.
            replica: Only this one, as ``worker-1``.
            attempt: One attempt only; all of them without it.
            tail: Begin with the last so many lines.
            timeout: With ``follow``: seconds after which WaitTimeoutError is raised.
        """
        path = self._address(job, "logs")
        return read_logs(
            self._session, path, follow=follow, replica=replica, attempt=attempt, tail=tail, timeout=timeout
        )

    def attempts(self, job: str) -> Sequence[Attempt]:
        """The tries so far."""
        return self._session.items(Attempt, self._address(job, "attempts"))

    def download_outputs(self, job: str, directory: str | Path) -> Sequence[Path]:
        """Bring the files that the job left in its output directory; returns where they lie now."""
        found = self.get(job)

        def fetch(entry: FileEntry) -> Response:
            path = self._address(found.id, "outputs", quote(entry.path))
            return self._session.open("GET", path, headers={"Accept": "*/*"})

        return download_files(found.outputs, directory, fetch)


def _left(deadline: float, job: Job) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise WaitTimeoutError(f"Job {job.name!r} ({job.id}) is still {job.state.value!r}.", hint=NOT_CONFUSED)
    return left


def _failure(job: Job) -> JobFailedError:
    failure = job.failure
    message = f"Job {job.name!r} ({job.id}) {job.state.value}: {_cause(failure) or job.reason or 'no reason is known'}"
    lines = failure.last_lines if failure else ()
    if lines:
        message = "\n  ".join((f"{message}\n  Its last lines:", *lines))
    details = failure.model_dump(mode="json") if failure else {"reason": job.reason}
    return JobFailedError(message, details={"job": job.id, "state": job.state.value, **details}, job=job)


def _cause(failure: Failure | None) -> str:
    if failure is None:
        return ""
    rank = "" if failure.rank is None else f" (rank {failure.rank})"
    if failure.replica is None or failure.reason.startswith(failure.replica):
        return failure.reason
    return f"{failure.replica}{rank}: {failure.reason}"
