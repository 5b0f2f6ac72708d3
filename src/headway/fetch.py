"""The one safe fetch: bytes of an address that a user named, from a server that nobody here vouches for.

Only ``https``, also after a redirect; only addresses of the public Internet, or of networks that were allowed; the address
that was checked is the one that is connected to, so a name cannot be changed in between; bounded size; no proxy, no cookie,
no credentials.

The standard library's client is used because agents start in a tenth of the time that a larger one takes to import.
"""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from headway.errors import (
    ConnectionFailedError,
    InvalidRequestError,
    NotFoundError,
    PayloadTooLargeError,
    RateLimitedError,
    UnavailableError,
)

CONNECT_SECONDS, SILENT_SECONDS = 10.0, 60.0
MAX_REDIRECTS = 5
MAX_BYTES = 256 << 30
CHUNK = 1 << 20
_REDIRECTS = (301, 302, 303, 307, 308)
_PATH_CHARACTERS = "%/:=&?~#+!$,;'@()*[]"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Fetched:
    """What came: SHA-256 and size."""

    digest: str
    size: int


def parse_networks(networks: Iterable[str]) -> tuple[Network, ...]:
    """``10.0.0.0/8`` or a single address as networks. ValueError for anything else."""
    return tuple(ipaddress.ip_network(network) for network in networks)


def check_url(url: str) -> SplitResult:
    """The parts of an address that may be fetched.

    Raises:
        InvalidRequestError: It is no plain ``https://host/path``.
    """
    if any(ord(character) <= 32 or ord(character) == 127 for character in url):
        raise InvalidRequestError("An address to fetch holds no space and no control character.")
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port != 0
    except ValueError as error:
        raise InvalidRequestError(f"An address to fetch is wrong: {error}.") from None
    if parts.scheme != "https":
        raise InvalidRequestError(f"Only https:// is fetched, not {parts.scheme}://.", hint="Use an https:// address.")
    if not parts.hostname or not port_is_fine:
        raise InvalidRequestError(f"{shown(url)!r} names no host.")
    if "@" in parts.netloc:
        raise InvalidRequestError(f"Credentials do not belong in a URL: {shown(url)}.")
    return parts


def shown(url: str) -> str:
    """``url`` as people and logs may see it: without query, fragment and credentials."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def fetch(
    url: str,
    write: Callable[[bytes], object],
    *,
    networks: Sequence[Network] = (),
    max_bytes: int = MAX_BYTES,
    between: Callable[[], None] = lambda: None,
) -> Fetched:
    """Hand the bytes at ``url`` to ``write``, piece by piece.

    Args:
        url: ``https://…``.
        write: Takes each piece.
        networks: Private networks that may be reached nevertheless.
        max_bytes: More is refused.
        between: Called between pieces; what it raises ends the fetch.

    Raises:
        InvalidRequestError: The address, or one that it redirects to, may not be fetched, or the server refuses.
        NotFoundError: There is nothing.
        PayloadTooLargeError: It is larger than ``max_bytes``.
        ConnectionFailedError, UnavailableError, RateLimitedError: A later try may succeed.
    """
    for _ in range(MAX_REDIRECTS + 1):
        parts = check_url(url)
        connection = _CheckedConnection(parts.hostname or "", parts.port or 443, networks)
        try:
            response = _ask(connection, parts, url)
            if response.status not in _REDIRECTS:
                _refuse_status(response, url)
                return _receive(response, url, write, max_bytes, between)
            location = response.getheader("Location")
        finally:
            connection.close()
        if not location:
            raise InvalidRequestError(f"{shown(url)} redirects to nowhere.")
        url = urljoin(url, location)
    raise InvalidRequestError(f"{shown(url)}: more than {MAX_REDIRECTS} redirects.")


def _ask(connection: http.client.HTTPSConnection, parts: SplitResult, url: str) -> http.client.HTTPResponse:
    target = quote(parts.path or "/", safe=_PATH_CHARACTERS)
    if parts.query:
        target += "?" + quote(parts.query, safe=_PATH_CHARACTERS)
    with _network(url):
        connection.request("GET", target, headers={"Accept-Encoding": "identity", "User-Agent": "headway"})
        return connection.getresponse()


@contextmanager
def _network(url: str) -> Iterator[None]:
    """What goes wrong between here and there, as errors of ours."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise InvalidRequestError(f"{shown(url)} has no valid certificate: {error.verify_message}.") from error
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionFailedError(f"{shown(url)} does not answer ({type(error).__name__}: {error}).") from error


class _CheckedConnection(http.client.HTTPSConnection):
    """Connects to an address that was checked, under the name that was asked for."""

    def __init__(self, host: str, port: int, networks: Sequence[Network]) -> None:
        super().__init__(host, port, timeout=CONNECT_SECONDS)
        self._networks = networks
        self._tls = ssl.create_default_context()

    def connect(self) -> None:
        addresses = allowed_addresses(self.host, self.port, self._networks)
        trouble: OSError | None = None
        for address in addresses:
            try:
                plain = socket.create_connection((str(address), self.port), CONNECT_SECONDS)
            except OSError as error:
                trouble = error
                continue
            plain.settimeout(SILENT_SECONDS)
            self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)
            return
        raise trouble or OSError("no address")


def allowed_addresses(host: str, port: int, networks: Sequence[Network]) -> list[Address]:
    """The addresses of ``host`` that may be connected to.

    Raises:
        InvalidRequestError: All of them are private.
        OSError: The name is not known.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [ipaddress.ip_address(str(item[4][0]).partition("%")[0]) for item in found]
    allowed = [address for address in addresses if _may_reach(address, networks)]
    if not allowed:
        raise InvalidRequestError(
            f"{host} is at a private address ({addresses[0]}), which is not fetched from.",
            hint="Whoever runs the server allows networks with `headway up --fetch-network`.",
        )
    return list(dict.fromkeys(allowed))


def _may_reach(address: Address, networks: Sequence[Network]) -> bool:
    within = _embedded(address)
    if any(within in network for network in networks):
        return True
    return within.is_global and not within.is_multicast


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, where it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else address)


def _refuse_status(response: http.client.HTTPResponse, url: str) -> None:
    if response.status == 200:
        return
    message = f"{shown(url)} answers {response.status} {response.reason}."
    if response.status in (404, 410):
        raise NotFoundError(message)
    if response.status == 429:
        raise RateLimitedError(message)
    if response.status >= 500:
        raise UnavailableError(message)
    raise InvalidRequestError(message)


def _receive(
    response: http.client.HTTPResponse,
    url: str,
    write: Callable[[bytes], object],
    max_bytes: int,
    between: Callable[[], None],
) -> Fetched:
    announced = response.length
    if announced is not None and announced > max_bytes:
        raise _too_large(url, max_bytes)
    digest, size = hashlib.sha256(), 0
    while piece := _read(response, url):
        between()
        size += len(piece)
        if size > max_bytes:
            raise _too_large(url, max_bytes)
        digest.update(piece)
        write(piece)
    if announced is not None and size != announced:
        raise ConnectionFailedError(f"{shown(url)} broke off after {size} of {announced} bytes.")
    return Fetched(digest.hexdigest(), size)


def _read(response: http.client.HTTPResponse, url: str) -> bytes:
    with _network(url):
        return response.read1(CHUNK)


def _too_large(url: str, max_bytes: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(f"{shown(url)} is larger than {max_bytes} bytes.")
