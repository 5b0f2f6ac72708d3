"""One request for a prediction, from the call that was read to the answer that is written."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from headway.serving.encoding import EncodingError
from headway.serving.http.exchange import Exchange
from headway.serving.http.messages import Headers, Request, Response
from headway.serving.metrics import RequestMetrics
from headway.serving.protocols.base import BadRequestError, Call, Wire, WritesMany
from headway.serving.screening import request_id

if TYPE_CHECKING:
    from headway.serving.runtimes.base import LoadedModel
    from headway.serving.worker import ModelWorker

log = logging.getLogger(__name__)

RETRY: Headers = (("Retry-After", "1"),)
REQUEST_ID = "X-Request-Id"
CLIENT_LEFT = 499
NEVER = float("inf")


def with_request_id(request: Request, response: Response) -> Response:
    """The answer with the name that its client gave the request."""
    name = request_id(request)
    if name is not None:
        response.headers = (*response.headers, (REQUEST_ID, name))
    return response


class Prediction:
    """Waits in a batcher, and answers its exchange once.

    Args:
        exchange: Where the answer goes.
        model: Who predicts.
        wire: The protocol of the answer; another one where the body says so.
        metrics: Told of the answer.
    """

    __slots__ = ("_deadline", "_metrics", "_started", "call", "exchange", "model", "scribe", "wire")

    call: Call

    def __init__(
        self,
        exchange: Exchange,
        model: LoadedModel,
        wire: Wire,
        metrics: RequestMetrics,
    ) -> None:
        self.exchange = exchange
        self.wire = wire
        self.scribe: ModelWorker | None = None
        """Who writes an answer that may be large, so that the loop is free meanwhile."""
        self.model = model
        self._metrics = metrics
        self._started = time.perf_counter()
        self._deadline = NEVER
        metrics.in_flight += 1
        exchange.when_gone(self._left)

    def limit(self, seconds: float | None) -> None:
        """Its client waits no longer than this, from when it was read."""
        if seconds is not None:
            self._deadline = self._started + seconds

    def wanted(self) -> bool:
        """Whether it is worth predicting; a deadline that has passed is answered here."""
        exchange = self.exchange
        if exchange.gone or exchange.response is not None:
            return False
        if self._deadline is not NEVER and time.perf_counter() >= self._deadline:
            self.refuse(504, "The deadline of this request passed before it was predicted.")
            return False
        return True

    def take(self, call: Call) -> None:
        """This is what its request asks for."""
        self.call = call
        if call.wire is not None:
            self.wire = call.wire

    def finish(self, result: object) -> None:
        if self.exchange.gone or self.exchange.response is not None:
            return
        if self.scribe is None:
            self.answer(self._written(result))
        else:
            self.scribe.submit(lambda: self._written(result), lambda response, _: self.answer(response))

    def _written(self, result: object) -> Response:
        try:
            return self.wire.write(self.model, self.call, result)
        except EncodingError as error:
            log.error("%s", error)
            return self.wire.fail(500, str(error))
        except Exception as error:  # what a model answers is open
            log.exception("An answer could not be written")
            return self.wire.fail(500, f"The model's answer could not be written: {type(error).__name__}: {error}")

    def fail(self, error: BaseException) -> None:
        if isinstance(error, (ValueError, TypeError)):
            log.info("The model refused a request", exc_info=error)
            self.refuse(400, str(error) or type(error).__name__)
        else:
            log.error("The model failed", exc_info=error)
            self.refuse(500, f"{type(error).__name__}: {error}")

    def reject(self, error: BaseException) -> None:
        """Answer a request that could not be read; unless the error says so, that is a fault of ours."""
        if isinstance(error, BadRequestError):
            self.wire = error.wire or self.wire
            self.refuse(error.status, str(error))
        else:
            log.error("A request could not be read", exc_info=error)
            self.refuse(500, "Internal error; the log has the details.")

    def refuse(self, status: int, text: str, *, headers: Headers = ()) -> None:
        """Answer with an error of the protocol."""
        self.answer(self.wire.fail(status, text, headers=headers))

    def answer(self, response: Response) -> None:
        """Answer, unless it was answered or nobody is there any more."""
        if self.exchange.gone or self.exchange.response is not None:
            return
        self._count(response.status)
        if self.exchange.request.volatile is not None:
            response = with_request_id(self.exchange.request, response)
        self.exchange.respond(response)

    def _left(self) -> None:
        self._count(CLIENT_LEFT)

    def _count(self, code: int) -> None:
        self._metrics.in_flight -= 1
        self._metrics.observe(code, time.perf_counter() - self._started)


def finish_together(batch: Sequence[Prediction], result: Any, bounds: Sequence[int]) -> bool:
    """Answer what was predicted together, where one protocol writes all of it in one form; False where it does not."""
    first = batch[0]
    wire, note = first.wire, first.call.note
    if not isinstance(wire, WritesMany):
        return False
    for each in batch:
        if each.wire is not wire or each.scribe is not None or each.call.note != note:
            return False
    responses = wire.write_many(first.model, note, result, bounds)
    if responses is None:
        return False
    for each, response in zip(batch, responses, strict=True):
        each.answer(response)
    return True
