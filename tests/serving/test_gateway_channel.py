"""A channel between gateway and replica: the same answers as over connections of their own, and each request for itself."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import signal
import socket
import threading
from time import monotonic

import psutil
import pytest
import requests
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.serving.gateway.channel import Channel
from headway.serving.gateway.link import Link
from headway.serving.gateway.replies import BrokenError, ConnectError, GarbageError, KnownHeads, Reply
from headway.serving.gateway.upstream import ConnectionPool
from headway.serving.http.channel import ChannelExchange
from headway.serving.http.frames import (
    ANSWER,
    CANCEL,
    GOODBYE,
    HEADER,
    HELLO,
    LARGEST,
    PART,
    PREFACE,
    REQUEST,
    FrameError,
    FrameReader,
    frame,
)
from headway.serving.http.limits import Limits
from headway.serving.http.messages import Response
from headway.serving.http.server import HttpServer

HELLO_BYTES = len(PREFACE) + HELLO.size
PLAIN = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


def on_loop(test):
    """Run a coroutine as a test, on the loop that the processes use; an error that nobody handled fails it."""

    @functools.wraps(test)
    def run(*arguments, **options):
        async def guarded():
            problems = []
            asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
            await asyncio.wait_for(test(*arguments, **options), 120)
            assert problems == []

        uvloop.run(guarded())

    return run


async def until(condition):
    async def looking():
        while not condition():
            await asyncio.sleep(0.005)

    await asyncio.wait_for(looking(), 60)


class Asked:
    """A waiter whose outcome can be awaited."""

    def __init__(self, link, message):
        self.handle = None
        self.outcome = asyncio.get_running_loop().create_future()
        link.send(message, self, monotonic())

    def replied(self, reply):
        self.outcome.set_result(reply)

    def failed(self, error):
        self.outcome.set_exception(error)

    async def reply(self) -> Reply:
        return await asyncio.wait_for(self.outcome, 60)


def post(body=b"", path="/x", *lines):
    head = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", f"content-length: {len(body)}", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


class Held:
    """Our server in this loop; it keeps what is asked below ``/held`` until the test answers it, and echoes the rest."""

    def __init__(self, **options):
        limits = {name: options.pop(name) for name in list(options) if name not in ("channels",)}
        self.held = []
        self.left = []
        self.seen = []
        self.server = HttpServer(self._handle, limits=Limits(**limits), **{"channels": True, **options})

    def _handle(self, exchange):
        path = exchange.request.path
        self.seen.append(exchange)
        if path.startswith("/held"):
            exchange.when_gone(lambda: self.left.append(path))
            self.held.append(exchange)
        else:
            exchange.respond(echoed(exchange.request))


def echoed(request):
    size = int(request.query or 0)
    return Response(200, request.body + b"." * size, headers=(("X-Path", request.path),))


@contextlib.asynccontextmanager
async def serving(**options):
    """A server and a link to it; with a channel, unless the server takes none."""
    held = Held(**options)
    port = await held.server.start("127.0.0.1", 0)
    link = Link("127.0.0.1", port)
    try:
        assert (await Asked(link, post()).reply()).status == 200
        if held.server.channels:
            await until(lambda: link.has_channel)
        yield held, link
    finally:
        link.close()
        await held.server.drain(quiet=0.0, grace=5.0)


@pytest.fixture
def recorded():
    """A channel over a transport that only remembers, on a loop that a test turns by itself."""

    class Transport:
        def __init__(self):
            self.writes, self.closed = [], False
            self.sockets = socket.socketpair()

        def get_extra_info(self, name):
            return self.sockets[0] if name == "socket" else None

        def write(self, data):
            self.writes.append(data)

        def is_closing(self):
            return self.closed

        def close(self):
            self.closed = True

        abort = close

    class Owner:
        heads = KnownHeads()

        def channel_left(self, channel, *, by_replica):
            self.left = by_replica

    transport = Transport()
    yield lambda: Channel(Owner(), transport, LARGEST, 8), transport
    for each in transport.sockets:
        each.close()


# The same answers, whatever the way, the order and the size.

BODIES = st.lists(
    st.tuples(
        st.one_of(st.binary(max_size=200), st.sampled_from([b"x" * 70_000, b"y" * (LARGEST - 90), b"z" * 300_000])),
        st.sampled_from([0, 1, 65_300, 65_536, 200_000, 700_000]),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(cases=BODIES, chance=st.randoms(use_true_random=False))
def test_answers_are_the_same_over_a_channel_and_over_connections_in_any_order(cases, chance):
    @on_loop
    async def compared():
        async with serving() as (held, link):
            order = list(range(len(cases)))
            chance.shuffle(order)
            answers = []
            for way in (link, ConnectionPool(link.host, link.port)):
                asked = [Asked(way, post(body, f"/held/{number}?{size}")) for number, (body, size) in enumerate(cases)]
                await until(lambda: len(held.held) == len(cases))
                by_path = {exchange.request.path: exchange for exchange in held.held}
                for number in order:
                    exchange = by_path[f"/held/{number}"]
                    exchange.respond(echoed(exchange.request))
                held.held.clear()
                replies = [await each.reply() for each in asked]
                answers.append([(reply.status, without_date(reply), reply.body) for reply in replies])
                way.close()
            assert answers[0] == answers[1]
            for (body, size), (status, _, answer) in zip(cases, answers[0], strict=True):
                assert (status, answer) == (200, body + b"." * size)

    compared()


def without_date(reply):
    return [pair for pair in reply.head.headers if pair[0] != b"date"]


@settings(max_examples=200, deadline=None)
@given(
    payloads=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 2**64 - 1), st.binary(max_size=60)), max_size=8),
    cuts=st.lists(st.integers(0, 700), max_size=12),
)
def test_frames_are_the_same_however_they_arrive(payloads, cuts):
    data = b"".join(frame(*each) for each in payloads)
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    reader = FrameReader()
    found = [each for start, stop in itertools.pairwise(places) for each in reader.feed(data[start:stop])]
    assert found == payloads and reader.held == 0


@given(data=st.binary(max_size=200))
def test_any_bytes_are_frames_or_a_frame_error(data):
    reader = FrameReader(largest=50)
    with contextlib.suppress(FrameError):
        reader.feed(data)
        assert reader.held <= HEADER.size + 50


@on_loop
async def test_requests_of_one_turn_are_one_write_and_so_are_answers(recorded):
    make, transport = recorded
    channel = make()

    class Link:
        send = staticmethod(lambda message, waiter, now: channel.send(message, waiter))

    asked = [Asked(Link, post(b"%d" % number)) for number in range(5)]
    await asyncio.sleep(0)
    assert len(transport.writes) == 1
    frames = FrameReader().feed(transport.writes[0])
    assert frames == [(REQUEST, number + 1, post(b"%d" % number)) for number in range(5)]
    channel.data_received(b"".join(frame(ANSWER, number, PLAIN) for number in (3, 1, 5, 2, 4)))
    assert [(await each.reply()).body for each in asked] == [b"{}"] * 5


@on_loop
async def test_the_server_answers_what_it_read_at_once_in_one_write():
    held = Held()
    port = await held.server.start("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(PREFACE)
    assert (await reader.readexactly(HELLO_BYTES)).startswith(PREFACE)
    (channel,) = held.server.connections
    writes = []

    class Recording:
        is_closing = staticmethod(lambda: False)
        write = staticmethod(writes.append)

    true, channel.transport = channel.transport, Recording
    channel.data_received(b"".join(frame(REQUEST, number, post(b"", "/held")) for number in (1, 2, 3)))
    assert len(held.held) == 3 and writes == []
    for exchange in held.held:
        exchange.respond(Response(200, b"{}"))
    await asyncio.sleep(0)
    assert len(writes) == 1
    assert [each[:2] for each in FrameReader().feed(writes[0])] == [(ANSWER, 1), (ANSWER, 2), (ANSWER, 3)]
    channel.transport = true
    writer.close()
    await held.server.drain(quiet=5.0, grace=5.0)


# Each request for itself.


@on_loop
async def test_a_request_is_withdrawn_without_touching_the_others():
    async with serving() as (held, link):
        asked = [Asked(link, post(b"%d" % number, f"/held/{number}")) for number in range(3)]
        await until(lambda: len(held.held) == 3)
        assert all(isinstance(exchange, ChannelExchange) for exchange in held.held)
        asked[1].handle.break_off()
        await until(lambda: held.left == ["/held/1"])
        for exchange in held.held:  # harmless for the one whose client has left
            exchange.respond(echoed(exchange.request))
        assert [(await asked[number].reply()).body for number in (0, 2)] == [b"0", b"2"]
        assert not asked[1].outcome.done() and link.has_channel
        assert (await Asked(link, post(b"more")).reply()).body == b"more"
        assert held.server.budget.used == 0


@on_loop
async def test_an_answer_that_crosses_its_withdrawal_is_dropped():
    async with scripted_channel() as (peer, link):
        asked = [Asked(link, post()) for _ in range(2)]
        frames = await peer.read(2)
        asked[0].handle.break_off()
        assert await peer.read(1) == [(CANCEL, frames[0][1], b"")]
        for _, number, _ in frames:
            peer.write(frame(PART, number, PLAIN[:9]), frame(ANSWER, number, PLAIN[9:]))
        assert (await asked[1].reply()).body == b"{}"
        assert not asked[0].outcome.done() and link.has_channel


@on_loop
async def test_a_server_that_ends_answers_what_it_has_and_is_asked_no_more():
    held = Held()
    link = Link("127.0.0.1", await held.server.start("127.0.0.1", 0))
    await Asked(link, post()).reply()
    await until(lambda: link.has_channel)
    asked = [Asked(link, post(b"", f"/held/{number}")) for number in range(4)]
    await until(lambda: len(held.held) == 4)
    draining = asyncio.ensure_future(held.server.drain(quiet=30.0, grace=60.0))
    await until(lambda: not link.has_channel)
    late = await Asked(link, post(b"late")).reply()  # over a connection of its own, while it still listens
    assert late.body == b"late"
    assert not draining.done()
    for exchange in held.held:
        exchange.respond(echoed(exchange.request))
    assert [(await each.reply()).status for each in asked] == [200] * 4
    assert await asyncio.wait_for(draining, 60)  # nobody had to be cut off, nor the quiet time to pass
    assert not link.has_channel
    link.close()


@on_loop
async def test_a_link_that_is_closed_gets_its_answers_first():
    async with serving() as (held, link):
        asked = Asked(link, post(b"last", "/held"))
        await until(lambda: held.held)
        link.close()
        assert not link.has_channel
        held.held[0].respond(echoed(held.held[0].request))
        assert (await asked.reply()).body == b"last"
        await until(lambda: not held.server.connections)


@on_loop
async def test_what_was_not_written_was_not_sent(recorded):
    make, transport = recorded
    channel = make()

    class Link:
        send = staticmethod(lambda message, waiter, now: channel.send(message, waiter))

    first = Asked(Link, post())
    await asyncio.sleep(0)
    second = Asked(Link, post())
    channel.connection_lost(None)
    with pytest.raises(BrokenError):
        await first.reply()
    with pytest.raises(ConnectError):
        await second.reply()
    assert not channel.is_open and first.handle is None and second.handle is None
    await asyncio.sleep(0)
    assert len(transport.writes) == 1


def test_a_replica_that_is_killed_breaks_what_it_worked_on_and_nothing_else(start_replica, predictor_dir, tmp_path):
    replica = start_replica(predictor_dir)
    started = tmp_path / "started"
    body = b'{"inputs": {"wait_for": "%b", "started": "%b"}}' % (bytes(tmp_path / "never"), bytes(started))
    predict = functools.partial(post, path="/v1/models/m:predict")

    @on_loop
    async def killed():
        link = Link("127.0.0.1", replica.port)
        await Asked(link, predict(b'{"inputs": {"echo": 1}}')).reply()
        await until(lambda: link.has_channel)
        asked = [Asked(link, predict(body)) for _ in range(5)]
        await until(started.exists)
        replica.signal(signal.SIGKILL)
        for each in asked:
            with pytest.raises(BrokenError):
                await each.reply()
        await asyncio.to_thread(replica.wait)  # its other connections have ended, too
        with pytest.raises(ConnectError):
            await Asked(link, predict(b"{}")).reply()
        link.close()

    killed()


# What is too much.


@on_loop
async def test_large_requests_go_another_way_and_large_answers_come_whole():
    async with serving() as (held, link):
        small, large = Asked(link, post(b"a" * 1000)), Asked(link, post(b"b" * (LARGEST + 1)))
        answer = Asked(link, post(b"", "/y?3000000"))
        assert (await small.reply()).body == b"a" * 1000
        assert (await large.reply()).body == b"b" * (LARGEST + 1)
        assert (await answer.reply()).body == b"." * 3_000_000
        ways = {len(each.request.body): isinstance(each, ChannelExchange) for each in held.seen[1:]}
        assert ways == {1000: True, LARGEST + 1: False, 0: True}
        assert link.has_channel


@on_loop
async def test_a_large_answer_does_not_hold_up_the_others():
    async with serving() as (held, link):
        reader, writer = await asyncio.open_connection("127.0.0.1", link.port, limit=2**16)
        writer.write(PREFACE + frame(REQUEST, 1, post(b"", "/held/1")) + frame(REQUEST, 2, post(b"", "/held/2")))
        await until(lambda: len(held.held) == 2)
        held.held[0].respond(Response(200, b"x" * 64_000_000))  # more than any buffer on the way takes
        held.held[1].respond(Response(200, b"{}"))
        await reader.readexactly(HELLO_BYTES)
        order, size = [], 0
        while order[-1:] != [1]:
            kind, length, number = HEADER.unpack(await reader.readexactly(HEADER.size))
            size += length if number == 1 else 0
            await reader.readexactly(length)
            if kind == ANSWER:
                order.append(number)
        assert order == [2, 1] and size > 64_000_000
        writer.close()
        await writer.wait_closed()


@on_loop
async def test_a_client_that_takes_no_answers_is_not_read_and_then_cut_off():
    async with serving(write_time=0.5) as (held, link):
        before = set(held.server.connections)
        reader, writer = await asyncio.open_connection("127.0.0.1", link.port, limit=2**16)
        writer.write(PREFACE + frame(REQUEST, 1, post(b"", "/held/1")) + frame(REQUEST, 2, post(b"", "/held/2")))
        await until(lambda: len(held.held) == 2)
        (channel,) = held.server.connections - before
        held.held[0].respond(Response(200, b"x" * 64_000_000))
        await until(lambda: not channel.transport.is_reading())
        writer.write(frame(REQUEST, 3, post(b"", "/held/3")))
        await until(lambda: held.left == ["/held/2"])
        assert len(held.held) == 2  # the third was not read any more
        with contextlib.suppress(ConnectionError):
            while await reader.read(2**20):
                pass
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        assert (await Asked(link, post(b"others")).reply()).body == b"others"


@on_loop
async def test_what_a_replica_does_not_read_goes_over_connections():
    async with scripted_channel() as (peer, link):
        peer.reads = False
        for _ in range(400):
            Asked(link, post(b"x" * 200_000))
            await asyncio.sleep(0)
            if peer.plain:
                break
        await until(lambda: peer.plain)
        assert link.has_channel


@on_loop
async def test_a_replica_says_how_much_it_takes_at_once():
    async with scripted_channel(largest=1000, most=2) as (peer, link):
        assert (await Asked(link, post(b"x" * 1000)).reply()).status == 200  # by a connection: it is over 1,000 bytes
        plain = peer.plain
        asked = [Asked(link, post()) for _ in range(3)]
        frames = await peer.read(2)
        assert (await asked[2].reply()).status == 200
        assert peer.plain > plain - 1 and not asked[0].outcome.done()
        peer.write(*(frame(ANSWER, number, PLAIN) for _, number, _ in frames))
        assert [(await each.reply()).status for each in asked] == [200] * 3


# Who does not know channels.


@on_loop
async def test_a_server_without_channels_is_asked_for_one_once():
    async with serving(channels=False) as (held, link):
        await until(lambda: held.server.refused[400] == 1)
        for number in range(20):
            assert (await Asked(link, post(b"%d" % number)).reply()).body == b"%d" % number
        assert held.server.refused[400] == 1 and not link.has_channel
        link.drop_idle()  # who answers next may be another
        await Asked(link, post()).reply()
        await until(lambda: held.server.refused[400] == 2)


def test_a_server_that_says_nothing_to_the_preface_is_served_as_ever(home, tools, scripted):
    replica = scripted()
    home.feed.publish(tools.route("dep1", (1, 1, {"a": replica.address})))
    gateway = home.start()
    for _ in range(5):
        url = gateway.url + "/model-serving/dep1:predict"
        assert requests.post(url, json={}, timeout=60).json() == {"outputs": 1}
    assert len(replica.seen) == 5


def test_the_gateway_itself_takes_no_channel(home, tools):
    gateway = home.start()
    answer = tools.raw(gateway.port, PREFACE + frame(REQUEST, 1, b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n"))
    assert answer.startswith(b"HTTP/1.1 400 ") and b"routes_version" not in answer


# Garbage from the replica.


class ScriptedChannel:
    """A server that takes channels and plain connections; on channels it answers only what the test writes."""

    def __init__(self, largest, most):
        self.hello = PREFACE + HELLO.pack(largest, most)
        self.plain = 0
        """Requests over connections of their own; each is answered."""
        self.reads = True
        self._frames = asyncio.Queue()
        self._writers = []
        self._channel = None

    async def start(self):
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1]

    async def _connection(self, reader, writer):
        self._writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            first = await reader.readexactly(len(PREFACE))
            if first == PREFACE:
                self._channel = writer
                writer.write(self.hello)
                await self._read_frames(reader)
            else:
                await self._answer_plainly(reader, writer, first)

    async def _read_frames(self, reader):
        frames = FrameReader()
        while self.reads and (data := await reader.read(2**16)):
            for each in frames.feed(data):
                self._frames.put_nowait(each)

    async def _answer_plainly(self, reader, writer, first):
        while True:
            head = first + await reader.readuntil(b"\r\n\r\n")
            self.plain += 1
            await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
            writer.write(PLAIN)
            first = b""

    async def read(self, count):
        return [await asyncio.wait_for(self._frames.get(), 60) for _ in range(count)]

    def write(self, *frames):
        self._channel.write(b"".join(frames))

    async def end(self):
        for writer in self._writers:
            writer.transport.abort()
        self._server.close()
        await self._server.wait_closed()


@contextlib.asynccontextmanager
async def scripted_channel(largest=LARGEST, most=100):
    peer = ScriptedChannel(largest, most)
    link = Link("127.0.0.1", await peer.start())
    try:
        assert (await Asked(link, post()).reply()).status == 200
        await until(lambda: link.has_channel)
        yield peer, link
    finally:
        link.close()
        await peer.end()


GARBAGE = {
    "unknown kind": HEADER.pack(9, 0, 1),
    "kind zero": HEADER.pack(0, 0, 1),
    "too large": HEADER.pack(ANSWER, LARGEST + 1, 1),
    "never asked": frame(ANSWER, 77, PLAIN),
    "part of what was never asked": frame(PART, 77, PLAIN),
    "number zero": frame(ANSWER, 0, PLAIN),
    "a request": frame(REQUEST, 1, post()),
    "a withdrawal": frame(CANCEL, 1),
    "an HTTP answer": PLAIN * 3,
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=list(GARBAGE))
@on_loop
async def test_what_is_no_frame_breaks_the_channel_and_is_told_to_all_who_wait(garbage):
    async with scripted_channel() as (peer, link):
        asked = [Asked(link, post()) for _ in range(3)]
        await peer.read(3)
        peer.write(garbage)
        for each in asked:
            with pytest.raises(GarbageError):
                await each.reply()
        assert not link.has_channel
        assert (await Asked(link, post()).reply()).status == 200


NO_ANSWERS = {
    "no HTTP": b"hello",
    "empty": b"",
    "not whole": PLAIN[:-1],
    "two answers": PLAIN + PLAIN,
    "more than one": PLAIN + b"x",
    "without an end": b"HTTP/1.1 200 OK\r\n\r\n{}",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "another protocol": b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
}


@pytest.mark.parametrize("payload", NO_ANSWERS.values(), ids=list(NO_ANSWERS))
@on_loop
async def test_a_malformed_answer_is_told_to_who_waits_for_it_alone(payload):
    async with scripted_channel() as (peer, link):
        asked = [Asked(link, post()) for _ in range(3)]
        frames = await peer.read(3)
        peer.write(frame(ANSWER, frames[1][1], payload))
        with pytest.raises(GarbageError):
            await asked[1].reply()
        assert link.has_channel
        peer.write(frame(ANSWER, frames[0][1], PLAIN), frame(ANSWER, frames[2][1], PLAIN))
        assert [(await asked[number].reply()).body for number in (0, 2)] == [b"{}", b"{}"]


@on_loop
async def test_an_answer_may_come_in_parts_of_any_size_and_end_its_own_connection():
    async with scripted_channel() as (peer, link):
        asked = [Asked(link, post()) for _ in range(2)]
        one, two = (number for _, number, _ in await peer.read(2))
        closing = PLAIN.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
        for start in range(len(closing)):
            peer.write(frame(PART, one, closing[start : start + 1]))
        peer.write(frame(ANSWER, two, PLAIN), frame(ANSWER, one))
        assert [(await each.reply()).body for each in asked] == [b"{}", b"{}"]
        again = Asked(link, post())
        ((_, number, _),) = await peer.read(1)
        peer.write(frame(ANSWER, number, closing))
        assert (await again.reply()).body == b"{}" and link.has_channel


@on_loop
async def test_goodbye_lets_what_was_sent_be_answered():
    async with scripted_channel() as (peer, link):
        asked = Asked(link, post())
        ((_, number, _),) = await peer.read(1)
        peer.write(frame(GOODBYE, 0))
        await until(lambda: not link.has_channel)
        assert (await Asked(link, post()).reply()).status == 200  # another way
        peer.write(frame(ANSWER, number, PLAIN))
        assert (await asked.reply()).body == b"{}"


# Through the gateway.


def test_many_requests_share_one_connection(home, tools, start_replica, predictor_dir, tmp_path):
    replica = start_replica(predictor_dir)
    home.feed.publish(tools.route("dep1", (1, 1, {"a": replica.address})))
    gateway = home.start()
    url = gateway.url + "/model-serving/dep1:predict"
    tools.wait_until(lambda: asked_by(gateway, replica, url) and connections(gateway, replica) == 2)
    go, started = tmp_path / "go", tmp_path / "started"
    body = {"inputs": {"wait_for": str(go), "started": str(started)}}
    answers = []
    asking = [
        threading.Thread(target=lambda: answers.append(requests.post(url, json=body, timeout=60))) for _ in range(12)
    ]
    for each in asking:
        each.start()
    tools.wait_until(started.exists)
    in_flight = 'headway_gateway_requests_in_flight{deployment="dep1"} 12'
    tools.wait_until(lambda: in_flight in requests.get(gateway.url + "/metrics", timeout=60).text)
    assert connections(gateway, replica) == 2  # the channel, and the one that was there before it
    go.touch()
    for each in asking:
        each.join(60)
    assert [answer.status_code for answer in answers] == [200] * 12
    assert {answer.json()["outputs"]["pid"] for answer in answers} == {replica.pid}


def asked_by(gateway, replica, url):
    return requests.post(url, json={"inputs": {"echo": os.getpid()}}, timeout=60).status_code == 200


def connections(gateway, replica):
    """How many connections the gateway holds to the replica."""
    found = psutil.Process(gateway.pid).net_connections(kind="tcp")
    return sum(each.status == psutil.CONN_ESTABLISHED and each.raddr[1:] == (replica.port,) for each in found)
