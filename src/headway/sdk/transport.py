"""The seam: a transport turns a :class:`Request` into a :class:`Response`. HTTP, and a function for tests.

Transports know nothing of Headway's errors, tokens or retries, but for one: a peer that cannot be reached, or
stops in the middle of an answer, is :class:`ConnectionFailedError`.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from headway.config import is_loopback
from headway.errors import ConnectionFailedError, PayloadTooLargeError, PlatformError

if TYPE_CHECKING:
    import httpx

MAX_CONNECTIONS = 32
START_HINT = "Is the server running? Start it with `headway up`."


@dataclass(frozen=True)
class Request:
    """One question. ``content`` is bytes, or a function that gives the bytes anew each time the request is sent."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content: bytes | Callable[[], Iterable[bytes]] | None = field(default=None, repr=False)
    timeout: float | None = None
    """Seconds without any byte from the peer; None is the transport's own."""


class Response:
    """One answer, read once: by :meth:`chunks` as it comes, or by :meth:`read` whole. Close it, or use it in
    ``with``.
    """

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str] | None = None,
        content: bytes | Iterable[bytes] = b"",
        *,
        close: Callable[[], None] | None = None,
        abort: Callable[[], None] | None = None,
    ) -> None:
        self.status = status
        self.headers = {key.lower(): value for key, value in (headers or {}).items()}
        self._content = content
        self._close = close
        self._abort = abort

    def chunks(self) -> Iterator[bytes]:
        """The body as it arrives."""
        if isinstance(self._content, bytes):
            yield self._content
        else:
            yield from self._content

    def read(self, limit: int) -> bytes:
        """The whole body, of at most ``limit`` bytes; more is PayloadTooLargeError."""
        parts, size = [], 0
        for chunk in self.chunks():
            size += len(chunk)
            if size > limit:
                raise PayloadTooLargeError(f"The answer is larger than {limit} bytes.")
            parts.append(chunk)
        return b"".join(parts)

    def close(self) -> None:
        """Give the connection back; may be called twice."""
        if self._close is not None:
            self._close()

    def abort(self) -> None:
        """From another thread: make a reader that waits for bytes stop with ConnectionFailedError."""
        if self._abort is not None:
            self._abort()

    def __enter__(self) -> Response:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Transport(Protocol):
    """Sends requests. Must be usable from several threads at once."""

    def send(self, request: Request) -> Response:
        """The answer, its body not read yet. Redirects come back as they are.

        Raises:
            ConnectionFailedError: Nobody answered, or not in time.
        """
        ...

    def close(self) -> None:
        """Close all connections; may be called twice."""
        ...


class MockTransport:
    """A transport whose answers a function gives: for tests of programs that use the SDK."""

    def __init__(self, handler: Callable[[Request], Response]) -> None:
        self._handler = handler

    def send(self, request: Request) -> Response:
        return self._handler(request)

    def close(self) -> None:
        pass


class HttpTransport:
    """HTTP/1.1 over one pool of connections.

    Proxies and certificates come from the usual variables (HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE), but a server on this
    machine is never asked through a proxy. Bodies are asked for uncompressed, so that a small answer cannot become
    a huge one.
    """

    def __init__(self, url: str, *, timeout: float = 30.0) -> None:
        self._url = url
        self._timeout = timeout
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None
        self._closed = False

    def send(self, request: Request) -> Response:
        import httpx

        client = self._open()
        content = request.content() if callable(request.content) else request.content
        with _failures_named(request.url):
            try:
                sent = client.build_request(
                    request.method,
                    request.url,
                    headers={"Accept-Encoding": "identity", **request.headers},
                    content=content,
                    timeout=_timeouts(self._timeout, request.timeout),
                )
            except httpx.InvalidURL as error:
                raise ConnectionFailedError(f"{request.url!r} is not a usable address: {error}.") from error
            answer = client.send(sent, stream=True)
        return _to_response(answer, request.url)

    def _open(self) -> httpx.Client:
        import httpx

        with self._lock:
            if self._closed:
                raise ConnectionFailedError("The client is closed.", hint="Make a new one.")
            if self._client is None:
                self._client = httpx.Client(
                    follow_redirects=False,
                    trust_env=not is_loopback(self._url),
                    limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
                )
            return self._client

    def close(self) -> None:
        with self._lock:
            self._closed = True
            client, self._client = self._client, None
        if client is not None:
            client.close()


def _timeouts(usual: float, reading: float | None) -> httpx.Timeout:
    import httpx

    if reading is None:
        return httpx.Timeout(usual, connect=min(usual, 10.0))
    return httpx.Timeout(usual, connect=min(usual, 10.0, reading), pool=min(usual, reading), read=reading)


def peer_failed(error: ConnectionFailedError) -> bool:
    """Whether the peer or the way to it failed, and not what was asked of the transport."""
    import httpx

    return isinstance(error.__cause__, httpx.HTTPError)


def never_sent(error: ConnectionFailedError) -> bool:
    """Whether no connection came about, so that the peer has seen nothing of the request."""
    import httpx

    return isinstance(error.__cause__, (httpx.ConnectError, httpx.ConnectTimeout))


def _to_response(answer: httpx.Response, url: str) -> Response:
    encoding = answer.headers.get("content-encoding", "identity").lower()
    if encoding not in ("", "identity"):
        answer.close()
        raise PlatformError(f"{url} answered in the encoding {encoding!r}, which was not asked for.")
    network: Any = answer.extensions.get("network_stream")

    def body() -> Iterator[bytes]:
        with _failures_named(url):
            yield from answer.iter_raw()

    def abort() -> None:
        link = network.get_extra_info("socket") if network is not None else None
        if link is not None:
            try:
                link.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it was closed in between, which is what was wanted

    return Response(answer.status_code, dict(answer.headers), body(), close=answer.close, abort=abort)


@contextmanager
def _failures_named(url: str) -> Iterator[None]:
    import httpx

    try:
        yield
    except httpx.TimeoutException as error:
        raise ConnectionFailedError(f"{url} did not answer in time ({type(error).__name__}).") from error
    except httpx.ConnectError as error:
        raise ConnectionFailedError(f"Cannot reach {url}: {error}.", hint=START_HINT) from error
    except (httpx.TransportError, httpx.StreamError) as error:
        raise ConnectionFailedError(f"The connection to {url} broke: {error or type(error).__name__}.") from error
