"""A server that is asked to end, and work that outlives the lease it was begun under."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from headway import Client
from headway.domain.base import now
from headway.errors import LeaseLostError
from headway.server.actions import leases
from headway.server.actions.leases import leased
from headway.storage import open_storage
from headway.storage.base import Storage
from headway.testing.server import ServerProcess


def test_open_streams_and_long_polls_end_whole_when_the_server_is_told_to_stop(
    own_server: ServerProcess, client: Client
) -> None:
    job = client.jobs.create("waits", command="true", start=False)
    headers = {"Authorization": f"Bearer {own_server.token}"}
    url = f"{own_server.url}/api/v1/jobs/{job.id}/logs/stream"
    with httpx.stream("GET", url, headers=headers, trust_env=False, timeout=30) as response:
        chunks = response.iter_raw()
        assert next(chunks)
        stopping = threading.Thread(target=own_server.stop)
        stopping.start()
        rest = b"".join(chunks)  # raises when the answer was broken off
        stopping.join()
    assert b"event: end" not in rest  # the log has not ended: a client is to come back
    assert own_server.process is not None
    assert own_server.process.returncode == 0


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """As much of a platform as a lease needs, with leases that run out soon."""
    monkeypatch.setattr(leases, "LEASE_SECONDS", 0.6)
    monkeypatch.setattr(leases, "RENEWAL_SECONDS", 0.1)
    return SimpleNamespace(storage=open_storage(f"sqlite:///{tmp_path / 'headway.db'}"))


def acquire(storage: Storage) -> str | None:
    with storage.write() as session:
        return session.leases.acquire("attempt:1", 60, now())


def test_work_that_takes_longer_than_a_lease_keeps_it(platform: SimpleNamespace) -> None:
    with leased(platform, "attempt:1") as lease:
        assert lease is not None
        end = time.monotonic() + 3 * leases.LEASE_SECONDS
        while time.monotonic() < end:
            assert acquire(platform.storage) is None
            time.sleep(0.05)
        with platform.storage.write() as session:
            lease.check(session)
        with leased(platform, "attempt:1") as second:
            assert second is None
    assert acquire(platform.storage) is not None
    platform.storage.close()


def test_a_lease_whose_holder_was_paused_is_lost(platform: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEWAL_SECONDS", 60.0)
    applied = False
    with leased(platform, "attempt:1") as lease:
        assert lease is not None
        while (other := acquire(platform.storage)) is None:
            time.sleep(0.05)
        with platform.storage.write() as session:
            with pytest.raises(LeaseLostError):
                lease.check(session)
            lease.check(session)
            applied = True
    assert not applied
    assert other is not None
    assert acquire(platform.storage) is None  # what was released is not the other one's
    platform.storage.close()
