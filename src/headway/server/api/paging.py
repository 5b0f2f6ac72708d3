"""``limit`` and ``cursor`` of every list."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query

from headway.domain.base import PageRequest


def _paging(
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(max_length=2048)] = None,
) -> PageRequest:
    return PageRequest(limit=limit, cursor=cursor)


Paging = Annotated[PageRequest, Depends(_paging)]
