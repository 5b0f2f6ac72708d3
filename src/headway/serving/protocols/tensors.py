"""Tensors of the Open Inference Protocol: datatypes, their JSON and their binary form.

Source: the KServe documents "Open Inference Protocol (V2)" and "Binary Tensor Data Extension": little-endian, row major,
no padding; BOOL is one byte; each element of BYTES is its length in four bytes, then itself.
"""

from __future__ import annotations

import difflib
import math
import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from headway.serving.encoding import EncodingError
from headway.serving.protocols.base import BadRequestError
from headway.serving.protocols.scalars import DEEPEST, shown
from headway.serving.protocols.values import Array, Input
from headway.serving.runtimes.base import TensorSpec

BYTES = "BYTES"
DTYPES = {
    "BOOL": "bool",
    **{f"UINT{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": f"float{bits}" for bits in (16, 32, 64)},
    BYTES: "object",
}
"""Datatype to NumPy's name. BF16 has none there, so it is refused."""
DATATYPES = {dtype: datatype for datatype, dtype in DTYPES.items()}
_DTYPES = {datatype: np.dtype(dtype) for datatype, dtype in DTYPES.items()}
_DATATYPES = {dtype: datatype for datatype, dtype in _DTYPES.items()}
_LITTLE = {dtype: dtype.newbyteorder("<") for dtype in _DATATYPES}

LONGEST_NAME = 1024
_LENGTH = struct.Struct("<I")


def datatype_of(spec: TensorSpec) -> str:
    """The datatype that stands for a signature's, in metadata."""
    return DATATYPES.get(spec.dtype or "float64", spec.dtype.upper())


class SentTensor:
    """The head of one input, checked: name, datatype, shape.

    Raises:
        BadRequestError: One of them is missing or malformed.
    """

    __slots__ = ("binary_size", "datatype", "document", "dtype", "name", "shape", "size")

    def __init__(self, document: Any) -> None:
        if not isinstance(document, dict):
            raise BadRequestError("each input must be an object with 'name', 'shape', 'datatype' and 'data'")
        self.document = document
        self.name = _name_in(document)
        self.datatype = document.get("datatype")
        dtype = _DTYPES.get(self.datatype) if isinstance(self.datatype, str) else None
        if dtype is None:
            raise BadRequestError(f"input {self.name!r}: {_datatype_fault(self.datatype)}")
        self.dtype = dtype
        self.shape = _shape_in(document, self.name)
        self.size = math.prod(self.shape)
        self.binary_size = _binary_size_in(document, self.name)

    def from_json(self) -> Array:
        """The array in ``data``, flat or nested."""
        if "data" not in self.document:
            raise BadRequestError(f"input {self.name!r} has neither 'data' nor 'binary_data_size'")
        array = _parser(self.name, self.datatype).from_json(self.document["data"])
        if array.shape == self.shape:
            return array
        if array.size != self.size or (array.ndim > 1 and self.size):
            shape = list(self.shape)
            raise BadRequestError(f"input {self.name!r}: the shape {shape} and data of the shape {list(array.shape)}")
        return array.reshape(self.shape)

    def from_binary(self, data: memoryview) -> Array:
        """The array in the bytes that belong to this input. Numbers are not copied where they are aligned."""
        if self.datatype == BYTES:
            return self._from_strings(data)
        if len(data) != self.size * self.dtype.itemsize:
            raise BadRequestError(
                f"input {self.name!r}: {list(self.shape)} of {self.datatype} is {self.size * self.dtype.itemsize} bytes; "
                f"'binary_data_size' is {len(data)}"
            )
        if self.datatype == "BOOL":
            return np.frombuffer(data, dtype=np.uint8).astype(bool).reshape(self.shape)
        array = np.frombuffer(data, dtype=_LITTLE[self.dtype]).reshape(self.shape)
        return array if array.flags.aligned and array.dtype == self.dtype else array.astype(self.dtype)

    def _from_strings(self, data: memoryview) -> Array:
        found = list(_strings(self.name, data, self.size))
        if len(found) != self.size:
            raise BadRequestError(f"input {self.name!r}: {self.size} elements were promised, {len(found)} are there")
        return np.fromiter(found, dtype=object, count=len(found)).reshape(self.shape)


def _name_in(document: dict[str, Any]) -> str:
    name = document.get("name")
    if not isinstance(name, str) or not name or len(name) > LONGEST_NAME:
        raise BadRequestError("each input must have a 'name', which is a text")
    return name


def _datatype_fault(datatype: Any) -> str:
    if datatype == "BF16":
        return "BF16 is not taken; send FP32"
    if not isinstance(datatype, str):
        return f"'datatype' must be a text, found {shown(datatype)}"
    nearest = difflib.get_close_matches(datatype[:100], DTYPES, n=1)
    hint = f", did you mean {nearest[0]!r}?" if nearest else f"; known are {', '.join(DTYPES)}"
    return f"unknown datatype {datatype[:100]!r}{hint}"


def _shape_in(document: dict[str, Any], name: str) -> tuple[int, ...]:
    shape = document.get("shape")
    if not isinstance(shape, list):
        raise _shape_fault(name)
    for size in shape:
        if type(size) is not int or not 0 <= size < 2**63:
            raise _shape_fault(name)
    if len(shape) > DEEPEST:
        raise BadRequestError(f"input {name!r}: 'shape' has more than {DEEPEST} axes")
    return tuple(shape)


def _shape_fault(name: str) -> BadRequestError:
    return BadRequestError(f"input {name!r}: 'shape' must be a list of numbers from 0")


def _binary_size_in(document: dict[str, Any], name: str) -> int | None:
    parameters = document.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise BadRequestError(f"input {name!r}: 'parameters' must be an object")
    if "shared_memory_region" in parameters:
        raise BadRequestError(f"input {name!r}: shared memory is not offered; send the data in the body")
    size = parameters.get("binary_data_size")
    if size is not None and (type(size) is not int or size < 0):
        raise BadRequestError(f"input {name!r}: 'binary_data_size' must be a number from 0")
    return size


@lru_cache(maxsize=256)
def _parser(name: str, datatype: str) -> Input:
    return Input(TensorSpec(name, DTYPES[datatype], None))


def _strings(name: str, data: memoryview, most: int) -> Iterator[bytes]:
    """The elements of a BYTES tensor, at most one more than was promised."""
    start, end = 0, len(data)
    for _ in range(most + 1):
        if start == end:
            return
        if end - start < _LENGTH.size:
            raise BadRequestError(f"input {name!r}: the data ends within the length of an element")
        (length,) = _LENGTH.unpack_from(data, start)
        start += _LENGTH.size
        if end - start < length:
            raise BadRequestError(f"input {name!r}: an element of {length} bytes is longer than the data")
        yield bytes(data[start : start + length])
        start += length


def tensor_of(name: str, value: Any) -> tuple[str, Array]:
    """What a model returned, as a datatype and an array of it.

    Raises:
        EncodingError: It is no tensor.
    """
    try:
        array = np.asarray(value)
    except ValueError:
        raise EncodingError(f"The output {name!r} is ragged, so it is no tensor.") from None
    if array.dtype.kind in "US":
        array = array.astype(object)
    if array.dtype.kind == "O" and not all(isinstance(item, (str, bytes)) for item in array.reshape(-1)):
        raise EncodingError(f"The output {name!r} holds other things than texts and numbers, so it is no tensor.")
    datatype = _DATATYPES.get(array.dtype)
    if datatype is None:
        raise EncodingError(f"The output {name!r} has the type {array.dtype}, which the protocol does not know.")
    return datatype, array


def json_data(name: str, array: Array) -> Any:
    """A tensor's elements for its ``data``, in row-major order.

    Raises:
        BadRequestError: It holds bytes that are no text.
    """
    flat = array.reshape(-1)
    if array.dtype.kind != "O":
        return flat
    try:
        return [item.decode("utf-8") if isinstance(item, bytes) else item for item in flat]
    except UnicodeDecodeError:
        raise BadRequestError(f"the output {name!r} is not text; ask for it as binary data") from None


def binary_data(array: Array) -> bytes | memoryview:
    """A tensor's elements as the extension has them; not copied where they lie so already."""
    if array.dtype.kind != "O":
        return np.ascontiguousarray(array, dtype=_LITTLE[array.dtype]).reshape(-1).view(np.uint8).data
    parts = []
    for item in array.reshape(-1):
        element = item.encode("utf-8", "surrogatepass") if isinstance(item, str) else item
        parts += [_LENGTH.pack(len(element)), element]
    return b"".join(parts)
