"""TensorFlow Serving's REST API: addresses, bodies and errors.

Source: the documentation "RESTful API" of TensorFlow Serving. Row form: ``{"instances": [row, …]}`` →
``{"predictions": [row, …]}``; column form: ``{"inputs": value}`` → ``{"outputs": value}``; errors: ``{"error": text}``.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import numpy as np

from headway.serving.encoding import EncodingError, decode_base64, dumps, loads
from headway.serving.http.messages import Response, error_response, json_response
from headway.serving.runtimes.base import LoadedModel

log = logging.getLogger(__name__)

_VERSIONED = re.compile(r"/v1/models/([^/]+?)(?:/versions/([0-9]+)|/labels/([^/:]+))?(:[a-z]+|/metadata)?")
_ENDPOINT = re.compile(r"/model-serving/([^/]+?)(:[a-z]+|/metadata)?")


@dataclass(frozen=True)
class Target:
    """What a path asks for: ``verb`` is ``status``, ``metadata``, ``predict`` or another word after a colon."""

    model: str
    verb: str
    version: int | None = None
    label: str | None = None
    endpoint: bool = False
    """Whether ``model`` names a deployment (``/model-serving/``) and not a model."""


def locate(path: str) -> Target | None:
    """The target of a path, or None when it is not of this protocol.

    >>> locate("/v1/models/digits/versions/3:predict")
    Target(model='digits', verb='predict', version=3, label=None, endpoint=False)
    >>> locate("/model-serving/my%20digits:predict").model
    'my digits'
    """
    path = re.sub("%3a", ":", path, flags=re.IGNORECASE)
    found = _VERSIONED.fullmatch(path)
    if found is not None:
        name, version, label, verb = found.groups()
        number = int(version) if version and len(version) < 19 else None if not version else -1
        return Target(_text(name), _verb(verb), number, _text(label) if label else None)
    found = _ENDPOINT.fullmatch(path)
    return None if found is None else Target(_text(found[1]), _verb(found[2]), endpoint=True)


def _text(part: str) -> str:
    return unquote(part, errors="replace")


def _verb(part: str | None) -> str:
    return part[1:] if part else "status"


class BadBodyError(Exception):
    """The body is not a prediction request; the text says why, as TensorFlow Serving would."""


@dataclass(frozen=True)
class Query:
    """A prediction request: the value as it was sent, and in which form."""

    value: Any
    columns: bool
    signature: str


def read_query(body: bytes) -> Query:
    """The request in a body.

    Raises:
        BadBodyError: It is not JSON, or not a prediction request.
    """
    try:
        document = loads(body)
        if b'"b64"' in body:
            document = decode_base64(document)
    except EncodingError as error:
        raise BadBodyError(f"JSON Parse error: {error}") from None
    if not isinstance(document, dict):
        raise BadBodyError("JSON Value: expecting an object with 'inputs' or 'instances'")
    return _query_in(document)


def _query_in(document: dict[str, Any]) -> Query:
    rows, columns = "instances" in document, "inputs" in document
    if rows and columns:
        raise BadBodyError("Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist")
    if not rows and not columns:
        raise BadBodyError("Missing 'inputs' or 'instances' key")
    signature = document.get("signature_name", "")
    if not isinstance(signature, str):
        raise BadBodyError("'signature_name' key must be a string value.")
    value = document["inputs" if columns else "instances"]
    if rows and not isinstance(value, list):
        raise BadBodyError("Expecting 'instances' to be a list/array")
    if rows and not value:
        raise BadBodyError("No values in 'instances' array")
    return Query(value, columns, signature)


def answer(model: LoadedModel, body: bytes) -> Response:
    """Predict, and say what went wrong in this protocol's way. Runs in the model's thread; raises nothing."""
    try:
        query = read_query(body)
    except BadBodyError as error:
        return error_response(400, str(error))
    try:
        result = model.predict(query.value, columns=query.columns)
    except (ValueError, TypeError) as error:
        log.info("The model refused a request", exc_info=True)
        return error_response(400, str(error) or type(error).__name__)
    except (Exception, SystemExit) as error:  # the boundary to the user's code
        log.exception("The model failed")
        return error_response(500, f"{type(error).__name__}: {error}")
    return _answer_with(result, columns=query.columns)


def _answer_with(result: Any, *, columns: bool) -> Response:
    try:
        if columns:
            return Response(200, dumps({"outputs": result}))
        return Response(200, dumps({"predictions": as_rows(result)}))
    except EncodingError as error:
        log.error("%s", error)
        return error_response(500, str(error))


def as_rows(result: Any) -> Any:
    """A dict of columns as a list of rows; anything else as it is.

    >>> as_rows({"classes": [5, 1], "scores": [[0.9], [0.8]]})
    [{'classes': 5, 'scores': [0.9]}, {'classes': 1, 'scores': [0.8]}]
    """
    if not isinstance(result, dict) or not result:
        return result
    columns = [_column(value) for value in result.values()]
    if any(column is None for column in columns):
        return result
    lengths = {str(key): len(column) for key, column in zip(result, columns, strict=True)}
    if len(set(lengths.values())) > 1:
        raise EncodingError(f"The model's columns have different lengths, so they are not rows: {lengths}")
    return [dict(zip(result, row, strict=True)) for row in zip(*columns, strict=True)]


def _column(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return value
    if isinstance(value, np.ndarray):
        return value.tolist() if value.ndim else None
    if hasattr(value, "tolist") and not isinstance(value, np.generic):
        listed = value.tolist()
        return listed if isinstance(listed, list) else None
    return None


def status_response(versions: list[tuple[int, str]]) -> Response:
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
