"""Inputs of a job: the files that a manifest lists, and those that lie at some ``https://`` address."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from headway import fetch
from headway.agent.client import persist
from headway.agent.files import FileBringer
from headway.agent.interruption import Interruption
from headway.domain.artifacts import ArtifactEntry, PathOrder
from headway.domain.files import FileEntry, check_path
from headway.domain.replicas import InputFiles
from headway.errors import CorruptDataError, HeadwayError, InvalidRequestError, RequestError, WorkspaceError
from headway.paths import open_beneath

FOREIGN_SECONDS = 120.0
"""How long a server that is not ours is asked again."""
MAX_LINE = 256 << 10
UNNAMED = "download"
"""The file of an address whose path ends with nothing that can name one."""


class InputBringer:
    """Brings one input after the other.

    Args:
        files: Brings blobs.
        scratch: A private directory for manifests.
        interruption: Ends the work.
        networks: Networks with private addresses that may be fetched from nevertheless.
        max_bytes: Of one file from an address; None is what :mod:`headway.fetch` takes at most.
    """

    def __init__(
        self,
        files: FileBringer,
        scratch: Path,
        interruption: Interruption,
        *,
        networks: Sequence[str] = (),
        max_bytes: int | None = None,
    ) -> None:
        self._files, self._scratch, self._interruption = files, scratch, interruption
        self._networks = fetch.parse_networks(networks)
        self._max_bytes = fetch.MAX_BYTES if max_bytes is None else min(max_bytes, fetch.MAX_BYTES)
        self.brought: dict[str, str] = {}
        """By input that is one address: the SHA-256 of what lay there."""

    def bring(self, item: InputFiles, root: Path) -> None:
        """Put the files of an input below ``root``.

        Raises:
            WorkspaceError: With the reason; also once interrupted.
        """
        if item.uri is not None:
            self._bring_uri(item, item.uri, root)
        elif item.manifest is not None:
            self._bring_manifest(item.name, item.manifest, root)

    def _bring_uri(self, item: InputFiles, uri: str, root: Path) -> None:
        digest = self._fetch(uri, file_name(uri), root)
        if item.digest not in (None, digest):
            raise WorkspaceError(
                f"{fetch.shown(uri)} is not what it was when this job first brought it.",
                hint="Submit the job again, or keep the file as an artifact.",
            )
        self.brought[item.name] = digest

    def _bring_manifest(self, name: str, manifest: str, root: Path) -> None:
        path = self._scratch / f"{name}.manifest"
        try:
            self._files.persist(lambda: self._fetch_manifest(manifest, path))
        except (RequestError, CorruptDataError) as error:
            raise WorkspaceError(f"The list of files of the input {name!r} could not be brought: {error}") from error
        with path.open("rb") as file:
            references: list[ArtifactEntry] = []
            self._files.bring(_files(file, name, references), root)
        for entry in references:
            self._bring_reference(name, entry, root)
        path.unlink()

    def _fetch_manifest(self, manifest: str, path: Path) -> None:
        digest = hashlib.sha256()
        with path.open("wb") as file:

            def take(piece: bytes) -> None:
                digest.update(piece)
                file.write(piece)

            self._files.content(manifest, take)
        if digest.hexdigest() != manifest:
            raise CorruptDataError("The server sent something else than the input's list of files.")

    def _bring_reference(self, name: str, entry: ArtifactEntry, root: Path) -> None:
        uri = entry.uri or ""
        if not uri.startswith("https://"):
            scheme = uri.partition(":")[0]
            raise WorkspaceError(
                f"The input {name!r} refers with {entry.path!r} to {scheme}:…, which no agent brings.",
                hint="Only https:// is brought. Upload the file, or read it in your program.",
            )
        self._fetch(uri, entry.path, root)

    def _fetch(self, uri: str, path: str, root: Path) -> str:
        """The SHA-256 of what is there now, at ``path`` below ``root``."""
        try:
            return persist(
                lambda: self._write(uri, path, root), give_up=self._interruption.event, seconds=FOREIGN_SECONDS
            )
        except WorkspaceError:
            raise
        except HeadwayError as error:
            self._interruption.check()
            raise WorkspaceError(f"{path!r} could not be brought: {error.message}", hint=error.hint) from error
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise WorkspaceError(f"{path!r} could not be brought: {error}") from error

    def _write(self, uri: str, path: str, root: Path) -> str:
        self._interruption.check()
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with os.fdopen(open_beneath(root, path, flags, 0o644, parents=True), "wb") as file:
            found = fetch.fetch(
                uri,
                file.write,
                networks=self._networks,
                max_bytes=self._max_bytes,
                between=self._interruption.check,
            )
        return found.digest


def file_name(uri: str) -> str:
    """What the file of an address is called.

    >>> file_name("https://example.org/data/train%20set.csv?version=2"), file_name("https://example.org/")
    ('train set.csv', 'download')
    """
    name = unquote(urlsplit(uri).path).rpartition("/")[2]
    try:
        return check_path(name)
    except ValueError:
        return UNNAMED


def _files(file: IO[bytes], name: str, references: list[ArtifactEntry]) -> Iterator[FileEntry]:
    """The files of a manifest; what is only a reference is put aside. Nothing in it is trusted."""
    order = PathOrder()
    while line := file.readline(MAX_LINE):
        try:
            entry = ArtifactEntry.model_validate_json(line)
            order.check(entry.path)
        except (ValidationError, InvalidRequestError) as error:
            raise WorkspaceError(f"The list of files of the input {name!r} is wrong: {_problem(error)}") from None
        if entry.digest is None or entry.size is None:
            references.append(entry)
        else:
            yield FileEntry(path=entry.path, digest=entry.digest, size=entry.size, executable=entry.executable)


def _problem(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return str(error.errors(include_url=False, include_context=False, include_input=False)[0]["msg"])
    return str(error)
