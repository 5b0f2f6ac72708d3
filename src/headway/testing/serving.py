"""Replicas and gateways of a real server, as processes: to find them, and to wait until they are whole."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headway import Client
from headway.domain.base import new_id
from headway.domain.deployments import Deployment
from headway.domain.replicas import ReplicaPhase
from headway.processes import is_alive
from headway.serving.gateway.record import GatewayRecord, read_record
from headway.testing.faults import PlacedReplica, placed_replicas, until
from headway.testing.server import ServerProcess

WHOLE_SECONDS = 60.0


@contextmanager
def patient_client(server: ServerProcess, project: str = "faults") -> Iterator[Client]:
    """A client with a new project, for a server that may be away for a while."""
    with Client(server.url, server.token, project=project, retry_for=60.0) as found:
        found.projects.create(project)
        yield found


def deploy_faulty(
    client: Client, model: str, control: Path, *, seconds: float | None = None, **settings: Any
) -> Deployment:
    """A public deployment of a :mod:`headway.testing.faulty` model that obeys the files in ``control``, once it is whole.

    Args:
        seconds: How long one call of the model takes.
        settings: As for ``client.deployments.create``.
    """
    environment = {"FAULT_DIRECTORY": str(control)}
    if seconds is not None:
        environment["FAULT_SECONDS"] = str(seconds)
    found = client.deployments.create(new_id("dep"), model, public=True, environment=environment, **settings)
    return client.deployments.wait(found.id, timeout=WHOLE_SECONDS)


def running(client: Client, deployment: Deployment) -> set[str]:
    """Names of the replicas that answer, as the deployment shows them."""
    replicas = client.deployments.get(deployment.id).replicas
    return {replica.name for replica in replicas if replica.phase is ReplicaPhase.RUNNING}


def await_whole(
    client: Client,
    deployment: Deployment,
    without: set[str] | None = None,
    count: int = 2,
    seconds: float = WHOLE_SECONDS,
) -> float:
    """Seconds until ``count`` replicas answer, none of them among ``without``."""
    began, gone = time.monotonic(), without or set()
    what = f"{count} running replicas"
    until(lambda: len(running(client, deployment) - gone) == count, seconds, what, pause=0.05)
    return time.monotonic() - began


def serving_replica(server: ServerProcess, client: Client, deployment: Deployment, name: str) -> PlacedReplica:
    """The processes of the replica that the deployment shows as ``name``."""
    (status,) = [replica for replica in client.deployments.get(deployment.id).replicas if replica.name == name]
    assert status.address is not None
    for path in (server.data / "engine").iterdir():
        for replica in placed_replicas(server.data, path.name).values():
            if listens(replica, int(status.address.rpartition(":")[2])):
                return replica
    raise AssertionError(f"{name} is not placed")


def listens(replica: PlacedReplica, port: int) -> bool:
    """Whether it is alive and was given that port."""
    if not is_alive(replica.agent):
        return False
    variables = Path(f"/proc/{replica.program.pid}/environ").read_bytes().split(b"\0")
    return f"PORT={port}".encode() in variables


def gateway_of(server: ServerProcess) -> GatewayRecord:
    """The process that answers predictions."""
    record = read_record(server.data / "gateway")
    assert record is not None
    return record
