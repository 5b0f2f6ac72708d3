"""Hostile bytes on a replica's channel: what is no frame ends it, what is no request is answered, and the replica lives."""

from __future__ import annotations

import socket

import pytest
import requests

from headway.serving.http.frames import (
    ANSWER,
    GOODBYE,
    HEADER,
    HELLO,
    LARGEST,
    PREFACE,
    REQUEST,
    FrameReader,
    frame,
)

HELLO_BYTES = len(PREFACE) + HELLO.size
PLAIN = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


def post(body=b"", path="/x", *lines):
    head = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", f"content-length: {len(body)}", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


@pytest.fixture(scope="module")
def replica(start_replica, predictor_dir):
    return start_replica(predictor_dir)


class Raw:
    """A client of a channel, byte by byte."""

    def __init__(self, port, greet=True):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.frames = FrameReader(largest=2**30)
        self.waiting = []
        if greet:
            self.socket.sendall(PREFACE)
            hello = b""
            while len(hello) < HELLO_BYTES:
                hello += self.socket.recv(HELLO_BYTES - len(hello))
            assert hello == PREFACE + HELLO.pack(LARGEST, 1024)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *frames):
        self.socket.sendall(b"".join(frames))

    def answer(self):
        while not self.waiting:
            data = self.socket.recv(2**16)
            assert data, "the server closed the channel"
            self.waiting += self.frames.feed(data)
        return self.waiting.pop(0)

    def is_closed(self):
        try:
            while self.socket.recv(2**16):
                pass
        except ConnectionError:
            pass
        return True


def predicts(replica, raw, number):
    raw.send(frame(REQUEST, number, post(b'{"inputs": {"echo": 5}}', "/v1/models/m:predict")))
    kind, answered, message = raw.answer()
    return (kind, answered) == (ANSWER, number) and b" 200 OK" in message and b'"got":5' in message


BROKEN = {
    "unknown kind": HEADER.pack(9, 0, 1),
    "an answer": frame(ANSWER, 1, PLAIN),
    "a goodbye": frame(GOODBYE, 0),
    "too large": HEADER.pack(REQUEST, LARGEST + 1, 1),
    "largest there is": HEADER.pack(REQUEST, 2**32 - 1, 1),
    "used again": frame(REQUEST, 1, post()) * 2,
    "number zero": frame(REQUEST, 0, post()),
    "HTTP": post() * 3,
    "noise": bytes(range(255, 0, -1)) * 50,
}


@pytest.mark.parametrize("hostile", BROKEN.values(), ids=list(BROKEN))
def test_what_is_no_frame_ends_the_channel_and_the_replica_lives(replica, hostile):
    with Raw(replica.port) as raw, Raw(replica.port) as other:
        raw.send(hostile)
        assert raw.is_closed()
        assert predicts(replica, other, 1)


@pytest.mark.parametrize("preface", [b"\x00", b"\x00GET / HTTP/1.1\r\n\r\n", PREFACE[:-1] + b"x", b"\x00" * 5000])
def test_what_is_no_preface_is_refused_as_http(replica, preface):
    with Raw(replica.port, greet=False) as raw:
        raw.send(preface)
        if len(preface) == 1:
            raw.send(b"x")
        assert raw.socket.recv(2**16).startswith(b"HTTP/1.1 400 ")
        assert raw.is_closed()
    assert requests.get(replica.url + "/health", timeout=60).status_code == 200


def test_a_preface_and_frames_that_arrive_byte_by_byte(replica):
    with Raw(replica.port, greet=False) as raw:
        raw.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in PREFACE + frame(REQUEST, 1, post(b"", "/health")):
            raw.send(bytes([byte]))
        hello = b""
        while len(hello) < HELLO_BYTES:
            hello += raw.socket.recv(HELLO_BYTES - len(hello))
        assert raw.answer()[:2] == (ANSWER, 1)


def test_half_a_frame_and_no_more(replica):
    for _ in range(20):
        with Raw(replica.port) as raw:
            raw.send(frame(REQUEST, 1, post(b"x" * 1000))[:-1])
    with Raw(replica.port) as raw:
        assert predicts(replica, raw, 2**64 - 1)


def test_no_frame_carries_what_two_parsers_could_read_differently(replica, smuggled):
    with Raw(replica.port) as raw:
        smuggled = smuggled.replace(b" / HTTP", b" /v1/models/m:predict HTTP")
        hidden = post(b"", "/v1/models/m:predict")
        raw.send(frame(REQUEST, 1, smuggled + hidden), frame(REQUEST, 2, smuggled))
        for number in (1, 2):
            kind, answered, message = raw.answer()
            assert (kind, answered) == (ANSWER, number)
            assert message.count(b"HTTP/1.1 ") == 1 and int(message.split(b" ", 2)[1]) in (400, 505)
        assert predicts(replica, raw, 3)


NO_REQUESTS = {
    "empty": b"",
    "half a head": b"GET / HTTP/1.1\r\n",
    "half a body": post(b"abc")[:-1],
    "two": post(b"{}", "/v1/models/m:predict") * 2,
    "one and a half": post(b"{}", "/v1/models/m:predict") + b"GET /",
    "two, the first of which closes": post(b"{}", "/v1/models/m:predict", "connection: close") + post(),
}


@pytest.mark.parametrize("payload", NO_REQUESTS.values(), ids=list(NO_REQUESTS))
def test_a_frame_has_one_whole_request(replica, payload):
    with Raw(replica.port) as raw:
        raw.send(frame(REQUEST, 1, payload))
        kind, number, message = raw.answer()
        assert (kind, number) == (ANSWER, 1) and message.startswith(b"HTTP/1.1 400 ")
        assert predicts(replica, raw, 2)


def test_requests_of_a_channel_are_screened_as_any(replica):
    refusals = {
        404: post(b"{}", "/nothing"),
        421: post(b"{}", "/v1/models/m:predict", "origin: https://evil.example"),
        405: b"GET /v1/models/m:predict HTTP/1.1\r\nhost: localhost\r\n\r\n",
    }
    with Raw(replica.port) as raw:
        for number, (status, message) in enumerate(refusals.items(), start=1):
            raw.send(frame(REQUEST, number, message))
            assert raw.answer()[2].startswith(b"HTTP/1.1 %d " % status)
        raw.send(frame(REQUEST, 9, b"HEAD /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"))
        assert raw.answer()[2].endswith(b"\r\n\r\n")
        assert predicts(replica, raw, 10)
