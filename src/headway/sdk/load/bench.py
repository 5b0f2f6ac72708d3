"""Load on a deployment: what to send, asked for once before the load begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headway.errors import InvalidRequestError, NotFoundError
from headway.sdk.load.inputs import DATA_HINT, made_up, read_bodies
from headway.sdk.load.plan import DEFAULT_CONNECTIONS, DEFAULT_TIMEOUT, check_load

if TYPE_CHECKING:
    from headway.sdk.resources.asking import DeploymentEndpoints

TRIED_BODIES = 100
"""So many are sent once before the load begins."""


@dataclass(frozen=True)
class BenchOptions:
    """How a deployment is loaded; see :meth:`headway.sdk.resources.asking.DeploymentEndpoints.bench`."""

    rate: float
    seconds: float
    connections: int = DEFAULT_CONNECTIONS
    timeout: float = DEFAULT_TIMEOUT
    data: Any = None
    version: int | str | None = None
    rows: int = 1

    def __post_init__(self) -> None:
        check_load(self.rate, self.seconds, self.connections, self.timeout)


def prepare(
    deployments: DeploymentEndpoints, deployment: str, options: BenchOptions, *, project: str | None
) -> tuple[str, list[bytes]]:
    """Where to send what, tried once: what the model refuses is said before any load, and what it does only the first time
    has been done.

    Raises:
        InvalidRequestError: Nothing is given and nothing can be made up, or the model refuses it.
        HeadwayError: As for a prediction.
    """
    bodies = None if options.data is None else read_bodies(options.data)
    address = deployments.endpoint(deployment, project=project).of_version(options.version)
    if bodies is None:
        bodies = [_made_up(deployments, deployment, options, project)]
    for body in bodies[:TRIED_BODIES]:
        deployments.ask(deployment, body, version=options.version, project=project)
    return address, bodies


def _made_up(deployments: DeploymentEndpoints, deployment: str, options: BenchOptions, project: str | None) -> bytes:
    try:
        metadata = deployments.signature(deployment, version=options.version, project=project)
    except NotFoundError as error:
        raise InvalidRequestError(f"The model does not say what it takes: {error.message}", hint=DATA_HINT) from None
    return made_up(metadata, rows=options.rows)
