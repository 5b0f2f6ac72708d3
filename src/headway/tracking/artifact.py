"""``headway.Artifact``: files and references put together on this machine, with or without a server.

An artifact lies in ``<HEADWAY_DIR>/artifacts/<alternative name>/``:

=================  ===================================================================================================
``artifact.json``  name, type, labels and so on, and ``"format": 1``
``entries.jsonl``  a line of JSON a file or reference, as :class:`headway.domain.artifacts.ArtifactEntry`; of two lines
                   with one path the later one holds
``blobs/``         copies of the files by their SHA-256, see :mod:`headway.tracking.blobs`
``marked/``        ``<digest>.jsonl``: what was in it when a run marked it, as ``entries.jsonl``
``uploads.jsonl``  a line a version that was made of it: ``url`` of the server, ``id``, ``project_id``, ``digest``
=================  ===================================================================================================
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from headway.domain.artifacts import (
    ArtifactCommit,
    ArtifactCommitted,
    ArtifactEntry,
    ArtifactVersion,
    artifact_digest,
    manifest_line,
)
from headway.domain.base import parse_request
from headway.domain.files import FileEntry
from headway.domain.names import alternative_name
from headway.errors import ConflictError, CorruptDataError, InvalidRequestError, NotFoundError, StorageFullError
from headway.paths import private_directory, write_atomic
from headway.tracking.artifact_files import (
    DEFAULT_PROJECT,
    PLACEHOLDER,
    Contents,
    append_lines,
    checked_header,
    checked_name,
    checked_path,
    is_digest,
    lines,
    parsed,
    placed,
    read_entries,
    read_header,
)
from headway.tracking.blobs import LocalBlobs
from headway.tracking.directory import base_directory

if TYPE_CHECKING:
    from headway.sdk.client import Client
    from headway.sdk.transport import Response
    from headway.sdk.uploads import LocalFile

ARTIFACTS = "artifacts"
HEADER, ENTRIES, MARKED, UPLOADS = "artifact.json", "entries.jsonl", "marked", "uploads.jsonl"
log = logging.getLogger(__name__)


class Artifact:
    """A named set of files and references that becomes a version on a server when it is uploaded.

    ::

        data = headway.Artifact("digits", type="dataset")
        data.add_dir("prepared/", obj_path="images/")
        data.add_reference("https://example.org/raw.zip", obj_path="raw.zip")
        run.mark_output(data)

    What is added is copied at once: a file may change or vanish afterwards. Every call may come from any thread.

    Args:
        name: Letters, digits and ``_ . -`` between them, at most 64.
        type: A word for what it is, as ``dataset`` or ``checkpoint``.
        labels: Words of your own, name to text.
        description: For people.
        metadata: Any JSON values.
        dir: Where artifacts are kept instead of HEADWAY_DIR (default ``.headway``).

    Raises:
        InvalidRequestError: A name or value cannot be kept.
    """

    def __init__(
        self,
        name: str,
        *,
        type: str = "artifact",
        labels: Mapping[str, str] | None = None,
        description: str = "",
        metadata: Mapping[str, Any] | None = None,
        dir: str | os.PathLike[str] | None = None,
    ) -> None:
        own = {"type": type, "labels": dict(labels or {}), "description": description, "metadata": dict(metadata or {})}
        header = checked_header({"name": checked_name(name), "alternative_name": alternative_name(name), **own})
        base = base_directory(Path(dir) if dir is not None else None)
        directory = private_directory(base / ARTIFACTS) / header["alternative_name"]
        directory.mkdir(mode=0o700)
        write_atomic(directory / HEADER, json.dumps(header, indent=2).encode())
        self._open(directory, header)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Artifact:
        """The artifact in a directory that :class:`Artifact` made, here or on another machine.

        Raises:
            NotFoundError: There is none.
            CorruptDataError: It cannot be read.
        """
        directory = Path(path).expanduser().absolute()
        if not (directory / HEADER).is_file():
            raise NotFoundError(f"There is no artifact in {directory}.", hint=f"It has a file {HEADER}.")
        loaded = cls.__new__(cls)
        loaded._open(directory, read_header(directory / HEADER))
        return loaded

    def _open(self, directory: Path, header: dict[str, Any]) -> None:
        self._directory, self._header = directory, header
        self._blobs = LocalBlobs(directory)
        self._lock = threading.RLock()
        self._contents = Contents()
        for entry in read_entries(directory / ENTRIES):
            self._contents.put(entry)

    def __repr__(self) -> str:
        return f"Artifact({self.name!r}, {len(self._contents.entries)} entries, {str(self._directory)!r})"

    @property
    def name(self) -> str:
        return str(self._header["name"])

    @property
    def type(self) -> str:
        return str(self._header["type"])

    @property
    def labels(self) -> dict[str, str]:
        return dict(self._header["labels"])

    @property
    def description(self) -> str:
        return str(self._header["description"])

    @property
    def metadata(self) -> dict[str, Any]:
        return dict(self._header["metadata"])

    @property
    def alternative_name(self) -> str:
        """``<name>_<date>_<time>_<suffix>``: unique in practice, and the name of its directory."""
        return str(self._header["alternative_name"])

    @property
    def directory(self) -> Path:
        """Where it lies."""
        return self._directory

    @property
    def objects(self) -> dict[str, ArtifactEntry]:
        """What is in it, by path."""
        with self._lock:
            return dict(sorted(self._contents.entries.items()))

    @property
    def digest(self) -> str:
        """One SHA-256 over paths and contents; the digest of the version that an upload makes."""
        return artifact_digest(self.objects.values())

    @property
    def id(self) -> str | None:
        """The id of the version that this content last became on a server; None before."""
        version = self.uploaded()
        return None if version is None else version["id"]

    def add_file(self, path: str | os.PathLike[str], obj_path: str | None = None) -> None:
        """Copy a file in, replacing what has that path.

        Args:
            path: The file; a symbolic link stands for what it leads to.
            obj_path: Its path in the artifact, or with ``/`` at its end the folder there that it goes into. Without it:
                the file's name.

        Raises:
            InvalidRequestError: No regular file can be read there; ``obj_path`` leads out of the artifact; or its path is
                that of a reference or folder.
            ConflictError: The file was changed while it was read.
        """
        from headway.sdk.trees import check_regular

        source = Path(path)
        place = placed(source.name, obj_path)
        check_regular(source)
        with self._lock:
            self._contents.check_file(place)
            self._append([self._copied(source, place)])

    def add_dir(self, path: str | os.PathLike[str], obj_path: str | None = None) -> None:
        """Copy a folder in, with everything below it.

        Symbolic links inside stand for their content. Links that lead outside or in a circle, pipes, sockets and devices are
        refused, and then nothing of the folder is added.

        Args:
            path: The folder.
            obj_path: Its path in the artifact, or with ``/`` at its end the folder there that it goes into; ``"."`` puts its
                content at the top. Without it: the folder's name.

        Raises:
            InvalidRequestError, ConflictError: As for :meth:`add_file`; the file is named.
        """
        from headway.sdk.trees import read_tree

        source = Path(path)
        if not source.is_dir():
            raise InvalidRequestError(f"There is no folder {str(source)!r}.")
        top = "" if obj_path == "." else placed(source.resolve().name, obj_path) + "/"
        with self._lock:
            named = [(found, checked_path(top + name)) for found, name in read_tree(source)]
            for _, place in named:
                self._contents.check_file(place)
            self._append([self._copied(found, place) for found, place in named])

    def add_reference(self, uri: str, obj_path: str | None = None) -> None:
        """Name something that lies elsewhere; its bytes are neither fetched nor kept.

        Args:
            uri: Where it is, with a scheme.
            obj_path: Its path in the artifact; without it the last part of the URI.

        Raises:
            InvalidRequestError: It is no URI, or a file or folder has that path.
        """
        last = uri.split("?")[0].rstrip("/").rpartition("/")[2] if isinstance(uri, str) else ""
        place = placed(last or "reference", obj_path)
        try:
            entry = ArtifactEntry(path=place, uri=uri)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_context=False, include_input=False)[0]["msg"]
            raise InvalidRequestError(
                f"The reference cannot be kept: {problem.removeprefix('Value error, ')}."
            ) from None
        with self._lock:
            self._contents.check_reference(place)
            self._append([entry])

    def download(self, path: str | os.PathLike[str]) -> list[Path]:
        """Write its files below ``path``, each checked against its digest; where they lie now.

        Raises:
            InvalidRequestError: A symbolic link lies where something would be written.
            CorruptDataError: A copy was damaged meanwhile.
        """
        from headway.sdk.downloads import Download, make_root
        from headway.sdk.progress import progress_bar

        root, files = make_root(Path(path)), [file.entry for file in self._files()]
        with progress_bar("Copying", sum(entry.size for entry in files)) as advance:
            Download(root, self._read, advance).bring_all(files)
        return [root / entry.path for entry in files]

    def upload(
        self,
        folder: str = "",
        make_folder: bool = False,
        conflict_strategy: str | None = None,
        *,
        client: Client | None = None,
        project: str | None = None,
        digest: str | None = None,
        **fields: Any,
    ) -> ArtifactCommitted:
        """Make a version of it on a server. The same content again gives the version that is there.

        Args:
            folder: The project's folder for artifacts that are new.
            make_folder: Make that folder where it is missing.
            conflict_strategy: What another artifact of that name there means: ``skip``, ``error``, ``new`` or ``replace``.
                Without it, this becomes the next version of whatever has the name.
            client: Whose server; the configured one without it.
            project: Id or name; the client's own without it, else ``default``.
            digest: Of what it held when a run marked it; without it, what it holds now is uploaded.
            fields: ``aliases``, ``run`` (which made it) and ``input_of`` (a run that used it).

        Raises:
            InvalidRequestError: An argument is wrong, or a copy was damaged; nothing was committed.
            NotFoundError: There is no such folder.
            ConflictError: The name is taken, and the strategy is ``error``; or what had that ``digest`` was not kept.
            HeadwayError: The server does not answer, or refuses.
        """
        own = ("name", "type", "labels", "description", "metadata", "alternative_name")
        place = {"folder": folder, "make_folder": make_folder, "conflict_strategy": conflict_strategy}
        values = {**{key: self._header[key] for key in own}, **place, **fields}
        request = {"project": project or DEFAULT_PROJECT, "manifest": PLACEHOLDER, **values}
        parse_request(ArtifactCommit, request, what="The artifact")
        with self._lock:
            entries = self._content(digest)
            files = [self._file(entry) for entry in entries if entry.digest is not None]
            references = {entry.path: entry.uri for entry in entries if entry.uri is not None}
        with _connected(client) as connected:
            scope = project or connected.project or DEFAULT_PROJECT
            _ensure_project(connected, scope)
            committed = connected.artifacts.upload(source=files, references=references, project=scope, **values)
            self._remember(connected.url, committed, artifact_digest(entries))
        return committed

    def freeze(self) -> str:
        """Keep what is in it now under its digest, which is returned: :meth:`upload` takes that later, whatever is added.

        A directory that cannot be written to is left as it is: nothing is added there either.
        """
        with self._lock:
            entries = list(self.objects.values())
            digest = artifact_digest(entries)
            path = self._directory / MARKED / f"{digest}.jsonl"
            if not path.is_file():
                try:
                    private_directory(path.parent)
                    write_atomic(path, b"".join(map(manifest_line, entries)))
                except (OSError, StorageFullError):
                    log.debug("%s cannot be kept", path, exc_info=True)
        return digest

    def uploaded(self, url: str | None = None) -> dict[str, str] | None:
        """What the present content last became (on the server at ``url``): ``url``, ``id``, ``project_id``; None before."""
        digest, found = self.digest, None
        for line in lines(self._directory / UPLOADS):
            told = parsed(line)
            if told.get("digest") == digest and (url is None or told.get("url") == url):
                found = {key: str(value) for key, value in told.items()}
        return found

    def _content(self, digest: str | None) -> list[ArtifactEntry]:
        """What is in it, or was when its digest was ``digest``."""
        entries = list(self.objects.values())
        if digest is None or artifact_digest(entries) == digest:
            return entries
        entries = list(read_entries(self._directory / MARKED / f"{digest}.jsonl")) if is_digest(digest) else []
        if artifact_digest(entries) != digest:
            raise ConflictError(
                f"The artifact in {self._directory} was changed since it was marked, and what it held then was not kept.",
                hint="Upload what it should be, and link it with the run there.",
            )
        return entries

    def _remember(self, url: str, version: ArtifactVersion, digest: str) -> None:
        if version.digest != digest:
            return  # skipped: what is there is something else
        told = {"url": url, "id": version.id, "project_id": version.project_id, "digest": version.digest}
        if told in map(parsed, lines(self._directory / UPLOADS)):
            return
        append_lines(self._directory / UPLOADS, json.dumps(told).encode() + b"\n")

    def _copied(self, source: Path, place: str) -> ArtifactEntry:
        kept = self._blobs.keep(source)
        executable = bool(source.stat().st_mode & 0o100)
        return ArtifactEntry(path=place, digest=kept.digest, size=kept.size, executable=executable)

    def _append(self, entries: Iterable[ArtifactEntry]) -> None:
        found = list(entries)
        append_lines(self._directory / ENTRIES, b"".join(manifest_line(entry) for entry in found))
        for entry in found:
            self._contents.put(entry)

    def _files(self) -> Iterator[LocalFile]:
        for entry in self.objects.values():
            if entry.digest is not None:
                yield self._file(entry)

    def _file(self, entry: ArtifactEntry) -> LocalFile:
        from headway.sdk.manifests import as_file
        from headway.sdk.uploads import LocalFile

        file = as_file(entry)
        assert file is not None
        path = self._blobs.path(file.digest)
        if not path.is_file():
            raise CorruptDataError(f"The copy of {entry.path!r} is missing in {self._directory}.", hint="Add it again.")
        return LocalFile(path, file)

    def _read(self, entry: FileEntry, offset: int, length: int) -> Response:
        from headway.sdk.parts import PartContent
        from headway.sdk.transport import Response

        return Response(200, content=PartContent(self._blobs.path(entry.digest), offset, length)())


@contextmanager
def _connected(client: Client | None) -> Iterator[Client]:
    """The given client, or one for the configured server that is closed at the end."""
    if client is not None:
        yield client
        return
    from headway.sdk.client import Client

    with Client() as own:
        yield own


def _ensure_project(client: Client, project: str) -> None:
    """Make the default project unless it is there; others are made by people."""
    if project != DEFAULT_PROJECT:
        return
    try:
        client.projects.get(project)
    except NotFoundError:
        try:
            client.projects.create(project)
        except ConflictError:
            pass  # somebody else was quicker
