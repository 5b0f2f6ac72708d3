"""Where the server is and who asks: ModelMaker's arguments, then its file, then Headway's own settings."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from headway.config import is_loopback

FILE_VARIABLE, PROJECT_VARIABLE = "MODELMAKER_CONFIG", "PROJECT_ID"
DEFAULT_REGION = "js01"
ADDRESSES = frozenset({"host_base", "iam_server"})
SCHEMES = ("http://", "https://")
PLACEHOLDERS = frozenset({"", "username", "password", "iam_server", "host_base"})
"""Values of the file as it was shipped, to be replaced by the user."""


@dataclass(frozen=True)
class Settings:
    """What a session is made with. ``url`` and ``password`` are None where Headway's own settings count."""

    username: str | None
    password: str | None
    url: str | None
    region: str
    bucket: str | None
    verify_ssl: bool
    s3_protocol: str

    @classmethod
    def read(cls, config_file: str | None, given: Mapping[str, Any]) -> Settings:
        """Arguments that are not None win over the file.

        Raises:
            ValueError: The file is wrong or missing where one was named, an address is none, or only one of username and
                password is known.
        """
        values, arguments = file_values(config_file), {key: value for key, value in given.items() if value is not None}
        if arguments.keys() & ADDRESSES:  # either name wins over the file's other one
            values = {key: value for key, value in values.items() if key not in ADDRESSES}
        values |= arguments
        username, password = values.get("username"), values.get("password")
        if (username is None) != (password is None):
            raise ValueError("username and password must both be set, or neither of them!")
        bucket = values.get("bucket")
        return cls(
            username=username,
            password=password,
            url=_address(values),
            region=str(values.get("region") or DEFAULT_REGION),
            bucket=bucket.removeprefix("s3://").rstrip("/") + "/" if bucket else None,
            verify_ssl=bool(values.get("verify_ssl", True)),
            s3_protocol=str(values.get("s3_protocol") or "http"),
        )


def file_place(config_file: str | None = None) -> Path:
    """Where the file is, or would be: as given, else MODELMAKER_CONFIG, else in the home directory."""
    named = config_file or os.environ.get(FILE_VARIABLE)
    return Path(named).expanduser() if named else Path.home() / ".modelmaker" / "config.json"


def file_values(config_file: str | None = None) -> dict[str, Any]:
    """What the file says; nothing where there is none and none was named.

    Raises:
        ValueError: The file that was named is missing, or it holds something else.
    """
    place = file_place(config_file)
    if not place.is_file():
        if config_file or os.environ.get(FILE_VARIABLE):
            raise ValueError(f"there is no configuration file {str(place)!r}")
        return {}
    try:
        document = json.loads(place.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"the configuration file {str(place)!r} is no JSON: {error}") from None
    values = document.get("iam_config", document) if isinstance(document, dict) else None
    if not isinstance(values, dict):
        raise ValueError(f'the configuration file {str(place)!r} holds no {{"iam_config": {{…}}}}')
    return {key: value for key, value in values.items() if value is not None and value not in PLACEHOLDERS}


def _address(values: Mapping[str, Any]) -> str | None:
    """Scheme, host and port of the server. The path, and a region before the host, were the original platform's."""
    server, base = values.get("iam_server"), values.get("host_base")
    if server is not None and base is None:
        text = str(server)
        if not text.startswith(SCHEMES):
            text = ("http://" if is_loopback(f"http://{text}") else "https://") + text
    elif base is not None:
        text = str(base)
        if not text.startswith(SCHEMES):
            raise ValueError(f"host_base must start with http:// or https://, not {text!r}!")
    else:
        return None
    parts = urlsplit(text)
    return f"{parts.scheme}://{parts.netloc}"
