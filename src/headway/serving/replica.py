"""One serving replica: a model behind HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headway.serving.arrivals import Arrivals
from headway.serving.batching import Batcher
from headway.serving.http.exchange import Exchange
from headway.serving.http.messages import Request, Response, error_response, json_response
from headway.serving.http.server import HttpServer
from headway.serving.metrics import CONTENT_TYPE, BatchMetrics, RequestMetrics, exposition
from headway.serving.pace import Pace
from headway.serving.prediction import RETRY, Prediction, finish_together, with_request_id
from headway.serving.protocols.base import ModelState, Served, Target, Wire
from headway.serving.protocols.paths import locate
from headway.serving.protocols.registry import body_problem, wires
from headway.serving.runtimes.base import LoadedModel
from headway.serving.runtimes.registry import load_model
from headway.serving.screening import (
    has_foreign_origin,
    method_problem,
    misdirected,
    names_another_host,
)
from headway.serving.warming import warm
from headway.serving.worker import ModelWorker

READ = ("GET", "HEAD")
PREDICTING = frozenset({"predict", "classify", "regress"})
DESCRIBING = frozenset({"status", "metadata", "ready", "live", "server"})
PREFIX = "headway_model"


@dataclass(frozen=True)
class Aim:
    """What the screen found out about a head."""

    path: str
    target: Target | None = None
    """None for ``/health`` and ``/metrics``."""


class Replica:
    """Answers for one model.

    Args:
        model_dir: Where its files are.
        served: What it is called.
        only_loopback: Whether it listens on this machine alone, so that a request for another Host is an attack.
        max_rows: Of a batch.
        max_wait_ms: How long the first call of a batch waits for others.
    """

    def __init__(
        self,
        model_dir: Path,
        served: Served,
        *,
        only_loopback: bool,
        max_rows: int = 256,
        max_wait_ms: float = 0.0,
    ) -> None:
        self.model_dir, self.served, self.only_loopback = model_dir, served, only_loopback
        self.worker = ModelWorker()
        self.server = HttpServer(self.handle, screen=self.screen, stable_screen=True, channels=True)
        self.model: LoadedModel | None = None
        self.draining = False
        self._max_rows, self._max_wait_ms = max_rows, max_wait_ms
        self._wires = wires(served)
        self._metrics = {name: RequestMetrics() for name in self._wires}
        self._batches = BatchMetrics()
        self._batcher: Batcher | None = None
        self._arrivals: Arrivals | None = None

    async def load(self) -> None:
        """Load the model in the thread where it will predict, and see how quick it is.

        Raises:
            ModelLoadError, MissingExtraError: See :func:`headway.serving.runtimes.registry.load_model`.
        """
        model, pace = await self.worker.run(self._loaded)
        self._batcher = Batcher(
            model,
            self.worker,
            pace,
            max_rows=self._max_rows,
            max_wait_ms=self._max_wait_ms,
            observe=self._batches.observe,
            together=finish_together,
        )
        self._arrivals = Arrivals(model, self._batcher)
        self.model = model

    async def failure(self) -> str:
        """Never returns: a model within this process ends with it."""
        return str(await asyncio.get_running_loop().create_future())

    async def close(self, grace: float) -> None:
        """There is nothing to end."""

    def _loaded(self) -> tuple[LoadedModel, Pace]:
        model = load_model(self.model_dir)
        # Code of users may mind its thread (a SQLite connection, a CUDA context); so may a runtime that says so.
        pace = Pace(pinned=model.signature is None or bool(model.metadata.get("thread")))
        warm(model, pace)
        return model, pace

    # From the head alone.

    def screen(self, request: Request) -> Response | None:
        """Refuse by the head alone; otherwise the request's context is its :class:`Aim`."""
        if has_foreign_origin(request) or (self.only_loopback and names_another_host(request)):
            return misdirected()
        path = request.path
        if path in ("/health", "/metrics"):
            request.context = Aim(path)
            return method_problem(request, READ)
        target = locate(path)
        if target is None:
            return error_response(404, f"There is nothing at {path}.")
        request.context = Aim(path, target)
        wire = self._wires[target.protocol]
        return self._wrong_target(target, wire) or _wrong_verb(request, target, wire)

    def _wrong_target(self, target: Target, wire: Wire) -> Response | None:
        served = self.served
        if target.deployment is None:
            # Below a deployment's path the gateway has found version and label, by the newest that is known of them.
            if target.label is not None and target.label not in served.labels:
                return wire.fail(404, f"Unrecognized servable version label: {target.label}")
            if target.model and target.model != served.name:
                which = f"Latest({target.model})" if target.version is None else f"Specific({target.model}, "
                text = which if target.version is None else f"{which}{target.version})"
                return wire.fail(404, f"Servable not found for request: {text}")
        if target.version not in (None, served.version):
            return wire.fail(404, f"Servable not found for request: Specific({served.name}, {target.version})")
        return None

    # Answering.

    def handle(self, exchange: Exchange) -> None:
        """Answer, or have it predicted with what else arrives in this turn of the loop."""
        aim: Aim = exchange.request.context
        target = aim.target
        if target is None:
            _answer(exchange, self._health() if aim.path == "/health" else self._exposition())
        elif target.verb in DESCRIBING:
            wire = self._wires[target.protocol]
            _answer(exchange, wire.describe(target, self._described(), self._state()))
        else:
            self._predict(exchange, target)

    def _predict(self, exchange: Exchange, target: Target) -> None:
        wire, arrivals = self._wires[target.protocol], self._arrivals
        if arrivals is None:
            _answer(exchange, wire.fail(503, "The model is being loaded.", headers=RETRY))
            return
        arrivals.add(Prediction(exchange, arrivals.model, wire, self._metrics[target.protocol]), target)

    def _state(self) -> ModelState:
        if self.model is None:
            return ModelState.LOADING
        return ModelState.UNLOADING if self.draining else ModelState.AVAILABLE

    def _health(self) -> Response:
        state = "loading" if self.model is None else "draining" if self.draining else "ok"
        body = {"status": state, "model": self.served.name, "version": self.served.version}
        return json_response(200 if state == "ok" else 503, body)

    def _exposition(self) -> Response:
        parts = [(metrics, {"protocol": name}) for name, metrics in self._metrics.items()]
        text = exposition(PREFIX, parts, self.server.refused)
        return Response(200, text + self._batches.exposition(PREFIX, self._execution()), content_type=CONTENT_TYPE)

    def _execution(self) -> str:
        return "thread" if self._batcher is None else self._batcher.pace.execution

    def _described(self) -> LoadedModel | None:
        return None if self.model is None else Described(self.model, self._execution())


def _answer(exchange: Exchange, response: Response) -> None:
    exchange.respond(with_request_id(exchange.request, response))


class Described:
    """A model, and where it is called now."""

    def __init__(self, model: LoadedModel, execution: str) -> None:
        self.signature, self.batch, self.predict = model.signature, model.batch, model.predict
        self.metadata: Mapping[str, Any] = {**model.metadata, "execution": execution}


def _wrong_verb(request: Request, target: Target, wire: Wire) -> Response | None:
    if target.verb in DESCRIBING:
        return method_problem(request, READ)
    if target.verb not in PREDICTING:
        return wire.fail(400, f"The verb {target.verb[:50]!r} is not offered; use ':predict'.")
    return method_problem(request, ("POST",)) or body_problem(request, target, wire)
