"""Requests that two parsers could read differently, names that are somebody else's, lines within headers: over raw sockets,
through the gateway, with a look at what its replica was sent."""

from __future__ import annotations

import pytest

from headway.domain.deployments import RouteTable

PATH = b"/model-serving/dep1:predict"
START = b"POST " + PATH + b" HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = START + b"Transfer-Encoding: chunked\r\n"

REFUSED = {
    "CL.TE": START + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "TE.CL": CHUNKED + b"Content-Length: 4\r\n\r\n5c\r\nGPOST / HTTP/1.1\r\n\r\n0\r\n\r\n",
    "TE.TE, one of them odd": CHUNKED + b"Transfer-Encoding: cow\r\n\r\n0\r\n\r\n",
    "TE.TE, odd first": START + b"Transfer-Encoding: cow\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE with a tab": START + b"Transfer-Encoding:\tchunked, x\r\n\r\n0\r\n\r\n",
    "TE with a space before its colon": START + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "TE after an empty one": START + b"Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE in a folded line": START + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "TE after a folded line": START + b"X: y\r\n\tTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE with NUL": START + b"Transfer-Encoding: \x00chunked\r\n\r\n0\r\n\r\n",
    "TE with a form feed": START + b"Transfer-Encoding: \x0cchunked\r\n\r\n0\r\n\r\n",
    "TE with a lone CR": START + b"Transfer-Encoding: chunked\rX: y\r\n\r\n0\r\n\r\n",
    "TE identity": START + b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}",
    "TE deflate": START + b"Transfer-Encoding: deflate\r\n\r\nx",
    "TE chunked with parameters": START + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
    "lengths that differ": START + b"Content-Length: 2\r\nContent-Length: 40\r\n\r\n{}",
    "lengths in a list": START + b"Content-Length: 2, 2\r\n\r\n{}",
    "length with a sign": START + b"Content-Length: +2\r\n\r\n{}",
    "length below zero": START + b"Content-Length: -1\r\n\r\n{}",
    "length in hex": START + b"Content-Length: 0x2\r\n\r\n{}",
    "length with an underscore": START + b"Content-Length: 1_0\r\n\r\n{}",
    "length with a point": START + b"Content-Length: 2.0\r\n\r\n{}",
    "length with a space within": START + b"Content-Length: 1 0\r\n\r\n{}",
    "length too long": START + b"Content-Length: 18446744073709551618\r\n\r\n{}",
    "length in other digits": START + "Content-Length: ٢\r\n\r\n{}".encode(),
    "length with a space before its colon": START + b"Content-Length : 2\r\n\r\n{}",
    "bare LF after the request line": b"POST " + PATH + b" HTTP/1.1\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
    "bare LF after a header": START + b"X: y\nContent-Length: 2\r\n\r\n{}",
    "bare LF at the end of the head": START + b"Content-Length: 2\n\n{}",
    "bare CR": START + b"X: y\rContent-Length: 2\r\n\r\n{}",
    "CR CR LF": START + b"X: y\r\r\nContent-Length: 2\r\n\r\n{}",
    "chunk size with a sign": CHUNKED + b"\r\n+2\r\n{}\r\n0\r\n\r\n",
    "chunk size with 0x": CHUNKED + b"\r\n0x2\r\n{}\r\n0\r\n\r\n",
    "chunk size with an underscore": CHUNKED + b"\r\n0_2\r\n{}\r\n0\r\n\r\n",
    "chunk size that wraps around": CHUNKED + b"\r\n10000000000000002\r\n{}\r\n0\r\n\r\n",
    "chunk size that is empty": CHUNKED + b"\r\n\r\n{}\r\n0\r\n\r\n",
    "chunk that is longer than it says": CHUNKED + b"\r\n1\r\n{}\r\n0\r\n\r\n",
    "chunk with a bare LF": CHUNKED + b"\r\n2\n{}\n0\n\n",
    "chunk with a bare LF in its extension": CHUNKED + b"\r\n2;\n{}\r\n0\r\n\r\n",
    "chunk that ends with a bare CR": CHUNKED + b"\r\n2\r\n{}\rX0\r\n\r\n",
    "chunk that ends without CR LF": CHUNKED + b"\r\n2\r\n{}0\r\n\r\n",
    "chunk extension with NUL": CHUNKED + b"\r\n2;\x00\r\n{}\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"POST " + PATH + b" HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "trailer without a name": CHUNKED + b"\r\n2\r\n{}\r\n0\r\n: x\r\n\r\n",
    "no Host": b"POST " + PATH + b" HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
    "two Hosts": START + b"Host: other\r\nContent-Length: 2\r\n\r\n{}",
    "two Hosts alike": START + b"Host: localhost\r\nContent-Length: 2\r\n\r\n{}",
    "a whole URL": b"POST http://other" + PATH + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
    "a URL with a name": b"POST http://u:p@other/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
    "a header without a colon": START + b"Content-Length\r\n\r\n{}",
    "a header with a space in its name": START + b"Content Length: 2\r\n\r\n{}",
    "a header with NUL in its name": START + b"Content-Length\x00: 2\r\n\r\n{}",
    "a header that begins with a space": b"POST " + PATH + b" HTTP/1.1\r\n Host: localhost\r\n\r\n",
    "a header without a name": START + b": 2\r\n\r\n{}",
    "NUL in a value": START + b"X: a\x00b\r\nContent-Length: 2\r\n\r\n{}",
    "a control character in the path": b"POST /model-serving/\x02 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a tab after the method": b"POST\t" + PATH + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a space in the path": b"POST /model-serving/dep1 :predict HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no version": b"POST " + PATH + b"\r\nHost: localhost\r\n\r\n",
    "another version": b"POST " + PATH + b" HTTP/1.9\r\nHost: localhost\r\n\r\n",
    "version 2": b"POST " + PATH + b" HTTP/2.0\r\nHost: localhost\r\n\r\n",
    "a length in a trailer": CHUNKED + b"\r\n2\r\n{}\r\n0\r\nContent-Length: 50\r\n\r\n",
    "an odd method": b"GPOST " + PATH + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a method in small letters": b"post " + PATH + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "CONNECT": b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
}

TAKEN = {
    "chunks": CHUNKED + b"\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
    "chunks with extensions": CHUNKED + b'\r\n2;a=b;c="d"\r\n{}\r\n0;x\r\n\r\n',
    "chunks with trailers": CHUNKED + b"\r\n2\r\n{}\r\n0\r\nHost: evil\r\nX-Request-Id: trailed\r\n\r\n",
    "zeros before the length": START + b"Content-Length: 002\r\n\r\n{}",
    "TE in capitals": START + b"TRANSFER-ENCODING: CHUNKED\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "headers that name headers": START
    + b"Connection: content-length, host, x-request-id\r\nContent-Length: 2\r\n\r\n{}",
    "a length with an underscore in its name": START + b"Content_Length: 9\r\nContent-Length: 2\r\n\r\n{}",
    "an upgrade": START + b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\n{}",
    "an upgrade to h2c": START
    + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\nContent-Length: 2\r\n\r\n{}",
    "a host that is ours alone": b"POST " + PATH + b" HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.fixture(scope="module")
def gateway(spawn, tools, tmp_path_factory, request):
    """One gateway for all attempts, with its route from the file."""
    directory = tmp_path_factory.mktemp("server") / "gateway"
    directory.mkdir(mode=0o700)
    route = tools.route("dep1", (1, 1, {"a": request.getfixturevalue("behind").address}))
    (directory / "routes.json").write_text(RouteTable(version=1, routes=(route,)).model_dump_json())
    return spawn("headway.serving.gateway", "--directory", str(directory))


@pytest.fixture(scope="module")
def behind(make_scripted):
    """What stands behind the gateway and remembers every byte that reached it."""
    return make_scripted()


def test_there_are_sixty():
    assert len(REFUSED) >= 60


@pytest.mark.parametrize("attempt", REFUSED.values(), ids=list(REFUSED))
def test_what_could_be_read_in_two_ways_is_refused_and_nothing_reaches_the_replica(gateway, behind, tools, attempt):
    behind.seen.clear()
    answer = tools.raw(gateway.port, attempt + tools.post(PATH.decode(), b'{"hidden": 1}'), 10)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert int(answer.split(b" ", 2)[1]) in (400, 501, 505)
    assert behind.seen == []


@pytest.mark.parametrize("attempt", TAKEN.values(), ids=list(TAKEN))
def test_what_is_odd_and_clear_reaches_the_replica_once_and_plain(gateway, behind, tools, attempt):
    behind.seen.clear()
    last = tools.post(PATH.decode(), b'{"last": 1}', "Connection: close")
    answer = tools.raw(gateway.port, attempt + last, 10)
    assert answer.startswith(b"HTTP/1.1 200 ")
    head, _, body = behind.seen[0].partition(b"\r\n\r\n")
    names = [line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:]]
    assert body == b"{}"
    assert names.count(b"content-length") == names.count(b"host") == names.count(b"x-request-id") == 1
    assert not {b"transfer-encoding", b"connection", b"upgrade", b"content_length", b"http2-settings"} & set(names)
    assert b"\r\nhost: " + behind.address.encode() in head
    assert b"trailed" not in head and b"evil" not in head
    # An upgrade ends the connection: what follows it is nobody's request.
    assert len(behind.seen) == (1 if b"Upgrade" in attempt else 2)


def test_what_a_client_says_cannot_add_a_line_to_an_answer(gateway, behind, tools):
    behind.seen.clear()
    attempts = [b"a%0d%0aX-Evil: 1", b"a\\r\\nX-Evil: 1", "ä".encode(), b"a b", b'a"b' * 60]
    for identifier in attempts:
        sent = START + b"X-Request-Id: " + identifier + b"\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
        answer = tools.raw(gateway.port, sent, 10)
        assert answer.startswith(b"HTTP/1.1 200 ") and b"\r\nX-Evil" not in answer
        assert answer.lower().count(b"\r\nx-request-id: ") == 1
    for path in (b"/model-serving/dep1%0d%0aX-Evil:%201:predict", b"/model-serving/%0d%0aX:predict"):
        sent = b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
        answer = tools.raw(gateway.port, sent, 10)
        assert answer.startswith(b"HTTP/1.1 404 ") and b"\nX-Evil" not in answer.partition(b"\r\n\r\n")[0]


def test_a_replica_cannot_add_an_answer(gateway, behind, tools):
    behind.script = lambda request: behind.json(200, {"first": 1}) + behind.json(200, {"second": 2})
    try:
        request = tools.post(PATH.decode(), b"{}")
        last = tools.post(PATH.decode(), b"{}", "Connection: close")
        answer = tools.raw(gateway.port, request * 3 + last, 10)
    finally:
        behind.script = lambda request: behind.json(200, {})
    assert answer.count(b"HTTP/1.1 200 ") == 4
    assert answer.count(b'{"first": 1}') == 4 and b"second" not in answer
