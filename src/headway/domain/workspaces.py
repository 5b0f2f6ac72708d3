"""Where a job's code comes from."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from headway.domain.base import Request
from headway.domain.files import FileEntry


class FilesWorkspace(Request):
    """A manifest of uploaded blobs: what a local folder or an archive becomes on submission."""

    kind: Literal["files"] = "files"
    files: tuple[FileEntry, ...] = ()
    source: str | None = None
    """Where the files came from, in words, for people."""


class GitWorkspace(Request):
    """A repository, fetched by the ``git`` program where the job runs."""

    kind: Literal["git"] = "git"
    url: str = Field(min_length=1, max_length=2048)
    ref: str | None = Field(default=None, max_length=512)
    """Branch, tag or commit; None is the default branch."""

    @field_validator("url")
    @classmethod
    def _plain_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if url.startswith("-") or any(ord(character) < 32 for character in url):
            raise ValueError(f"{url!r} is not a git URL")
        if parts.scheme and "://" in url and parts.scheme not in ("https", "http", "ssh", "git", "file"):
            raise ValueError(f"git URLs may use https, http, ssh, git or file, not {parts.scheme!r}")
        if "::" in url.split("/")[0]:
            raise ValueError("git remote helpers (name::address) are not allowed")
        # What stands before the @ of an https URL is often a token; with ssh it is an account's name.
        if parts.password is not None or (parts.username is not None and parts.scheme in ("http", "https")):
            raise ValueError(
                "credentials do not belong in a URL; give them as workspace_username and workspace_password"
            )
        return url

    @field_validator("ref")
    @classmethod
    def _plain_ref(cls, ref: str | None) -> str | None:
        if ref is not None and (not ref or ref.startswith("-") or any(ord(c) <= 32 for c in ref)):
            raise ValueError(f"{ref!r} is not a git branch, tag or commit")
        return ref


class ObjectsWorkspace(Request):
    """A prefix of the object area; a job records the files that it held when the job was made."""

    kind: Literal["objects"] = "objects"
    address: str = Field(min_length=1, max_length=2048, pattern=r"^s3://")


Workspace = Annotated[FilesWorkspace | GitWorkspace | ObjectsWorkspace, Field(discriminator="kind")]


class Credentials(Request):
    """A name and a secret for a git server or an image registry; never part of a record, a log or an argv."""

    username: str = ""
    password: SecretStr
