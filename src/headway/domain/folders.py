"""Folders of a project: where runs and artifacts are put, and what a name that is taken there means."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from pydantic import AfterValidator, Field

from headway.domain.base import Record, Request, Timestamp
from headway.domain.files import check_path


class ConflictStrategy(str, Enum):
    """What to do when a folder already holds something else of that name. The same thing again is never a conflict."""

    SKIP = "skip"
    """Upload nothing, say so, and go on."""
    ERROR = "error"
    """ConflictError."""
    NEW = "new"
    """Keep both: the new one is stored under its alternative name."""
    REPLACE = "replace"
    """Delete the old one first."""


def check_folder(path: str) -> str:
    """A folder's path: ``""`` for the project itself, else plain names with ``/`` between them.

    >>> check_folder("experiments/2026"), check_folder("/default/"), check_folder("")
    ('experiments/2026', 'default', '')
    """
    plain = path.strip("/")
    return check_path(plain) if plain else ""


FolderPath = Annotated[str, AfterValidator(check_folder)]


class Folder(Record):
    """A folder that was made. Parents of a folder are folders, too."""

    project_id: str
    path: str
    created_at: Timestamp


class FolderCreate(Request):
    """Make a folder; one that exists is given back. Missing parents are made with ``parents``, else NotFoundError."""

    path: Annotated[FolderPath, Field(min_length=1)]
    parents: bool = False
