"""Projects: the border of who may see and do what."""

from __future__ import annotations

from headway.domain.base import Description, Name, Record, Request, Timestamp


class Project(Record):
    """A group of jobs, runs, models and deployments with its own members. Names are unique on a server."""

    id: str
    name: str
    description: str = ""
    repository_name: str | None = None
    repository_url: str | None = None
    created_at: Timestamp
    created_by: str


class ProjectCreate(Request):
    name: Name
    description: Description = ""
    repository_name: str | None = None
    repository_url: str | None = None


class ProjectUpdate(Request):
    """Only the fields that are given change."""

    name: Name | None = None
    description: Description | None = None
    repository_name: str | None = None
    repository_url: str | None = None
