"""Which requests are sent again, when, and for how long.

Only what is safe to repeat: GET, HEAD, PUT, DELETE, and POST with an Idempotency-Key. Only on failures that may pass: a
connection that fails, 429 (after the pause that the server asks for), 502, 503 and 504. All tries and pauses
together stay within one deadline.
"""

from __future__ import annotations

import email.utils
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from headway.errors import ConnectionFailedError
from headway.sdk.transport import Request, Response

if TYPE_CHECKING:
    from tenacity import RetryCallState

SAFE_METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE"})
PASSING_STATUSES = frozenset({429, 502, 503, 504})
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0


def is_repeatable(request: Request) -> bool:
    """Whether sending ``request`` twice does no more than sending it once."""
    return request.method in SAFE_METHODS or any(key.lower() == "idempotency-key" for key in request.headers)


def send_with_retries(send: Callable[[Request], Response], request: Request, *, deadline: float) -> Response:
    """The answer to ``request``, tried again while that is safe and may help.

    Args:
        send: As :meth:`Transport.send`.
        request: What to send.
        deadline: Seconds that all tries and pauses may take together; 0 tries once.

    Raises:
        ConnectionFailedError: As the last try did.
    """
    if deadline <= 0 or not is_repeatable(request):
        return send(request)
    import tenacity

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(ConnectionFailedError)
        | tenacity.retry_if_result(lambda answer: answer.status in PASSING_STATUSES),
        stop=tenacity.stop_before_delay(deadline),
        wait=_pause,
        sleep=time.sleep,
        before_sleep=_discard,
        retry_error_callback=_last_outcome,
    )
    return retrying(send, request)


def _pause(state: RetryCallState) -> float:
    """What the server asks for, else a growing pause with jitter."""
    import tenacity

    asked = None
    if state.outcome is not None and not state.outcome.failed:
        asked = retry_after(state.outcome.result())
    grown = tenacity.wait_random_exponential(multiplier=FIRST_PAUSE, max=LONGEST_PAUSE)(state)
    return grown if asked is None else asked


def retry_after(response: Response) -> float | None:
    """Seconds that the header Retry-After asks to wait (a number, or a date: RFC 9110, 10.2.3); None without one."""
    text = response.headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return max(0.0, moment.timestamp() - time.time())


def _discard(state: RetryCallState) -> None:
    if state.outcome is not None and not state.outcome.failed:
        state.outcome.result().close()


def _last_outcome(state: RetryCallState) -> Response:
    assert state.outcome is not None
    found: Response = state.outcome.result()
    return found
