"""Train jobs and their versions: a version is a Headway job, and all of one name are a train job."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from headway.domain.base import format_time
from headway.domain.jobs import Job, JobState
from headway.domain.logs import LogRow
from headway.errors import NotFoundError
from modelmaker.exceptions import reported_as
from modelmaker.ids import JOB, to_native, to_number
from modelmaker.session import Session
from modelmaker.training_requests import REQUEST_LABEL

FAMILY_LABEL = "modelmaker.job"
"""Of a version: the number of its train job, which is that of the first version."""
MONITOR_SECONDS = 30.0
STATUSES = {
    JobState.CREATED: "STARTING",
    JobState.QUEUED: "STARTING",
    JobState.RETRYING: "STARTING",
    JobState.PREEMPTED: "STARTING",
    JobState.PROVISIONING: "DOWNLOAD_DATA",
    JobState.PROVISIONED: "DOWNLOAD_DATA",
    JobState.NETWORK_SETTING_UP: "DOWNLOAD_DATA",
    JobState.NETWORK_SETUP: "DOWNLOAD_DATA",
    JobState.RUNNING: "TRAINING",
    JobState.STOPPING: "STOPPING",
    JobState.SUCCEEDED: "FINISH",
    JobState.STOPPED: "STOPPED",
}


def status_of(job: Job) -> str:
    """ModelMaker's word for where a version is."""
    if job.state in (JobState.FAILED, JobState.LOST):
        return "STARTING_FAIL" if job.started_at is None else "TRAINING_FAIL"
    return STATUSES[job.state]


def message_of(job: Job) -> str:
    """Why it is there; of a failure with its last lines."""
    if job.failure is None:
        return job.reason
    return "\n".join((job.failure.reason or job.reason, *job.failure.last_lines))


def submit(session: Session, name: str, fields: dict[str, Any]) -> Job:
    """A new train job, or where one has this name the next version of it."""
    with reported_as("create train job error!"):
        family = family_named(session, name)
        labels = dict(fields.pop("labels"))
        if family:
            labels[FAMILY_LABEL] = str(family_number(family))
        return session.client.jobs.create(name, project=session.project, labels=labels, **fields)


def family_named(session: Session, name: str) -> list[Job]:
    """All versions of a name, oldest first."""
    return [*session.client.jobs.list(project=session.project, name=name)][::-1]


def family_number(family: Sequence[Job]) -> int:
    """The id of a train job: kept also when its first version was deleted."""
    labelled = (int(job.spec.labels[FAMILY_LABEL]) for job in family if FAMILY_LABEL in job.spec.labels)
    return next(labelled, to_number(family[0].id))


def family(session: Session, job_id: int) -> list[Job]:
    """All versions of a train job, oldest first.

    Raises:
        ApiException: There is none.
    """
    with reported_as():
        native = _native(job_id)
        try:
            found = family_named(session, session.client.jobs.get(native).name)
        except NotFoundError:
            # Its first version may have been deleted.
            found = [job for job in _jobs(session) if job.spec.labels.get(FAMILY_LABEL) == str(job_id)]
        if not found or family_number(found) != int(job_id):
            raise NotFoundError(f"There is no train job {job_id}.")
        return found


def version(session: Session, version_id: int) -> Job:
    """One version.

    Raises:
        ApiException: There is none.
    """
    with reported_as():
        return session.client.jobs.get(_native(version_id))


def _native(number: int) -> str:
    try:
        return to_native(JOB, number)
    except ValueError as error:
        raise NotFoundError(str(error)) from None


def _jobs(session: Session) -> list[Job]:
    return [*session.client.jobs.list(project=session.project)][::-1]


def listed(session: Session) -> dict[str, Any]:
    """All train jobs of the project."""
    with reported_as():
        families: dict[str, list[Job]] = {}
        for job in _jobs(session):
            families.setdefault(job.name, []).append(job)
    return {"trainTasks": [_task(found) for found in families.values()]}


def _task(found: Sequence[Job]) -> dict[str, Any]:
    newest = found[-1]
    return {
        "id": family_number(found),
        "name": newest.name,
        "status": status_of(newest),
        "versionId": to_number(newest.id),
        "createTime": format_time(found[0].created_at),
    }


def task_info(session: Session, job_id: int) -> dict[str, Any]:
    """One train job with its versions."""
    found = family(session, job_id)
    return {**_task(found), "versions": [version_words(job, job_id, number) for number, job in enumerate(found, 1)]}


def version_info(session: Session, version_id: int) -> dict[str, Any]:
    """One version, in ModelMaker's words."""
    job = version(session, version_id)
    with reported_as():
        found = family_named(session, job.name)
    number = [each.id for each in found].index(job.id) + 1
    return version_words(job, family_number(found), number)


def version_words(job: Job, job_id: int, number: int) -> dict[str, Any]:
    times = {"startTime": job.started_at, "finishTime": job.finished_at}
    return {
        **json.loads(job.spec.labels.get(REQUEST_LABEL, "{}")),
        "id": to_number(job.id),
        "versionId": to_number(job.id),
        "jobId": int(job_id),
        "name": job.name,
        "version": f"V{number:04d}",
        "status": status_of(job),
        "message": message_of(job),
        "createTime": format_time(job.created_at),
        **{key: None if moment is None else format_time(moment) for key, moment in times.items()},
    }


def rows(session: Session, version_id: int) -> list[dict[str, Any]]:
    """The log so far; ``id`` counts from 0. Of a version that has ended all of it, waiting for its last lines."""
    job = version(session, version_id)
    with reported_as():
        found = session.client.jobs.logs(job.id, follow=job.finished)
        return [_row(number, row) for number, row in enumerate(found)]


def _row(number: int, row: LogRow) -> dict[str, Any]:
    milliseconds = int(row.timestamp.timestamp() * 1000)
    return {"id": number, "content": row.message, "time": milliseconds, "nanTime": number, "replica": row.replica}


def outputs(session: Session, version_id: int) -> dict[str, Any]:
    """The files that a version left."""
    job = version(session, version_id)
    place = (job.spec.output_path or "").rstrip("/")
    named = [
        {"name": each.path, "size": each.size, "url": f"{place}/{each.path}", "digest": each.digest}
        for each in job.outputs
    ]
    return {"outputs": named}


def metrics(session: Session, version_id: int, *, system: bool = False) -> dict[str, Any]:
    """The series of a version: ``{"metrics": [{"name", "data": [{"x", "y", "time"}]}]}``. ``system``: of its machine."""
    job = version(session, version_id)
    client = session.client
    with reported_as():
        if job.finished:
            for monitor in client.monitors.list(job=job.id):
                client.monitors.wait(monitor.id, job=job.id, timeout=MONITOR_SECONDS)
        names = sorted({(each.stage, each.name) for each in client.runs.series(job.run_id) if each.system == system})
        found = [_series(session, job, stage, name, system) for stage, name in names]
    return {"metrics": found}


def _series(session: Session, job: Job, stage: str, name: str, system: bool) -> dict[str, Any]:
    series = session.client.runs.metrics(job.run_id, name, stage=stage or None, system=system)
    data = [{"x": point.step, "y": point.value, "time": point.time} for point in series]
    return {"name": series.key, "data": data}


def stop(session: Session, version_id: int) -> dict[str, Any]:
    """Ask a version to end; harmless when it has."""
    job = version(session, version_id)
    with reported_as():
        job = session.client.jobs.stop(job.id)
    return {"id": to_number(job.id), "versionId": to_number(job.id), "status": status_of(job)}


def delete(session: Session, version_id: int) -> dict[str, Any]:
    """Delete a version; one that has not ended is stopped first."""
    _delete(session, version(session, version_id))
    return {"id": version_id}


def delete_task(session: Session, job_id: int) -> dict[str, Any]:
    """Delete a train job with all its versions."""
    for job in family(session, job_id):
        _delete(session, job)
    return {"id": job_id}


def _delete(session: Session, job: Job) -> None:
    jobs = session.client.jobs
    with reported_as():
        if not job.finished and job.state is not JobState.CREATED:
            jobs.stop(job.id)
            jobs.wait(job.id, raise_on_failure=False)
        jobs.delete(job.id)


def left_model(job: Job) -> str:
    """The source of what a version left as its model: what is in its model directory, else all its output."""
    kept = any(entry.path.startswith("model/") for entry in job.outputs)
    return f"runs:/{job.run_id}/{'model' if kept else ''}"
