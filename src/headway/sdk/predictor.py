"""Predictor: a deployment as a function from arrays to arrays."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from html import escape
from types import TracebackType
from typing import TYPE_CHECKING, Any

from headway.errors import HeadwayError, InvalidRequestError
from headway.sdk.endpoints import Answer, check_protocol, check_timeout
from headway.sdk.forms import decode_answer, form_of
from headway.sdk.tensors import TensorSignature, decode_tensors, is_large, tensor_request

if TYPE_CHECKING:
    from headway.sdk.client import Client
    from headway.sdk.resources.asking import DeploymentEndpoints


SIGNATURE_SECONDS = 10.0
"""How long a model may take to tell its signature before large arrays are sent as JSON."""


@dataclass(frozen=True)
class Predicted:
    """An answer, and who gave it."""

    value: Any = field(repr=False)
    version: str | None
    """The version that answered, as ``v3``."""
    replica: str | None
    request_id: str | None
    """By which the gateway's and the replica's logs name the request."""
    seconds: float
    """From sending the request to having read the answer."""

    def _repr_html_(self) -> str:
        about = (self.version, self.replica, self.request_id, f"{self.seconds * 1000:.2f} ms")
        return f"<div>{escape(repr(self.value))}<br><small>{escape(' · '.join(filter(None, about)))}</small></div>"


class Predictor:
    """A deployment that is asked in the caller's own terms: arrays are answered with arrays, tables with tables.

    ::

        with headway.Predictor("digits", project="vision") as predictor:
            classes = predictor.predict(images)["classes"]      # NumPy in, NumPy out
            scored = predictor.predict(frame)                   # DataFrame in, DataFrame with the same index out
            predictor.last.version, predictor.last.seconds      # who answered this thread, and how fast

    Connections are kept open between predictions; it may be used from several threads. :func:`headway.sdk.forms.form_of`
    says what is sent for what. Arrays of 64 KiB and more travel as binary tensors where the model's signature allows it: the
    same answer sooner, with the exact bits and types of the model's own arrays.

    Args:
        deployment: Id or name.
        project: Of a name; the configured one without it.
        version: Ask only this version: a number, ``v3`` or an alias. Without it the deployment's weights decide.
        timeout: Seconds that an answer may take in all, once the address is known; the deployment's own deadline
            without it.
        client: To ask through; it makes one of its own without it, and closes that in the end.
        deployments: ``client.deployments``, which passes itself here.
    """

    def __init__(
        self,
        deployment: str,
        *,
        project: str | None = None,
        version: int | str | None = None,
        timeout: float | None = None,
        client: Client | None = None,
        deployments: DeploymentEndpoints | None = None,
    ) -> None:
        check_timeout(timeout)
        self._own: Client | None = None
        if deployments is None:
            if client is None:
                from headway.sdk.client import Client

                client = self._own = Client(project=project)
            deployments = client.deployments
        self._deployments = deployments
        self.deployment = deployment
        self.project = project
        self.version = version
        self.timeout = timeout
        self._thread = threading.local()
        self._signatures: dict[int | str | None, TensorSignature | None] = {}

    def __repr__(self) -> str:
        return f"Predictor({self.deployment!r}{'' if self.version is None else f', version={self.version!r}'})"

    def predict(self, value: Any, *, version: int | str | None = None, timeout: float | None = None) -> Any:
        """The model's answer to ``value``, as the same kind of thing.

        Args:
            value: See :func:`headway.sdk.forms.form_of`.
            version: Ask only this version, in place of the predictor's own.
            timeout: Seconds that the answer may take in all, in place of the predictor's own.

        Raises:
            InvalidRequestError: It cannot be sent, or the model cannot take it.
            RateLimitedError: Too many requests wait already; ``retry_after`` says for how long.
            UnavailableError: No replica answered, or not in time; ``retry_after`` where the gateway knows for how long.
            NotFoundError: No such deployment, or no such version behind it.
            PlatformError: The model failed.
        """
        return self.ask(value, version=version, timeout=timeout).value

    __call__ = predict

    def ask(self, value: Any, *, version: int | str | None = None, timeout: float | None = None) -> Predicted:
        """As :meth:`predict`, with the version and replica that answered, the request's id and its duration."""
        chosen = self.version if version is None else version
        limit = self.timeout if timeout is None else timeout
        found = self._ask_tensors(value, chosen, limit) if is_large(value) else None
        if found is None:
            form = form_of(value, pinned=chosen is not None)
            answer, address = self._deployments.ask(
                self.deployment, form.encode(), version=chosen, timeout=limit, project=self.project
            )
            found = _predicted(form.restore(decode_answer(answer.content, address)), answer)
        self._thread.last = found
        return found

    def _ask_tensors(self, value: Any, version: int | str | None, timeout: float | None) -> Predicted | None:
        """The answer to large arrays, which travel as binary tensors; None where they have to be sent as JSON."""
        signature = self._signature_of(version, timeout)
        request = tensor_request(value, signature) if signature is not None else None
        if signature is None or request is None:
            return None
        try:
            answer, address = self._deployments.ask(
                self.deployment,
                request.body,
                version=version,
                timeout=timeout,
                project=self.project,
                protocol="openinference",
                headers=request.headers,
            )
        except InvalidRequestError as error:
            self._signatures.pop(version, None)
            if error.details.get("version") == signature.version:
                raise
            return None  # another version than the one that told its signature has another one
        return _predicted(decode_tensors(answer.content, answer.headers, address), answer)

    def _signature_of(self, version: int | str | None, timeout: float | None) -> TensorSignature | None:
        if version not in self._signatures:
            try:
                check_protocol("openinference", version)
                self._signatures[version] = self._deployments.tensor_signature(
                    self.deployment, version=version, timeout=timeout or SIGNATURE_SECONDS, project=self.project
                )
            except HeadwayError:
                return None  # what is wrong is told when the request itself is sent
        return self._signatures[version]

    @property
    def last(self) -> Predicted | None:
        """The newest answer that this thread got."""
        return getattr(self._thread, "last", None)

    def close(self) -> None:
        """Close its connections, unless they belong to a client that was passed in."""
        if self._own is not None:
            self._own.close()

    def __enter__(self) -> Predictor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _predicted(value: Any, answer: Answer) -> Predicted:
    return Predicted(value, **answer.about())
