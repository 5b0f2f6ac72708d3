"""Small documents that people write (YAML, TOML), read with care: bounded, no code, no duplicate keys, no alias
bombs.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from headway.errors import ConfigurationError, InvalidRequestError

MAX_DOCUMENT_BYTES = 1024 * 1024
MAX_NODES = 100_000
"""Values in a document after its aliases are followed; a few lines of nested aliases can stand for billions."""


def read_text(path: Path, *, limit: int = MAX_DOCUMENT_BYTES) -> str:
    """The text of ``path``, which has at most ``limit`` bytes of UTF-8."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise InvalidRequestError(f"Cannot read {str(path)!r}: {error.strerror}.") from error
    if len(data) > limit:
        raise InvalidRequestError(f"{str(path)!r} is larger than {limit} bytes.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"{str(path)!r} is not UTF-8 text (byte {error.start}).") from error


def read_yaml(path: Path) -> Any:
    """The one YAML document in ``path`` as plain values; None when it is empty."""
    return parse_yaml(read_text(path), str(path))


def parse_yaml(text: str, what: str) -> Any:
    """One YAML document as plain values.

    Args:
        text: The document.
        what: How to call it in an error.

    Raises:
        InvalidRequestError: Not YAML, more than one document, a key twice, a tag of code, or too many values.
    """
    import yaml

    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {}, what)
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise InvalidRequestError(f"{what!r} is not valid YAML: {_in_one_line(error)}.") from error
    except ValueError as error:  # a date or number that is none
        raise InvalidRequestError(f"{what!r} is not valid YAML: {error}.") from error
    except RecursionError:
        raise InvalidRequestError(f"{what!r} is nested too deeply.") from None


def _in_one_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = str(getattr(error, "problem", None) or error).splitlines()[0]
    return f"line {mark.line + 1}: {problem}" if mark is not None else str(problem)


def _count(node: Any, known: dict[int, int | None], what: str) -> int:
    """How many values ``node`` stands for once aliases are followed; each node is visited once."""
    if id(node) in known:
        count = known[id(node)]
        if count is None:
            raise InvalidRequestError(f"{what!r} holds an alias that contains itself.")
        return count
    known[id(node)] = None
    total = 1
    if not isinstance(node.value, str):
        _check_keys(node, what)
        for item in node.value:
            parts = item if isinstance(item, tuple) else (item,)
            total += sum(_count(part, known, what) for part in parts)
            if total > MAX_NODES:
                raise InvalidRequestError(f"{what!r} holds more than {MAX_NODES} values.")
    known[id(node)] = total
    return total


def _check_keys(node: Any, what: str) -> None:
    seen = set()
    for item in node.value:
        if not isinstance(item, tuple) or not isinstance(item[0].value, str):
            continue
        key = item[0].value
        if key in seen and key != "<<":
            line = item[0].start_mark.line + 1
            raise InvalidRequestError(f"{what!r} has the key {key!r} twice (line {line}).")
        seen.add(key)


def read_toml(path: Path) -> dict[str, Any]:
    """The TOML document in ``path``."""
    text = read_text(path)
    try:
        found: dict[str, Any] = _toml_reader(path).loads(text)
    except ValueError as error:
        raise InvalidRequestError(f"{str(path)!r} is not valid TOML: {error}.") from error
    except RecursionError:
        raise InvalidRequestError(f"{str(path)!r} is nested too deeply.") from None
    return found


def _toml_reader(path: Path) -> Any:
    for module in ("tomllib", "tomli"):  # Python 3.10 has the first one not
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError:
            continue
    raise ConfigurationError(
        f"{str(path)!r} cannot be read: this Python has no TOML reader.", hint="Run `pip install tomli`."
    )
