"""The exceptions of the Gradient SDK, and how Headway's errors become them.

::

    GradientSdkError
    ├── ResourceFetchingError          the server refused or failed; ``status``, ``code`` and ``hint`` say more
    │   └── GradientConnectionError    the server does not answer; also a ``requests.ConnectionError``
    └── ResourceCreatingError          a reply without the id of what was created
        └── ResourceCreatingDataError  the request could not be put into words
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import requests

from headway.errors import ConnectionFailedError, HeadwayError


class GradientSdkError(Exception):
    """Root of everything this package raises by itself."""


class ResourceFetchingError(GradientSdkError):
    """The server refused or failed; the text is ``<prefix>: <what the server said>``.

    ``status`` is the HTTP status, ``code`` Headway's stable name of the error, ``hint`` what to do about it.
    """

    status: int | None = None
    code: str | None = None
    hint: str | None = None


class GradientConnectionError(ResourceFetchingError, requests.exceptions.ConnectionError):
    """The server does not answer. The original SDK let the exception of ``requests`` through."""


class ResourceCreatingError(GradientSdkError):
    """A reply to a create call held no id."""


class ResourceCreatingDataError(ResourceCreatingError):
    """The values of a create call could not be turned into a request."""


FETCH = "Failed to fetch data"
CREATE = "Failed to create resource"
DELETE = "Failed to delete resource"
START_EXPERIMENT = "Failed to start experiment"
STOP_EXPERIMENT = "Failed to stop experiment"
STOP_JOB = "Failed to stop job"
START_INSTANCE = "Unable to start instance"
STOP_INSTANCE = "Unable to stop instance"


@contextmanager
def reported_as(prefix: str) -> Iterator[None]:
    """Headway's errors inside the block leave it as Gradient's, with ``prefix`` before what was said."""
    try:
        yield
    except HeadwayError as error:
        kind = GradientConnectionError if isinstance(error, ConnectionFailedError) else ResourceFetchingError
        translated = kind(f"{prefix}: {error}")
        translated.status, translated.code, translated.hint = error.status, error.code, error.hint
        raise translated from error
