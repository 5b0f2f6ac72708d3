"""Large arrays as binary tensors: neither printed nor parsed, and their bits, types and shapes are kept.

Source: the KServe documents "Open Inference Protocol (V2)" and "Binary Tensor Data Extension": little-endian, row major, no
padding; ``Inference-Header-Content-Length`` is the length of the JSON before the data.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headway.errors import PlatformError
from headway.sdk.forms import is_array

LARGE = 64 * 1024
"""Bytes of all arrays together from which they are sent so."""
LENGTH_HEADER = "Inference-Header-Content-Length"
DTYPES = {
    "BOOL": "bool",
    **{f"UINT{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": f"float{bits}" for bits in (16, 32, 64)},
}
"""Datatype to NumPy's name of the types that hold numbers."""
DATATYPES = {dtype: datatype for datatype, dtype in DTYPES.items()}
BYTES = "BYTES"
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class KnownTensor:
    """What a model says of one input."""

    dtype: str
    shape: tuple[int, ...]
    """-1 is any size; empty is any shape."""


@dataclass(frozen=True)
class TensorSignature:
    """The inputs and outputs of a model whose tensors all hold numbers."""

    inputs: Mapping[str, KnownTensor]
    version: str | None
    """Which version said so, as ``v3``."""


@dataclass(frozen=True)
class TensorRequest:
    """An inference request with binary tensors."""

    body: bytes
    headers: Mapping[str, str]


def is_large(value: Any) -> bool:
    """Whether ``value`` is made of arrays alone that are worth asking the model for its signature."""
    arrays = list(value.values()) if isinstance(value, Mapping) else [value]
    if not arrays or not all(map(is_array, arrays)):
        return False
    import numpy

    found = [numpy.asarray(array) for array in arrays]
    return all(array.dtype.name in DATATYPES for array in found) and sum(array.nbytes for array in found) >= LARGE


def signature_in(described: Mapping[str, Any], version: str | None) -> TensorSignature | None:
    """A signature from a model's metadata; None where it has none, or one with other things than numbers."""
    inputs, outputs = described.get("inputs"), described.get("outputs")
    if not isinstance(inputs, list) or not isinstance(outputs, list) or not inputs or not outputs:
        return None
    if not all(isinstance(each, dict) and each.get("datatype") in DTYPES for each in (*inputs, *outputs)):
        return None
    known = {str(each["name"]): KnownTensor(DTYPES[each["datatype"]], tuple(each["shape"])) for each in inputs}
    return TensorSignature(known, version)


def tensor_request(value: Any, signature: TensorSignature) -> TensorRequest | None:
    """``value`` (see :func:`is_large`) as binary tensors; None where it does not fit the signature as it is, so that the
    endpoint may say what is wrong with it, or make it fit.
    """
    named = {str(name): array for name, array in value.items()} if isinstance(value, Mapping) else None
    if named is None:
        if len(signature.inputs) != 1:
            return None
        named = dict.fromkeys(signature.inputs, value)
    if named.keys() != signature.inputs.keys():
        return None
    described, tail = [], []
    for name, known in signature.inputs.items():
        array = _fitting(named[name], known)
        if array is None:
            return None
        data = array.tobytes()
        described.append(
            {
                "name": name,
                "datatype": DATATYPES[array.dtype.name],
                "shape": list(array.shape),
                "parameters": {"binary_data_size": len(data)},
            }
        )
        tail.append(data)
    text = json.dumps({"inputs": described, "parameters": {"binary_data_output": True}}).encode()
    headers = {"Content-Type": "application/octet-stream", LENGTH_HEADER: str(len(text))}
    return TensorRequest(b"".join([text, *tail]), headers)


def decode_tensors(content: bytes, headers: Mapping[str, str], address: str) -> Any:
    """The arrays of an answer: of an only output the array itself, of several a dict. They may be written to.

    Raises:
        PlatformError: It is no answer of the protocol.
    """
    try:
        length = int(headers.get(LENGTH_HEADER.lower(), len(content)))
        document, data = json.loads(content[:length]), memoryview(content)[length:]
        found = {}
        for each in document["outputs"]:
            size = (each.get("parameters") or {}).get("binary_data_size", 0)
            found[each["name"]] = _array_of(each, data[:size])
            data = data[size:]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, struct.error) as error:
        raise PlatformError(f"{address} answered with something that is no tensors: {error}.") from None
    return next(iter(found.values())) if len(found) == 1 else found


def _fitting(value: Any, known: KnownTensor) -> Any:
    """An array as the model takes it, little-endian and row major; None where it does not fit without a loss.

    Fractions are rounded to a narrower float as JSON's are, unless they are too large for it.
    """
    import numpy

    array = numpy.asarray(value)
    if known.shape and not _is_shaped(array.shape, known.shape):
        return None
    if not numpy.can_cast(array.dtype, known.dtype, "safe"):
        if array.dtype.kind != "f" or numpy.dtype(known.dtype).kind != "f":
            return None
        with numpy.errstate(over="ignore"):
            narrow = array.astype(known.dtype)
        if not numpy.array_equal(numpy.isinf(narrow), numpy.isinf(array)):
            return None
        array = narrow
    return numpy.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(array.shape)


def _is_shaped(shape: tuple[int, ...], known: tuple[int, ...]) -> bool:
    return len(shape) == len(known) and all(size in (-1, own) for own, size in zip(shape, known, strict=True))


def _array_of(described: Mapping[str, Any], data: memoryview) -> Any:
    import numpy

    datatype, shape = described["datatype"], described["shape"]
    if "data" in described:
        return numpy.asarray(described["data"], dtype=DTYPES.get(datatype, "object")).reshape(shape)
    if datatype == BYTES:
        return numpy.asarray(_texts(data), dtype=object).reshape(shape)
    dtype = numpy.dtype(DTYPES[datatype])
    return numpy.frombuffer(data, dtype.newbyteorder("<")).astype(dtype).reshape(shape)


def _texts(data: memoryview) -> list[str]:
    found, start = [], 0
    while start < len(data):
        (length,) = _LENGTH.unpack_from(data, start)
        start += _LENGTH.size
        found.append(bytes(data[start : start + length]).decode())
        start += length
    return found
