"""Checks on a request's head that replica and gateway share."""

from __future__ import annotations

import ipaddress
import math
from functools import lru_cache

from headway.serving.http.messages import Request, Response, error_response

LONGEST_ID = 128
VISIBLE = bytes(range(0x21, 0x7F))


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether an address, or the name ``localhost``, means this machine alone.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0"), is_loopback("evil.example")
    (True, True, False, False)
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_name(request: Request) -> str:
    """The Host header without its port and brackets."""
    host = (request.header(b"host") or b"").decode("latin-1")
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def names_another_host(request: Request) -> bool:
    """Whether a request that reached a loopback address was meant for another name: how DNS rebinding looks."""
    return not is_loopback(host_name(request))


def has_foreign_origin(request: Request) -> bool:
    """Whether a browser sent this for a page of another site."""
    origins = request.values(b"origin")
    if not origins:
        return False
    host = request.header(b"host") or b""
    return len(origins) > 1 or origins[0].lower() not in (b"http://" + host.lower(), b"https://" + host.lower())


def misdirected() -> Response:
    return error_response(421, "The Host or Origin header names somebody else.")


def body_problem(request: Request) -> Response | None:
    """The refusal of a body that is not plain JSON, or None."""
    if not request.is_json:
        return error_response(415, "Only JSON is taken. Send it with `Content-Type: application/json`.")
    if request.header(b"content-encoding") not in (None, b"identity"):
        return error_response(415, "A compressed body is not taken.")
    return None


def method_problem(request: Request, allowed: tuple[str, ...]) -> Response | None:
    """405 unless the method is one of ``allowed``."""
    if request.method in allowed:
        return None
    text = f"{request.method} is not offered here."
    return error_response(405, text, headers=(("Allow", ", ".join(allowed)),))


def request_id(request: Request) -> str | None:
    """The client's name for a request, if it is 1 to 128 visible ASCII characters."""
    found = request.volatile.get(b"x-request-id") if request.volatile else None
    if found is None or not 1 <= len(found) <= LONGEST_ID or found.translate(None, VISIBLE):
        return None
    return found.decode("ascii")


def timeout_of(request: Request) -> float | None:
    """The seconds that a client waits for its answer, from ``X-Request-Timeout``.

    Raises:
        ValueError: It is not a positive number.
    """
    found = request.volatile.get(b"x-request-timeout") if request.volatile else None
    if found is None:
        return None
    try:
        seconds = float(found)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError("X-Request-Timeout is a positive number of seconds.")
    return seconds
