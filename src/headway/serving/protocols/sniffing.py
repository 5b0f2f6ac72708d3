"""``/model-serving/<deployment>:predict``: the form of the body chooses the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headway.serving.http.messages import Headers, Request, Response
from headway.serving.protocols.base import BadRequestError, Call, ModelState, Served, Target
from headway.serving.protocols.bodies import document_of
from headway.serving.protocols.invocations import FRAMES, InvocationsWire
from headway.serving.protocols.openinference import OpenInferenceWire, is_binary
from headway.serving.protocols.plain import PlainWire
from headway.serving.protocols.tensorflow import TensorflowWire
from headway.serving.runtimes.base import LoadedModel


class SniffingWire:
    """Parses a body once and hands it to the protocol whose form it has."""

    def __init__(self, served: Served) -> None:
        self.tensorflow = TensorflowWire(served)
        self.openinference = OpenInferenceWire(served)
        self.invocations = InvocationsWire(served)
        self.plain = PlainWire(served)

    def read(self, model: LoadedModel, request: Request, target: Target) -> Call:
        if is_binary(request):
            return self.openinference.read(model, request, target)
        document = document_of(request.body)
        wire = self.of_document(document)
        try:
            return wire.read_document(model, document, target)
        except BadRequestError as error:
            error.wire = wire
            raise

    def read_many(self, model: LoadedModel, requests: Sequence[Request], verb: str) -> Sequence[Call | None]:
        """Read as TensorFlow Serving's what has nothing but ``instances``, the one form that is its alone."""
        seen = None
        for request in requests:
            if request.headers is not seen:  # requests of one client share theirs
                seen = request.headers
                if is_binary(request):
                    return [None] * len(requests)
        return self.tensorflow.read_many(model, requests, verb)

    def of_document(self, document: Any) -> OpenInferenceWire | TensorflowWire | InvocationsWire | PlainWire:
        """The protocol of a body. An empty list or object is TensorFlow Serving's to refuse."""
        if isinstance(document, dict):
            if "instances" in document or not document:
                return self.tensorflow
            if "inputs" in document:
                return self.openinference if _are_tensors(document["inputs"]) else self.tensorflow
            if not document.keys().isdisjoint(FRAMES):
                return self.invocations
        return self.plain if document != [] else self.tensorflow

    def write(self, model: LoadedModel, call: Call, result: Any) -> Response:
        response: Response = call.wire.write(model, call, result)
        return response

    def fail(self, status: int, text: str, *, headers: Headers = ()) -> Response:
        return self.tensorflow.fail(status, text, headers=headers)

    def describe(self, target: Target, model: LoadedModel | None, state: ModelState) -> Response:
        return self.tensorflow.describe(target, model, state)


def _are_tensors(inputs: Any) -> bool:
    return isinstance(inputs, list) and bool(inputs) and isinstance(inputs[0], dict) and "datatype" in inputs[0]
