"""What MODELMAKER_LEVEL=10 shows: each request's URL, headers and body, and the answer's, without secrets."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

from headway.domain.redaction import redact_text, redact_url, redact_values
from headway.sdk.transport import Request, Response, Transport
from modelmaker.logger import logger

MASK = "****"
SECRET_HEADERS = frozenset({"authorization", "auth-token", "cookie", "set-cookie"})
MOST_BYTES = 64 << 10
"""Of an answer that is shown; larger ones, and those that come bit by bit, are not held up for it."""


class ShownTransport:
    """A transport that logs what goes through another one."""

    def __init__(self, inner: Transport, secrets: tuple[str, ...]) -> None:
        self._inner, self._secrets = inner, tuple(secret for secret in secrets if secret)

    def send(self, request: Request) -> Response:
        if not logger.isEnabledFor(logging.DEBUG):
            return self._inner.send(request)
        self._show("%s %s", request.method, redact_url(request.url))
        self._show("headers: %s", _headers(request.headers))
        self._show("body: %s", _body(request.content))
        response = self._inner.send(request)
        self._show("answer: %s, headers: %s", str(response.status), _headers(response.headers))
        return self._shown(response)

    def close(self) -> None:
        self._inner.close()

    def _shown(self, response: Response) -> Response:
        length = response.headers.get("content-length", "")
        is_json = "json" in response.headers.get("content-type", "")
        if not is_json or not length.isdecimal() or int(length) > MOST_BYTES:
            return response
        with response:
            data = response.read(MOST_BYTES)
        self._show("body: %s", _body(data))
        return Response(response.status, response.headers, data)

    def _show(self, form: str, *texts: str) -> None:
        for secret in self._secrets:
            texts = tuple(text.replace(secret, MASK) for text in texts)
        logger.debug(form, *texts)


def _headers(headers: Mapping[str, str]) -> str:
    return str({key: MASK if key.lower() in SECRET_HEADERS else value for key, value in headers.items()})


def _body(content: object) -> str:
    if not content:
        return "none"
    if not isinstance(content, bytes):
        return "a file"
    try:
        return json.dumps(redact_values(json.loads(content)), ensure_ascii=False)
    except ValueError:
        return redact_text(content.decode()) if content.isascii() else f"{len(content)} bytes"
