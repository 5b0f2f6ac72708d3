"""A small real HTTPS server with a certificate of its own, for tests of what is fetched from elsewhere."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

LOOPBACK = "127.0.0.0/8"


@dataclass
class Page:
    """What is answered at a path. ``cut`` announces more bytes than it sends."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0


class HttpsServer:
    """Answers paths from ``pages``, each a page or a function that makes one.

    Trust it with ``SSL_CERT_FILE=server.certificate``.
    """

    def __init__(self, directory: Path) -> None:
        self.certificate, self._identity = directory / "certificate.pem", directory / "identity.pem"
        self.pages: dict[str, Page | Callable[[], Page]] = {}
        self.asked: list[str] = []
        """Targets of all requests, with their queries."""
        self._server: ThreadingHTTPServer | None = None
        self.port = 0

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"https://{host}:{self.port}{path}"

    def __enter__(self) -> Self:
        _make_certificates(self.certificate, self._identity)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._identity)
        site = self

        class Handler(_Handler):
            pass

        Handler.site = site
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that trust no such certificate, or are killed, hang up."""


class _Handler(BaseHTTPRequestHandler):
    site: HttpsServer

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self.site.asked.append(self.path)
        found = self.site.pages.get(self.path.partition("?")[0], Page(status=404))
        page = found if isinstance(found, Page) else found()
        self.send_response(page.status)
        for name, value in page.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(page.body) + page.cut))
        self.end_headers()
        self.wfile.write(page.body)


def _make_certificates(authority: Path, identity: Path) -> None:
    """An authority of its own, to be trusted, and the key and certificate that it gave this machine."""
    import trustme  # a package of tests

    made = trustme.CA()
    made.cert_pem.write_to_path(str(authority))
    made.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(str(identity))
