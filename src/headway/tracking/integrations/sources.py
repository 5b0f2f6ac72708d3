"""The run that a callback or logger writes to: one that it was given, or one that it begins when it first needs it."""

from __future__ import annotations

from typing import Any

from headway.tracking.run import TrackedRun


class RunSource:
    """Gives one run.

    Args:
        run: The run to give; with one, no options are taken.
        options: What :func:`headway.init` takes, for a run that is begun with the first question for it.
    """

    def __init__(self, run: TrackedRun | None, options: dict[str, Any]) -> None:
        if run is not None and options:
            from headway.errors import InvalidRequestError

            raise InvalidRequestError(
                f"A run was given, and {', '.join(sorted(options))} for another one.", hint="Give one of both."
            )
        self._run = run
        self._options = options

    @property
    def begun(self) -> bool:
        """Whether there is a run already."""
        return self._run is not None

    @property
    def run(self) -> TrackedRun:
        """The run; begun now, if there was none."""
        if self._run is None:
            import headway

            self._run = headway.init(**self._options)
        return self._run
