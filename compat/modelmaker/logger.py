"""The package's log: to standard error, at the level of MODELMAKER_LEVEL (10, 20, 30 or 40; 20 without it)."""

from __future__ import annotations

import logging
import os
import sys

LEVEL_VARIABLE = "MODELMAKER_LEVEL"
logger = logging.getLogger("modelmaker")


class _StandardError(logging.Handler):
    """Writes to what is standard error at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(self.format(record) + "\n")


def set_level() -> None:
    """Take the level from the environment, and write to standard error from now on."""
    text = os.environ.get(LEVEL_VARIABLE, "").strip()
    logger.setLevel(int(text) if text.isdecimal() else logging.INFO)
    if not logger.handlers:
        handler = _StandardError()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s modelmaker: %(message)s"))
        logger.addHandler(handler)
