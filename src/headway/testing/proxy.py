"""A TCP proxy that loses answers: requests arrive, and the connection is cut before their answer does."""

from __future__ import annotations

import random
import socket
import threading
from types import TracebackType

from typing_extensions import Self

PIECE = 1 << 16


class LosingProxy:
    """Forwards connections on a loopback port to another one, and cuts some of them at the first byte of an answer.

    Args:
        port: Where the server listens.
        share: How many answers of a hundred are lost.
        chance: Decides which.
    """

    def __init__(self, port: int, share: int, chance: random.Random) -> None:
        self._target, self._share, self._chance = port, share, chance
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.lost = 0
        """Answers that were lost so far."""
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client:
            try:
                server = socket.create_connection(("127.0.0.1", self._target), timeout=30)
            except OSError:
                return
            with server:
                forwarding = threading.Thread(target=_pump, args=(client, server), daemon=True)
                forwarding.start()
                self._answer(server, client)
                for end in (client, server):
                    _shut(end)
                forwarding.join()

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        try:
            while data := server.recv(PIECE):
                if self._chance.randrange(100) < self._share:
                    self.lost += 1
                    return
                client.sendall(data)
        except OSError:
            return


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(PIECE):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


def _shut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
