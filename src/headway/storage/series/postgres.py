"""The metric store in the servers' PostgreSQL database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Engine

from headway.storage.series.sql import SqlSeries
from headway.storage.series.tables import prepare
from headway.storage.sql.failures import translated

if TYPE_CHECKING:
    from headway.storage.series.base import SeriesWriter


class PostgresSeries(SqlSeries):
    """A :class:`headway.storage.series.base.SeriesWriter`; any number of servers may read and fold.

    Two that fold the same stream wait for each other at the stream's row; the second finds its state outdated.
    """

    def __init__(self, engine: Engine, *, owned: bool = False) -> None:
        """``owned``: the connections end with this store; otherwise they belong to whoever gave them."""
        self._owned = owned
        with translated(), engine.connect() as connection, connection.begin():
            prepare(connection)
        super().__init__(
            engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True),
            engine.execution_options(isolation_level="READ COMMITTED"),
        )

    def close(self) -> None:
        if self._owned:
            super().close()


if TYPE_CHECKING:

    def _writes(series: PostgresSeries) -> SeriesWriter:
        return series
