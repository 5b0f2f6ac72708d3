"""JSON values one by one: the slow road of :mod:`headway.serving.protocols.values`, taken to say what is wrong and where.

Here alone texts such as ``"NaN"`` become numbers, big integers stay exact, and a fault gets its place.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from headway.serving.protocols.base import BadRequestError
from headway.serving.runtimes.base import TensorSpec

DEEPEST = 32
"""Axes of an array, as ONNX Runtime and TensorFlow have them at most."""

LARGEST = float(np.finfo(np.float64).max)
WORDS: Mapping[Any, float] = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
WORDS_AND_GAPS: Mapping[Any, float] = {**WORDS, None: math.nan}

Leaf = Callable[[Any], Any]
"""Converts one item, or raises :class:`UnfitError`."""
Quick = Callable[[list[Any]], "list[Any] | None"]
"""Converts a list of items where all of them fit plainly; None where each must be looked at."""


class UnfitError(Exception):
    """A value does not fit; the text says what was expected and what was found."""


def walked(value: Any, spec: TensorSpec, *, missing: bool) -> np.ndarray[Any, np.dtype[Any]]:
    """``value`` as an array, each item looked at.

    Args:
        value: A number, text, or (nested) list.
        spec: The input it is for.
        missing: Whether null is a missing number, which is NaN.

    Raises:
        BadRequestError: It names the input, the place, what was found and what was expected.
    """
    walker = _Walker(spec, *_converters(spec, missing=missing))
    walker.measure(value)
    dtype = np.dtype(spec.dtype or "float64")
    array = np.empty(tuple(walker.shape), dtype=dtype)
    flat = walker.flat
    if dtype.kind == "O":
        array.reshape(-1)[:] = np.fromiter(flat, dtype=object, count=len(flat))
    else:
        array.reshape(-1)[:] = np.array(flat, dtype=dtype)
    return array


class _Walker:
    """Goes through nested lists, depth first; every list at one depth has the same length."""

    def __init__(self, spec: TensorSpec, leaf: Leaf, quick: Quick) -> None:
        self.spec, self.leaf, self.quick = spec, leaf, quick
        self.shape: list[int] = []
        self.flat: list[Any] = []
        self.place: list[int] = []

    def measure(self, value: Any) -> None:
        inner = value
        while isinstance(inner, list):
            self.shape.append(len(inner))
            if len(self.shape) > DEEPEST:
                raise self.fault(f"it is nested more than {DEEPEST} deep")
            inner = inner[0] if inner else None
        self._collect(value, 0)

    def _collect(self, value: Any, depth: int) -> None:
        if depth == len(self.shape):
            self.flat.append(self._converted(value))
            return
        if not isinstance(value, list):
            raise self.fault(f"expected a list of {self.shape[depth]}, found {shown(value)}")
        if len(value) != self.shape[depth]:
            raise self.fault(f"the lists are ragged: expected {self.shape[depth]} items, found {len(value)}")
        if depth == len(self.shape) - 1:
            quickly = self.quick(value)
            if quickly is not None:
                self.flat += quickly
                return
        self.place.append(0)
        for number, item in enumerate(value):
            self.place[-1] = number
            self._collect(item, depth + 1)
        self.place.pop()

    def _converted(self, value: Any) -> Any:
        if isinstance(value, list):
            raise self.fault("the lists are ragged: expected a single value, found a list")
        try:
            return self.leaf(value)
        except UnfitError as error:
            raise self.fault(str(error)) from None

    def fault(self, text: str) -> BadRequestError:
        at = "".join(f"[{number}]" for number in self.place)
        where = f" at {at}" if at else ""
        return BadRequestError(f"input {self.spec.name!r}{where}: {text}")


def _converters(spec: TensorSpec, *, missing: bool) -> tuple[Leaf, Quick]:
    if not spec.dtype:
        return _any_number, lambda items: _quick_floats(items, WORDS_AND_GAPS, math.inf, _NUMBERS | {bool})
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        largest = _largest(dtype)
        words = WORDS_AND_GAPS if missing else WORDS
        return (
            lambda value: _float(value, spec.dtype, largest, missing=missing),
            lambda items: _quick_floats(items, words, largest, _NUMBERS),
        )
    if dtype.kind in "iu":
        least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
        return (
            lambda value: _integer(value, spec.dtype, least, most),
            lambda items: (
                items if set(map(type, items)) == {int} and least <= min(items) <= max(items) <= most else None
            ),
        )
    if dtype.kind == "b":
        return _boolean, lambda items: items if set(map(type, items)) == {bool} else None
    if dtype.kind == "O":
        return _anything if spec.mixed else _text, lambda items: items if set(map(type, items)) == {str} else None
    raise BadRequestError(f"input {spec.name!r} has the type {spec.dtype}, for which JSON has no values")


def _largest(dtype: np.dtype[Any]) -> float:
    """The largest number that does not become infinite when it is rounded to a float of this type."""
    bounds = np.finfo(dtype)
    if dtype.itemsize >= np.dtype(np.float64).itemsize:
        return LARGEST
    half_a_step = 2.0 ** (bounds.maxexp - 2 - bounds.nmant)
    return math.nextafter(float(bounds.max) + half_a_step, 0.0)


_NUMBERS = frozenset({int, float})
_FLOATS = frozenset({float})


def _quick_floats(
    items: list[Any], words: Mapping[Any, float], largest: float, kinds: frozenset[type]
) -> list[Any] | None:
    found = frozenset(map(type, items))
    if not found <= kinds:
        items = [words.get(item, item) if item is None or type(item) is str else item for item in items]
        found = frozenset(map(type, items))
    if not found <= kinds:
        return None
    if found == _FLOATS and largest >= LARGEST:
        return items
    finite = min(largest, LARGEST)
    if items and -finite <= min(items) and max(items) <= finite:
        return items
    return items if _within(items, largest) else None


def _within(items: list[Any], largest: float) -> bool:
    """Whether each item is in range, NaN or an infinity, which compare with nothing."""
    try:
        array = np.abs(np.array(items, dtype=np.float64))
    except OverflowError:
        return False
    return bool(((array <= largest) | ~np.isfinite(array)).all())


def _any_number(value: Any) -> float:
    if value is None:
        return math.nan
    return _float(float(value) if isinstance(value, bool) else value, "any type", math.inf, missing=True)


def _float(value: Any, name: str, largest: float, *, missing: bool) -> float:
    if value is None and missing:
        return math.nan
    if isinstance(value, str) and value in WORDS:
        return WORDS[value]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UnfitError(f"expected a number ({name}), found {shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if (abs(number) > largest or math.isinf(number)) and not (isinstance(value, float) and math.isinf(value)):
        raise UnfitError(f"{shown(value)} is beyond the range of {name}")
    return number


def _integer(value: Any, name: str, least: int, largest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise UnfitError(f"expected a whole number ({name}), found {shown(value)}")
    if not least <= value <= largest:
        raise UnfitError(f"{shown(value)} is beyond the range of {name}, {least} to {largest}")
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise UnfitError(f"expected true or false, found {shown(value)}")
    return value


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return text_of(value)
    if not isinstance(value, str):
        raise UnfitError(f"expected a text, found {shown(value)}")
    return value


def _anything(value: Any) -> Any:
    """A table of texts and numbers, as an array of objects."""
    if isinstance(value, dict):
        raise UnfitError(f"expected a text or a number, found {shown(value)}")
    return text_of(value) if isinstance(value, bytes) else value


def text_of(value: bytes) -> str | bytes:
    """Bytes that are UTF-8 as the text they are: TensorFlow and the Open Inference Protocol have one type for both."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value


def shown(value: Any) -> str:
    """A JSON value as it was written, cut to a few characters."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bytes):
        return "bytes"
    try:
        text = json.dumps(value, ensure_ascii=False)
    except ValueError:  # an integer of more digits than Python writes
        return "a number of thousands of digits"
    return text if len(text) <= 40 else text[:37] + "…"
