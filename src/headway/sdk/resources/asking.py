"""client.deployments: asking a deployment's endpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from headway.config import Connection
from headway.domain.deployments import Deployment
from headway.errors import InvalidRequestError, NotFoundError
from headway.sdk import wire
from headway.sdk.endpoints import (
    Answer,
    Endpoint,
    Prediction,
    ask,
    check_protocol,
    check_timeout,
    encode_input,
    endpoint_headers,
    to_prediction,
)
from headway.sdk.load.bench import BenchOptions, prepare
from headway.sdk.load.plan import DEFAULT_CONNECTIONS, DEFAULT_TIMEOUT, LoadPlan, LoadReport, Second
from headway.sdk.resources.base import Resource
from headway.sdk.session import Session
from headway.sdk.tensors import TensorSignature, signature_in

if TYPE_CHECKING:
    from headway.sdk.predictor import Predictor


class DeploymentEndpoints(Resource):
    """Predictions, what a model says of itself, and load."""

    path = "/api/v1/deployments"
    noun = "deployment"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._endpoints: dict[tuple[str, str | None], Endpoint] = {}

    def predict(
        self,
        deployment: str,
        inputs: Any = None,
        *,
        instances: Any = None,
        version: int | str | None = None,
        timeout: float | None = None,
        project: str | None = None,
    ) -> Prediction:
        """Ask the endpoint.

        Args:
            deployment: Id or name.
            inputs: The column form, answered in ``.outputs``: one value, or names to values; arrays are accepted.
            instances: The row form, answered in ``.predictions``: a list.
            version: One of the versions behind it: a number, ``v3`` or an alias. Without it the weights decide.
            timeout: Seconds that the answer may take; the deployment's own deadline without it.
            project: Of a name; the client's own without it.

        Raises:
            InvalidRequestError: The model cannot take this input.
            RateLimitedError: Too many requests wait already.
            UnavailableError: No replica answers now, or none did in time.
            NotFoundError: No such deployment, or no such version behind it.
        """
        if inputs is not None and instances is not None:
            raise InvalidRequestError("Both inputs= and instances= were given.", hint="Leave one out.")
        if inputs is None and instances is None:
            raise InvalidRequestError("A prediction needs inputs= or instances=; neither was given.")
        body = encode_input({"inputs": inputs} if instances is None else {"instances": instances})
        return to_prediction(*self.ask(deployment, body, version=version, timeout=timeout, project=project))

    def ask(
        self,
        deployment: str,
        body: bytes,
        *,
        version: int | str | None = None,
        timeout: float | None = None,
        project: str | None = None,
        protocol: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[Answer, str]:
        """Post a body to the endpoint: its answer as it came, and the address that gave it.

        Args:
            deployment: Id or name.
            body: As ``protocol`` has it; JSON unless ``headers`` says otherwise.
            version: As for :meth:`predict`; ``invocations`` and ``plain`` know no versions, ``openinference`` no aliases.
            timeout: As for :meth:`predict`.
            project: Of a name; the client's own without it.
            protocol: ``tensorflow``, ``openinference``, ``invocations`` or ``plain``. Without it the form of the body tells
                (with ``version``: ``tensorflow``).
            headers: More headers, ``Content-Type`` among them.
        """
        check_timeout(timeout)
        check_protocol(protocol, version)

        def ask_at(endpoint: Endpoint) -> tuple[Answer, str]:
            address = endpoint.speaking(protocol, version)
            return (
                ask(self._session, address, body, deadline=endpoint.deadline, timeout=timeout, headers=headers),
                address,
            )

        key = (deployment, self._scope(project))
        known = self._endpoints.get(key)
        if known is not None:
            try:
                return ask_at(known)
            except NotFoundError:
                self._endpoints.pop(key, None)
                found = self.endpoint(deployment, project=project)
                if found.address == known.address:
                    raise
                return ask_at(found)  # deleted, and made anew under this name
        return ask_at(self.endpoint(deployment, project=project))

    def describe(
        self, deployment: str, *, version: int | str | None = None, timeout: float = 10.0, project: str | None = None
    ) -> dict[str, Any]:
        """What a version says of itself through the endpoint: ``runtime``, ``execution`` (where it is called, ``loop`` or
        ``thread``, as measured), ``signature_def``, and what else its runtime knows."""
        endpoint = self.endpoint(deployment, project=project)
        found = self._read(endpoint, endpoint.metadata_of(version), timeout).get("metadata")
        return found if isinstance(found, dict) else {}

    def signature(
        self, deployment: str, *, version: int | str | None = None, timeout: float = 10.0, project: str | None = None
    ) -> dict[str, Any]:
        """The names, types and shapes of a version's ``inputs`` and ``outputs``, by the Open Inference Protocol v2."""
        endpoint = self.endpoint(deployment, project=project)
        return self._read(endpoint, endpoint.signature_of(version), timeout)

    def tensor_signature(
        self, deployment: str, *, version: int | str | None = None, timeout: float = 10.0, project: str | None = None
    ) -> TensorSignature | None:
        """What a version says of its tensors; None where not all of them hold numbers, or it has no signature."""
        endpoint = self.endpoint(deployment, project=project)
        address = endpoint.signature_of(version)
        answer = ask(self._session, address, None, deadline=endpoint.deadline, timeout=timeout)
        return signature_in(_object_in(answer, address), answer.about()["version"])

    def _read(self, endpoint: Endpoint, address: str, timeout: float) -> dict[str, Any]:
        return _object_in(ask(self._session, address, None, deadline=endpoint.deadline, timeout=timeout), address)

    def bench(
        self,
        deployment: str,
        *,
        rate: float,
        seconds: float,
        data: Any = None,
        version: int | str | None = None,
        connections: int = DEFAULT_CONNECTIONS,
        timeout: float = DEFAULT_TIMEOUT,
        rows: int = 1,
        project: str | None = None,
        on_second: Callable[[Second], None] | None = None,
    ) -> LoadReport:
        """Send requests at a fixed rate, whether or not earlier ones were answered, and measure from when each was due.

        Args:
            deployment: Id or name.
            rate: Requests a second.
            seconds: For how long.
            data: What to send: the JSON value of a body, its text, or a file with it (``.jsonl``: one on each line, sent in
                turn). Without it random numbers that fit what the model says of its inputs.
            version: Only this version; without it the weights decide.
            connections: How many at most.
            timeout: Seconds after which a request is given up.
            rows: Of what is made up.
            project: Of a name; the client's own without it.
            on_second: Told after each second what came back in it, from another thread.

        Raises:
            InvalidRequestError: A number is wrong, nothing could be made up, or the model refuses what is sent; found
                before the load begins.
        """
        from headway.sdk.load.generator import run_load

        options = BenchOptions(rate, seconds, connections, timeout, data, version, rows)
        return run_load(self.plan(deployment, options, project=project), on_second)

    def plan(self, deployment: str, options: BenchOptions, *, project: str | None = None) -> LoadPlan:
        """The load that :meth:`bench` would run. Each body is sent once, so that what is refused is known beforehand."""
        address, bodies = prepare(self, deployment, options, project=project)
        connection = self.connection
        headers = endpoint_headers(connection.url, connection.token, address)
        return LoadPlan(address, headers, bodies, options.rate, options.seconds, options.connections, options.timeout)

    @property
    def connection(self) -> Connection:
        """The server and the token that are asked with."""
        return self._session.connection

    def endpoint(self, deployment: str, *, project: str | None = None) -> Endpoint:
        """Where a deployment is asked."""
        found = self._get_named(Deployment, deployment, project)
        endpoint = Endpoint(found.endpoint, found.deadline_seconds)
        self._endpoints[(deployment, self._scope(project))] = endpoint
        return endpoint

    def predictor(
        self,
        deployment: str,
        *,
        version: int | str | None = None,
        timeout: float | None = None,
        project: str | None = None,
    ) -> Predictor:
        """What answers arrays with arrays and tables with tables; see :class:`headway.Predictor`."""
        from headway.sdk.predictor import Predictor

        scope = self._scope(project)
        return Predictor(deployment, deployments=self, version=version, timeout=timeout, project=scope)


def _object_in(answer: Answer, address: str) -> dict[str, Any]:
    found = wire.decode(answer.content, address)
    return found if isinstance(found, dict) else {}
