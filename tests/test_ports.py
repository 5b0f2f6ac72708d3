"""Leased ports: nobody else's, outside the kernel's range, free again when their holder is dead."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from headway import ports
from headway.errors import EngineError

LEASE = "from headway.ports import lease_port; print(*(lease_port() for _ in range(20)), flush=True); input()"


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)


def holder() -> tuple[subprocess.Popen[str], set[int]]:
    process = subprocess.Popen([sys.executable, "-c", LEASE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, {int(port) for port in process.stdout.readline().split()}


def release(process: subprocess.Popen[str]) -> None:
    process.communicate("\n", timeout=20)


def test_processes_that_lease_at_once_get_different_ports() -> None:
    holders = [holder() for _ in range(4)]
    try:
        found = [port for _, leased in holders for port in leased]
        assert len(found) == len(set(found)) == 80
    finally:
        for process, _ in holders:
            release(process)


def test_ports_lie_outside_the_range_that_the_kernel_gives_out() -> None:
    low, high = (int(part) for part in Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    port = ports.lease_port()
    assert not low <= port <= high
    ports.release_port(port)


def test_the_ports_of_a_dead_process_can_be_leased_again(monkeypatch: pytest.MonkeyPatch) -> None:
    process, leased = holder()
    monkeypatch.setattr(ports, "usable_range", lambda: (min(leased), min(leased)))
    with pytest.raises(EngineError, match="No port"):
        ports.lease_port()
    process.kill()
    process.communicate()
    assert ports.lease_port() == min(leased)


def test_a_port_on_which_somebody_listens_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        monkeypatch.setattr(ports, "usable_range", lambda: (taken, taken))
        with pytest.raises(EngineError):
            ports.lease_port()
