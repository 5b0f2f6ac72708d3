"""``em.login()``: which server uploads go to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from headway import Client
from headway.errors import AuthenticationError, HeadwayError, NotFoundError, PermissionDeniedError
from t9k.config import CONFIG

SERVER_PATH = "/t9k/aistore/server"
"""Where the original's server lay on its host; a URL that ends so names the same Headway server."""
DEFAULT_PROJECT = "default"
_TIMEOUT = 30.0


@dataclass(frozen=True)
class Login:
    """A server that accepted the key."""

    url: str
    token: str
    user: str
    project: str

    def client(self) -> Client:
        return Client(self.url, self.token, self.project)


class _Session:
    current: Login | None = None


def login(ais_host: str | None = None, api_key: str | None = None, timeout: float | None = None) -> None:
    """Use this server for uploads from now on.

    Args:
        ais_host: The server's URL, with or without the path of the original's storage server.
        api_key: A token.
        timeout: Seconds to wait for the server.

    Without them: the t9k configuration file, then HEADWAY_URL and HEADWAY_TOKEN.

    Raises:
        ValueError: No server or no key is named anywhere.
        RuntimeError: The server refuses the key, or does not answer.
    """
    host = ais_host or CONFIG.get("aistore_host") or os.environ.get("HEADWAY_URL")
    key = api_key or CONFIG.get("api_key") or os.environ.get("HEADWAY_TOKEN")
    if not host:
        raise ValueError("No host: give ais_host, or set it in the t9k configuration file or HEADWAY_URL")
    if not key:
        raise ValueError("No API key: give api_key, or set it in the t9k configuration file or HEADWAY_TOKEN")
    try:
        _Session.current = _log_in(server_url(host), key, timeout or _TIMEOUT)
    except (AuthenticationError, PermissionDeniedError) as error:
        raise RuntimeError(f"Login failed, permission denied: {error}") from error
    except HeadwayError as error:
        raise RuntimeError(f"Login failed: {error}") from error


def logout() -> None:
    """Forget the server."""
    _Session.current = None


def current() -> Login:
    """The server in use.

    Raises:
        RuntimeError: There was no login.
    """
    if _Session.current is None:
        raise RuntimeError("Not logged in")
    return _Session.current


def server_url(host: str) -> str:
    """The Headway server that ``host`` names.

    >>> server_url("https://example.org/t9k/aistore/server/"), server_url("127.0.0.1:8000")
    ('https://example.org', 'http://127.0.0.1:8000')
    """
    parts = urlsplit(host if "://" in host else f"http://{host}")
    path = parts.path.rstrip("/").removesuffix(SERVER_PATH)
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def _log_in(url: str, token: str, timeout: float) -> Login:
    with Client(url, token, timeout=timeout) as client:
        user = client.me().user.name
        project = client.project or DEFAULT_PROJECT
        try:
            client.projects.get(project)
        except NotFoundError:
            client.projects.create(project)
    return Login(url, token, user, project)
