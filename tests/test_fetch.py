"""The safe fetch: which addresses are asked, and what is taken for an address at all."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway import fetch
from headway.errors import InvalidRequestError

PUBLIC = "93.184.215.14"


def resolves_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Every name is at these addresses."""

    def look_up(host: str, port: int, **_: Any) -> list[Any]:
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:7f00:1::",
        "2001:0:0:0:0:0:80ff:fffe",
    ],
)
def test_private_addresses_are_not_reached_in_any_spelling(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    resolves_to(monkeypatch, address)
    with pytest.raises(InvalidRequestError, match="private address"):
        fetch.allowed_addresses("innocent.example", 443, ())


def test_of_several_addresses_only_public_ones_are_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    resolves_to(monkeypatch, "10.0.0.1", PUBLIC, "::1", PUBLIC)
    assert fetch.allowed_addresses("mixed.example", 443, ()) == [ipaddress.ip_address(PUBLIC)]


def test_a_network_that_is_allowed_is_reached_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = fetch.parse_networks(["10.0.0.0/8", "fc00::/7"])
    resolves_to(monkeypatch, "10.1.1.1", "192.168.1.1", "fc00::5", "::ffff:10.2.2.2")
    found = fetch.allowed_addresses("inside.example", 443, networks)
    assert found == [ipaddress.ip_address(address) for address in ("10.1.1.1", "fc00::5", "::ffff:10.2.2.2")]


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/x",
        "file:///etc/passwd",
        "ftp://example.org/x",
        "HTTPS//example.org",
        "https://",
        "https:///path",
        "https://example.org:0/",
        "https://example.org:99999/",
        "https://me@example.org/",
        "https://me:secret@example.org/",
        "https://example.org/a b",
        "https://example.org/a\r\nHost: other",
        "https://example.org/\x00",
        "https://[::1/",
        "",
    ],
)
def test_what_is_no_plain_https_address_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        fetch.check_url(url)
    assert "secret" not in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_one_error(text: str) -> None:
    for url in (text, f"https://{text}", f"https://example.org/{text}"):
        try:
            parts = fetch.check_url(url)
        except InvalidRequestError:
            continue
        assert parts.scheme == "https" and parts.hostname and "@" not in parts.netloc


def test_what_people_see_has_no_query_and_no_credentials() -> None:
    assert fetch.shown("https://me:secret@example.org/a/b?sig=secret#secret") == "https://example.org/a/b"


def test_networks_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError):
        fetch.parse_networks(["10.0.0.0/33"])
