"""The gateway as one object: routes in, requests through."""

from __future__ import annotations

from pathlib import Path

from headway.domain.deployments import DeploymentState
from headway.serving.gateway.access import access_problem
from headway.serving.gateway.feed import RouteFeed
from headway.serving.gateway.health import HealthKeeper
from headway.serving.gateway.proxy import Proxy
from headway.serving.gateway.routes import Entry, Table
from headway.serving.http.exchange import Exchange
from headway.serving.http.messages import Request, Response, error_response, json_response
from headway.serving.http.server import HttpServer
from headway.serving.metrics import CONTENT_TYPE, exposition
from headway.serving.protocols import tensorflow
from headway.serving.protocols.tensorflow import Target
from headway.serving.screening import body_problem, is_loopback, method_problem, names_another_host

READ = ("GET", "HEAD")


class Gateway:
    """Answers ``/model-serving/<deployment>``, ``/health`` and (to this machine alone) ``/metrics``.

    Args:
        directory: Holds the token and the saved routes; the server's own directory lies above it.
    """

    def __init__(self, directory: Path) -> None:
        self.table = Table()
        self.health = HealthKeeper()
        self.proxy = Proxy(self.health)
        self.feed = RouteFeed(directory, self.table.apply)
        self.server = HttpServer(self.handle, screen=self.screen)

    def screen(self, request: Request) -> Response | None:
        """Refuse by the head alone what a known deployment does not take."""
        if request.path == "/health":
            return method_problem(request, READ)
        if request.path == "/metrics":
            return _metrics_problem(request) or method_problem(request, READ)
        target = tensorflow.locate(request.path)
        if target is None or not target.endpoint:
            return error_response(404, f"There is nothing at {request.path}.")
        entry = self.table.find(target.model)
        request.context = (target, entry)
        return None if entry is None else _admission_problem(entry, request, target)

    def handle(self, exchange: Exchange) -> None:
        self.server.answer_later(exchange, self.answer(exchange.request))

    async def answer(self, request: Request) -> Response:
        if request.path == "/health":
            return json_response(200, {"status": "ok", "routes_version": self.table.version})
        if request.path == "/metrics":
            return self._metrics()
        target, entry = request.context
        if entry is None or entry.gone:
            entry = await self._look_again(target)
            problem = self._unknown(target) if entry is None else _admission_problem(entry, request, target)
            if problem is not None:
                return problem
        if target.verb == "status":
            return _status(entry)
        return await self.proxy.forward(entry, request, target.verb)

    async def _look_again(self, target: Target) -> Entry | None:
        """A deployment that is not known may have been made a moment ago: ask the server."""
        if not self.table.is_ambiguous(target.model):
            await self.feed.refresh()
        return self.table.find(target.model)

    def _unknown(self, target: Target) -> Response:
        if self.table.version is None:
            return error_response(503, "The gateway has no routes yet.", headers=(("Retry-After", "1"),))
        if self.table.is_ambiguous(target.model):
            return error_response(404, f"Several deployments are called {target.model!r}; use the id.")
        return error_response(404, f"There is no deployment {target.model!r}.")

    def _metrics(self) -> Response:
        parts = [(entry.metrics, {"deployment": entry.id}) for entry in self.table]
        return Response(200, exposition("headway_gateway", parts, self.server.refused), content_type=CONTENT_TYPE)


def _metrics_problem(request: Request) -> Response | None:
    if is_loopback(request.peer) and not names_another_host(request):
        return None
    return error_response(404, "There is nothing at /metrics.")


def _admission_problem(entry: Entry, request: Request, target: Target) -> Response | None:
    problem = access_problem(entry, request)
    if problem is not None:
        return problem
    if target.verb in ("status", "metadata"):
        return method_problem(request, READ)
    if target.verb != "predict":
        return error_response(400, f"The verb {target.verb!r} is not offered; use ':predict'.")
    return method_problem(request, ("POST",)) or body_problem(request)


def _status(entry: Entry) -> Response:
    """The deployment as TensorFlow Serving shows a model."""
    versions = []
    for group in entry.groups:
        if any(backend.available for backend in group.backends) and not entry.stopped:
            state = "AVAILABLE"
        else:
            state = "END" if entry.route.desired is DeploymentState.STOPPED else "LOADING"
        versions.append((group.version, state))
    return tensorflow.status_response(versions)
