"""What uv must be told so that it looks for packages where pip does."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Mapping

SECONDS = 30
DEFAULTS = {"UV_SYSTEM_CERTS": "1", "UV_PYTHON_DOWNLOADS": "never"}
"""Certificates as the machine trusts them, and no Python but the one that Headway runs on."""
INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX")
PIP_TO_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "timeout": "UV_HTTP_TIMEOUT",
}


def uv_settings(variables: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment for uv: all that is there, and pip's settings where uv has been given none of its own.

    Somebody who has named any index to uv has said where packages come from; pip's indexes are left out then.
    """
    found = {**DEFAULTS, **variables}
    theirs = any(name in variables for name in INDEXES)
    for key, value in pip_settings(variables).items():
        name = PIP_TO_UV.get(key)
        if name is not None and name not in variables and not (theirs and name in INDEXES):
            found[name] = _as_uv_writes(name, value)
    if "UV_INDEX" in found and "UV_INDEX" not in variables:
        # pip takes the best version of all indexes; without this uv looks no further than the first that has the name.
        found.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return found


def pip_settings(variables: Mapping[str, str] = os.environ) -> dict[str, str]:
    """pip's settings by name, the nearest of each: of its files for all, for ``install``, of ``PIP_…`` variables."""
    command = [sys.executable, "-m", "pip", "config", "list", "--disable-pip-version-check"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, env=dict(variables), stdin=subprocess.DEVNULL
        )
        listed = done.stdout if done.returncode == 0 else ""
    except (OSError, subprocess.TimeoutExpired):
        listed = ""
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.partition(".")
        if section in found:
            found[section][name] = _unquoted(value)
    given = {name[4:].lower().replace("_", "-"): value for name, value in variables.items() if name.startswith("PIP_")}
    return {**found["global"], **found["install"], **found[":env:"], **given}


def _unquoted(value: str) -> str:
    try:
        return str(ast.literal_eval(value))
    except (ValueError, SyntaxError):
        return value


def _as_uv_writes(name: str, value: str) -> str:
    """pip parts several values by spaces and lines; uv parts places to find links, and nothing else, by commas."""
    parts = value.split()
    if name == "UV_FIND_LINKS":
        return ",".join(parts)
    if name == "UV_HTTP_TIMEOUT":
        return str(int(float(value)))
    return " ".join(parts)
