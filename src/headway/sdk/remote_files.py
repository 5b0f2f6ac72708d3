"""Files at an http(s) address, for a model: fetched here, checked, and then sent like files of this machine."""

from __future__ import annotations

import re
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import SplitResult, unquote, urljoin, urlsplit, urlunsplit

from headway.domain.files import check_path
from headway.errors import (
    ConnectionFailedError,
    CorruptDataError,
    InvalidRequestError,
    NotFoundError,
    PayloadTooLargeError,
    PlatformError,
    UnavailableError,
)
from headway.paths import full_disk_named
from headway.sdk.archives import is_archive, read_archive
from headway.sdk.progress import progress_bar
from headway.sdk.transport import HttpTransport, Request, Response
from headway.sdk.uploads import LocalFile, local_file

MAX_BYTES = 64 << 30
MAX_REDIRECTS = 5
SILENT_SECONDS = 60.0
UNNAMED = "model"
_REDIRECTS = (301, 302, 303, 307, 308)
_DIGEST = re.compile(r"sha256=([0-9a-fA-F]{64})")


def is_remote(source: str) -> bool:
    """Whether ``source`` is an address that this machine fetches.

    >>> is_remote("https://example.org/model.onnx"), is_remote("s3://bucket/model.onnx")
    (True, False)
    """
    return source.lower().startswith(("http://", "https://"))


@contextmanager
def fetched(url: str, *, max_bytes: int = MAX_BYTES) -> Iterator[list[LocalFile]]:
    """The files at ``url`` for as long as the block lasts: the one that is there, or those of an archive.

    Redirects are followed, never from https to http. Credentials in the URL go to its own host alone. ``#sha256=<digest>``
    at the end of the URL is what the content must have; over plain http nothing else vouches for it.

    Raises:
        InvalidRequestError: The address, or one that it redirects to, cannot be fetched.
        NotFoundError: Nothing is there.
        PayloadTooLargeError: It is larger than ``max_bytes``.
        CorruptDataError: It has another digest.
        ConnectionFailedError, UnavailableError: A later try may succeed.
    """
    parts, wanted = _checked(url)
    with tempfile.TemporaryDirectory(prefix="headway-") as scratch:
        target = Path(scratch) / "fetched" / _file_name(parts)
        target.parent.mkdir()
        _fetch(parts, target, max_bytes)
        found = local_file(target, target.name)
        if wanted is not None and found.entry.digest != wanted:
            raise CorruptDataError(
                f"{shown(url)} has the SHA-256 {found.entry.digest}, not {wanted}.",
                hint="It was changed since, or on the way here.",
            )
        unpacked = Path(scratch) / "unpacked"
        unpacked.mkdir()
        yield read_archive(target, unpacked) if is_archive(target) else [found]


def shown(url: str) -> str:
    """``url`` as people may see it: without credentials, query and fragment.

    >>> shown("https://me:hunter2@example.org/model.onnx?token=x")
    'https://example.org/model.onnx'
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _checked(url: str) -> tuple[SplitResult, str | None]:
    """The parts without the fragment, and the digest that it asks for."""
    if any(ord(character) <= 32 or ord(character) == 127 for character in url):
        raise InvalidRequestError("An address to fetch holds no space and no control character.")
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise InvalidRequestError(f"An address to fetch is wrong: {error}.") from None
    if parts.scheme not in ("http", "https") or not usable:
        raise InvalidRequestError(f"{shown(url)!r} cannot be fetched.", hint="Use https://host/path.")
    digest = _DIGEST.fullmatch(parts.fragment)
    if parts.fragment and digest is None:
        raise InvalidRequestError(
            f"What follows the # of {shown(url)} is no digest.", hint="Write #sha256= and 64 hexadecimal digits."
        )
    return parts._replace(fragment=""), None if digest is None else digest[1].lower()


def _file_name(parts: SplitResult) -> str:
    """The last part of the path, as a name that can be a file's here and anywhere."""
    name = unquote(parts.path.rpartition("/")[2])
    try:
        return check_path(name) if "/" not in name and len(name.encode()) < 200 else UNNAMED
    except (ValueError, UnicodeEncodeError):
        return UNNAMED


def _fetch(parts: SplitResult, target: Path, max_bytes: int) -> None:
    for _ in range(MAX_REDIRECTS + 1):
        with _opened(parts) as answer:
            if answer.status not in _REDIRECTS:
                _refuse_status(answer, urlunsplit(parts))
                _receive(answer, urlunsplit(parts), target, max_bytes)
                return
            parts = _redirected(parts, answer)
    raise InvalidRequestError(f"{shown(urlunsplit(parts))}: more than {MAX_REDIRECTS} redirects.")


@contextmanager
def _opened(parts: SplitResult) -> Iterator[Response]:
    """The answer of one host. What fails names the address without its secrets."""
    user, at, host = parts.netloc.rpartition("@")
    url = urlunsplit(parts._replace(netloc=host))
    headers = {"Authorization": f"Basic {b64encode(unquote(user).encode()).decode()}"} if at else {}
    transport = HttpTransport(url, timeout=SILENT_SECONDS)
    try:
        with transport.send(Request("GET", url, headers)) as answer:
            yield answer
    except (ConnectionFailedError, PlatformError) as error:
        raise ConnectionFailedError(error.message.replace(url, shown(url))) from None
    finally:
        transport.close()


def _redirected(parts: SplitResult, answer: Response) -> SplitResult:
    plain = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    location = answer.headers.get("location")
    if not location:
        raise InvalidRequestError(f"{shown(plain)} redirects to nowhere.")
    found, _ = _checked(urljoin(plain, location).partition("#")[0])
    if parts.scheme == "https" and found.scheme != "https":
        raise InvalidRequestError(
            f"{shown(plain)} redirects to {found.scheme}://, which anybody on the way can change."
        )
    return found


def _refuse_status(answer: Response, url: str) -> None:
    if answer.status == 200:
        return
    message = f"{shown(url)} answered {answer.status}."
    if answer.status in (404, 410):
        raise NotFoundError(message)
    if answer.status == 429 or answer.status >= 500:
        raise UnavailableError(message, hint="Try again in a moment.")
    raise InvalidRequestError(message)


def _receive(answer: Response, url: str, target: Path, max_bytes: int) -> None:
    announced = answer.headers.get("content-length", "")
    size = int(announced) if announced.isdecimal() and announced.isascii() else 0
    if size > max_bytes:
        raise _too_large(url, max_bytes)
    left = max_bytes
    with (
        full_disk_named(f"what {shown(url)} holds"),
        target.open("wb") as file,
        progress_bar("Fetching", size) as advance,
    ):
        for chunk in answer.chunks():
            left -= len(chunk)
            if left < 0:
                raise _too_large(url, max_bytes)
            file.write(chunk)
            advance(len(chunk))


def _too_large(url: str, max_bytes: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(f"{shown(url)} is larger than {max_bytes} bytes.")
