"""What a metric's value, step, epoch and stage may be. No framework is imported to find out."""

from __future__ import annotations

import math
import operator
import reprlib
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from headway.domain.metrics import MAX_STAGE, check_metric_name
from headway.errors import InvalidRequestError

SMALLEST, LARGEST = -(1 << 63), (1 << 63) - 1
"""The whole numbers that are stored as such."""

LATEST = 9_223_372_035
"""Seconds since 1970 whose nanoseconds fit into int64."""

_HINT = "A metric's value is one number: a Python int or float, or a one-element array or tensor."


def plain_name(name: object) -> str:
    """``name`` as the text that a metric is called, else InvalidRequestError."""
    try:
        return str.__str__(check_metric_name(name))
    except ValueError as error:
        text = str(error)
        raise InvalidRequestError(f"{text[:1].upper()}{text[1:]}.", hint="Give the metric another name.") from None


def plain_values(metrics: object) -> dict[str, int | float]:
    """``metrics`` with plain names and plain values, in their order.

    Raises:
        InvalidRequestError: It is no mapping, or a name or value is refused; nothing of it is to be stored then.
    """
    if not isinstance(metrics, Mapping):
        raise InvalidRequestError(
            f"Metrics are a mapping of names to numbers, not {type(metrics).__name__} ({_short(metrics)}).",
            hint='Write run.log({"loss": 0.1}, step=1).',
        )
    found: dict[str, int | float] = {}
    for key, value in metrics.items():
        name = plain_name(key)
        found[name] = plain_value(name, value)
    return found


def plain_value(name: str, value: object) -> int | float:
    """The number that ``value`` is, exactly: an int that fits into int64, or a float (NaN is the canonical one).

    Accepted are ints, floats and bools and their subclasses; Decimals and Fractions that are a float64 exactly; and
    whatever gives such a number by ``.item()`` (one-element arrays of NumPy, PyTorch, JAX) or by ``.numpy()``
    (TensorFlow). Whole numbers beyond int64 become floats where that is exact.

    Args:
        name: How the metric is called, for the message.
        value: What was logged.

    Raises:
        InvalidRequestError: It is something else, or would not be stored exactly.
    """
    number = plain_number(value)
    if number is None:
        _refuse(name, value, "no float64 equals it" if _is_rational(value) else "it is not a number")
    if isinstance(number, int):
        return number if SMALLEST <= number <= LARGEST else _float_of(name, number)
    return number if number == number else math.nan


def plain_step(step: object) -> int | None:
    """``step`` as a whole number within int64; None stays None.

    Raises:
        InvalidRequestError: It is neither a whole number nor a float that is one.
    """
    if step is None:
        return None
    try:
        number = int.__int__(operator.index(step))  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        found = plain_number(step)
        if found is None or (isinstance(found, float) and not found.is_integer()):
            raise InvalidRequestError(
                f"The step {_short(step)} is not a whole number.", hint="Pass an int, or no step at all."
            ) from None
        number = int(found)
    if not SMALLEST <= number <= LARGEST:
        raise InvalidRequestError(
            f"The step {_short(step)} is beyond 64 bits.", hint="Steps are from -2**63 to 2**63-1."
        )
    return number


def plain_epoch(epoch: object) -> float | None:
    """``epoch`` as a finite float; None stays None.

    Raises:
        InvalidRequestError: It is no number, not finite, or too large to be exact.
    """
    if epoch is None:
        return None
    found = plain_number(epoch)
    exact = None if found is None else _exact_float(found)
    if exact is None or not math.isfinite(exact):
        raise InvalidRequestError(
            f"The epoch {_short(epoch)} is not a finite number that a float64 holds exactly.",
            hint="Pass a number, or no epoch at all.",
        )
    return exact


def plain_time(seconds: object) -> int:
    """``seconds`` since 1970 as nanoseconds.

    Raises:
        InvalidRequestError: It is no number, not finite, before 1970, or beyond 64 bits of nanoseconds.
    """
    found = plain_number(seconds)
    if found is None or not 0 <= found <= LATEST:  # NaN satisfies nothing
        raise InvalidRequestError(
            f"The time {_short(seconds)} is not a number of seconds since 1970.", hint="Pass what time.time() gives."
        )
    whole = int(found)
    return whole * 1_000_000_000 + round((found - whole) * 1e9)


def plain_stage(stage: object) -> str | None:
    """``stage`` as text of at most 256 bytes; None stays None.

    Raises:
        InvalidRequestError: It is something else.
    """
    if stage is None:
        return None
    if not isinstance(stage, str):
        raise InvalidRequestError(
            f"The stage {_short(stage)} is not text but {type(stage).__name__}.",
            hint="Stages are words: 'train', 'val'.",
        )
    try:
        size = len(stage.encode())
    except UnicodeEncodeError:
        raise InvalidRequestError(f"The stage {_short(stage)} holds a lone surrogate, which is no text.") from None
    if size > MAX_STAGE or "\0" in stage:
        raise InvalidRequestError(f"A stage has at most {MAX_STAGE} bytes and no NUL, not {_short(stage)}.")
    return str.__str__(stage)


def plain_number(value: object) -> int | float | None:
    """The plain int, of any size, or float that ``value`` is exactly, or that it holds; None when there is none."""
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, (str, bytes, bytearray, complex)) or value is None:
        return None
    if _is_rational(value):
        return _exact_float(value)
    return _held(value)


def _is_rational(value: object) -> bool:
    decimal, fractions = sys.modules.get("decimal"), sys.modules.get("fractions")
    return (decimal is not None and isinstance(value, decimal.Decimal)) or (
        fractions is not None and isinstance(value, fractions.Fraction)
    )


def _exact_float(value: Any) -> float | None:
    """``value`` as the float that equals it; None when there is none."""
    try:
        number = float(value)
        if not math.isfinite(number):
            # An overflow on the way must not pass for an infinity.
            return number if math.isnan(number) or value == number else None
        return number if number.as_integer_ratio() == value.as_integer_ratio() else None
    except (ArithmeticError, ValueError, TypeError, AttributeError):
        return None


def _held(value: Any) -> int | float | None:
    """The one number in an array or tensor."""
    try:
        if not callable(getattr(value, "item", None)):
            value = value.numpy()
        inner = value.item()
    except Exception:  # noqa: BLE001 - a stranger's code: whatever it raises, it gave no number
        return None
    if isinstance(inner, (int, float)) or _is_rational(inner):
        return plain_number(inner)
    # NumPy's long double gives itself.
    return None if isinstance(inner, complex) else _exact_float(inner)


def _float_of(name: str, number: int) -> float:
    try:
        found = float(number)
    except OverflowError:
        found = math.inf
    if found != number:
        _refuse(name, number, "it does not fit into 64 bits, and no float equals it")
    return found


def _refuse(name: str, value: object, reason: str) -> NoReturn:
    raise InvalidRequestError(
        f"The metric {name!r} cannot be {_short(value)} ({type(value).__name__}): {reason}.", hint=_HINT
    )


def _short(value: object) -> str:
    """A bounded repr, whatever the value is."""
    try:
        text = reprlib.repr(value)
    except Exception:  # noqa: BLE001 - a stranger's __repr__
        text = "<unprintable>"
    return text if len(text) <= 200 else f"{text[:197]}..."
