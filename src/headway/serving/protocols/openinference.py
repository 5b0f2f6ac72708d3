"""The Open Inference Protocol (V2) over HTTP, with the binary tensor data extension.

Source: the KServe documents "Open Inference Protocol (V2)" and "Binary Tensor Data Extension". Where a body has binary
data, ``Inference-Header-Content-Length`` is the length of the JSON before it. Errors: ``{"error": text}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from headway.serving.encoding import EncodingError, dumps, loads
from headway.serving.http.messages import Headers, Request, Response, error_response, json_response
from headway.serving.protocols.base import BadRequestError, Call, ModelState, Served, Target
from headway.serving.protocols.results import named
from headway.serving.protocols.tensors import SentTensor, binary_data, datatype_of, json_data, tensor_of
from headway.serving.protocols.values import Array, name_fault, reader_of
from headway.serving.release import release
from headway.serving.runtimes.base import LoadedModel, Signature, TensorSpec

LENGTH_HEADER = "Inference-Header-Content-Length"
_LENGTH_HEADER = LENGTH_HEADER.lower().encode("ascii")
OCTETS = b"application/octet-stream"
ONLY_OUTPUT = "output"
"""The name of the answer of a model that gives it none."""
EXTENSIONS = ["binary_tensor_data"]
NOT_OFFERED = frozenset({"classification", "shared_memory_region"})
"""Parameters of outputs that other extensions know; to ignore them would be to answer something else."""


def is_binary(request: Request) -> bool:
    """Whether binary data follows the JSON of a body."""
    return request.header(_LENGTH_HEADER) is not None


@dataclass(frozen=True)
class Wanted:
    """How the answer to a request is to be written."""

    id: str | None
    outputs: Mapping[str, bool] | None
    """Output to whether it is sent as binary data; None for all."""
    binary: bool
    """Whether outputs that are not named are."""


class OpenInferenceWire:
    """Reads and writes inference requests."""

    def __init__(self, served: Served) -> None:
        self.served = served

    def read(self, model: LoadedModel, request: Request, target: Target) -> Call:
        declared = request.header(_LENGTH_HEADER)
        if declared is None:
            return self.read_document(model, _loads(request.body), target)
        if not declared.isdigit() or len(declared) > 18 or int(declared) > len(request.body):
            raise BadRequestError(f"{LENGTH_HEADER} must be the length of the JSON in the body")
        length = int(declared)
        tail = memoryview(request.body)[length:]
        return self.read_document(model, _loads(request.body[:length]), target, tail)

    def read_document(
        self,
        model: LoadedModel,
        document: Any,
        target: Target,  # noqa: ARG002
        tail: memoryview = memoryview(b""),
    ) -> Call:
        """The call in a body whose JSON was parsed; ``tail`` is the binary data."""
        if not isinstance(document, dict):
            raise BadRequestError("the request must be an object with 'inputs'")
        arrays = _arrays_in(document, tail)
        if model.signature is None:
            call = Call({name: array if array.flags.writeable else array.copy() for name, array in arrays.items()})
        else:
            call = reader_of(model.signature).of_arrays(arrays)
        call.note, call.wire = _wanted_in(document, model.signature), self
        return call

    def write(self, model: LoadedModel, call: Call, result: Any) -> Response:
        wanted: Wanted = call.note
        outputs = _outputs_of(model, result)
        try:
            return self._answer(wanted, outputs)
        except BadRequestError as error:
            return self.fail(error.status, str(error))

    def _answer(self, wanted: Wanted, outputs: Mapping[str, Any]) -> Response:
        chosen = dict.fromkeys(outputs, wanted.binary) if wanted.outputs is None else wanted.outputs
        described, tail = [], []
        for name, as_binary in chosen.items():
            if name not in outputs:
                raise BadRequestError(name_fault("output", [name], outputs))
            datatype, array = tensor_of(name, outputs[name])
            tensor: dict[str, Any] = {"name": name, "datatype": datatype, "shape": array.shape}
            if as_binary:
                data = binary_data(array)
                tensor["parameters"] = {"binary_data_size": len(data)}
                tail.append(data)
            else:
                tensor["data"] = json_data(name, array)
            described.append(tensor)
        return self._enveloped(wanted, described, tail)

    def _enveloped(self, wanted: Wanted, outputs: list[dict[str, Any]], tail: list[Any]) -> Response:
        envelope: dict[str, Any] = {"model_name": self.served.name, "model_version": str(self.served.version)}
        if wanted.id is not None:
            envelope["id"] = wanted.id
        envelope["outputs"] = outputs
        text = dumps(envelope)
        if not tail:
            return Response(200, text)
        headers = ((LENGTH_HEADER, str(len(text))),)
        return Response(200, b"".join([text, *tail]), content_type=OCTETS.decode("ascii"), headers=headers)

    def fail(self, status: int, text: str, *, headers: Headers = ()) -> Response:
        return error_response(status, text, headers=headers)

    def describe(self, target: Target, model: LoadedModel | None, state: ModelState) -> Response:
        if target.verb == "server":
            return json_response(200, {"name": "headway", "version": release(), "extensions": EXTENSIONS})
        if target.verb == "live":
            return json_response(200, {"live": True})
        ready = state is ModelState.AVAILABLE
        if target.verb == "ready":
            which = {"name": self.served.name} if target.model else {"live": True}
            return json_response(200 if ready else 503, {**which, "ready": ready})
        if model is None:
            return self.fail(503, "The model is being loaded.", headers=(("Retry-After", "1"),))
        return json_response(200, self._metadata_of(model))

    def _metadata_of(self, model: LoadedModel) -> dict[str, Any]:
        signature = model.signature or Signature(())
        return {
            "name": self.served.name,
            "versions": [str(self.served.version)],
            "platform": str(model.metadata.get("runtime", "")),
            "inputs": [_described(spec) for spec in signature.inputs],
            "outputs": [_described(spec) for spec in signature.outputs],
        }


def _described(spec: TensorSpec) -> dict[str, Any]:
    shape = [-1 if size is None else size for size in spec.shape or ()]
    return {"name": spec.name, "datatype": datatype_of(spec), "shape": shape}


def _loads(text: bytes) -> Any:
    try:
        return loads(text)
    except EncodingError as error:
        raise BadRequestError(f"the JSON of the request cannot be read: {error}") from None


def _arrays_in(document: dict[str, Any], tail: memoryview) -> dict[str, Array]:
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise BadRequestError("the request must have 'inputs', a list of tensors")
    arrays: dict[str, Array] = {}
    start = 0
    for each in inputs:
        tensor = SentTensor(each)
        if tensor.name in arrays:
            raise BadRequestError(f"the input {tensor.name!r} is there twice")
        if tensor.binary_size is None:
            arrays[tensor.name] = tensor.from_json()
            continue
        if start + tensor.binary_size > len(tail):
            raise BadRequestError(f"input {tensor.name!r}: the body ends before its binary data does")
        arrays[tensor.name] = tensor.from_binary(tail[start : start + tensor.binary_size])
        start += tensor.binary_size
    if start != len(tail):
        raise BadRequestError(f"{len(tail) - start} bytes of the body belong to no input")
    return arrays


def _wanted_in(document: dict[str, Any], signature: Signature | None) -> Wanted:
    identity = document.get("id")
    if identity is not None and not isinstance(identity, str):
        raise BadRequestError("'id' must be a text")
    binary = _flag(document, "binary_data_output", "the request", default=False)
    outputs = document.get("outputs")
    if not outputs:
        return Wanted(identity, None, binary)
    known = {spec.name for spec in signature.outputs} if signature is not None else set()
    return Wanted(identity, _requested(outputs, known, default=binary), binary)


def _requested(outputs: Any, known: set[str], *, default: bool) -> dict[str, bool]:
    if not isinstance(outputs, list):
        raise BadRequestError("'outputs' must be a list of outputs")
    found: dict[str, bool] = {}
    for each in outputs:
        name = each.get("name") if isinstance(each, dict) else None
        if not isinstance(name, str):
            raise BadRequestError("each requested output must be an object with a 'name'")
        if known and name not in known:
            raise BadRequestError(name_fault("output", [name], known))
        found[name] = _flag(each, "binary_data", f"output {name!r}", default=default)
        if not NOT_OFFERED.isdisjoint(each.get("parameters") or ()):
            raise BadRequestError(f"output {name!r}: classification and shared memory are not offered")
    return found


def _flag(document: dict[str, Any], name: str, where: str, *, default: bool) -> bool:
    parameters = document.get("parameters")
    if parameters is None:
        return default
    if not isinstance(parameters, dict):
        raise BadRequestError(f"{where}: 'parameters' must be an object")
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise BadRequestError(f"{where}: '{name}' must be true or false")
    return value


def _outputs_of(model: LoadedModel, result: Any) -> Mapping[str, Any]:
    if model.signature is not None:
        outputs: Mapping[str, Any] = result
        return outputs
    result = named(result)
    if isinstance(result, Mapping):
        return {str(name): value for name, value in result.items()}
    if isinstance(result, list) and result and isinstance(result[0], Mapping):
        raise EncodingError("The model answers a list of objects, which are no tensors.")
    return {ONLY_OUTPUT: np.asarray(result) if np.isscalar(result) else result}
