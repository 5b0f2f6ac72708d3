"""Asking a deployment's endpoint over the client's own transport.

Formats: TensorFlow Serving's REST API (https://www.tensorflow.org/tfx/serving/api_rest, "Predict API"; errors are
``{"error": text}``), and ``dataframe_split`` as MLflow's clients send it.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlsplit

from headway.config import is_loopback
from headway.domain.base import Record, did_you_mean
from headway.errors import (
    AuthenticationError,
    ConnectionFailedError,
    HeadwayError,
    InvalidRequestError,
    NotFoundError,
    PayloadTooLargeError,
    PermissionDeniedError,
    PlatformError,
    RateLimitedError,
    UnavailableError,
    UnsupportedMediaError,
    from_problem,
)
from headway.sdk import wire
from headway.sdk.retries import retry_after
from headway.sdk.session import MAX_JSON, Session
from headway.sdk.transport import Request, Response, Transport, never_sent, peer_failed

GRACE_SECONDS = 5.0
"""How much longer than a deployment's deadline an answer is waited for: the gateway says what came of the request."""
SHORT_GRACE_SECONDS = 0.25
"""The same for a time limit of the caller's own, which is to hold even when nobody answers."""
RECONNECT_SECONDS = 2.0
"""For how long an endpoint that refuses connections is tried again: a gateway that starts anew is back by then."""
RECONNECT_PAUSE = 0.1
_NUMBER = re.compile(r"^v?([1-9][0-9]{0,9})$")
_VERB = ":predict"
PROTOCOLS = ("tensorflow", "openinference", "invocations", "plain")
"""What an endpoint speaks, each below a path of its own."""


class Prediction(Record):
    """What a model answered: ``outputs`` to ``inputs=``, ``predictions`` to ``instances=``, ``raw`` as it came."""

    outputs: Any = None
    predictions: Any = None
    raw: Any = None
    version: str | None = None
    """The version that answered, as ``v3``."""
    replica: str | None = None
    """The replica that answered."""
    request_id: str | None = None
    """By which logs name the request."""
    seconds: float | None = None
    """From sending it to having read the answer."""


@dataclass(frozen=True)
class Endpoint:
    """Where a deployment is asked, and how long that may take."""

    address: str
    deadline: float = 60.0

    def of_version(self, version: int | str | None) -> str:
        """The address that asks ``version``: a number, ``v3``, or an alias of the model; the endpoint's own of None."""
        if version is None:
            return self.address
        return f"{self._model_of(version)}{_VERB}"

    def speaking(self, protocol: str | None, version: int | str | None) -> str:
        """The address that takes requests of one of :data:`PROTOCOLS`; without it any, by the form of the body.

        Raises:
            InvalidRequestError: The protocol is unknown, or cannot ask ``version``.
        """
        if protocol is None:
            return self.of_version(version)
        check_protocol(protocol, version)
        if protocol == "tensorflow":
            return f"{self._base}/v1/models/{self._name}{_VERB}" if version is None else self.of_version(version)
        if protocol == "openinference":
            return f"{self.signature_of(version)}/infer"
        return f"{self._base}/{'invocations' if protocol == 'invocations' else 'predict'}"

    def metadata_of(self, version: int | str | None) -> str:
        """The address of what a version says of itself, by TensorFlow Serving's protocol."""
        return f"{self._base}/metadata" if version is None else f"{self._model_of(version)}/metadata"

    def signature_of(self, version: int | str | None) -> str:
        """The address of a version's inputs and outputs, by the Open Inference Protocol v2, which knows no aliases."""
        number = _NUMBER.match(str(version))
        return f"{self._base}/v2/models/{self._name}{f'/versions/{number[1]}' if number else ''}"

    def _model_of(self, version: int | str) -> str:
        if isinstance(version, bool) or not isinstance(version, (int, str)) or not str(version).strip():
            raise InvalidRequestError(f"{version!r} is no version.", hint="Write 3, 'v3' or an alias.")
        number = _NUMBER.match(str(version))
        place = f"versions/{number[1]}" if number else f"labels/{quote(str(version), safe='')}"
        return f"{self._base}/v1/models/{self._name}/{place}"

    @property
    def _base(self) -> str:
        return self.address.removesuffix(_VERB)

    @property
    def _name(self) -> str:
        return self._base.rpartition("/")[2]


@dataclass(frozen=True)
class Answer:
    """An answer 2xx as it came, with what its headers say."""

    content: bytes
    headers: Mapping[str, str]
    seconds: float

    def about(self) -> dict[str, Any]:
        """Who answered, and in what time: fields of :class:`Prediction`."""
        named = {"version": "x-headway-version", "replica": "x-headway-replica", "request_id": "x-request-id"}
        return {**{field: self.headers.get(header) for field, header in named.items()}, "seconds": self.seconds}


def encode_input(body: Any) -> bytes:
    """A prediction request as JSON, with the words NaN, Infinity and -Infinity; InvalidRequestError for what has no form."""
    try:
        return wire.encode(body, allow_nan=True)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidRequestError(f"The input cannot be written as JSON: {error}.") from None


def check_protocol(protocol: str | None, version: int | str | None) -> None:
    """InvalidRequestError unless ``protocol`` is None or one of :data:`PROTOCOLS`, and can ask for ``version``."""
    if protocol is None:
        return
    if protocol not in PROTOCOLS:
        known = f"Known are {', '.join(PROTOCOLS)}."
        raise InvalidRequestError(
            f"There is no protocol {protocol!r}.", hint=did_you_mean(protocol, PROTOCOLS) or known
        )
    if version is None or protocol == "tensorflow":
        return
    if protocol != "openinference":
        raise InvalidRequestError(
            f"The protocol {protocol} cannot ask for one version.", hint="Use tensorflow or openinference for that."
        )
    if not _NUMBER.match(str(version)):
        raise InvalidRequestError(
            f"The Open Inference Protocol knows no aliases, as {version!r}.", hint="Give the version's number."
        )


def check_timeout(timeout: float | None) -> None:
    """InvalidRequestError unless ``timeout`` is None or a number of seconds above 0."""
    number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool) and math.isfinite(timeout)
    if timeout is not None and not (number and timeout > 0):
        raise InvalidRequestError(f"timeout must be a number of seconds above 0, not {timeout!r}.")


def ask(
    session: Session,
    address: str,
    body: bytes | None,
    *,
    deadline: float,
    timeout: float | None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One prediction. It is sent once: whether a model may be asked twice, only its owner knows. Only a connection that
    does not come about is tried again, for :data:`RECONNECT_SECONDS`.

    Args:
        session: Whose transport and token are used; the token only where :func:`may_hold_token`.
        address: Where to.
        body: What to post; None asks for a description instead.
        deadline: Seconds that the deployment allows.
        timeout: Seconds that the caller allows for the whole answer; the gateway is told.
        headers: In place of those for JSON.

    Raises:
        InvalidRequestError: The model cannot take this input (400).
        RateLimitedError: Too many requests wait already (429).
        UnavailableError: No replica answered (502, 503), or not in time (504), or the gateway does not answer.
        NotFoundError: No such deployment, or no such version behind it.
        PlatformError: The model failed.
    """
    sent = {**endpoint_headers(session.connection.url, session.connection.token, address), **(headers or {})}
    if timeout is not None:
        sent["X-Request-Timeout"] = f"{timeout:.6g}"
    patience = deadline + GRACE_SECONDS if timeout is None else timeout + SHORT_GRACE_SECONDS
    started = time.monotonic()
    request = Request("GET" if body is None else "POST", address, sent, body, patience)
    try:
        with _send(session.transport, request, patience) as response:
            with _cut_off(response, None if timeout is None else started + patience):
                if not 200 <= response.status < 300:
                    raise _to_error(response, address, "Authorization" in sent or not session.connection.token)
                content = _whole(response, address)
            if timeout is not None and time.monotonic() - started >= patience:
                raise _too_late(address)  # cut off, an answer without a length ends like a whole one
            return Answer(content, response.headers, time.monotonic() - started)
    except ConnectionFailedError as error:
        if not peer_failed(error):
            raise
        raise _unavailable(address, error, time.monotonic() - started >= patience) from error


def _send(transport: Transport, request: Request, patience: float) -> Response:
    """The answer to a request that is sent once, with connecting tried again while nobody listens."""
    started, pause = time.monotonic(), RECONNECT_PAUSE
    while True:
        try:
            left = max(started + patience - time.monotonic(), 0.001)
            return transport.send(replace(request, timeout=left))
        except ConnectionFailedError as error:
            end = started + min(RECONNECT_SECONDS, patience)
            if not never_sent(error) or time.monotonic() + pause > end:
                raise
        time.sleep(pause)
        pause = min(2 * pause, 0.5)


@contextmanager
def _cut_off(response: Response, end: float | None) -> Iterator[None]:
    """Let nobody wait for the rest of ``response`` beyond ``end``, however slowly its bytes come."""
    if end is None:
        yield
        return
    timer = threading.Timer(max(end - time.monotonic(), 0.0), response.abort)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _too_late(address: str) -> UnavailableError:
    return UnavailableError(f"The endpoint {address} gave no answer in time.", hint="Allow more with timeout=.")


def _unavailable(address: str, error: ConnectionFailedError, late: bool) -> UnavailableError:
    if never_sent(error):
        return UnavailableError(
            f"The endpoint {address} cannot be reached: {error.__cause__}.",
            hint="Its gateway is away; the request was not sent. `headway deploy show` says how the deployment is.",
        )
    if late:
        return _too_late(address)
    return UnavailableError(
        f"The endpoint {address} broke the connection off: {error.__cause__}.",
        hint="Its gateway may have ended; whether the model was asked is not known.",
    )


def endpoint_headers(server: str, token: str | None, address: str) -> dict[str, str]:
    """The headers of a prediction request; with the token for ``server`` where ``address`` may see it."""
    headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "headway-python"}
    if token and may_hold_token(server, address):
        headers["Authorization"] = f"Bearer {token}"
    return headers


def to_prediction(answer: Answer, address: str) -> Prediction:
    """The record of an answer in JSON."""
    value = wire.decode(answer.content, address)
    fields = value if isinstance(value, dict) else {}
    return Prediction(outputs=fields.get("outputs"), predictions=fields.get("predictions"), raw=value, **answer.about())


def may_hold_token(server: str, endpoint: str) -> bool:
    """Whether the token for ``server`` may be shown to ``endpoint``: the same host, on any port, and not less
    protected.
    """
    ours, theirs = urlsplit(server), urlsplit(endpoint)
    if is_loopback(server) and is_loopback(endpoint):
        return True
    return ours.hostname == theirs.hostname and (ours.scheme, theirs.scheme) != ("https", "http")


def _whole(response: Response, address: str) -> bytes:
    try:
        return response.read(MAX_JSON)
    except PayloadTooLargeError as error:
        raise PlatformError(f"{address}: {error.message}") from None


_BY_STATUS: dict[int, type[HeadwayError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    413: PayloadTooLargeError,
    415: UnsupportedMediaError,
    422: InvalidRequestError,
    429: RateLimitedError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
}


def _to_error(response: Response, address: str, trusted: bool) -> HeadwayError:
    try:
        content = _whole(response, address)
    except HeadwayError:
        content = b""
    error = error_of(response.status, content, address)
    if isinstance(error, AuthenticationError) and not trusted and not error.hint:
        error.hint = "The token was not sent: the endpoint is on another host than the server."
    pause = retry_after(response)
    if pause is not None:
        error.details.setdefault("retry_after", pause)
    for name in ("version", "replica"):
        if response.headers.get(f"x-headway-{name}"):
            error.details.setdefault(name, response.headers[f"x-headway-{name}"])
    error.request_id = response.headers.get("x-request-id")
    return error


def error_of(status: int, content: bytes, address: str) -> HeadwayError:
    """The error that an answer of an endpoint stands for, in the words of its body where it has any."""
    try:
        answer = wire.decode(content, address)
    except HeadwayError:
        answer = None
    fields = answer if isinstance(answer, dict) else {}
    if "code" in fields and "detail" in fields:
        return from_problem(fields, status)
    text = fields.get("error") or fields.get("message")
    message = text if isinstance(text, str) and text else f"{address} answered {status}."
    return _BY_STATUS.get(status, PlatformError)(message)
