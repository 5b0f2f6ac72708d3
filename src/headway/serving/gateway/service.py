"""The gateway as one object: routes in, requests through."""

from __future__ import annotations

import asyncio
from pathlib import Path

from headway.domain.base import is_id
from headway.serving.gateway.access import access_problem
from headway.serving.gateway.accesslog import FILE_NAME, AccessLog
from headway.serving.gateway.exposition import CONTENT_TYPE, exposition
from headway.serving.gateway.feed import RouteFeed
from headway.serving.gateway.relays import Relays
from headway.serving.gateway.reports import Reporter
from headway.serving.gateway.routes import Entry, Table
from headway.serving.gateway.states import server_response, state_response
from headway.serving.gateway.targets import HERE, READ, Destination, destination
from headway.serving.gateway.traffic import Ledger
from headway.serving.http.exchange import Exchange
from headway.serving.http.messages import Request, Response, error_response, json_response
from headway.serving.http.server import HttpServer
from headway.serving.screening import is_loopback, method_problem, names_another_host

HEALTH, METRICS = "/health", "/metrics"


class Gateway:
    """Answers for all deployments, ``/health`` and (to this machine alone) ``/metrics``.

    Args:
        directory: Holds the token, the saved routes and the access log; the server's own directory lies above it.
        gateway_id: Of this process, in what the server is told.
        access_log: Whether each request is written down.
    """

    def __init__(self, directory: Path, gateway_id: str, *, access_log: bool = True) -> None:
        self.ledger = Ledger()
        self.access_log = AccessLog(directory / FILE_NAME if access_log else None)
        self.relays = Relays(self.access_log)
        self.table = Table(self.ledger, self.relays.changed)
        self.feed = RouteFeed(directory, self.table.apply)
        self.reporter = Reporter(directory, gateway_id, self.ledger, self._waiting, self.relays.settle)
        self.relays.wanted = self.reporter.at_once
        self.server = HttpServer(self.handle, screen=self.screen)
        self._searches: set[asyncio.Task[None]] = set()

    def screen(self, request: Request) -> Response | None:
        """Refuse by the head alone what a known deployment does not take."""
        path = request.path
        wanted = destination(path)
        if wanted is None:
            return _own_problem(request)
        entry = self.table.find(wanted.deployment)
        request.context = (wanted, entry)
        problem = None if entry is None else _admission_problem(entry, request, wanted)
        if problem is not None:
            self.access_log.refused(request, problem.status, wanted.deployment[:256])
        return problem

    def handle(self, exchange: Exchange) -> None:
        request = exchange.request
        if request.context is None:
            exchange.respond(self._own(request.path))
            return
        wanted, entry = request.context
        if entry is None or entry.gone or entry.stopped:
            search = asyncio.get_running_loop().create_task(self._search(exchange, wanted))
            self._searches.add(search)
            search.add_done_callback(self._searches.discard)
        else:
            self._serve(exchange, entry, wanted)

    def _serve(self, exchange: Exchange, entry: Entry, wanted: Destination) -> None:
        if wanted.verb in HERE:
            exchange.respond(state_response(entry, wanted))
        else:
            self.relays.begin(entry, wanted, exchange)

    async def _search(self, exchange: Exchange, wanted: Destination) -> None:
        """A deployment that is not known may have been made a moment ago, and one that is stopped may have been started: ask
        the server."""
        if not self.table.is_ambiguous(wanted.deployment):
            # Endpoints name deployments by id; whoever tries out other names does not hold a line for each.
            known = self.table.find(wanted.deployment) is not None
            await self.feed.refresh(patient=known or is_id(wanted.deployment, "dep"))
        if exchange.gone:
            return
        entry = self.table.find(wanted.deployment)
        problem = self._unknown(wanted) if entry is None else _admission_problem(entry, exchange.request, wanted)
        if problem is not None:
            self.access_log.refused(exchange.request, problem.status, wanted.deployment[:256])
            exchange.respond(problem)
        elif entry is not None:
            self._serve(exchange, entry, wanted)

    def _unknown(self, wanted: Destination) -> Response:
        if self.table.version is None:
            return error_response(503, "The gateway has no routes yet.", headers=(("Retry-After", "1"),))
        if self.table.is_ambiguous(wanted.deployment):
            return error_response(404, f"Several deployments are called {wanted.deployment!r}; use the id.")
        return error_response(404, f"There is no deployment {wanted.deployment!r}.")

    def _own(self, path: str) -> Response:
        """What the gateway says of itself; the screen let nothing else pass."""
        if path == METRICS:
            return Response(200, exposition(self.table, self.server.refused), content_type=CONTENT_TYPE)
        if path == HEALTH:
            return json_response(200, {"status": "ok", "routes_version": self.table.version})
        return server_response(path) or error_response(404, f"There is nothing at {path}.")

    def _waiting(self) -> dict[str, int]:
        return {key: entry.held for key, entry in self.relays.waiting.items()}

    async def close(self) -> None:
        """Write and tell what is left; called once the server has drained."""
        for search in list(self._searches):
            search.cancel()
        self.relays.close()
        await self.access_log.close()


def _own_problem(request: Request) -> Response | None:
    path = request.path
    if path == METRICS:
        return _metrics_problem(request) or method_problem(request, READ)
    if path == HEALTH or server_response(path) is not None:
        return method_problem(request, READ)
    return error_response(404, f"There is nothing at {path}.")


def _metrics_problem(request: Request) -> Response | None:
    if is_loopback(request.peer) and not names_another_host(request):
        return None
    return error_response(404, f"There is nothing at {METRICS}.")


def _admission_problem(entry: Entry, request: Request, wanted: Destination) -> Response | None:
    return access_problem(entry, request) or method_problem(request, wanted.methods)
