"""client.models: what can be served, by name and version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from headway.domain.base import parse_request
from headway.domain.files import FileEntry
from headway.domain.model_references import check_alias
from headway.domain.models import (
    AliasSet,
    GitInfo,
    Model,
    ModelRegister,
    ModelSignature,
    ModelUpdate,
    ModelVersion,
    ModelVersionUpdate,
)
from headway.errors import InvalidRequestError, NotFoundError
from headway.sdk.downloads import download_files
from headway.sdk.model_diff import ModelDiff, compare_versions
from headway.sdk.model_pages import ModelVersionPage, version_page
from headway.sdk.registering import Origin, find_origin, sent_files
from headway.sdk.remote_files import MAX_BYTES
from headway.sdk.resources.base import Resource, refuse_unknown
from headway.sdk.resources.blobs import Blobs
from headway.sdk.session import Query, segment
from headway.sdk.transport import Response

VERSIONS = "/api/v1/model-versions"
CHAMPION = "champion"
_PLACEHOLDER = {"path": "placeholder", "digest": "0" * 64, "size": 0}


class Models(Resource):
    path = "/api/v1/models"
    noun = "model"

    def register(
        self,
        name: str,
        path: str | Path | None = None,
        *,
        source: str | None = None,
        version_name: str | None = None,
        signature: ModelSignature | Mapping[str, Any] | None = None,
        aliases: str | Iterable[str] = (),
        labels: Mapping[str, str] | None = None,
        git: GitInfo | Mapping[str, Any] | None = None,
        max_bytes: int = MAX_BYTES,
        project: str | None = None,
        **fields: Any,
    ) -> ModelVersion:
        """Make the next version of a model, which is made when it is new.

        Args:
            name: The model's name.
            path: A file, or a folder with all that serving needs.
            source: Instead of ``path``, what the server holds already and nothing is sent for (``runs:/<run>/<path>``,
                ``artifact:<name>:<version>``, ``s3://bucket/prefix``), or ``https://…``, which is fetched here and then
                sent, an archive unpacked; ``#sha256=<digest>`` at its end is checked. Beside ``path`` where that came
                from, in your words.
            version_name: What you call the version, as ``1.0.3``; unique in the model.
            signature: What it takes and answers, see :func:`headway.infer_signature`.
            aliases: They name this version from now on.
            labels: Words of yours, as ``{"stage": "staging"}``.
            git: ``url``, ``commit``, ``branch``, ``dirty``; without it what the run captured.
            max_bytes: What an address may hold at most.
            project: Id or name; the client's own without it.
            fields: ``description``, ``model_type``, and ``run`` or ``job``: what made it, whose parameters, last metrics
                and git are copied.

        Raises:
            InvalidRequestError: Something of this is wrong; nothing was sent.
            ConflictError: The model has a version of that name.
            NotFoundError, CorruptDataError, PayloadTooLargeError: What the source leads to is missing, another, too large.
        """
        if isinstance(git, Mapping):
            refuse_unknown(dict(git), set(GitInfo.model_fields), "git")
        origin = find_origin(path, source)
        given = {"version_name": version_name, "signature": signature, "git": git, "labels": labels}
        values = {
            "project": self._project(project),
            "name": name,
            "aliases": [aliases] if isinstance(aliases, str) else list(aliases),
            "source": origin.uri,
            **{key: value for key, value in given.items() if value is not None},
            **fields,
        }
        placeholder = {} if origin.held else {"files": [_PLACEHOLDER]}
        request = parse_request(ModelRegister, {**values, **placeholder}, what="The model")
        for alias in request.aliases:
            check_alias(alias)
        return self._register(request, origin, max_bytes)

    def _register(self, request: ModelRegister, origin: Origin, max_bytes: int) -> ModelVersion:
        if origin.held:
            return self._session.create(ModelVersion, self.path, request)
        with sent_files(Blobs(self._session), origin, project=request.project, max_bytes=max_bytes) as files:
            request = request.model_copy(update={"files": files.entries})
            try:
                return self._session.create(ModelVersion, self.path, request)
            except InvalidRequestError as error:
                if "missing" not in error.details:
                    raise
            # What the server had was collected between the question and the registration: now it is sent again.
            files.send()
            return self._session.create(ModelVersion, self.path, request)

    def get(self, model: str, *, project: str | None = None) -> Model:
        """By id, or by name within a project."""
        return self._get_named(Model, model, project)

    def list(
        self,
        *,
        project: str | None = None,
        name: str | None = None,
        contains: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Model]:
        """Models, newest first: of that very ``name``, or with ``contains`` in it."""
        query = {"project": self._scope(project), "name": name, "contains": contains}
        return self._session.pages(Model, self.path, query, limit)

    def versions(
        self,
        model: str | None = None,
        *,
        project: str | None = None,
        job: str | None = None,
        run: str | None = None,
        name: str | None = None,
        version_name: str | None = None,
        alias: str | None = None,
        label: str | Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> Iterator[ModelVersion]:
        """Versions, newest first, of which all of this holds.

        Args:
            model: They are of one model, by id or name.
            project: Id or name; the client's own without it.
            job: One job left them.
            run: One run made them.
            name: It is a part of the model's name.
            version_name: They are called so.
            alias: It names them.
            label: They have it: ``{"stage": "production"}``, or ``"stage:production"``.
            limit: At most so many.
        """
        query = {"project": self._scope(project), "model": model, "job": job, "run": run, "name": name, "alias": alias}
        labels = [f"{key}:{value}" for key, value in label.items()] if isinstance(label, Mapping) else label
        more: Query = {**query, "version_name": version_name, "label": labels}
        return self._session.pages(ModelVersion, VERSIONS, more, limit)

    def version(self, reference: str | ModelVersion, *, project: str | None = None) -> ModelVersion:
        """One version: its id, ``models:/name/3``, ``models:/name@alias``, ``models:/name/1.0.3``, ``name:v3``,
        ``name:1.0.3``, or a bare name for the newest.
        """
        if isinstance(reference, ModelVersion):
            return reference
        if not isinstance(reference, str) or not reference:
            raise InvalidRequestError("A model version needs a name or an id.")
        if self._scope(project) is None and not set(":/@") & set(reference):  # an id needs no project
            return self._session.get(ModelVersion, self._version_address(reference))
        query = {"project": self._project(project), "ref": reference}
        return self._session.get(ModelVersion, f"{VERSIONS}/resolve", query)

    def describe(self, reference: str | ModelVersion, *, project: str | None = None) -> ModelVersionPage:
        """A version with all around it: run, job, code, data with digests, deployments."""
        found = self.version(reference, project=project)
        try:
            model = self._session.get(Model, self._address(found.model_id))
        except NotFoundError:
            return version_page(self._session, found, ())
        aliases = sorted(alias for alias, number in model.aliases.items() if number == found.version)
        return version_page(self._session, found, tuple(aliases))

    def update(self, model: str, *, description: str, project: str | None = None) -> Model:
        """Other words about a model."""
        request = parse_request(ModelUpdate, {"description": description}, what="The model")
        return self._session.act(Model, "PATCH", self._address(self._id(Model, model, project)), body=request)

    def update_version(
        self, reference: str | ModelVersion, *, project: str | None = None, **changes: Any
    ) -> ModelVersion:
        """Other words or labels for a version.

        Args:
            reference: See :meth:`version`.
            project: Id or name; the client's own without it.
            changes: ``description``; ``labels``, of which those not named stay, and those that are None go.
        """
        request = parse_request(ModelVersionUpdate, changes, what="The model version")
        found = self.version(reference, project=project)
        # What is not given stays, so it is not sent.
        body = request.model_dump(mode="json", exclude_unset=True)
        return self._session.act(ModelVersion, "PATCH", self._version_address(found.id), body=body)

    def promote(
        self, reference: str | ModelVersion, alias: str = CHAMPION, *, project: str | None = None
    ) -> ModelVersion:
        """Let ``alias`` name the version that ``reference`` means; it moves there if it named another."""
        check_alias(alias)
        found = self.version(reference, project=project)
        self.set_alias(found.model_id, alias, found.version, project=project)
        return found

    def set_alias(self, model: str, alias: str, version: int, *, project: str | None = None) -> Model:
        """Let ``alias`` name a version; it moves there if it named another."""
        request = parse_request(AliasSet, {"version": version})
        return self._session.act(Model, "PUT", self._alias(model, alias, project), body=request)

    def delete_alias(self, model: str, alias: str, *, project: str | None = None) -> None:
        """Forget an alias; the version stays."""
        self._session.call("DELETE", self._alias(model, alias, project))

    def diff(self, a: str | ModelVersion, b: str | ModelVersion, *, project: str | None = None) -> ModelDiff:
        """What differs between two versions: files, signature, parameters, metrics, labels, git."""
        return compare_versions(self.version(a, project=project), self.version(b, project=project))

    def delete(self, model: str, *, project: str | None = None) -> None:
        """Delete a model with all its versions; ConflictError while one is deployed."""
        self._session.call("DELETE", self._address(self._id(Model, model, project)))

    def delete_version(self, reference: str | ModelVersion, *, project: str | None = None) -> None:
        """Delete one version; ConflictError, which names the deployments, while it is deployed."""
        found = self.version(reference, project=project)
        self._session.call("DELETE", self._version_address(found.id))

    def download(
        self, reference: str | ModelVersion, directory: str | Path, *, project: str | None = None
    ) -> Sequence[Path]:
        """Bring a version's files into ``directory``, their digests checked; returns where they lie now."""
        found = self.version(reference, project=project)
        base = f"{self._version_address(found.id)}/files"

        def fetch(entry: FileEntry) -> Response:
            return self._session.open("GET", f"{base}/{quote(entry.path)}", headers={"Accept": "*/*"})

        return download_files(found.files, directory, fetch)

    def _alias(self, model: str, alias: str, project: str | None) -> str:
        return self._address(self._id(Model, model, project), "aliases", segment(alias, "an alias"))

    def _version_address(self, id: str) -> str:
        return f"{VERSIONS}/{segment(id, 'a model version')}"
