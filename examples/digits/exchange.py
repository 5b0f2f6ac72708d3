"""How the ranks exchange numbers: frames of float32 over TCP, one connection a worker.

A worker sends its gradient, the parameter server averages those of all workers, takes one step and sends the new
parameters back. Training is in lock-step, so a rank that dies is noticed by all others at once: its socket closes.
"""

from __future__ import annotations

import socket
import struct
import time

import numpy as np

HEADER = struct.Struct("<BII")  # kind, worker, bytes that follow
HELLO, GRADIENT, PARAMETERS, DONE, FAILED = range(1, 6)
CONNECT_SECONDS = 60.0
SILENCE_SECONDS = 60.0


class RankLost(Exception):
    """Another rank of this job is gone; the message says which."""


class Peer:
    """One end of a connection between a worker and the parameter server."""

    def __init__(self, connection: socket.socket, name: str) -> None:
        connection.settimeout(SILENCE_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = connection
        self.name = name

    def send(self, kind: int, worker: int, body: bytes = b"") -> None:
        try:
            self._connection.sendall(HEADER.pack(kind, worker, len(body)) + body)
        except OSError as error:
            raise RankLost(f"lost the connection to {self.name}: {error}") from error

    def receive(self) -> tuple[int, int, bytes]:
        kind, worker, size = HEADER.unpack(self._read(HEADER.size))
        body = self._read(size)
        if kind == FAILED:
            raise RankLost(body.decode())
        return kind, worker, body

    def close(self) -> None:
        self._connection.close()

    def _read(self, size: int) -> bytes:
        parts, missing = [], size
        while missing:
            try:
                part = self._connection.recv(missing)
            except OSError as error:
                raise RankLost(f"lost the connection to {self.name}: {error}") from error
            if not part:
                raise RankLost(f"{self.name} closed its connection in the middle of training")
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)


def connect(host: str, port: int, worker: int) -> Peer:
    """A connection to the parameter server, which may start a little later than this worker."""
    deadline = time.monotonic() + CONNECT_SECONDS
    while True:
        try:
            peer = Peer(socket.create_connection((host, port), timeout=5), "the parameter server")
            peer.send(HELLO, worker)
            return peer
        except (OSError, RankLost) as error:
            if time.monotonic() > deadline:
                raise RankLost(f"the parameter server at {host}:{port} does not answer: {error}") from error
            time.sleep(0.05)


class ParameterServer:
    """Holds the parameters, averages gradients and steps, until every worker says it is done."""

    def __init__(self, host: str, port: int, workers: int, parameters: np.ndarray, learning_rate: float) -> None:
        self._workers = workers
        self._parameters = parameters
        self._velocity = np.zeros_like(parameters)
        self._learning_rate = learning_rate
        self._listener = socket.create_server((host, port), backlog=workers)
        self._listener.settimeout(CONNECT_SECONDS)

    def serve(self) -> int:
        """Train; the number of steps taken. RankLost when a worker goes away, after the others were told."""
        peers = self._accept_all()
        steps = 0
        try:
            self._broadcast(peers)
            while (gradient := self._average(peers)) is not None:
                self._velocity = 0.9 * self._velocity - self._learning_rate * gradient
                self._parameters += self._velocity
                steps += 1
                self._broadcast(peers)
            return steps
        except RankLost as error:
            self._tell_the_rest(peers, str(error))
            raise
        finally:
            for peer in peers:
                peer.close()

    def _accept_all(self) -> list[Peer]:
        found: dict[int, Peer] = {}
        with self._listener:
            while len(found) < self._workers:
                try:
                    connection, _ = self._listener.accept()
                except OSError as error:
                    missing = sorted(set(range(self._workers)) - set(found))
                    raise RankLost(f"workers {missing} did not connect") from error
                peer = Peer(connection, "a worker")
                _, worker, _ = peer.receive()
                peer.name = f"worker {worker}"
                found[worker] = peer
        return [found[worker] for worker in sorted(found)]

    def _average(self, peers: list[Peer]) -> np.ndarray | None:
        frames = [peer.receive() for peer in peers]
        if all(kind == DONE for kind, _, _ in frames):
            return None
        return np.mean([np.frombuffer(body, np.float32) for _, _, body in frames], axis=0)

    def _broadcast(self, peers: list[Peer]) -> None:
        for peer in peers:
            peer.send(PARAMETERS, 0, self._parameters.tobytes())

    def _tell_the_rest(self, peers: list[Peer], message: str) -> None:
        for peer in peers:
            try:
                peer.send(FAILED, 0, message.encode())
            except RankLost:
                continue
