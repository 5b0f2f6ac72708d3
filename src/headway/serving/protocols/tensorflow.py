"""TensorFlow Serving's REST API: bodies and errors. Its paths are in :mod:`headway.serving.protocols.paths`.

Source: the documentation "RESTful API" of TensorFlow Serving. Row form: ``{"instances": [row, …]}`` →
``{"predictions": [row, …]}``; column form: ``{"inputs": value}`` → ``{"outputs": value}``; an only output is answered
without its name. Classify and regress: ``{"examples": [{feature: value}, …], "context": {…}}`` → ``{"results": […]}``.
Errors: ``{"error": text}``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from headway.serving.encoding import dumps
from headway.serving.http.messages import Headers, Request, Response, error_response, json_response
from headway.serving.protocols import examples
from headway.serving.protocols.base import BadRequestError, Call, ModelState, Served, Target
from headway.serving.protocols.bodies import document_of
from headway.serving.protocols.results import as_columns, as_rows
from headway.serving.protocols.together import read_rows, write_rows
from headway.serving.protocols.values import call_without_signature, reader_of
from headway.serving.runtimes.base import LoadedModel, Signature, TensorSpec

DEFAULT_SIGNATURE = "serving_default"
METHODS = {verb: f"tensorflow/serving/{verb}" for verb in ("predict", "classify", "regress")}
SIGNATURES = frozenset({"", DEFAULT_SIGNATURE, *METHODS.values()})

_TYPES = {"float16": "DT_HALF", "float32": "DT_FLOAT", "float64": "DT_DOUBLE", "object": "DT_STRING", "bool": "DT_BOOL"}


class TensorflowWire:
    """Reads and writes TensorFlow Serving's bodies."""

    def __init__(self, served: Served) -> None:
        self.served = served

    def read(self, model: LoadedModel, request: Request, target: Target) -> Call:
        return self.read_document(model, document_of(request.body), target)

    def read_many(self, model: LoadedModel, requests: Sequence[Request], verb: str) -> Sequence[Call | None]:
        if verb != "predict":
            return [None] * len(requests)
        calls = read_rows(model, [request.body for request in requests], "instances")
        for call in calls:
            if call is not None:
                call.note, call.wire = "instances", self
        return calls

    def read_document(self, model: LoadedModel, document: Any, target: Target) -> Call:
        """The call in a body that was parsed."""
        if not isinstance(document, dict):
            raise BadRequestError("JSON Value: expecting an object with 'inputs' or 'instances'")
        _check_signature_name(model, document.get("signature_name", ""))
        if target.verb == "predict":
            call = _predict_call(model, document)
        elif target.verb in METHODS:
            call = examples.read(model, document)
            call.note = target.verb
        else:
            raise BadRequestError(f"The verb {target.verb[:50]!r} is not offered; use ':predict'.")
        call.wire = self
        return call

    def write(self, model: LoadedModel, call: Call, result: Any) -> Response:
        form = call.note
        if form == "instances":
            return Response(200, dumps({"predictions": as_rows(result, bare=model.signature is not None)}))
        if form == "inputs":
            return Response(200, dumps({"outputs": as_columns(result, bare=model.signature is not None)}))
        if form == "classify":
            return Response(200, dumps({"results": examples.classified(model, result)}))
        return Response(200, dumps({"results": examples.regressed(result)}))

    def write_many(
        self, model: LoadedModel, note: Any, result: Any, bounds: Sequence[int]
    ) -> Sequence[Response] | None:
        return write_rows(model, result, bounds, "predictions") if note == "instances" else None

    def fail(self, status: int, text: str, *, headers: Headers = ()) -> Response:
        return error_response(status, text, headers=headers)

    def describe(self, target: Target, model: LoadedModel | None, state: ModelState) -> Response:
        if target.verb == "metadata":
            if model is None:
                return self.fail(503, "The model is being loaded.", headers=(("Retry-After", "1"),))
            return json_response(200, metadata_of(self.served, model))
        return status_response([(self.served.version, state.value)])


def _check_signature_name(model: LoadedModel, name: Any) -> None:
    if not isinstance(name, str):
        raise BadRequestError("'signature_name' key must be a string value.")
    if model.signature is not None and name not in SIGNATURES:
        raise BadRequestError(f'Serving signature name: "{name[:100]}" not found in signature def')


def _predict_call(model: LoadedModel, document: dict[str, Any]) -> Call:
    rows, columns = "instances" in document, "inputs" in document
    if rows and columns:
        raise BadRequestError("Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist")
    if not rows and not columns:
        raise BadRequestError("Missing 'inputs' or 'instances' key")
    form = "instances" if rows else "inputs"
    value = document[form]
    if rows and not isinstance(value, list):
        raise BadRequestError("Expecting 'instances' to be a list/array")
    if rows and not value:
        raise BadRequestError("No values in 'instances' array")
    if model.signature is None:
        call = call_without_signature(model, value)
    else:
        reader = reader_of(model.signature)
        call = reader.of_rows(value) if rows else reader.of_value(value)
    call.note = form
    return call


def status_response(versions: Iterable[tuple[int, str]]) -> Response:
    """Versions and their states (``AVAILABLE``, ``LOADING``, ``END``) as ``GET /v1/models/<name>`` answers them."""
    return json_response(
        200,
        {
            "model_version_status": [
                {"version": str(version), "state": state, "status": {"error_code": "OK", "error_message": ""}}
                for version, state in versions
            ]
        },
    )


def metadata_of(served: Served, model: LoadedModel) -> dict[str, Any]:
    """``GET /v1/models/<name>/metadata``: the model's own metadata beside the ``signature_def``."""
    metadata = dict(model.metadata)
    if model.signature is not None:
        metadata["signature_def"] = {"signature_def": {DEFAULT_SIGNATURE: _signature_def(model.signature)}}
    spec = {"name": served.name, "signature_name": "", "version": str(served.version)}
    return {"model_spec": spec, "metadata": metadata}


def _signature_def(signature: Signature) -> dict[str, Any]:
    return {
        "inputs": {spec.name: _tensor_info(spec) for spec in signature.inputs},
        "outputs": {spec.name: _tensor_info(spec) for spec in signature.outputs},
        "method_name": METHODS["predict"],
    }


def _tensor_info(spec: TensorSpec) -> dict[str, Any]:
    sizes = [] if spec.shape is None else [-1 if size is None else size for size in spec.shape]
    return {
        "dtype": _TYPES.get(spec.dtype or "float64", f"DT_{spec.dtype.upper()}"),
        "tensor_shape": {
            "dim": [{"size": str(size), "name": ""} for size in sizes],
            "unknown_rank": spec.shape is None,
        },
        "name": spec.name,
    }
