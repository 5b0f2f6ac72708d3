"""TensorFlow Serving's REST API: bodies and errors. Its paths are in :mod:`headway.serving.protocols.paths`.

Source: the documentation "RESTful API" of TensorFlow Serving. Row form: ``{"instances": [row, …]}`` →
``{"predictions": [row, …]}``; column form: ``{"inputs": value}`` → ``{"outputs": value}``; an only output is answered
without its name. Classify and regress: ``{"examples": [{feature: value}, …], "context": {…}}`` → ``{"results": […]}``.
Errors: ``{"error": text}``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from headway.serving.encoding import EncodingError, decode_base64, dumps, loads
from headway.serving.http.messages import Headers, Request, Response, error_response, json_response
from headway.serving.protocols import examples
from headway.serving.protocols.base import BadRequestError, Call, ModelState, Served, Target
from headway.serving.protocols.values import call_without_signature, reader_of
from headway.serving.runtimes.base import LoadedModel, Signature, TensorSpec

DEFAULT_SIGNATURE = "serving_default"
METHODS = {verb: f"tensorflow/serving/{verb}" for verb in ("predict", "classify", "regress")}
NARROW = "ef"
"""NumPy's letters for float16 and float32."""
BINARY = "_bytes"
"""How the name of an output ends whose texts are bytes."""
SIGNATURES = frozenset({"", DEFAULT_SIGNATURE, *METHODS.values()})

_TYPES = {"float16": "DT_HALF", "float32": "DT_FLOAT", "float64": "DT_DOUBLE", "object": "DT_STRING", "bool": "DT_BOOL"}


class TensorflowWire:
    """Reads and writes TensorFlow Serving's bodies."""

    def __init__(self, served: Served) -> None:
        self.served = served

    def read(self, model: LoadedModel, request: Request, target: Target) -> Call:
        return self.read_document(model, document_of(request.body), target)

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

    def fail(self, status: int, text: str, *, headers: Headers = ()) -> Response:
        return error_response(status, text, headers=headers)

    def describe(self, target: Target, model: LoadedModel | None, state: ModelState) -> Response:
        if target.verb == "metadata":
            if model is None:
                return self.fail(503, "The model is being loaded.", headers=(("Retry-After", "1"),))
            return json_response(200, metadata_of(self.served, model))
        return status_response([(self.served.version, state.value)])


def document_of(body: bytes) -> Any:
    """The JSON of a body, with bytes where base64 was sent.

    Raises:
        BadRequestError: It is not JSON.
    """
    try:
        document = loads(body)
        return decode_base64(document) if b'"b64"' in body else document
    except EncodingError as error:
        raise BadRequestError(f"JSON Parse error: {error}") from None


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


def as_columns(result: Any, *, bare: bool) -> Any:
    """A result by the names of outputs; ``bare`` answers an only output without its name."""
    if not isinstance(result, Mapping):
        return result
    if bare and len(result) == 1:
        ((name, array),) = result.items()
        return _binary(name, array)
    for name in result:
        if isinstance(name, str) and name.endswith(BINARY):
            return {name: _binary(name, array) for name, array in result.items()}
    return result


def as_rows(result: Any, *, bare: bool = False) -> Any:
    """A dict of columns as a list of rows; anything else as it is.

    >>> as_rows({"classes": [5, 1], "scores": [[0.9], [0.8]]})
    [{'classes': 5, 'scores': [0.9]}, {'classes': 1, 'scores': [0.8]}]
    """
    result = as_columns(result, bare=bare)
    if not isinstance(result, Mapping) or not result:
        return result
    columns = [_column(value) for value in result.values()]
    for column in columns:
        if column is None:
            return result
    try:
        return [dict(zip(result, row)) for row in zip(*columns, strict=True)]  # noqa: B905  # as many names as columns
    except ValueError:
        lengths = {str(key): len(column) for key, column in zip(result, columns, strict=True)}
        raise EncodingError(f"The model's columns have different lengths, so they are not rows: {lengths}") from None


def _column(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if not value.ndim:
            return None
        # Narrow floats as Python's would be written with the digits of wide ones.
        return list(value) if value.dtype.char in NARROW else value.tolist()
    if isinstance(value, (list, tuple)):
        return value
    if hasattr(value, "tolist") and not isinstance(value, np.generic):
        listed = value.tolist()
        return listed if isinstance(listed, list) else None
    return None


def _binary(name: Any, value: Any) -> Any:
    """What an output whose name ends in ``_bytes`` holds, as bytes: its texts are sent as base64 too."""
    if not (isinstance(name, str) and name.endswith(BINARY)):
        return value
    return _as_bytes(value.tolist() if isinstance(value, np.ndarray) else value)


def _as_bytes(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_bytes(item) for item in value]
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


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
