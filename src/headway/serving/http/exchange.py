"""One request and the place for its answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from headway.serving.http.messages import Request, Response


class Answering(Protocol):
    """Who writes answers."""

    def answered(self) -> None:
        """One of the exchanges that were begun has its response."""
        ...


class Exchange:
    """What a handler is given. Used from the loop's thread only."""

    __slots__ = ("_answering", "_callbacks", "gone", "request", "response")

    def __init__(self, request: Request, answering: Answering) -> None:
        self.request = request
        self.gone = False
        """Whether the client left before it was answered."""
        self.response: Response | None = None
        self._answering = answering
        self._callbacks: tuple[Callable[[], object], ...] = ()

    def respond(self, response: Response) -> None:
        """Answer, now or in a later turn of the loop; harmless when the client has left.

        Raises:
            RuntimeError: It was answered before.
        """
        if self.response is not None:
            raise RuntimeError("A request is answered once.")
        self.response = response
        self._callbacks = ()
        if not self.gone:
            self._answering.answered()

    def when_gone(self, callback: Callable[[], object]) -> None:
        """Call back once if the client leaves before it was answered; at once if it has left."""
        if self.gone:
            callback()
        elif self.response is None:
            self._callbacks += (callback,)

    def leave(self) -> None:
        """The client has left."""
        self.gone = True
        callbacks, self._callbacks = self._callbacks, ()
        for callback in callbacks:
            callback()
