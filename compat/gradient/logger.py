"""What clients say while they work: an object with ``log``, ``warning``, ``error`` and ``debug``."""

from __future__ import annotations

from typing import Any


class Logger:
    """The interface. Anything with these four methods will do."""

    def log(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError

    def warning(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError

    def error(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError

    def debug(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError


class MuteLogger(Logger):
    """Says nothing."""

    def log(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        """Drop the message."""

    def warning(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        """Drop the message."""

    def error(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        """Drop the message."""

    def debug(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        """Drop the message."""
