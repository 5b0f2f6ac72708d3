"""The YAML files of a run or artifact."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import yaml

LIMIT = 1 << 28
"""Bytes of the largest file that is read."""


_Safe: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Safe):  # type: ignore[valid-type, misc]
    """Safe, and also reads the tuples that the original wrote with a Python tag: as lists."""


def _sequence(loader: _Loader, node: yaml.Node) -> list[Any]:
    assert isinstance(node, yaml.SequenceNode)
    return list(loader.construct_sequence(node, deep=True))


_Loader.add_constructor("tag:yaml.org,2002:python/tuple", _sequence)


def read(path: Path) -> Any:
    """The document in ``path``.

    Raises:
        ValueError: It is no YAML, or too large.
        FileNotFoundError: There is none.
    """
    if path.stat().st_size > LIMIT:
        raise ValueError(f"{path} is larger than {LIMIT} bytes")
    try:
        return from_text(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error


def from_text(text: str) -> Any:
    """The document in ``text``; ValueError when it is none."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader that knows one tag more
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(str(error)) from error


def write(path: Path, document: Any) -> None:
    """Replace ``path``: readers see the old or the new document whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    temporary.write_text(to_text(document), "utf-8")
    temporary.replace(path)


def append(path: Path, items: list[Any]) -> None:
    """Add ``items`` to the list in ``path`` with one write, however long the list is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, to_text(items).encode())
    finally:
        os.close(descriptor)


def to_text(document: Any) -> str:
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


def mapping(value: object) -> dict[str, Any]:
    """``value`` if it is a mapping, else an empty one: files of other versions may lack a part."""
    return value if isinstance(value, dict) else {}


def sequence(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
