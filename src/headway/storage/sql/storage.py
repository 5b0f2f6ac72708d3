"""What both databases share: sessions as transactions, one at a time in a thread."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from headway.errors import UnavailableError
from headway.storage.sql.failures import translated
from headway.storage.sql.session import SqlSession
from headway.storage.sql.transactions import Flavour, Transaction

CLOSE_SECONDS = 10.0
"""How long ``close`` waits for sessions that are still open in other threads."""


class SqlStorage(ABC):
    """A :class:`headway.storage.base.Storage` over two SQLAlchemy engines."""

    def __init__(self, *, readers: Engine, writers: Engine, flavour: Flavour) -> None:
        self._readers = readers
        self._writers = writers
        self._flavour = flavour
        self._gate = _Gate()

    @contextmanager
    def read(self) -> Iterator[SqlSession]:
        with self._gate.entered(), translated(), self._transaction(self._readers, writing=False) as transaction:
            yield SqlSession(transaction)

    @contextmanager
    def write(self) -> Iterator[SqlSession]:
        with self._gate.entered(), translated(), self._turn():
            with self._transaction(self._writers, writing=True) as transaction:
                yield SqlSession(transaction)
            if transaction.changed:
                self._committed()

    @abstractmethod
    def subscribe(self, wake: Callable[[], None]) -> Callable[[], None]: ...

    def close(self) -> None:
        if self._gate.close(CLOSE_SECONDS):
            self._dispose()

    @contextmanager
    def _transaction(self, engine: Engine, *, writing: bool) -> Iterator[Transaction]:
        with engine.connect() as connection, connection.begin():
            transaction = Transaction(connection, self._flavour, writing=writing)
            yield transaction
            transaction.finish()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Waits until this session may write."""
        yield

    @abstractmethod
    def _committed(self) -> None:
        """Records changed and are durable."""

    @abstractmethod
    def _dispose(self) -> None:
        """Give up threads, connections and locks. Called once, when no session is open."""


class _Gate:
    """Counts open sessions, refuses one inside another, and refuses all once closed."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._inside: set[int] = set()
        self._closed = False

    @contextmanager
    def entered(self) -> Iterator[None]:
        thread = threading.get_ident()
        with self._condition:
            if self._closed:
                raise UnavailableError("The storage is closed.")
            if thread in self._inside:
                raise RuntimeError("A session is open in this thread already; sessions are never nested.")
            self._inside.add(thread)
        try:
            yield
        finally:
            with self._condition:
                self._inside.discard(thread)
                self._condition.notify_all()

    def close(self, seconds: float) -> bool:
        """Let nobody in any more and wait for those inside; False when it was closed before."""
        with self._condition:
            if self._closed:
                return False
            self._closed = True
            self._condition.wait_for(lambda: not self._inside, timeout=seconds)
            return True
