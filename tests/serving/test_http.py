"""The HTTP server against well-behaved, broken, slow and hostile clients."""

from __future__ import annotations

import http.client
import json
import select
import socket
import threading
import time

import pytest

from headway.serving.http.messages import json_response

HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\n"


def test_what_two_parsers_could_read_differently_is_refused_and_the_connection_ends(echo, tools, smuggled):
    server = echo()
    hidden = tools.post("/hidden", b"{}")
    answer = tools.raw(server.port, smuggled + hidden)
    status = int(answer.split(b" ", 2)[1])
    assert status in (400, 505), answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answer
    assert b'{"error":' in answer
    assert server.seen == []


def test_requests_that_are_pipelined_are_answered_in_order(echo, tools):
    server = echo()
    requests = b"".join(tools.post(f"/{n}", b"x" * n) for n in range(50))
    requests += tools.post("/last", b"", "Connection: close")
    answers = tools.raw(server.port, requests).split(b"HTTP/1.1 200 OK")[1:]
    bodies = [json.loads(answer.partition(b"\r\n\r\n")[2]) for answer in answers]
    assert [body["path"] for body in bodies] == [*(f"/{n}" for n in range(50)), "/last"]
    assert [body["size"] for body in bodies] == [*range(50), 0]


def answer_held(server, *numbers):
    """Answer held requests with their paths, in this order, all in one turn of the loop."""
    chosen = [server.held[number] for number in numbers]
    server.on_loop(lambda: [each.respond(json_response(200, each.request.path)) for each in chosen])


def test_answers_go_out_in_the_order_of_requests_whatever_the_order_in_which_they_are_made(echo, tools):
    server = echo()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"".join(tools.post(f"/held/{n}", b"{}") for n in range(6)))
        tools.wait_until(lambda: len(server.held) == 6)
        answer_held(server, 5, 3, 1)
        assert not select.select([connection], [], [], 0.2)[0]
        answer_held(server, 0)
        found = b""
        while found.count(b"HTTP/1.1 200") < 2:
            found += connection.recv(65536)
        connection.sendall(tools.post("/held/6", b"{}", "Connection: close"))
        tools.wait_until(lambda: len(server.held) == 7)
        answer_held(server, 6, 4, 2)
        found += tools.read_all(connection)
    bodies = [part.partition(b"\r\n\r\n")[2] for part in found.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [b'"/held/%d"' % n for n in range(7)]


def test_of_one_connection_only_so_many_requests_are_begun_and_the_rest_follow(echo, tools):
    server = echo(pipelined=4)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"".join(tools.post(f"/held/{n}", b"{}") for n in range(9)) + tools.post("/refused", b""))
        tools.wait_until(lambda: len(server.held) == 4)
        answer_held(server, 1, 2, 3)
        assert len(server.held) == 4
        answer_held(server, 0)
        tools.wait_until(lambda: len(server.held) == 8)
        answer_held(server, *range(4, 8))
        tools.wait_until(lambda: len(server.held) == 9)
        answer_held(server, 8)
        connection.shutdown(socket.SHUT_WR)
        found = tools.read_all(connection)
    assert [int(part[:3]) for part in found.split(b"HTTP/1.1 ")[1:]] == [200] * 9 + [401]


def test_who_leaves_is_told_of_once_and_answering_them_is_harmless(echo, tools):
    server = echo()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(tools.post("/held/a", b"{}") + tools.post("/held/b", b"{}"))
        tools.wait_until(lambda: len(server.held) == 2)
        answer_held(server, 1)
    tools.wait_until(lambda: server.left)
    assert [exchange.gone for exchange in server.held] == [True, False]
    answer_held(server, 0)
    late = []
    server.on_loop(lambda: server.held[0].when_gone(lambda: late.append("at once")))
    assert server.left == ["/held/a"] and late == ["at once"]
    tools.wait_until(lambda: server.server.budget.used == 0)


def test_a_request_is_answered_once(echo, tools):
    server = echo()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(tools.post("/held/a", b"{}"))
        tools.wait_until(lambda: server.held)
        answer_held(server, 0)
        with pytest.raises(RuntimeError, match="answered once"):
            answer_held(server, 0)
        assert b" 200 OK" in connection.recv(1000)


def test_drain_answers_everything_that_was_read_on_every_connection(echo, tools):
    server = echo(pipelined=4)
    clients = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(5)]
    for client in clients:
        client.sendall(b"".join(tools.post(f"/held/{n}", b"{}") for n in range(7)))
    tools.wait_until(lambda: len(server.held) == 20)
    drained = []
    draining = threading.Thread(target=lambda: drained.append(server.drain(0.0, 20.0)))
    draining.start()
    tools.wait_until(lambda: server.server.draining)
    answer_held(server, *range(20))
    tools.wait_until(lambda: len(server.held) == 35)
    answer_held(server, *range(20, 35))
    for client in clients:
        found = tools.read_all(client)
        assert found.count(b"HTTP/1.1 200 OK") == 7
        assert found.count(b"connection: close") == 1
        assert found.rindex(b"HTTP/1.1 200 OK") < found.index(b"connection: close")
        client.close()
    draining.join(20)
    assert drained == [True]


def test_a_long_pipeline_is_not_taken_for_a_long_head(echo, tools):
    server = echo()
    requests = tools.post("/a", b"{}", "X-Filler: " + "f" * 200) * 2000
    answers = tools.raw(server.port, requests + tools.post("/last", b"", "Connection: close"))
    assert answers.count(b"HTTP/1.1 200 OK") == 2001


def test_an_error_after_good_requests_is_answered_after_them(echo, tools):
    server = echo()
    answer = tools.raw(server.port, tools.post("/good", b"{}") + b"garbage\r\n\r\n")
    assert answer.count(b"HTTP/1.1 ") == 2
    assert answer.index(b"200 OK") < answer.index(b"400 Bad Request")


def test_a_connection_is_kept_and_closed_as_asked(echo, tools):
    server = echo()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    for _ in range(3):
        connection.request("POST", "/a?b=1", body=b"{}")
        answer = connection.getresponse()
        assert json.loads(answer.read()) == {"path": "/a", "query": "b=1", "size": 2}
        assert answer.getheader("Connection") is None
    connection.close()
    assert b"connection: close" in tools.raw(server.port, b"GET / HTTP/1.0\r\n\r\n")


def test_a_request_may_come_byte_by_byte(echo, tools):
    server = echo()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        for byte in tools.post("/slow", b"{}", "Connection: close"):
            connection.sendall(bytes([byte]))
        assert b'"size":2' in tools.read_all(connection)


def test_chunks_trailers_and_extensions_are_read_and_trailers_are_no_headers(echo, tools):
    server = echo()
    body = b'3;x="y"\r\nabc\r\n2\r\nde\r\n0\r\nAuthorization: Bearer x\r\n\r\n'
    answer = tools.raw(server.port, HEAD + b"Connection: close\r\nTransfer-Encoding: Chunked\r\n\r\n" + body)
    assert b'"size":5' in answer
    assert server.seen[0].header(b"authorization") is None


def test_a_chunked_body_that_is_mostly_framing_is_refused(echo, tools):
    server = echo()
    chunk = b"1;" + b"e" * 1000 + b"\r\na\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(2000):
                connection.sendall(chunk)
        except ConnectionError:
            pass
        assert b" 400 " in tools.read_all(connection)


def test_expect_100_continue_is_met_before_the_body_is_sent(echo, tools):
    server = echo()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert b'"size":2' in tools.read_all(connection)


def test_a_request_that_expects_100_and_is_refused_is_never_told_to_go_on(echo, tools):
    server = echo()
    head = b"POST /refused HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    answer = tools.raw(server.port, head)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"100 Continue" not in answer


def test_another_expectation_is_417(echo, tools):
    assert b" 417 " in tools.raw(echo().port, HEAD + b"Expect: magic\r\nContent-Length: 0\r\n\r\n")


def test_a_refused_request_leaves_the_connection_usable(echo, tools):
    server = echo()
    answer = tools.raw(server.port, tools.post("/refused", b"x" * 1000) + tools.post("/ok", b"", "Connection: close"))
    assert answer.index(b" 401 ") < answer.index(b" 200 ")
    assert server.seen[0].path == "/ok"


def test_head_gets_the_length_and_no_body(echo, tools):
    answer = tools.raw(echo().port, b"HEAD /large?7 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert b"content-length: 7\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_an_offer_of_another_protocol_is_ignored_body_and_all(echo, tools):
    server = echo()
    offer = tools.post("/", b"{}", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    assert b'"size":2' in tools.raw(server.port, offer)
    assert b" 501 " in tools.raw(server.port, b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n")


@pytest.mark.parametrize(
    "head",
    [b"X: " + b"a" * 20_000, b"\r\n".join(b"X%d: a" % n for n in range(200))],
    ids=["long header", "many headers"],
)
def test_a_large_head_is_431(echo, tools, head):
    assert b" 431 " in tools.raw(echo().port, HEAD + head + b"\r\n\r\n")


def test_a_header_that_never_ends_is_431(echo, tools):
    server = echo()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(HEAD + b"X: ")
        for _ in range(100):
            connection.sendall(b"a" * 1000)
            if select.select([connection], [], [], 0.01)[0]:
                break  # the answer is there: more would only reset the connection
        assert b" 431 " in tools.read_all(connection)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_413_and_a_client_that_sends_on_still_sees_it(echo, tools, chunked):
    server = echo(body=100_000)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        if chunked:
            connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
            for _ in range(200):
                connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        else:
            connection.sendall(HEAD + b"Content-Length: 20000000\r\n\r\n")
            connection.sendall(b"x" * 20_000_000)
        answer = tools.read_all(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert server.seen == []


def test_a_body_at_the_limit_is_read_whole(echo, tools):
    server = echo(body=1_000_000)
    assert b'"size":1000000' in tools.raw(server.port, tools.post("/", b"x" * 1_000_000, "Connection: close"))


def test_all_bodies_together_are_bounded_and_the_budget_is_given_back(echo, tools):
    server = echo(buffered=1_000_000)
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as first:
        first.sendall(HEAD + b"Content-Length: 900000\r\n\r\n" + b"x" * 899_999)
        tools.wait_until(lambda: server.server.budget.used == 899_999)
        answer = tools.raw(server.port, tools.post("/", b"x" * 200_000))
        assert b" 503 " in answer and b"Retry-After" in answer
        first.sendall(b"x")
        assert b" 200 " in first.recv(1000)
    tools.wait_until(lambda: server.server.budget.used == 0)
    assert b" 200 " in tools.raw(server.port, tools.post("/", b"x" * 200_000, "Connection: close"))


def test_what_a_client_left_half_sent_is_given_back(echo, tools):
    server = echo()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n" + b"x" * 500)
        tools.wait_until(lambda: server.server.budget.used == 500)
    tools.wait_until(lambda: server.server.budget.used == 0)


def test_a_head_that_does_not_end_is_408(echo, tools):
    server = echo(head_time=0.2)
    assert b" 408 " in tools.raw(server.port, HEAD)


def test_a_body_that_trickles_is_408_and_one_that_flows_is_not(echo, tools):
    server = echo(body_stall=0.3, body_rate=1000)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as slow:
        slow.sendall(HEAD + b"Content-Length: 1000000\r\n\r\nx")
        assert b" 408 " in tools.read_all(slow)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as flowing:
        flowing.sendall(HEAD + b"Connection: close\r\nContent-Length: 3000\r\n\r\n")
        for _ in range(15):
            time.sleep(0.1)
            flowing.sendall(b"x" * 200)
        assert b'"size":3000' in tools.read_all(flowing)


def test_an_idle_connection_is_closed_quietly(echo, tools):
    server = echo(idle_time=0.2)
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(tools.post("/", b""))
        answer = tools.read_all(connection)
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_client_that_does_not_read_its_answer_is_dropped(echo, tools):
    server = echo(write_time=0.3)
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(b"GET /large?50000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        tools.wait_until(lambda: server.seen and not server.server.connections)


def test_many_half_open_connections_do_not_hinder_others(echo, tools):
    server = echo()
    waiting = [socket.create_connection(("127.0.0.1", server.port), timeout=5) for _ in range(200)]
    try:
        for connection in waiting:
            connection.sendall(HEAD[:20])
        assert b" 200 " in tools.raw(server.port, tools.post("/", b"", "Connection: close"))
    finally:
        for connection in waiting:
            connection.close()


def test_connections_over_the_limit_are_dropped(echo, tools):
    server = echo(connections=3)
    kept = [socket.create_connection(("127.0.0.1", server.port), timeout=5) for _ in range(3)]
    try:
        tools.wait_until(lambda: len(server.server.connections) == 3)
        assert tools.raw(server.port, tools.post("/", b"")) == b""
    finally:
        for connection in kept:
            connection.close()
    tools.wait_until(lambda: not server.server.connections)
    assert b" 200 " in tools.raw(server.port, tools.post("/", b"", "Connection: close"))


def test_the_work_of_a_client_that_leaves_is_cancelled(echo, tools):
    server = echo()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(tools.post("/wait", b""))
        tools.wait_until(lambda: server.seen)
    assert server.cancelled.wait(5)


def test_a_fault_in_the_handler_is_500_without_details_and_the_connection_goes_on(echo, tools):
    faults = tools.post("/fault", b"") + tools.post("/fault-at-once", b"")
    answer = tools.raw(echo().port, faults + tools.post("/", b"", "Connection: close"))
    assert answer.count(b" 500 ") == 2
    assert answer.index(b" 500 ") < answer.index(b" 200 ")
    assert b"a fault" not in answer and b"Traceback" not in answer
