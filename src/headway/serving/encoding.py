"""JSON in and out of models.

JSON has no NaN and no infinities. In answers they are the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``, as in
the JSON mapping of protocol buffers: every JSON parser reads the answer, and nothing silently becomes null. In requests
the bare words that Python and TensorFlow Serving write are read too. Bytes are ``{"b64": "…"}``, as in TensorFlow
Serving's REST API.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping
from typing import Any

import orjson

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
MAX_DEPTH = 200


class EncodingError(Exception):
    """A value has no JSON form, or a text is no JSON."""


def loads(body: bytes) -> Any:
    """A request body as Python values.

    Raises:
        EncodingError: It is not JSON, or nested too deeply.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if b"NaN" not in body and b"Infinity" not in body:
            raise EncodingError(_where(body, error)) from None
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise EncodingError(str(error)) from None


def _where(body: bytes, error: orjson.JSONDecodeError) -> str:
    return f"{error.msg}. at offset: {error.pos}" if body.strip() else "The document is empty"


def decode_base64(value: Any) -> Any:
    """``value`` with every ``{"b64": "…"}`` in it replaced by the bytes it stands for.

    Raises:
        EncodingError: One of them is not base64, or the value is nested too deeply.
    """
    return _decoded(value, 0)


def _decoded(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise EncodingError(f"It is nested more than {MAX_DEPTH} deep")
    if isinstance(value, list):
        return [_decoded(item, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    text = value.get("b64")
    if len(value) == 1 and isinstance(text, str):
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise EncodingError(f"Unable to base64 decode: {text[:64]!r}") from None
    return {key: _decoded(item, depth + 1) for key, item in value.items()}


def dumps(value: Any) -> bytes:
    """What a model returned, as JSON.

    Raises:
        EncodingError: Something in it has no JSON form.
    """
    try:
        text = orjson.dumps(value, default=_default, option=_OPTIONS)
        if b"null" not in text:
            return text
    except TypeError:
        pass
    # A null may be None or a NaN that orjson lost; and there are values that only the slow road knows.
    try:
        return json.dumps(plain(value), allow_nan=False, separators=(",", ":")).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise EncodingError(f"The model's answer has no JSON form: {error}") from None


def _default(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"b64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, (set, frozenset)):
        return list(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def plain(value: Any, depth: int = 0) -> Any:
    """``value`` in nothing but dict, list, str, int, finite float, bool and None.

    >>> plain({1: (float("nan"), None)})
    {'1': ['NaN', None]}
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Mapping):
        return {_key(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, depth + 1) for item in value]
    return plain(_default(value), depth + 1)


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _key(key: Any) -> str:
    return key if isinstance(key, str) else str(plain(key))
