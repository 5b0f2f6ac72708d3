"""Whole numbers for Headway's ids, and back: a native id is a prefix and 13 digits to the base 32."""

from __future__ import annotations

from headway.domain.base import ID_ALPHABET, ID_LENGTH

JOB, MODEL, MODEL_VERSION, DEPLOYMENT, PROJECT = "job", "mdl", "mv", "dep", "prj"
BASE = len(ID_ALPHABET)
LIMIT = BASE**ID_LENGTH
VALUES = {digit: value for value, digit in enumerate(ID_ALPHABET)}


def to_number(native: str) -> int:
    """The number that an id is.

    >>> to_number("job0000000000010")
    32
    """
    number = 0
    for digit in native[-ID_LENGTH:]:
        number = number * BASE + VALUES[digit]
    return number


def to_native(prefix: str, number: int | str) -> str:
    """The id that a number is, whether or not anything has it; the number may be written as a text.

    >>> to_native("job", 32)
    'job0000000000010'

    Raises:
        TypeError: It is no whole number.
        ValueError: No id is that number.
    """
    if isinstance(number, str) and number.isdecimal():
        number = int(number)
    if not isinstance(number, int):
        raise TypeError(f"an id is of type int, not {number!r}")
    if not 0 <= number < LIMIT:
        raise ValueError(f"nothing has the id {number}")
    digits = []
    for _ in range(ID_LENGTH):
        number, digit = divmod(number, BASE)
        digits.append(ID_ALPHABET[digit])
    return prefix + "".join(reversed(digits))
