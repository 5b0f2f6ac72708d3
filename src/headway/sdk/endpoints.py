"""Asking a deployment's endpoint: TensorFlow-Serving REST, over the client's own transport.

Format: https://www.tensorflow.org/tfx/serving/api_rest, "Predict API"; errors are ``{"error": text}``.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from headway.config import is_loopback
from headway.domain.base import Record
from headway.errors import (
    AuthenticationError,
    HeadwayError,
    InvalidRequestError,
    NotFoundError,
    PayloadTooLargeError,
    PermissionDeniedError,
    PlatformError,
    RateLimitedError,
    UnavailableError,
    from_problem,
)
from headway.sdk import wire
from headway.sdk.retries import retry_after
from headway.sdk.session import MAX_JSON, Session
from headway.sdk.transport import Request, Response


class Prediction(Record):
    """What a model answered: ``outputs`` to ``inputs=``, ``predictions`` to ``instances=``, ``raw`` as it came."""

    outputs: Any = None
    predictions: Any = None
    raw: Any = None


def post_to_endpoint(session: Session, endpoint: str, body: Any, *, timeout: float | None) -> Prediction:
    """One prediction. It is sent once: whether a model may be asked twice, only its owner knows."""
    try:
        content = wire.encode(body)
    except (ValueError, TypeError) as error:
        raise InvalidRequestError(f"The input cannot be written as JSON: {error}.") from None
    headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "headway-python"}
    trusted = may_hold_token(session.connection.url, endpoint)
    if session.connection.token and trusted:
        headers["Authorization"] = f"Bearer {session.connection.token}"
    with session.transport.send(Request("POST", endpoint, headers, content, timeout)) as response:
        if not 200 <= response.status < 300:
            raise _to_error(response, endpoint, trusted)
        answer = wire.decode(_whole(response, endpoint), endpoint)
    fields = answer if isinstance(answer, dict) else {}
    return Prediction(outputs=fields.get("outputs"), predictions=fields.get("predictions"), raw=answer)


def may_hold_token(server: str, endpoint: str) -> bool:
    """Whether the token for ``server`` may be shown to ``endpoint``: the same host, on any port, and not less
    protected.
    """
    ours, theirs = urlsplit(server), urlsplit(endpoint)
    if is_loopback(server) and is_loopback(endpoint):
        return True
    return ours.hostname == theirs.hostname and (ours.scheme, theirs.scheme) != ("https", "http")


def _whole(response: Response, endpoint: str) -> bytes:
    try:
        return response.read(MAX_JSON)
    except PayloadTooLargeError as error:
        raise PlatformError(f"{endpoint}: {error.message}") from None


_BY_STATUS: dict[int, type[HeadwayError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    413: PayloadTooLargeError,
    422: InvalidRequestError,
    429: RateLimitedError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
}


def _to_error(response: Response, endpoint: str, trusted: bool) -> HeadwayError:
    try:
        answer = wire.decode(_whole(response, endpoint), endpoint)
    except HeadwayError:
        answer = None
    fields = answer if isinstance(answer, dict) else {}
    if "code" in fields and "detail" in fields:
        error = from_problem(fields, response.status)
    else:
        text = fields.get("error")
        message = text if isinstance(text, str) and text else f"{endpoint} answered {response.status}."
        error = _BY_STATUS.get(response.status, PlatformError)(message)
    if isinstance(error, AuthenticationError) and not trusted and not error.hint:
        error.hint = "The token was not sent: the endpoint is on another host than the server."
    pause = retry_after(response)
    if pause is not None:
        error.details.setdefault("retry_after", pause)
    error.request_id = response.headers.get("x-request-id")
    return error
