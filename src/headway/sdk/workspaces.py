"""What ``workspace=`` accepts, turned into what a job keeps.

=====================================================  =================================================================
a folder's path                                        its files, without what the ignore rules keep at home
an archive's path (.zip, .tar, .tar.gz, .tgz)          its files
``https://…``, ``ssh://…``, ``git@host:path``,         a git repository, fetched where the job runs
``file:///…``, ``git+https://…@ref``, a local ``x.git``
``{"git": url, "ref": branch, tag or commit}``         the same
``s3://bucket/prefix``                                 the files that the prefix holds when the job is made
a Workspace record                                     itself
=====================================================  =================================================================
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from headway.domain.base import parse_request
from headway.domain.files import FileEntry
from headway.domain.objects import SCHEME
from headway.domain.workspaces import FilesWorkspace, GitWorkspace, ObjectsWorkspace, Workspace
from headway.errors import InvalidRequestError, WorkspaceError
from headway.sdk.archives import SUFFIXES, is_archive, read_archive
from headway.sdk.folders import read_folder
from headway.sdk.ignores import Everything
from headway.sdk.resources.base import refuse_unknown
from headway.sdk.resources.blobs import Blobs
from headway.sdk.uploads import LocalFile, local_file, upload

WorkspaceInput = str | Path | Mapping[str, Any] | Workspace | None

_SCP_FORM = re.compile(r"^[A-Za-z0-9_.-]+@[A-Za-z0-9_.-]+:[^/\\].*|^[A-Za-z0-9_.-]+@[A-Za-z0-9_.-]+:/.*")
_GIT_SCHEMES = ("https", "http", "ssh", "git", "file")


def describe_workspace(value: WorkspaceInput) -> Workspace | Path | None:
    """What ``value`` means, before anything is read or sent: a git workspace, a record, or the local path to read.

    Raises:
        InvalidRequestError: It is none of the accepted forms.
        WorkspaceError: The local path does not exist.
    """
    if value is None or isinstance(value, (FilesWorkspace, GitWorkspace, ObjectsWorkspace)):
        return value
    if isinstance(value, Mapping):
        return _from_mapping(value)
    if isinstance(value, Path):
        return _local(value)
    if isinstance(value, str):
        return _from_text(value)
    raise InvalidRequestError(f"A workspace is a path, a git URL or a mapping, not {type(value).__name__}.")


def _from_mapping(value: Mapping[str, Any]) -> Workspace:
    if value.get("kind") == "files":
        return parse_request(FilesWorkspace, dict(value), what="workspace")
    if value.get("kind") == "objects":
        return parse_request(ObjectsWorkspace, dict(value), what="workspace")
    given = dict(value)
    if given.pop("kind", "git") != "git":
        hint = "Known kinds: git, files, objects."
        raise InvalidRequestError(f"workspace: unknown kind {value['kind']!r}.", hint=hint)
    if "git" in given:
        given["url"] = given.pop("git")
    refuse_unknown(given, {"url", "ref"}, "workspace")
    return parse_request(GitWorkspace, {"kind": "git", **given}, what="workspace")


def _from_text(text: str) -> Workspace | Path:
    if not text.strip() or "\0" in text:
        raise InvalidRequestError(f"The workspace {text!r} is not a path or a git URL.")
    if text.startswith(SCHEME):
        return parse_request(ObjectsWorkspace, {"address": text}, what="workspace")
    if text.startswith("git+"):
        return _pinned(text.removeprefix("git+"))
    if "://" in text:
        return _from_url(text)
    if _SCP_FORM.match(text):
        return parse_request(GitWorkspace, {"url": text}, what="workspace")
    return _local(Path(text))


def _pinned(url: str) -> GitWorkspace:
    """``https://host/path@ref`` as URL and ref; an ``@`` before the path belongs to the host."""
    parts = urlsplit(url)
    path, marker, ref = parts.path.rpartition("@")
    if parts.fragment or parts.query:
        raise InvalidRequestError(
            f"The git URL {url!r} has a query or fragment.", hint="Use working_directory for a folder in it."
        )
    if not marker:
        return parse_request(GitWorkspace, {"url": url}, what="workspace")
    plain = parts._replace(path=path).geturl() if parts.netloc else f"{parts.scheme}://{path}"
    return parse_request(GitWorkspace, {"url": plain, "ref": ref}, what="workspace")


def _from_url(text: str) -> GitWorkspace:
    parts = urlsplit(text)
    if parts.scheme not in _GIT_SCHEMES:
        raise InvalidRequestError(
            f"A workspace cannot come from {parts.scheme}:// yet.", hint="Use a local folder, an archive or a git URL."
        )
    if parts.path.lower().endswith(SUFFIXES):
        raise InvalidRequestError(f"A workspace cannot be an archive at a URL: {text!r}.", hint="Download it first.")
    return parse_request(GitWorkspace, {"url": text}, what="workspace")


def _local(path: Path) -> GitWorkspace | Path:
    path = path.expanduser()
    if path.name.endswith(".git") and path.name != ".git" and (path / "HEAD").is_file():
        return GitWorkspace(url=str(path.resolve()))
    if path.is_dir() or (path.is_file() and is_archive(path)):
        return path
    if path.is_file():
        raise WorkspaceError(
            f"The workspace {str(path)!r} is a file, not a folder.", hint=f"Archives end in {', '.join(SUFFIXES)}."
        )
    raise WorkspaceError(f"The workspace {str(path)!r} does not exist.", hint="Give a folder, an archive or a git URL.")


def send_workspace(blobs: Blobs, meant: Workspace | Path | None, *, project: str) -> Workspace | None:
    """The record of a described workspace; local files are uploaded where the project lacks them."""
    if not isinstance(meant, Path):
        return meant
    with tempfile.TemporaryDirectory(prefix="headway-") as scratch:
        files = read_folder(meant) if meant.is_dir() else read_archive(meant, Path(scratch))
        return FilesWorkspace(files=_send(blobs, files, project), source=str(meant.resolve()))


def send_model(blobs: Blobs, path: Path, *, project: str) -> tuple[FileEntry, ...]:
    """The files of a model, a file or a folder, uploaded where the project lacks them. No ignore rule counts here.

    Raises:
        WorkspaceError: There is no such file or folder, or it is empty.
    """
    path = path.expanduser()
    if not path.exists():
        raise WorkspaceError(f"There is no file or folder {str(path)!r}.")
    files = [local_file(path, path.name)] if path.is_file() else read_folder(path, rules=Everything())
    if not files:
        raise WorkspaceError(f"The folder {str(path)!r} holds no file.")
    return _send(blobs, files, project)


def _send(blobs: Blobs, files: list[LocalFile], project: str) -> tuple[FileEntry, ...]:
    upload(blobs, files, project=project)
    return tuple(sorted((file.entry for file in files), key=lambda entry: entry.path))
