"""The one gate in front of every route, verb and mounted app.

It decides on the ASGI scope alone, never on a URL rebuilt from headers: Host, Origin, method, body kind and size, then the
token. What is not let through by name is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.concurrency import run_in_threadpool

from headway.domain.base import new_id
from headway.errors import (
    AuthenticationError,
    HeadwayError,
    MethodNotAllowedError,
    MisdirectedRequestError,
    PayloadTooLargeError,
    UnsupportedMediaError,
)
from headway.server.actions.access import authenticate
from headway.server.context import Platform

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = frozenset({"/health", "/ready"})
"""What may be asked without a token, with GET or HEAD."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
MAX_BODY = 8 << 20
MAX_HEADERS = 32 << 10
JSON_TYPE = "application/json"
RAW_TYPES = {
    "blobs": "application/octet-stream",
    "parts": "application/octet-stream",
    "streams": "application/zstd",
}
RAW_PATHS = {
    "blobs": re.compile(r"/api/v1/projects/[^/]+/blobs/[^/]+"),
    "parts": re.compile(r"/api/v1/projects/[^/]+/uploads/[^/]+/parts/[^/]+"),
    "streams": re.compile(r"/api/v1/runs/[^/]+/streams/[^/]+/[^/]+"),
}
"""Paths whose PUT takes bytes instead of JSON; a blob, and a part of one, is streamed and may be large."""


class Gate:
    """ASGI middleware, outermost."""

    def __init__(self, app: App, platform: Platform, allowed_hosts: frozenset[str]) -> None:
        self._app, self._platform, self._hosts = app, platform, allowed_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 4403})
            return
        request_id = new_id("req")
        scope.setdefault("state", {})["request_id"] = request_id
        headers = _headers(scope)
        try:
            receive = await self._admit(scope, headers, receive)
        except HeadwayError as error:
            await answer(send, error, request_id)
            return
        await self._app(scope, receive, _labelled(send, request_id))

    async def _admit(self, scope: Scope, headers: dict[str, list[str]], receive: Receive) -> Receive:
        method, path = scope["method"], scope["path"]
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADERS:
            raise PayloadTooLargeError(f"The headers are larger than {MAX_HEADERS} bytes.")
        self._check_host(headers)
        self._check_origin(headers)
        if method not in METHODS:
            raise MethodNotAllowedError(f"The method {method[:20]!r} is not used here.")
        if path in OPEN_PATHS and method in ("GET", "HEAD"):
            return receive
        secret = _bearer(headers)
        scope["state"]["caller"] = await run_in_threadpool(authenticate, self._platform, secret)
        return _bounded(scope, headers, receive)

    def _check_host(self, headers: dict[str, list[str]]) -> None:
        found = headers.get("host", [])
        if len(found) != 1 or _host_name(found[0]) not in self._hosts:
            shown = found[0][:100] if found else ""
            raise MisdirectedRequestError(
                f"The host {shown!r} is not one of this server's names.",
                hint="Start it with --allowed-host NAME to be reached under another name.",
            )

    def _check_origin(self, headers: dict[str, list[str]]) -> None:
        if headers.get("sec-fetch-site", ["none"])[-1] not in ("none", "same-origin"):
            raise MisdirectedRequestError("Requests from other sites are refused.")
        for origin in headers.get("origin", []):
            if origin not in (f"http://{headers['host'][0]}", f"https://{headers['host'][0]}"):
                raise MisdirectedRequestError(f"The origin {origin[:100]!r} is refused.")


def _headers(scope: Scope) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


def _host_name(host: str) -> str | None:
    """The lower-case name in a Host header; None for anything that is not exactly a name and perhaps a port."""
    name, port = host, ""
    if host.startswith("["):
        name, closed, port = host.partition("]")
        name = name[1:]
        if not closed or (port and not port.startswith(":")):
            return None
        port = port[1:]
    elif ":" in host:
        name, _, port = host.partition(":")
    if port and not port.isdecimal():
        return None
    return name.lower() if name and not set(name) & set("/?#@\\ %") else None


def _bearer(headers: dict[str, list[str]]) -> str:
    found = headers.get("authorization", [])
    if len(found) != 1:
        raise AuthenticationError(
            "A token is needed." if not found else "More than one Authorization header was sent.",
            hint="Set HEADWAY_TOKEN, or run `headway login`.",
        )
    scheme, _, secret = found[0].partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise AuthenticationError("The Authorization header must be `Bearer <token>`.")
    return secret.strip()


def _raw_kind(scope: Scope) -> str | None:
    if scope["method"] != "PUT":
        return None
    return next((kind for kind, path in RAW_PATHS.items() if path.fullmatch(scope["path"])), None)


def _bounded(scope: Scope, headers: dict[str, list[str]], receive: Receive) -> Receive:
    """``receive`` that refuses bodies of the wrong kind or size."""
    if scope["method"] in ("GET", "HEAD"):
        return receive
    raw = _raw_kind(scope)
    length = headers.get("content-length", ["0"])[-1]
    has_body = "transfer-encoding" in headers or length != "0"
    expected = RAW_TYPES[raw] if raw else JSON_TYPE
    given = headers.get("content-type", [""])[-1].partition(";")[0].strip().lower()
    if has_body and given != expected:
        raise UnsupportedMediaError(f"The body is {given or 'of no type'!r}; this route takes {expected}.")
    if "content-encoding" in headers:
        raise UnsupportedMediaError("Content-Encoding is not used here.")
    if raw in ("blobs", "parts"):
        return receive
    if not length.isdecimal() or int(length) > MAX_BODY:
        raise PayloadTooLargeError(f"The body is larger than {MAX_BODY} bytes.")
    taken = 0

    async def bounded() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > MAX_BODY:
            raise PayloadTooLargeError(f"The body is larger than {MAX_BODY} bytes.")
        return message

    return bounded


def _labelled(send: Send, request_id: str) -> Send:
    async def labelled(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", []))
            headers += [
                (b"x-request-id", request_id.encode()),
                (b"x-content-type-options", b"nosniff"),
                (b"cross-origin-resource-policy", b"same-origin"),
            ]
            if not any(name.lower() == b"cache-control" for name, _ in headers):
                headers.append((b"cache-control", b"no-store"))
            message = {**message, "headers": headers}
        await send(message)

    return labelled


async def answer(send: Send, error: HeadwayError, request_id: str) -> None:
    """Send ``error`` as problem JSON."""
    body = json.dumps({**error.to_problem(), "request_id": request_id}, allow_nan=False).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
    ]
    if isinstance(error, AuthenticationError):
        headers.append((b"www-authenticate", b"Bearer"))
    labelled = _labelled(send, request_id)
    await labelled({"type": "http.response.start", "status": error.status, "headers": headers})
    await labelled({"type": "http.response.body", "body": body})
