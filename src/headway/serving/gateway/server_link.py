"""Where the server is, and how a gateway says who it is: both may change while it runs."""

from __future__ import annotations

import json
from pathlib import Path

TOKEN_FILE, SERVER_FILE = "token", "server.json"


class LinkError(Exception):
    """The server could not be asked; the text says why."""


def read_link(directory: Path) -> tuple[str, dict[str, str]]:
    """The server's URL without a slash at its end, and the headers of every question.

    Args:
        directory: The gateway's own; the server's lies above it.

    Raises:
        LinkError: One of the files is not there, or makes no sense.
    """
    try:
        url = str(json.loads((directory.parent / SERVER_FILE).read_bytes())["url"])
        token = (directory / TOKEN_FILE).read_text().strip()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LinkError(f"{type(error).__name__}: {error}") from error
    return url.rstrip("/"), {"Authorization": f"Bearer {token}"}
