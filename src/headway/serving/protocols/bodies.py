"""The JSON of a body, for every protocol whose bodies are JSON alone."""

from __future__ import annotations

from typing import Any

from headway.serving.encoding import EncodingError, decode_base64, loads
from headway.serving.protocols.base import BadRequestError


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
