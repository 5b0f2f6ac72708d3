"""One conversation with a server: addresses, the token, retries, errors, pages and streams. Resources speak
through it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from pydantic import BaseModel

from headway.config import Connection, origin
from headway.errors import (
    ConnectionFailedError,
    HeadwayError,
    InvalidRequestError,
    PayloadTooLargeError,
    PlatformError,
    UnavailableError,
    from_problem,
)
from headway.sdk import retries, sse, wire
from headway.sdk.transport import Request, Response, Transport

R = TypeVar("R", bound=BaseModel)

MAX_JSON = 64 * 1024 * 1024
MAX_ERROR = 1024 * 1024
MAX_PAGE = 1000
API = "/api/v1"

Query = Mapping[str, Any]
Content = Callable[[], Iterable[bytes]]


class Session:
    """Sends requests to one server as one user.

    The token is added only to requests for the configured origin. What fails is raised as the error class that the
    server named, with its request id.
    """

    def __init__(self, connection: Connection, transport: Transport, *, retry_for: float) -> None:
        self.connection = connection
        self.transport = transport
        self._retry_for = retry_for

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The JSON answer to a JSON request; None for an empty one."""
        sent = dict(headers or {})
        content = None
        if body is not None:
            sent["Content-Type"] = "application/json"
            content = _encode(body)
        with self.open(method, path, query=query, headers=sent, content=content) as response:
            return wire.decode(_read(response, MAX_JSON, path), path)

    def get(self, model: type[R], path: str, query: Query | None = None) -> R:
        return wire.parse_record(model, self.call("GET", path, query=query), path)

    def create(self, model: type[R], path: str, body: Any) -> R:
        """POST with a fresh Idempotency-Key: a repeated send creates nothing twice."""
        key = {"Idempotency-Key": secrets.token_hex(16)}
        return wire.parse_record(model, self.call("POST", path, body=body, headers=key), path)

    def act(
        self,
        model: type[R],
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> R:
        """A verb on something that exists."""
        return wire.parse_record(model, self.call(method, path, query=query, body=body, headers=headers), path)

    def items(self, model: type[R], path: str, query: Query | None = None) -> list[R]:
        """A list that comes whole."""
        return _parse_items(model, self.call("GET", path, query=query), path)

    def pages(self, model: type[R], path: str, query: Query, limit: int | None) -> Iterator[R]:
        """Every item of a list, page by page, at most ``limit``."""
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
            raise InvalidRequestError(f"limit must be a number of items, not {limit!r}.")
        return self._pages(model, path, query, limit)

    def _pages(self, model: type[R], path: str, query: Query, limit: int | None) -> Iterator[R]:
        left, cursor, seen = limit, None, set[str]()
        while left is None or left > 0:
            size = 100 if left is None else min(left, MAX_PAGE)
            answer = self.call("GET", path, query={**query, "limit": size, "cursor": cursor})
            found = _parse_items(model, answer, path)[:left]
            yield from found
            cursor = answer.get("next_cursor")
            if not cursor:
                return
            if cursor in seen:
                raise PlatformError(f"{path} answered with a page that leads back to an earlier one.")
            seen.add(cursor)
            left = None if left is None else left - len(found)

    def follow(
        self, path: str, query: Query, *, last_id: str | None = None, timeout: float | None = None, what: str
    ) -> Iterator[sse.ServerEvent]:
        """The events of a stream, across reconnections; see :func:`headway.sdk.sse.follow`."""

        def open_stream(after: str | None, silence: float) -> Response:
            headers, place = {"Accept": "text/event-stream"}, dict(query)
            if after is not None:
                headers["Last-Event-ID"] = after
                place = {key: value for key, value in place.items() if key not in ("after", "cursor")}
            return self.open("GET", path, query=place, headers=headers, timeout=silence, retry=False)

        return sse.follow(open_stream, last_id=last_id, timeout=timeout, what=what)

    def open(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | Content | None = None,
        timeout: float | None = None,
        retry: bool = True,
    ) -> Response:
        """The answer to a request, its body not read yet; an error status is raised."""
        url = self.connection.url + path + _query_text(query)
        request = Request(method, url, self._headers(url, headers), content, timeout)
        deadline = self._retry_for if retry else 0.0
        response = retries.send_with_retries(self.transport.send, request, deadline=deadline)
        if 200 <= response.status < 300:
            return response
        with response:
            raise to_error(response, url)

    def _headers(self, url: str, more: Mapping[str, str] | None) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": "headway-python"}
        if self.connection.token and origin(url) == origin(self.connection.url):
            headers["Authorization"] = f"Bearer {self.connection.token}"
        return {**headers, **(more or {})}


def segment(text: str, what: str) -> str:
    """One part of an address that a user gave: never empty, never one that leads elsewhere."""
    if not isinstance(text, str) or text in ("", ".", "..") or any(ord(character) < 32 for character in text):
        raise InvalidRequestError(f"{text!r} cannot name {what}.")
    return quote(text, safe="@")


def _query_text(query: Query | None) -> str:
    given = [
        (key, _query_value(item))
        for key, value in (query or {}).items()
        if value is not None
        for item in (value if isinstance(value, list) else [value])
    ]
    return f"?{urlencode(given)}" if given else ""


def _query_value(value: Any) -> str:
    plain = wire.to_wire(value)
    return ("false", "true")[plain] if isinstance(plain, bool) else str(plain)


def _encode(body: Any) -> bytes:
    try:
        return wire.encode(body)
    except (ValueError, TypeError) as error:
        raise InvalidRequestError(f"The request cannot be written as JSON: {error}.") from None


def _read(response: Response, limit: int, path: str) -> bytes:
    try:
        return response.read(limit)
    except PayloadTooLargeError as error:
        raise PlatformError(f"{path}: {error.message}") from None


def _parse_items(model: type[R], answer: Any, path: str) -> list[R]:
    items = answer.get("items") if isinstance(answer, dict) else None
    if not isinstance(items, list):
        raise PlatformError(f"{path} answered with something that is not a list.")
    return [wire.parse_record(model, item, path) for item in items]


def to_error(response: Response, url: str) -> HeadwayError:
    """The error that an answer stands for; ``request_id`` is kept for whoever looks into the server's log."""
    if 300 <= response.status < 400:
        target = response.headers.get("location", "another address")
        error: HeadwayError = PlatformError(
            f"{url} answers {response.status} and points to {target}; redirects are not followed.",
            hint="Set HEADWAY_URL to the final address.",
        )
    else:
        error = _problem_error(response, url)
    pause = retries.retry_after(response)
    if pause is not None:
        error.details.setdefault("retry_after", pause)
    error.request_id = response.headers.get("x-request-id")
    return error


def _problem_error(response: Response, url: str) -> HeadwayError:
    try:
        problem = wire.decode(response.read(MAX_ERROR), url)
    except ConnectionFailedError as error:
        return error  # the answer broke off: what it said is not known, and asking again may tell
    except HeadwayError:
        problem = None
    if isinstance(problem, dict) and "code" in problem:
        return from_problem(problem, response.status)
    if response.status in (502, 503, 504):
        return UnavailableError(f"{url} answered {response.status}.", hint="Try again in a moment.")
    message = f"{url} answered {response.status} without saying why."
    return from_problem({"detail": message, "hint": "Is the URL that of a Headway server?"}, response.status)
