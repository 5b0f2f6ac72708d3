"""All records of a list, page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from headway.domain.base import Page, PageRequest

T = TypeVar("T")


def every(listing: Callable[..., Page[T]], **filters: Any) -> Iterator[T]:
    """Each item of every page of ``listing``."""
    cursor: str | None = None
    while True:
        page = listing(PageRequest(limit=1000, cursor=cursor), **filters)
        yield from page.items
        cursor = page.next_cursor
        if cursor is None:
            return
