"""What an event may be about."""

from __future__ import annotations

from headway.server.context import Platform


def subject_finished(platform: Platform, subject_id: str) -> bool:
    """Whether ``subject_id`` is a job that has ended, so that no event about it follows by itself."""
    with platform.storage.read() as session:
        job = session.jobs.find(subject_id)
        return job is not None and job.finished
