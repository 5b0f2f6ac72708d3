"""Nothing that goes wrong while tracking reaches the training: it is said once, and training goes on."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, Protocol, TypeVar

from headway.errors import InvalidRequestError
from headway.journal.values import plain_name, plain_value
from headway.tracking.hyperparameters import plain

P = ParamSpec("P")
R = TypeVar("R")

_log = logging.getLogger("headway.tracking")
_said: set[tuple[str, str]] = set()
MAX_TEXT = 1000
"""Characters kept of an object that is no JSON value and is recorded as its ``repr``."""


class Tracked(Protocol):
    """What a callback needs of a run: :class:`headway.tracking.run.TrackedRun` has it, and whoever spells it."""

    @property
    def config(self) -> Any: ...

    def log(
        self,
        metrics: Mapping[str, Any] | None = None,
        step: int | None = None,
        *,
        type: str | None = None,
        epoch: float | None = None,
    ) -> None: ...


def guarded(function: Callable[P, R]) -> Callable[P, R | None]:
    """``function`` with every error logged once (by its place and kind) instead of raised; it answers None then."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            return function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the boundary: tracking never breaks training
            report(function.__qualname__, error)
            return None

    return call


def report(place: str, error: Exception) -> None:
    """Log ``error`` the first time that one of its kind happens at ``place``."""
    if (place, type(error).__name__) not in _said:
        _said.add((place, type(error).__name__))
        _log.warning("Headway could not record what %s tells it; training goes on: %s", place, error, exc_info=error)


def numbers(values: Mapping[str, Any] | None) -> dict[str, int | float]:
    """The entries that can be metrics; everything else (texts, arrays, None) is left out, as a framework's logs may
    hold anything.

    >>> numbers({"loss": 0.5, "note": "warm-up", "done": None})
    {'loss': 0.5}
    """
    found: dict[str, int | float] = {}
    for name, value in (values or {}).items():
        try:
            key = plain_name(str(name))
            found[key] = plain_value(key, value)
        except InvalidRequestError:
            continue
    return found


def recorded(value: Any, depth: int = 0) -> Any:
    """``value`` as JSON values; what is none becomes its ``repr`` (a class or function its name), never an error.

    >>> recorded({"optimizer": int, 3: (1, 2)})
    {'optimizer': 'int', '3': [1, 2]}
    """
    if isinstance(value, Mapping) and depth < 8:
        return {str(key): recorded(item, depth + 1) for key, item in value.items() if str(key)}
    if isinstance(value, (list, tuple)) and depth < 8:
        return [recorded(item, depth + 1) for item in value]
    if isinstance(value, (set, frozenset)) and depth < 8:
        return sorted((recorded(item, depth + 1) for item in value), key=repr)
    try:
        return plain(value)
    except InvalidRequestError:
        name = getattr(value, "__name__", None)
        return (name if isinstance(name, str) else repr(value))[:MAX_TEXT].encode(errors="replace").decode()
