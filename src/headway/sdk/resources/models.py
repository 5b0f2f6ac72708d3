"""client.models: what can be served, by name and version."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from headway.domain.base import parse_request
from headway.domain.files import FileEntry
from headway.domain.models import AliasSet, Model, ModelRegister, ModelVersion
from headway.errors import InvalidRequestError
from headway.sdk.downloads import download_files
from headway.sdk.resources.base import Resource
from headway.sdk.resources.blobs import Blobs
from headway.sdk.session import segment
from headway.sdk.transport import Response
from headway.sdk.workspaces import send_model

VERSIONS = "/api/v1/model-versions"
_PLACEHOLDER = {"path": "placeholder", "digest": "0" * 64, "size": 0}


class Models(Resource):
    path = "/api/v1/models"
    noun = "model"

    def register(
        self, name: str, path: str | Path, *, model_type: str | None = None, project: str | None = None, **fields: Any
    ) -> ModelVersion:
        """Upload a file or folder as the next version of a model, which is made when it is new.

        Args:
            name: The model's name.
            path: A file, or a folder with all that serving needs.
            model_type: As you call it; the runtime is chosen by the files.
            project: Id or name; the client's own without it.
            fields: ``description``, ``labels``, ``run``, ``job``.
        """
        scope = self._project(project)
        values = {"project": scope, "name": name, **fields}
        if model_type is not None:
            values["model_type"] = model_type
        request = parse_request(ModelRegister, {**values, "files": [_PLACEHOLDER]}, what="The model")
        files = send_model(Blobs(self._session), Path(path), project=scope)
        return self._session.create(ModelVersion, self.path, request.model_copy(update={"files": files}))

    def get(self, model: str, *, project: str | None = None) -> Model:
        """By id, or by name within a project."""
        return self._get_named(Model, model, project)

    def list(self, *, project: str | None = None, name: str | None = None, limit: int | None = None) -> Iterator[Model]:
        """Models, newest first."""
        return self._session.pages(Model, self.path, {"project": self._scope(project), "name": name}, limit)

    def versions(
        self,
        model: str | None = None,
        *,
        project: str | None = None,
        job: str | None = None,
        run: str | None = None,
        limit: int | None = None,
    ) -> Iterator[ModelVersion]:
        """Versions, newest first: of one model (id or name), of what one job or run left, or all."""
        query = {"project": self._scope(project), "model": model, "job": job, "run": run}
        return self._session.pages(ModelVersion, VERSIONS, query, limit)

    def version(self, reference: str, *, project: str | None = None) -> ModelVersion:
        """One version: its id, ``models:/name/3``, ``models:/name@alias``, ``name:v3``, or a bare name for the
        newest.
        """
        if not reference:
            raise InvalidRequestError("A model version needs a name or an id.")
        if self._scope(project) is None and not set(":/@") & set(reference):  # an id needs no project
            return self._session.get(ModelVersion, f"{VERSIONS}/{segment(reference, 'a model version')}")
        query = {"project": self._project(project), "ref": reference}
        return self._session.get(ModelVersion, f"{VERSIONS}/resolve", query)

    def set_alias(self, model: str, alias: str, version: int, *, project: str | None = None) -> Model:
        """Let ``alias`` name a version; it moves there if it named another."""
        request = parse_request(AliasSet, {"version": version})
        return self._session.act(Model, "PUT", self._alias(model, alias, project), body=request)

    def delete_alias(self, model: str, alias: str, *, project: str | None = None) -> None:
        """Forget an alias; the version stays."""
        self._session.call("DELETE", self._alias(model, alias, project))

    def delete(self, model: str, *, project: str | None = None) -> None:
        """Delete a model with all its versions; ConflictError while one is deployed."""
        self._session.call("DELETE", self._address(self._id(Model, model, project)))

    def delete_version(self, reference: str, *, project: str | None = None) -> None:
        """Delete one version; ConflictError while it is deployed."""
        found = self.version(reference, project=project)
        self._session.call("DELETE", f"{VERSIONS}/{segment(found.id, 'a model version')}")

    def download(self, reference: str, directory: str | Path, *, project: str | None = None) -> Sequence[Path]:
        """Bring a version's files into ``directory``, their digests checked; returns where they lie now."""
        found = self.version(reference, project=project)
        base = f"{VERSIONS}/{segment(found.id, 'a model version')}/files"

        def fetch(entry: FileEntry) -> Response:
            return self._session.open("GET", f"{base}/{quote(entry.path)}", headers={"Accept": "*/*"})

        return download_files(found.files, directory, fetch)

    def _alias(self, model: str, alias: str, project: str | None) -> str:
        return self._address(self._id(Model, model, project), "aliases", segment(alias, "an alias"))
