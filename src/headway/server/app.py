"""The one place that knows every implementation."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from headway.domain.base import invalid, new_id
from headway.engines.registry import create_engine
from headway.errors import (
    ConfigurationError,
    HeadwayError,
    InternalError,
    InvalidRequestError,
    MethodNotAllowedError,
    NotFoundError,
    RequestError,
)
from headway.paths import private_directory, write_atomic
from headway.server.actions import catalogue as catalogue_actions
from headway.server.actions import instances
from headway.server.actions.routes import RouteBook
from headway.server.actions.status import VERSION
from headway.server.api import (
    artifacts,
    blobs,
    catalogue,
    collection,
    deployments,
    events,
    folders,
    gateway,
    instance_types,
    jobs,
    lineage,
    metrics,
    models,
    monitors,
    objects,
    projects,
    replicas,
    runs,
    sweeps,
    system,
    traffic,
    uploads,
)
from headway.server.api import users as user_routes
from headway.server.api.rights import check_routes
from headway.server.context import Platform
from headway.server.gate import OPEN_PATHS, Gate
from headway.server.settings import ServerSettings
from headway.server.wakeups import Wakeups
from headway.server.workers.cleaning import CleaningWorker
from headway.server.workers.collection import UploadWorker
from headway.server.workers.deployments import DeploymentWorker
from headway.server.workers.folding import FoldingWorker
from headway.server.workers.gateway import GatewayKeeper
from headway.server.workers.guard import GuardWorker
from headway.server.workers.jobs import JobWorker
from headway.server.workers.monitors import MonitorWorker
from headway.server.workers.reconciler import Reconciler
from headway.server.workers.runs import RunWorker
from headway.server.workers.scaling import ScalingWorker
from headway.server.workers.sweeps import SweepWorker
from headway.storage import open_segments, open_storage
from headway.storage.blobs.filesystem import FileBlobs
from headway.storage.series.opening import open_reader

logger = logging.getLogger("headway.server")

PREFIX = "/api/v1"
INSTANCE_SETTING = "instance"
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
WORKER_SECONDS = 1.0
CLEANING_SECONDS = 60.0
UPLOAD_SECONDS = 600.0


@dataclass(frozen=True)
class Server:
    """An assembled server: the ASGI app and what main.py needs beside it."""

    app: ASGIApp
    api: FastAPI
    platform: Platform
    close: Callable[[], None]


def create_app(settings: ServerSettings, url: str) -> Server:
    """Assemble a server that is reached at ``url``. Opens the database, starts nothing: the app's lifespan does.

    Raises:
        ConfigurationError: A setting cannot be honoured.
        ConflictError: Another server uses the data directory.
    """
    private_directory(settings.data)
    platform = open_platform(settings, url)
    instances.fill_catalogue(platform)
    catalogue_actions.fill(platform)
    keeper = GatewayKeeper(platform)
    api = FastAPI(
        title="Headway",
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=_lifespan(platform, keeper),
    )
    api.state.platform = platform
    api.state.gateway = keeper
    api.state.routes = RouteBook(platform)
    for prefix, router in api_routers():
        api.include_router(router, prefix=prefix)
    _handle_errors(api)
    hosts = LOCAL_HOSTS | {settings.host.lower()} | {host.lower() for host in settings.allowed_hosts}
    return Server(Gate(api, platform, frozenset(hosts)), api, platform, platform.storage.close)


def api_routers() -> list[tuple[str, APIRouter]]:
    """Every router with its prefix, each route checked to say who may use it."""
    nouns = (
        projects,
        user_routes,
        instance_types,
        catalogue,
        sweeps,
        blobs,
        jobs,
        runs,
        replicas,
        models,
        deployments,
        events,
        folders,
        gateway,
        artifacts,
        uploads,
        objects,
        collection,
        lineage,
        metrics,
        monitors,
        traffic,
    )
    found = [("", system.router), (PREFIX, system.versioned)]
    found += [(PREFIX, module.router) for module in nouns]
    for _, router in found:
        check_routes(router, OPEN_PATHS)
    return found


def open_platform(settings: ServerSettings, url: str) -> Platform:
    """Database, blobs, segments and engine as ``settings`` name them."""
    database = settings.database_url or f"sqlite:///{settings.data / 'headway.db'}"
    storage = open_storage(database)
    wakeups = Wakeups()
    storage.subscribe(wakeups.notify)
    with storage.write() as session:
        instance = session.settings.find(INSTANCE_SETTING)
        if instance is None:
            instance = new_id("hw")
            session.settings.put(INSTANCE_SETTING, instance)
    return Platform(
        storage=storage,
        blobs=FileBlobs(private_directory(settings.data / "blobs")),
        segments=open_segments(storage, private_directory(settings.data / "segments")),
        series=open_reader(storage, settings.data),
        engine=create_engine(settings.engine, root=private_directory(settings.data / "engine")),
        wakeups=wakeups,
        data=settings.data,
        host=settings.host,
        url=url,
        instance=instance,
        containers=settings.containers,
        secret_key=_secret_key(settings.data / "secret.key"),
        database_url=settings.database_url,
        keep_failed_hours=settings.keep_failed_hours,
        keep_environments=settings.keep_environments,
        run_lost_seconds=settings.run_lost_seconds,
        fetch_networks=settings.fetch_networks,
    )


def _secret_key(path: Path) -> bytes:
    if not path.exists():
        write_atomic(path, secrets.token_bytes(32))
    key = path.read_bytes()
    if len(key) < 32:
        raise ConfigurationError(f"{path} is damaged: it holds {len(key)} bytes instead of 32.")
    return key


def _lifespan(platform: Platform, keeper: GatewayKeeper) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(api: FastAPI) -> AsyncIterator[None]:
        _prepare_routes(api)
        folding, watching = FoldingWorker(platform), MonitorWorker(platform)
        workers = [
            Reconciler(platform, "jobs", JobWorker(platform).look, every=WORKER_SECONDS),
            Reconciler(platform, "deployments", DeploymentWorker(platform).look, every=WORKER_SECONDS),
            Reconciler(platform, "scaling", ScalingWorker(platform).look, every=WORKER_SECONDS),
            Reconciler(platform, "guard", GuardWorker(platform).look, every=WORKER_SECONDS, on_change=False),
            Reconciler(platform, "gateway", keeper.look, every=WORKER_SECONDS),
            Reconciler(platform, "folding", folding.look, every=WORKER_SECONDS),
            Reconciler(platform, "monitors", watching.look, every=WORKER_SECONDS),
            Reconciler(platform, "sweeps", SweepWorker(platform).look, every=WORKER_SECONDS),
            Reconciler(platform, "cleaning", CleaningWorker(platform).look, every=CLEANING_SECONDS, on_change=False),
            Reconciler(platform, "runs", RunWorker(platform).look, every=WORKER_SECONDS),
            Reconciler(platform, "uploads", UploadWorker(platform).look, every=UPLOAD_SECONDS, on_change=False),
        ]
        for worker in workers:
            worker.start()
        yield
        for worker in workers:
            worker.end()
        platform.wakeups.close()
        for worker in workers:
            worker.join(timeout=5.0)
        folding.close()
        watching.close()
        keeper.retire()

    return lifespan


def _prepare_routes(api: FastAPI) -> None:
    """FastAPI makes a router's routes when it is first asked for one; the first request need not wait for that."""
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "path_params": {},
        "root_path": "",
        "headers": [],
        "app": api,
    }
    for route in api.router.routes:
        route.matches(dict(scope))


def _handle_errors(api: FastAPI) -> None:
    @api.exception_handler(HeadwayError)
    async def on_headway(request: Request, error: HeadwayError) -> JSONResponse:
        return _problem(request, error)

    @api.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return _problem(request, _invalid(request, error))

    @api.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> JSONResponse:
        found: HeadwayError = RequestError(str(error.detail))
        if isinstance(error.__cause__, HeadwayError):
            found = error.__cause__  # out of reading the body, which FastAPI reports as its own error
        elif error.status_code == 404:
            found = NotFoundError("There is nothing at this address.")
        elif error.status_code == 405:
            found = MethodNotAllowedError(f"The method {request.method} is not used at this address.")
        elif error.status_code in (400, 422):
            found = InvalidRequestError("The body could not be read as JSON.")
        return _problem(request, found, error.headers)

    @api.exception_handler(Exception)
    async def on_any(request: Request, error: Exception) -> JSONResponse:
        request_id = request.scope["state"].get("request_id", "")
        logger.error("request %s failed", request_id, exc_info=error)
        return _problem(request, InternalError("Something failed inside the server; its log has the request id."))


def _problem(request: Request, error: HeadwayError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    body = {**error.to_problem(), "request_id": request.scope["state"].get("request_id")}
    headers = dict(headers or {})
    if "retry_after" in error.details:
        headers["Retry-After"] = str(error.details["retry_after"])
    return JSONResponse(body, error.status, media_type="application/problem+json", headers=headers)


def _invalid(request: Request, error: RequestValidationError) -> InvalidRequestError:
    """FastAPI's validation error as ours, with did-you-mean against the model of the body, or of the parameters."""
    model, place = _model_of(request)
    problems = [
        {**item, "loc": tuple(part for part in item["loc"] if part not in ("body", place))}
        for item in error.errors()
        if item.get("type") != "json_invalid"
    ]
    if not problems:
        return InvalidRequestError("The body is not valid JSON.")
    return invalid(problems, model, "The request")


def _model_of(request: Request) -> tuple[type[BaseModel] | None, str]:
    """What a route takes as one model, and whether that is its ``body`` or its ``query``."""
    route = request.scope.get("route")
    queries = getattr(getattr(route, "dependant", None), "query_params", ())
    for place, field in (("body", getattr(route, "body_field", None)), *(("query", query) for query in queries)):
        found = getattr(getattr(field, "field_info", None), "annotation", None)
        if isinstance(found, type) and issubclass(found, BaseModel):
            return found, place
    return None, "body"
