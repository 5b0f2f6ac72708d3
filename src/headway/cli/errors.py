"""How a command ends. The exit codes, for scripts:

====  ====================================================================================================
0     done
1     the platform or a job failed, or something in Headway itself did
2     the request was wrong: an option, a file, a setting, or a state that forbids it
3     the server does not answer
4     no such thing, no valid token, or no right
5     not in time (``--timeout``)
130   Ctrl-C
141   whoever read the output went away
====  ====================================================================================================
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headway.errors import HeadwayError

FAILED = 1
WRONG_REQUEST = 2
NO_CONNECTION = 3
NOT_FOUND_OR_DENIED = 4
NOT_IN_TIME = 5
INTERRUPTED = 130
READER_GONE = 141


def exit_code(error: HeadwayError) -> int:
    """The code that stands for ``error``."""
    from headway import errors

    if isinstance(error, (errors.AuthenticationError, errors.PermissionDeniedError, errors.NotFoundError)):
        return NOT_FOUND_OR_DENIED
    if isinstance(error, errors.ConnectionFailedError):
        return NO_CONNECTION
    if isinstance(error, errors.WaitTimeoutError):
        return NOT_IN_TIME
    wrong = (errors.RequestError, errors.WorkspaceError, errors.ConfigurationError, errors.MissingExtraError)
    return WRONG_REQUEST if isinstance(error, wrong) else FAILED


def report(error: HeadwayError) -> int:
    """Say on stderr what went wrong and what to do; answers the exit code."""
    from headway.cli.output import clean
    from headway.errors import PlatformError

    request = f" (request {error.request_id})" if error.request_id and isinstance(error, PlatformError) else ""
    message = f"{error.message}{request}"
    hint = f" {error.hint}" if error.hint else ""
    first, *rest = clean(f"{message}{hint}" if "\n" not in message else message).split("\n")
    lines = [f"error: {first}", *rest]
    if "\n" in message and hint:
        lines.append(clean(hint.strip()))
    write_error("\n".join(lines))
    return exit_code(error)


def report_fault(error: Exception) -> int:
    """Say that Headway itself failed; HEADWAY_DEBUG=1 shows where."""
    from headway.cli.output import clean

    if os.environ.get("HEADWAY_DEBUG"):
        import traceback

        write_error("".join(traceback.format_exception(error)))
    name = type(error).__name__
    text = clean(f"error: Headway itself failed: {name}: {error}").replace("\n", " ").rstrip(".")
    write_error(f"{text}. Set HEADWAY_DEBUG=1 to see where, and please report it.")
    return FAILED


def write_error(text: str) -> None:
    """One message on stderr, which may be closed."""
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except OSError:
        pass
