"""What an event may be about."""

from __future__ import annotations

from headway.domain.users import Permission
from headway.server.context import Caller, Platform


def subject_finished(platform: Platform, caller: Caller, subject_id: str) -> bool:
    """Whether ``subject_id`` is a job that has ended, so that no event about it follows by itself. Of a job that the
    caller may not see, nothing is said."""
    with platform.storage.read() as session:
        job = session.jobs.find(subject_id)
    return job is not None and caller.may(Permission.READ, job.project_id) and job.finished
