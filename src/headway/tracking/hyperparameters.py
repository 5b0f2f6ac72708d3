"""Hyperparameters: a nested mapping of JSON values that notes every change of itself."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from datetime import date
from enum import Enum
from typing import Any
from uuid import UUID

from headway.errors import InvalidRequestError, with_article

_SMALLEST, _LARGEST = -(1 << 63), (1 << 64) - 1
"""Whole numbers that every JSON library and database on the way keeps exactly."""
_DEPTH = 32

Change = Callable[[dict[str, Any], list[str]], None]
"""What is told of a change: top-level keys with their new values, and top-level keys that are gone."""


def plain(value: object, path: str = "config", *, opened: bool = False) -> Any:
    """``value`` as JSON values; tuples become lists, NumPy scalars and their like Python numbers (by ``.item()``),
    paths, dates, UUIDs and enumerations the text or value that they stand for.

    Args:
        value: Anything.
        path: How to call it in an error, with dots between keys.
        opened: Take namespaces, dataclasses and pydantic models for the mappings that they are.

    Raises:
        InvalidRequestError: Something in it is no JSON value; the message names where it lies.

    >>> plain({"layers": (64, 64), "lr": 0.1})
    {'layers': [64, 64], 'lr': 0.1}
    """
    return _plain(value, path, opened, 0)


def _plain(value: Any, path: str, opened: bool, depth: int) -> Any:
    if depth > _DEPTH:
        raise InvalidRequestError(f"{path} is nested more than {_DEPTH} levels deep, or contains itself.")
    if value is None or isinstance(value, (bool, str, int, float)):
        return _scalar(value, path)
    if isinstance(value, Mapping):
        return {_key(key, path): _plain(item, f"{path}.{key}", opened, depth + 1) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview, range)):
        return [_plain(item, f"{path}.{index}", opened, depth + 1) for index, item in enumerate(value)]
    if opened and (fields := _fields(value)) is not None:
        return _plain(fields, path, opened, depth)
    return _item(value, path)


def _scalar(value: Any, path: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(str.__str__(value), path)
    if isinstance(value, float):
        return float(value)
    if not _SMALLEST <= value <= _LARGEST:
        raise InvalidRequestError(f"{path} is a whole number of more than 64 bits.", hint="Give it as text.")
    return int(value)


def _text(value: str, path: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRequestError(f"{path}: the text {value[:40]!r} holds a lone surrogate.") from None
    return value


def _key(key: object, path: str) -> str:
    if not isinstance(key, str) or not key or "\0" in key:
        raise InvalidRequestError(f"{path}: the key {key!r} is not a text of one character at least, without NUL.")
    return _text(str.__str__(key), path)


def _item(value: Any, path: str) -> Any:
    """A NumPy, Torch, TensorFlow or JAX scalar by its own ``item``; nothing is imported to find out. What has one usual
    text, as paths and dates on a command line do, is that text.
    """
    if isinstance(value, Enum):
        return _plain(value.value, path, False, _DEPTH)
    if isinstance(value, os.PathLike):
        return _text(os.fsdecode(value), path)
    if isinstance(value, (date, UUID)):
        return value.isoformat() if isinstance(value, date) else str(value)
    shape, item = getattr(value, "shape", None), getattr(value, "item", None)
    if shape == () and callable(item):
        found = item()
        if isinstance(found, (bool, int, float, str)):
            return _scalar(found, path)
    hint = "Use .tolist()." if shape else "Give a number, text, boolean, None, list or mapping."
    raise InvalidRequestError(f"{path} is {with_article(type(value).__name__)}, which is no JSON value.", hint=hint)


def _fields(value: Any) -> Mapping[str, Any] | None:
    """What a namespace, dataclass or pydantic model holds; None for anything else."""
    if isinstance(value, type):
        return None
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        found = dump()
        return found if isinstance(found, Mapping) else None
    if type(value).__name__ in ("Namespace", "SimpleNamespace"):
        return dict(vars(value))
    return None


def recorded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters as they leave the program: in JSON, and what a secret name leads to masked.

    Scripts give everything that was on their command line, and the keys to other services with it.

    >>> recorded({"lr": float("inf"), "api_key": "sk-1"})
    {'lr': 'Infinity', 'api_key': '[redacted]'}
    """
    from headway.domain.redaction import redact_values

    return dict(redact_values(spelled(dict(values))))


def spelled(value: Any) -> Any:
    """``value`` with NaN and infinities as the strings that stand for them in JSON.

    >>> spelled({"lr": float("nan"), "range": [float("-inf"), 1.0]})
    {'lr': 'NaN', 'range': ['-Infinity', 1.0]}
    """
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, dict):
        return {key: spelled(item) for key, item in value.items()}
    if isinstance(value, list):
        return [spelled(item) for item in value]
    return value


class Config(MutableMapping[str, Any]):
    """The hyperparameters of a run.

    Reads as a dict, also by attribute (``config.lr``). Mappings within are such mappings themselves, so that
    ``config["optimizer"]["lr"] = 0.1`` is noted, too; lists are given as copies, so assign to change one. A value that
    is no JSON value is refused, with the dotted key.

    >>> config = Config({"optimizer": {"name": "adam"}})
    >>> config["optimizer"]["lr"] = 0.1
    >>> config.as_dict()
    {'optimizer': {'name': 'adam', 'lr': 0.1}}
    """

    __slots__ = ("_changed", "_path", "_values")

    def __init__(
        self, values: Mapping[str, Any] | None = None, changed: Change | None = None, *, path: str = "config"
    ) -> None:
        object.__setattr__(self, "_path", path)
        object.__setattr__(self, "_values", plain(values or {}, path))
        object.__setattr__(self, "_changed", changed)

    def __getitem__(self, key: str) -> Any:
        value = self._values[key]
        if not isinstance(value, dict):
            return _copied(value)
        inner = Config(None, lambda _set, _gone: self._tell({key: value}, []), path=f"{self._path}.{key}")
        object.__setattr__(inner, "_values", value)
        return inner

    def __setitem__(self, key: str, value: Any) -> None:
        self._set({key: value})

    def __delitem__(self, key: str) -> None:
        if key not in self._values:
            raise KeyError(key)
        self._change({}, [key])

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._values))

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._values:
            raise AttributeError(f"{self._path} has no {name!r}")
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise AttributeError(f"{self._path} cannot have a key {name!r} by attribute: use item access")
        self[name] = value

    def __repr__(self) -> str:
        return f"Config({self._values!r})"

    def __eq__(self, other: object) -> bool:
        return bool(self._values == (other._values if isinstance(other, Config) else other))

    __hash__ = None  # type: ignore[assignment]

    def update(  # type: ignore[override]
        self, values: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), override: bool = True, **more: Any
    ) -> None:
        """Take over keys and values. With ``override=False`` keys that are there keep what they have."""
        self._set({**dict(values), **more}, override=override)

    def parse(self, *sources: Any, override: bool = True) -> None:
        """Take over the fields of argparse namespaces, dataclasses, pydantic models, or mappings (as of OmegaConf)."""
        for source in sources:
            fields = source if isinstance(source, Mapping) else _fields(source)
            if fields is None:
                raise InvalidRequestError(
                    f"Hyperparameters cannot be read from {with_article(type(source).__name__)}.",
                    hint="Give a namespace, dataclass, pydantic model or mapping.",
                )
            self._set(fields, override=override, opened=True)

    def as_dict(self) -> dict[str, Any]:
        """A copy as plain dicts, lists, numbers and texts."""
        return _copied(self._values)  # type: ignore[no-any-return]

    def _set(self, values: Mapping[str, Any], *, override: bool = True, opened: bool = False) -> None:
        """All or nothing: one bad value leaves the others unset."""
        wanted = {key: value for key, value in values.items() if override or key not in self._values}
        fresh = plain(wanted, self._path, opened=opened)
        if fresh:
            self._change(fresh, [])

    def _change(self, changed: dict[str, Any], gone: list[str]) -> None:
        """Change the values and say so; they stay as they were when that is refused."""
        before = dict(self._values)
        self._values.update(changed)
        for key in gone:
            del self._values[key]
        try:
            self._tell(changed, gone)
        except BaseException:
            self._values.clear()
            self._values.update(before)
            raise

    def _tell(self, changed: dict[str, Any], gone: list[str]) -> None:
        if self._changed is not None:
            self._changed(changed, gone)


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value
