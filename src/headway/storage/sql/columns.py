"""Column types that refuse, in our words, what a database could not keep as it came."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Dialect, Integer, Text
from sqlalchemy.types import TypeDecorator

from headway.errors import InvalidRequestError

MAX_INTEGER = 2**63 - 1

# PostgreSQL would compare by the database's locale; "C" is byte order, which is what SQLite does.
BYTEWISE_TEXT = Text().with_variant(Text(collation="C"), "postgresql")

# SQLite numbers rows by itself only in a column declared INTEGER, which holds 64 bits there.
WHOLE_NUMBER = BigInteger().with_variant(Integer, "sqlite")


class PlainText(TypeDecorator[str]):
    """Text without NUL characters and lone surrogates: PostgreSQL has no NUL, and neither database has surrogates.

    Raises:
        InvalidRequestError: (out of the statement) the value holds one.
    """

    impl = BYTEWISE_TEXT
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else plain_text(value)


class WholeNumber(TypeDecorator[int]):
    """A signed 64-bit integer; anything larger is an InvalidRequestError, not an overflow in the driver."""

    impl = WHOLE_NUMBER
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        if value is not None and not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise InvalidRequestError(f"The number {value} does not fit into 64 bits.")
        return value


def to_milliseconds(moment: datetime) -> int:
    """Whole milliseconds since 1970, rounded down.

    >>> from datetime import timezone
    >>> to_milliseconds(datetime(1970, 1, 1, 0, 0, 1, 999999, tzinfo=timezone.utc))
    1999
    """
    seconds = int(moment.replace(microsecond=0).timestamp())
    return seconds * 1000 + moment.microsecond // 1000


def plain_text(value: str) -> str:
    """``value`` if every database can keep it, else InvalidRequestError."""
    if "\0" in value:
        raise InvalidRequestError(f"The text {value!r} holds a NUL character.", hint="Leave it out.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRequestError(
            f"The text {value!r} is not valid Unicode: it holds a lone surrogate.", hint="Send it as UTF-8."
        ) from None
    return value
