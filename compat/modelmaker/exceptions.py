"""What this package raises, beside ValueError and TypeError for what is checked here.

::

    ModelMakerError                  a rule that is no ValueError: no bucket, a training that has not finished
    └── ApiException                 the server refused or failed, or does not answer
        └── ApiValueError            it, or the SDK for it, found a value wrong; also a ValueError
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from headway.errors import HeadwayError, InvalidRequestError


class ModelMakerError(Exception):
    """Root of the exceptions of this package. The original raised plain exceptions."""


class ApiException(ModelMakerError):  # the original's name
    """The server refused or failed.

    ``status`` is the HTTP status, ``reason`` Headway's stable name of the error, ``body`` what the server said, ``hint``
    what to do about it.
    """

    def __init__(self, status: int, reason: str, body: str, *, prefix: str = "", hint: str | None = None) -> None:
        super().__init__(f"{prefix} {body}" if prefix else body)
        self.status, self.reason, self.body, self.hint = status, reason, body, hint


class ApiValueError(ApiException, ValueError):
    """A value of a request is wrong."""


def translated(error: HeadwayError, prefix: str = "") -> ApiException:
    """Headway's error as one of this package's."""
    kind = ApiValueError if isinstance(error, InvalidRequestError) else ApiException
    return kind(error.status, error.code, str(error), prefix=prefix, hint=error.hint)


@contextmanager
def reported_as(prefix: str = "") -> Iterator[None]:
    """Headway's errors inside the block leave it as this package's, with ``prefix`` before what was said."""
    try:
        yield
    except HeadwayError as error:
        raise translated(error, prefix) from error
