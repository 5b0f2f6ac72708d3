"""The agent's line to the server: one keep-alive connection, found again when the server moved.

The standard library's HTTP client is used because it is there in a tenth of the time that a larger one takes to import,
and an agent is on the way from "submitted" to the first line of output.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from headway.domain.replicas import ServerAddress
from headway.errors import ConnectionFailedError, HeadwayError, PlatformError, RateLimitedError, from_problem

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
LONGEST_PAUSE = 2.0
MAX_ANSWER = 16 * 1024 * 1024

T = TypeVar("T")


class ServerClient:
    """Requests to the server with the replica's token. One connection; not for several threads at once.

    Every verb raises ConnectionFailedError when the server does not answer, else what its problem document stands for.
    """

    def __init__(self, address: ServerAddress, token: str) -> None:
        self._address = address
        self._token = token
        self._url = present_url(address)
        self._connection: http.client.HTTPConnection | None = None

    def __repr__(self) -> str:
        return f"ServerClient({self._url!r})"

    def sibling(self) -> ServerClient:
        """Another connection to the same server, for another thread."""
        return ServerClient(self._address, self._token)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def send_json(self, method: str, path: str, value: object, *, timeout: float = ANSWER_SECONDS) -> Any:
        """Send a JSON body and return the JSON answer."""
        body = json.dumps(value).encode()
        return self.send(method, path, body, content_type="application/json", timeout=timeout)

    def send(
        self, method: str, path: str, body: bytes | IO[bytes], *, content_type: str, timeout: float = ANSWER_SECONDS
    ) -> Any:
        """Send bytes, or a file from its start (its length is asked of it), and return the JSON answer."""
        headers = {"Content-Type": content_type}
        if not isinstance(body, bytes):
            headers["Content-Length"] = str(body.seek(0, 2))
            body.seek(0)
        with self._exchange(method, path, body, headers, timeout) as response:
            data = response.read(MAX_ANSWER)
        try:
            return json.loads(data) if data else None
        except ValueError as error:
            raise ConnectionFailedError(f"{self._url} does not answer like a Headway server.") from error

    @contextmanager
    def receive(self, path: str, *, timeout: float = ANSWER_SECONDS) -> Iterator[http.client.HTTPResponse]:
        """GET ``path``; the answer is read by the caller, piece by piece."""
        with self._exchange("GET", path, None, {}, timeout) as response:
            yield response

    @contextmanager
    def ask(
        self, method: str, path: str, value: object, *, timeout: float = ANSWER_SECONDS
    ) -> Iterator[http.client.HTTPResponse]:
        """Send a JSON body; the answer is read by the caller, piece by piece."""
        headers = {"Content-Type": "application/json"}
        with self._exchange(method, path, json.dumps(value).encode(), headers, timeout) as response:
            yield response

    @contextmanager
    def _exchange(
        self, method: str, path: str, body: bytes | IO[bytes] | None, headers: Mapping[str, str], timeout: float
    ) -> Iterator[http.client.HTTPResponse]:
        try:
            response = self._request(method, path, body, headers, timeout)
            if response.status >= 400:
                raise _problem(response)
            yield response
            if not response.isclosed():
                self.close()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            self._url = present_url(self._address)
            raise ConnectionFailedError(f"The server does not answer ({type(error).__name__}: {error}).") from error
        except BaseException:
            self.close()
            raise

    def _request(
        self, method: str, path: str, body: bytes | IO[bytes] | None, headers: Mapping[str, str], timeout: float
    ) -> http.client.HTTPResponse:
        """One request; once more on a fresh connection when a kept one was closed meanwhile (all may be repeated)."""
        if self._connection is not None:
            try:
                return self._try(self._connection, method, path, body, headers, timeout)
            except (ConnectionError, http.client.BadStatusLine, http.client.CannotSendRequest):
                self.close()
                if body is not None and not isinstance(body, bytes):
                    body.seek(0)
        self._connection = self._connect(urlsplit(self._url))
        return self._try(self._connection, method, path, body, headers, timeout)

    def _try(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | IO[bytes] | None,
        headers: Mapping[str, str],
        timeout: float,
    ) -> http.client.HTTPResponse:
        if connection.sock is not None:
            connection.sock.settimeout(timeout)
        target = urlsplit(self._url).path.rstrip("/") + path
        authorization = {"Authorization": f"Bearer {self._token}"}
        connection.request(method, target, body=body, headers={**headers, **authorization})
        return connection.getresponse()

    def _connect(self, url: SplitResult) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        connection = kind(url.hostname or "127.0.0.1", url.port, timeout=CONNECT_SECONDS)
        connection.connect()
        return connection


def present_url(address: ServerAddress) -> str:
    """Where the server is now: what its address file says, else what the specification said."""
    if address.address_file is not None:
        try:
            return str(json.loads(Path(address.address_file).read_text())["url"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
    return address.url


def _problem(response: http.client.HTTPResponse) -> HeadwayError:
    try:
        problem = json.loads(response.read(MAX_ANSWER))
    except ValueError:
        problem = None
    return from_problem(problem if isinstance(problem, dict) else {}, response.status)


class Pauses:
    """Growing, jittered pauses between tries: 50 ms at first, 2 s at most."""

    def __init__(self) -> None:
        self._next = 0.05

    def next(self) -> float:
        pause, self._next = self._next, min(self._next * 2, LONGEST_PAUSE)
        return pause * random.uniform(0.5, 1.0)  # noqa: S311  (spreads load, hides nothing)

    def reset(self) -> None:
        self._next = 0.05


def is_passing(error: HeadwayError) -> bool:
    """Whether the same request may succeed a moment later."""
    return isinstance(error, (ConnectionFailedError, PlatformError, RateLimitedError))


def persist(operation: Callable[[], T], *, give_up: threading.Event, seconds: float) -> T:
    """Repeat ``operation`` while the server is away or overloaded.

    Raises what the last try raised when ``seconds`` have passed or ``give_up`` is set, and at once what will not pass.
    """
    deadline, pauses = time.monotonic() + seconds, Pauses()
    while True:
        try:
            return operation()
        except HeadwayError as error:
            if not is_passing(error) or time.monotonic() >= deadline or give_up.wait(pauses.next()):
                raise
