"""One serving replica: a model behind HTTP."""

from __future__ import annotations

import time
from pathlib import Path

from headway.serving.http.exchange import Exchange
from headway.serving.http.messages import Request, Response, error_response, json_response
from headway.serving.http.server import HttpServer
from headway.serving.metrics import CONTENT_TYPE, RequestMetrics, exposition
from headway.serving.protocols import tensorflow
from headway.serving.protocols.tensorflow import Target
from headway.serving.runtimes.base import LoadedModel
from headway.serving.runtimes.registry import load_model
from headway.serving.screening import (
    body_problem,
    has_foreign_origin,
    method_problem,
    misdirected,
    names_another_host,
)
from headway.serving.worker import ModelWorker

MAX_WAITING = 1024
"""Predictions in the queue of the model's thread, beyond which a request is refused at once."""

READ = ("GET", "HEAD")


class Replica:
    """Answers for one model.

    Args:
        model_dir: Where its files are.
        name: As it is called in ``/v1/models/<name>``.
        version: As it is called in ``…/versions/<version>``.
        only_loopback: Whether it listens on this machine alone, so that a request for another Host is an attack.
    """

    def __init__(self, model_dir: Path, name: str, version: int, *, only_loopback: bool) -> None:
        self.model_dir, self.name, self.version = model_dir, name, version
        self.only_loopback = only_loopback
        self.worker = ModelWorker()
        self.metrics = RequestMetrics()
        self.server = HttpServer(self.handle, screen=self.screen)
        self.model: LoadedModel | None = None
        self.draining = False

    async def load(self) -> None:
        """Load the model in the thread where it will predict.

        Raises:
            ModelLoadError, MissingExtraError: See :func:`headway.serving.runtimes.registry.load_model`.
        """
        self.model = await self.worker.run(lambda: load_model(self.model_dir))

    def screen(self, request: Request) -> Response | None:
        """Refuse by the head alone."""
        if has_foreign_origin(request) or (self.only_loopback and names_another_host(request)):
            return misdirected()
        if request.path in ("/health", "/metrics"):
            return method_problem(request, READ)
        target = request.context = tensorflow.locate(request.path)
        if target is None:
            return error_response(404, f"Malformed request: {request.method} {request.path}")
        return self._wrong_target(target) or _wrong_verb(request, target)

    def _wrong_target(self, target: Target) -> Response | None:
        if target.label is not None:
            return error_response(404, f"Unrecognized servable version label: {target.label}")
        if target.endpoint or (target.model == self.name and target.version in (None, self.version)):
            return None
        if target.version is None:
            return error_response(404, f"Servable not found for request: Latest({target.model})")
        return error_response(404, f"Servable not found for request: Specific({target.model}, {target.version})")

    def handle(self, exchange: Exchange) -> None:
        self.server.answer_later(exchange, self.answer(exchange.request))

    async def answer(self, request: Request) -> Response:
        if request.path == "/health":
            return self._health()
        if request.path == "/metrics":
            text = exposition("headway_model", [(self.metrics, {})], self.server.refused)
            return Response(200, text, content_type=CONTENT_TYPE)
        target: Target = request.context
        if target.verb == "status":
            return tensorflow.status_response([(self.version, "LOADING" if self.model is None else "AVAILABLE")])
        if self.model is None:
            return error_response(503, "The model is being loaded.", headers=(("Retry-After", "1"),))
        if target.verb == "metadata":
            return self._metadata(self.model)
        return await self._predict(self.model, request.body)

    def _health(self) -> Response:
        state = "loading" if self.model is None else "draining" if self.draining else "ok"
        body = {"status": state, "model": self.name, "version": self.version}
        return json_response(200 if state == "ok" else 503, body)

    def _metadata(self, model: LoadedModel) -> Response:
        spec = {"name": self.name, "signature_name": "", "version": str(self.version)}
        return json_response(200, {"model_spec": spec, "metadata": dict(model.metadata)})

    async def _predict(self, model: LoadedModel, body: bytes) -> Response:
        started = time.perf_counter()
        code = 499  # as nginx counts it: the client left
        self.metrics.in_flight += 1
        try:
            if self.worker.waiting >= MAX_WAITING:
                response = error_response(503, "Too many predictions are waiting.", headers=(("Retry-After", "1"),))
            else:
                response = await self.worker.run(lambda: tensorflow.answer(model, body))
            code = response.status
            return response
        finally:
            self.metrics.in_flight -= 1
            self.metrics.observe(code, time.perf_counter() - started)


def _wrong_verb(request: Request, target: Target) -> Response | None:
    if target.verb in ("status", "metadata"):
        return method_problem(request, READ)
    if target.verb != "predict":
        return error_response(400, f"The verb {target.verb!r} is not offered; use ':predict'.")
    return method_problem(request, ("POST",)) or body_problem(request)
