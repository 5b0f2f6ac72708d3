"""``t9k.CONFIG``: hosts and key from the t9k configuration file.

``~/.t9k/t9k-config.yaml``, or the file that T9K_CONFIG names, holds ``contexts`` of which T9K_CONFIG_CONTEXT or
``current-context`` chooses one. The key is ``auth.api_key`` or ``auth.apikey``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

from headway.documents import read_yaml
from headway.errors import HeadwayError

KEYS = ("aistore_host", "api_key", "asset_hub_host")


class Config(MutableMapping[str, Any]):
    """Read when first asked, so that a broken file disturbs only those who need it; what is set by hand wins."""

    def __init__(self) -> None:
        self._values: dict[str, Any] | None = None

    @property
    def values_by_key(self) -> dict[str, Any]:
        if self._values is None:
            self._values = dict.fromkeys(KEYS) | _read(config_file())
        return self._values

    def __getitem__(self, key: str) -> Any:
        return self.values_by_key[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.values_by_key[key] = value

    def __delitem__(self, key: str) -> None:
        del self.values_by_key[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_key)

    def __len__(self) -> int:
        return len(self.values_by_key)

    def __repr__(self) -> str:
        shown = {key: "***" if key == "api_key" and value else value for key, value in self.values_by_key.items()}
        return f"Config({shown!r})"

    def reload(self) -> None:
        """Read the file anew at the next look."""
        self._values = None


def config_file() -> Path:
    """T9K_CONFIG, else ``~/.t9k/t9k-config.yaml``."""
    chosen = os.environ.get("T9K_CONFIG")
    return Path(chosen) if chosen else Path.home() / ".t9k" / "t9k-config.yaml"


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        document = read_yaml(path)
    except HeadwayError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    context = _context(document if isinstance(document, dict) else {})
    server = str(context.get("server") or "").rstrip("/")
    prefixes, auth = _mapping(context.get("prefixes")), _mapping(context.get("auth"))
    found: dict[str, Any] = {"api_key": auth.get("api_key") or auth.get("apikey")}
    for key, prefix in (("aistore_host", prefixes.get("aistore")), ("asset_hub_host", prefixes.get("asset-hub"))):
        if server and prefix:
            found[key] = f"{server}/{str(prefix).lstrip('/')}"
    return found


def _context(document: dict[str, Any]) -> dict[str, Any]:
    name = os.environ.get("T9K_CONFIG_CONTEXT") or document.get("current-context")
    contexts = document.get("contexts")
    found = [item for item in contexts if isinstance(item, dict)] if isinstance(contexts, list) else []
    for context in found:
        if name is None or context.get("name") == name:
            return context
    return {}


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


CONFIG = Config()
