"""Every error Headway raises, on both sides of the wire.

::

    HeadwayError
    ├── RequestError                 you asked for something that cannot be done as asked
    │   ├── InvalidRequestError      422  a field, keyword or file is wrong
    │   ├── AuthenticationError      401  no token, or one that is unknown, expired or revoked
    │   ├── PermissionDeniedError    403  the token is good, the right is missing
    │   ├── NotFoundError            404  no such thing, or none that you may see
    │   ├── MethodNotAllowedError    405  the address exists, the verb does not
    │   ├── ConflictError            409  the state of the thing forbids it
    │   │   ├── OffsetConflictError  409  a stream was sent from the wrong offset; carries ``committed``
    │   │   └── StaleAttemptError    409  the sender belongs to an attempt that has been replaced
    │   ├── PayloadTooLargeError     413  a body, line or list is over its limit
    │   ├── UnsupportedMediaError    415  the body is not of a type that this route takes
    │   ├── MisdirectedRequestError  421  the Host or Origin header names somebody else
    │   └── RateLimitedError         429  too many requests; carries ``retry_after`` seconds
    ├── PlatformError                we failed, or something that we stand on did
    │   ├── InternalError            500
    │   ├── UnavailableError         503  starting, stopping or overloaded: try again
    │   └── StorageFullError         507  no space left where the server keeps its data
    ├── ConnectionFailedError        the server (or a replica) does not answer
    ├── WaitTimeoutError             what was waited for did not come in time
    ├── JobFailedError               a job that was waited for ended badly; carries ``job``
    ├── WorkspaceError               code could not be brought to where it runs
    ├── EngineError                  an engine could not place, look at or end processes
    ├── ModelLoadError               a model's files cannot be served, with the reason
    ├── CorruptDataError             stored bytes fail their checksum
    ├── LeaseLostError               somebody else took over the work in between
    ├── ConfigurationError           a setting is missing or wrong
    └── MissingExtraError            an optional dependency is not installed

Each class has a stable ``code`` (what programs compare) and an HTTP ``status``; each error says what was wrong with which
value and, in ``hint``, what to do. The server writes RFC 9457 problem JSON; the client raises the same class again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


def with_article(word: str) -> str:
    """``word`` with the article that it takes in a message.

    >>> with_article("int"), with_article("set")
    ('an int', 'a set')
    """
    return f"{'an' if word[:1].lower() in 'aeiou' else 'a'} {word}" if word else word


class HeadwayError(Exception):
    """Root of the tree.

    Args:
        message: What was wrong, naming the value.
        hint: What to do about it, one sentence.
        details: JSON values for programs, for example ``{"field": "roles.worker.count"}``.

    >>> error = NotFoundError("There is no project 'digit'.", hint="Did you mean 'digits'?")
    >>> error.code, error.status, str(error)
    ('not_found', 404, "There is no project 'digit'. Did you mean 'digits'?")
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something went wrong"

    def __init__(self, message: str, *, hint: str | None = None, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details: dict[str, Any] = dict(details or {})
        self.request_id: str | None = None

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message

    def to_problem(self) -> dict[str, Any]:
        """This error as an RFC 9457 problem document."""
        problem: dict[str, Any] = {
            "type": f"urn:headway:error:{self.code}",
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "detail": self.message,
        }
        if self.hint:
            problem["hint"] = self.hint
        if self.details:
            problem["details"] = self.details
        return problem


class RequestError(HeadwayError):
    """The caller asked for something that cannot be done as asked."""

    code = "bad_request"
    status = 400
    title = "The request cannot be carried out"


class InvalidRequestError(RequestError):
    """A field, keyword or file is wrong; ``details["errors"]`` lists each place."""

    code = "invalid_request"
    status = 422
    title = "The request is not valid"


class AuthenticationError(RequestError):
    """No token, or one that is unknown, expired or revoked."""

    code = "unauthenticated"
    status = 401
    title = "A valid token is needed"


class PermissionDeniedError(RequestError):
    """The token is good; the right is missing."""

    code = "permission_denied"
    status = 403
    title = "Not allowed"


class NotFoundError(RequestError):
    """No such thing, or none that the caller may see."""

    code = "not_found"
    status = 404
    title = "Not found"


class MethodNotAllowedError(RequestError):
    """The address exists, the verb does not."""

    code = "method_not_allowed"
    status = 405
    title = "Method not allowed"


class ConflictError(RequestError):
    """The present state of the thing forbids the request."""

    code = "conflict"
    status = 409
    title = "Conflict"


class OffsetConflictError(ConflictError):
    """A stream was sent from an offset that leaves a gap, or by another writer."""

    code = "offset_conflict"
    title = "The stream continues elsewhere"

    @property
    def committed(self) -> int:
        """Bytes of the stream that the server holds durably; send on from here."""
        return int(self.details.get("committed", 0))


class StaleAttemptError(ConflictError):
    """The sender belongs to an attempt that has been replaced; it must end itself."""

    code = "stale_attempt"
    title = "This attempt has been replaced"


class PayloadTooLargeError(RequestError):
    """A body, line or list is over its limit."""

    code = "payload_too_large"
    status = 413
    title = "Too large"


class UnsupportedMediaError(RequestError):
    """The body is not of a type that this route takes."""

    code = "unsupported_media_type"
    status = 415
    title = "Unsupported media type"


class MisdirectedRequestError(RequestError):
    """The Host or Origin header names somebody else: a rebinding or cross-site attempt."""

    code = "misdirected_request"
    status = 421
    title = "This request was meant for somebody else"


class RateLimitedError(RequestError):
    """Too many requests."""

    code = "rate_limited"
    status = 429
    title = "Too many requests"

    @property
    def retry_after(self) -> float:
        """Seconds to wait before the next try."""
        return float(self.details.get("retry_after", 1.0))


class PlatformError(HeadwayError):
    """We failed, or something that we stand on did."""

    code = "platform_error"


class InternalError(PlatformError):
    """A fault in Headway itself; the server log has the traceback under the request id."""

    code = "internal_error"
    title = "Internal error"


class UnavailableError(PlatformError):
    """Starting, stopping or overloaded: the same request may succeed a moment later."""

    code = "unavailable"
    status = 503
    title = "Not available now"

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait before the next try, where whoever refused knew."""
        found = self.details.get("retry_after")
        return None if found is None else float(found)


class StorageFullError(PlatformError):
    """No space is left where the server keeps its data; nothing was stored in part."""

    code = "storage_full"
    status = 507
    title = "No space left"


class ConnectionFailedError(HeadwayError):
    """The server, or a replica, does not answer."""

    code = "connection_failed"
    status = 502
    title = "No answer"


class WaitTimeoutError(HeadwayError):
    """What was waited for did not come in time; it goes on all the same."""

    code = "wait_timeout"
    status = 504
    title = "Not in time"


class JobFailedError(HeadwayError):
    """A job that was waited for ended badly."""

    code = "job_failed"
    title = "The job did not succeed"

    def __init__(
        self, message: str, *, hint: str | None = None, details: Mapping[str, Any] | None = None, job: Any = None
    ) -> None:
        super().__init__(message, hint=hint, details=details)
        self.job = job


class WorkspaceError(HeadwayError):
    """Code could not be brought to where it runs: a git URL that fails, a file that is missing."""

    code = "workspace_error"
    status = 422
    title = "The workspace could not be prepared"


class EngineError(HeadwayError):
    """An engine could not place, look at or end processes."""

    code = "engine_error"
    title = "The engine failed"


class ModelLoadError(HeadwayError):
    """A model's files cannot be served."""

    code = "model_load_error"
    status = 422
    title = "The model cannot be loaded"


class CorruptDataError(HeadwayError):
    """Stored bytes fail their checksum."""

    code = "corrupt_data"
    title = "Stored data is damaged"


class LeaseLostError(HeadwayError):
    """Somebody else took over this work in between; the late result must not be applied."""

    code = "lease_lost"
    status = 409
    title = "The lease was lost"


class ConfigurationError(HeadwayError):
    """A setting is missing or wrong; the message names its key."""

    code = "configuration_error"
    status = 400
    title = "Wrong setting"


class MissingExtraError(HeadwayError):
    """An optional dependency is not installed."""

    code = "missing_extra"
    title = "An optional part is not installed"

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional part.", hint=f"Run `pip install 'headway[{extra}]'`.")
        self.extra = extra


def _tree(root: type[HeadwayError]) -> dict[str, type[HeadwayError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found.update(_tree(child))
    return found


ERRORS_BY_CODE: dict[str, type[HeadwayError]] = _tree(HeadwayError)
"""Every class by its stable code; what :func:`from_problem` looks in."""


def from_problem(problem: Mapping[str, Any], status: int) -> HeadwayError:
    """The error that a problem document stands for.

    An unknown code (a newer server) becomes the class that fits the HTTP status: :class:`RequestError` for 4xx,
    :class:`PlatformError` otherwise.

    >>> from_problem({"code": "not_found", "detail": "No such job."}, 404)
    NotFoundError('No such job.')
    """
    found = ERRORS_BY_CODE.get(str(problem.get("code")))
    if found is None or found is MissingExtraError:
        found = RequestError if 400 <= status < 500 else PlatformError
    message = str(problem.get("detail") or problem.get("title") or f"The server answered {status}.")
    details = problem.get("details")
    return found(message, hint=problem.get("hint"), details=details if isinstance(details, Mapping) else None)
