"""Artifacts: files of an experiment, copied into a directory of their own."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from headway.errors import HeadwayError
from headway.paths import checked, open_beneath
from t9k.em import directories, documents

METADATA, REFERENCES = "metadata.yaml", "references.yaml"
RESERVED = frozenset({METADATA, REFERENCES})


class Artifact:
    """A set of files and references with a name. Made by :func:`create_artifact` or :func:`load_artifact`."""

    def __init__(self, directory: Path, metadata: dict[str, Any]) -> None:
        self._directory = directory
        self._metadata = metadata

    def __repr__(self) -> str:
        return f"Artifact(name={self.name!r}, alternative_name={self.alternative_name!r})"

    @property
    def name(self) -> str:
        return str(self._metadata.get("name") or "")

    @property
    def labels(self) -> list[str]:
        return list(documents.sequence(self._metadata.get("labels")))

    @property
    def description(self) -> str:
        return str(self._metadata.get("description") or "")

    @property
    def created_timestamp(self) -> str:
        return str(self._metadata.get("createdTimestamp") or "")

    @property
    def alternative_name(self) -> str:
        return str(self._metadata.get("alternativeName") or self._directory.name)

    @property
    def local(self) -> str:
        """The directory."""
        return str(self._directory)

    @property
    def remote(self) -> list[dict[str, Any]]:
        """Where it was uploaded to or downloaded from, oldest first."""
        return list(documents.sequence(self._metadata.get("remote")))

    @property
    def objects(self) -> dict[str, dict[str, Any]]:
        """Path to ``path``, ``size_bytes`` and ``checksum`` (MD5) of a file, or ``path`` and ``uri`` of a reference."""
        found: dict[str, dict[str, Any]] = {
            name: {"path": name, "size_bytes": path.stat().st_size, "checksum": _md5(path)}
            for name, path in self.files()
        }
        found.update({name: {"path": name, "uri": uri} for name, uri in self.references().items()})
        return found

    def files(self) -> Iterator[tuple[str, Path]]:
        """Object paths and the files that hold them."""
        for folder, folders, names in os.walk(self._directory):
            folders[:] = sorted(name for name in folders if not name.startswith(".headway"))
            for name in sorted(names):
                path = Path(folder, name)
                place = path.relative_to(self._directory).as_posix()
                if place not in RESERVED and path.is_file() and not path.is_symlink():
                    yield place, path

    def references(self) -> dict[str, str]:
        """Object paths and URIs."""
        path = self._directory / REFERENCES
        return dict(documents.mapping(documents.read(path))) if path.is_file() else {}

    def add_file(self, file_path: str | os.PathLike[str], obj_path: str | None = None) -> None:
        """Copy a file in.

        Args:
            file_path: The file.
            obj_path: Its path in the artifact; one that ends with ``/`` is the directory that it goes into.

        Raises:
            RuntimeError: There is no such file.
            ValueError: ``obj_path`` leads out of the artifact, or a reference has that path.
        """
        source = Path(file_path)
        if not source.is_file():
            raise RuntimeError(f"File does not exist: {source}")
        place = self._place(source.name, obj_path)
        if place in self.references():
            raise ValueError(f"The path {place!r} is a reference already")
        self._copy(source, place)

    def add_dir(self, dir_path: str | os.PathLike[str], obj_path: str | None = None) -> None:
        """Copy a directory in, with everything below it.

        Raises:
            RuntimeError: There is no such directory.
            ValueError: As for :meth:`add_file`.
        """
        source = Path(dir_path)
        if not source.is_dir():
            raise RuntimeError(f"Directory does not exist: {source}")
        top = self._place(source.resolve().name, obj_path)
        references = self.references()
        inside = [path for path in sorted(source.rglob("*")) if path.is_file()]
        places = {path: _object_path(f"{top}/{path.relative_to(source).as_posix()}") for path in inside}
        for place in places.values():
            if place in references:
                raise ValueError(f"The path {place!r} is a reference already")
        for path, place in places.items():
            self._copy(path, place)

    def add_reference(self, uri: str, obj_path: str | None = None) -> None:
        """Name something that lies elsewhere. Its path is by default the last part of the URI.

        Raises:
            ValueError: It is no URI, or a file has that path.
        """
        if not isinstance(uri, str) or ":" not in uri:
            raise ValueError(f"Not a URI: {uri!r}")
        place = self._place(uri.rstrip("/").rpartition("/")[2] or "reference", obj_path)
        if any(name == place for name, _ in self.files()):
            raise ValueError(f"The path {place!r} is a file already")
        documents.write(self._directory / REFERENCES, {**self.references(), place: uri})

    def upload(self, folder: str = "default", make_folder: bool = False, conflict_strategy: str = "new") -> None:
        """Send it to the server of :func:`t9k.em.login`.

        Raises:
            ValueError: The folder does not exist, or the strategy is unknown.
            RuntimeError: Not logged in; the name is taken and the strategy says ``error``; or the server failed.
        """
        from t9k.em.native import upload_artifact
        from t9k.em.strategies import Destination

        upload_artifact(self, Destination(folder, make_folder, conflict_strategy))

    def to_dict(self) -> dict[str, Any]:
        return {**self._metadata, "objects": self.objects}

    def parse_from_dict(self, data: dict[str, Any]) -> None:
        """Take name, labels, description and so on from what :meth:`to_dict` gave; the files stay as they are."""
        self._metadata = {key: value for key, value in data.items() if key != "objects"}
        self.save()

    def save(self) -> None:
        """Write what the object holds to its directory."""
        documents.write(self._directory / METADATA, self._metadata)

    def note_remote(self, entry: dict[str, Any]) -> None:
        """Remember where it went."""
        self._metadata["remote"] = [*self.remote, entry]
        self.save()

    def _place(self, name: str, obj_path: str | None) -> str:
        if obj_path is None or obj_path == "":
            return _object_path(name)
        return _object_path(obj_path + name if obj_path.endswith("/") else obj_path)

    def _copy(self, source: Path, place: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        try:
            descriptor = open_beneath(self._directory, place, flags, 0o644, parents=True)
        except HeadwayError as error:
            raise ValueError(str(error)) from error
        with os.fdopen(descriptor, "wb") as target, source.open("rb") as file:
            shutil.copyfileobj(file, target, 1 << 20)


def create_artifact(name: str, labels: Sequence[str] | None = None, description: str = "") -> Artifact:
    """A new, empty artifact in a directory of its own.

    Raises:
        ValueError: The name is not allowed.
    """
    directories.check_name(name, "Artifact")
    directory = directories.new_directory(directories.artifacts_directory(), name)
    artifact = Artifact(
        directory,
        {
            "kind": "Artifact",
            "name": name,
            "labels": list(labels or ()),
            "description": description,
            "createdTimestamp": directories.timestamp(),
            "alternativeName": directory.name,
            "remote": [],
        },
    )
    artifact.save()
    return artifact


def load_artifact(path: str | os.PathLike[str]) -> Artifact:
    """The artifact in a local directory, or (after a login) the one of that path or reference on the server.

    Raises:
        OSError: There is neither.
    """
    directory = Path(path)
    if (directory / METADATA).is_file():
        return Artifact(directory.absolute(), documents.mapping(documents.read(directory / METADATA)))
    from t9k.em.native import download_artifact

    return download_artifact(str(path))


def _object_path(place: str) -> str:
    try:
        found = checked(place)
    except HeadwayError as error:
        raise ValueError(str(error)) from error
    if found in RESERVED:
        raise ValueError(f"The path {found!r} is the artifact's own: place the file below a directory")
    return found


def _md5(path: Path) -> str:
    hasher = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            hasher.update(chunk)
    return hasher.hexdigest()
