"""Requests for a prediction, from where they arrive to the batcher: what came in one turn of the loop is read together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from headway.serving.batching import MAX_WAITING, Batcher
from headway.serving.prediction import RETRY, Prediction
from headway.serving.protocols.base import Call, ReadsMany, Target
from headway.serving.runtimes.base import LoadedModel
from headway.serving.screening import timeout_of
from headway.serving.worker import ModelWorker

LARGE_BODY = 256 * 1024
"""Bytes, above which a body is read in a thread."""

Arrived = tuple[Prediction, Target]

log = logging.getLogger(__name__)


class Arrivals:
    """Takes predictions as their requests come; when the turn of the loop ends they are read and batched."""

    def __init__(self, model: LoadedModel, batcher: Batcher) -> None:
        self.model = model
        self._batcher = batcher
        self._loop = asyncio.get_running_loop()
        self._arrived: list[Arrived] = []
        self._scribe: ModelWorker | None = None

    def add(self, prediction: Prediction, target: Target) -> None:
        """Have it read and predicted; what cannot be is answered with the reason."""
        request = prediction.exchange.request
        if len(self._arrived) + self._batcher.waiting >= MAX_WAITING:
            prediction.refuse(503, "Too many predictions are waiting.", headers=RETRY)
            return
        if request.volatile is not None:
            try:
                prediction.limit(timeout_of(request))
            except ValueError as error:
                prediction.refuse(400, str(error))
                return
        if len(request.body) > LARGE_BODY:
            self._read_aside(prediction, target)
            return
        if not self._arrived:
            self._loop.call_soon(self._read_all)
        self._arrived.append((prediction, target))

    def _read_all(self) -> None:
        arrived, self._arrived = self._arrived, []
        ready = []
        for (prediction, target), call in zip(arrived, self._read_together(arrived), strict=True):
            if call is None:
                try:
                    call = prediction.wire.read(self.model, prediction.exchange.request, target)
                except Exception as error:  # noqa: BLE001  # what a client may send is open
                    prediction.reject(error)
                    continue
            prediction.take(call)
            ready.append(prediction)
        self._batcher.submit_all(ready)

    def _read_together(self, arrived: Sequence[Arrived]) -> Sequence[Call | None]:
        """A call for each that could be read with the others; nearly always all came by one protocol with one verb."""
        alone: list[Call | None] = [None] * len(arrived)
        wire, verb = arrived[0][0].wire, arrived[0][1].verb
        if len(arrived) == 1 or not isinstance(wire, ReadsMany):
            return alone
        for prediction, target in arrived:
            if prediction.wire is not wire or target.verb != verb:
                return alone
        try:
            return wire.read_many(self.model, [prediction.exchange.request for prediction, _ in arrived], verb)
        except Exception:  # whatever one request did to it, the others are read
            log.exception("Requests could not be read together")
            return alone

    def _read_aside(self, prediction: Prediction, target: Target) -> None:
        """Read a large body in a thread, and have its answer written there: that may take longer than the prediction."""
        if self._scribe is None:
            self._scribe = ModelWorker("headway-scribe")
        prediction.scribe = self._scribe

        def read() -> Call:
            return prediction.wire.read(self.model, prediction.exchange.request, target)

        def done(call: Call, error: BaseException | None) -> None:
            if error is not None:
                prediction.reject(error)
            else:
                prediction.take(call)
                self._batcher.submit(prediction)

        self._scribe.submit(read, done)
