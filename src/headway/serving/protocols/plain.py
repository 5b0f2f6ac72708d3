"""Plain JSON at ``/predict``: the body is the value, the answer the result."""

from __future__ import annotations

from typing import Any

from headway.serving.encoding import dumps
from headway.serving.http.messages import Headers, Request, Response, error_response, json_response
from headway.serving.protocols.base import Call, ModelState, Served, Target
from headway.serving.protocols.bodies import document_of
from headway.serving.protocols.results import as_columns, as_rows
from headway.serving.protocols.values import call_without_signature, reader_of
from headway.serving.runtimes.base import LoadedModel

ROWS, COLUMNS = "rows", "columns"


class PlainWire:
    """A list of objects is answered row by row, anything else column by column; an only output without its name."""

    def __init__(self, served: Served) -> None:
        self.served = served

    def read(self, model: LoadedModel, request: Request, target: Target) -> Call:
        return self.read_document(model, document_of(request.body), target)

    def read_document(self, model: LoadedModel, document: Any, target: Target) -> Call:  # noqa: ARG002
        """The call in a body that was parsed."""
        form = ROWS if isinstance(document, list) and document and isinstance(document[0], dict) else COLUMNS
        if model.signature is None:
            call = call_without_signature(model, document)
            form = COLUMNS if call.rows is None else form
        else:
            reader = reader_of(model.signature)
            call = reader.of_rows(document) if form == ROWS else reader.of_value(document)
        call.note, call.wire = form, self
        return call

    def write(self, model: LoadedModel, call: Call, result: Any) -> Response:
        shaped = as_rows if call.note == ROWS else as_columns
        return Response(200, dumps(shaped(result, bare=model.signature is not None)))

    def fail(self, status: int, text: str, *, headers: Headers = ()) -> Response:
        return error_response(status, text, headers=headers)

    def describe(self, target: Target, model: LoadedModel | None, state: ModelState) -> Response:  # noqa: ARG002
        return json_response(200, {"model": self.served.name, "version": self.served.version, "state": state.value})
