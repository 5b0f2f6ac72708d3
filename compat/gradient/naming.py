"""Names could repeat on Gradient and cannot here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from gradient.logger import Logger
from headway.errors import ConflictError

MOST_COPIES = 1000
T = TypeVar("T")


def first_free_name(name: str, make: Callable[[str], T], logger: Logger) -> T:
    """What ``make`` returns for ``name``, else for the first of ``name (2)``, ``name (3)``, … that is not taken."""
    try:
        return make(name)
    except ConflictError as error:
        taken = error
    for number in range(2, MOST_COPIES):
        candidate = f"{name} ({number})"
        try:
            made = make(candidate)
        except ConflictError:
            continue
        logger.warning(f"The name {name!r} is taken; this one is called {candidate!r}.")
        return made
    raise taken
