"""What a protocol is: how the bytes of a request become a call of the model, and its result the bytes of an answer.

A protocol knows nothing of threads, batches and connections. :mod:`headway.serving.replica` reads a request with the
protocol that :mod:`headway.serving.protocols.paths` names, joins calls that may be joined, and has each written by its
own protocol (``call.wire``).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol, runtime_checkable

from headway.serving.http.messages import Headers, Request, Response
from headway.serving.runtimes.base import LoadedModel


class BadRequestError(Exception):
    """The request is no prediction request, or does not fit the model; the text says why, ``status`` how it is answered.

    ``wire`` is the protocol that answers it where that was found in the body only.
    """

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status
        self.wire: Wire | None = None


class ModelState(str, Enum):
    """Where a version is, in TensorFlow Serving's words."""

    LOADING = "LOADING"
    AVAILABLE = "AVAILABLE"
    UNLOADING = "UNLOADING"
    END = "END"


@dataclass(frozen=True)
class Served:
    """The version that a replica serves, as it is known outside."""

    name: str
    version: int
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Target:
    """What a path asks for, by whichever protocol."""

    protocol: str
    """A name in :data:`headway.serving.protocols.registry.PROTOCOLS`; ``any`` where the body's form decides."""
    verb: str
    """``predict``, ``classify``, ``regress``, ``metadata``, ``status``, ``ready``, ``live``, ``server`` (a server's own
    metadata), or another word after a colon, which is refused."""
    model: str = ""
    """The model's or, at the gateway, the deployment's name; empty where the path names none."""
    version: int | None = None
    label: str | None = None
    deployment: str | None = None
    """From ``/model-serving/<deployment>``."""


@dataclass(slots=True)
class Call:
    """One prediction that was asked for."""

    inputs: Any
    """What :meth:`headway.serving.runtimes.base.LoadedModel.predict` takes."""
    rows: int | None = None
    """How many rows ``inputs`` has; None when it has none and can only be predicted alone."""
    kind: Hashable = None
    """Calls are joined only when their kinds are equal (names, dtypes and shapes of rows)."""
    note: Any = field(default=None, repr=False)
    """What the protocol needs to write the answer."""
    wire: Any = field(default=None, repr=False)
    """The :class:`Wire` that writes the answer, or the error that becomes of it."""


class Wire(Protocol):
    """One protocol."""

    def read(self, model: LoadedModel, request: Request, target: Target) -> Call:
        """The call in a request.

        Raises:
            BadRequestError: There is none, or it does not fit the model's signature.
        """
        ...

    def write(self, model: LoadedModel, call: Call, result: Any) -> Response:
        """The answer to a call, from its own rows of the result. Raises ``EncodingError`` when it has no form here."""
        ...

    def fail(self, status: int, text: str, *, headers: Headers = ()) -> Response:
        """An error, as this protocol's clients expect it."""
        ...

    def describe(self, target: Target, model: LoadedModel | None, state: ModelState) -> Response:
        """The answer to ``status``, ``metadata``, ``ready``, ``live``, ``server``; ``model`` is None while it is loaded."""
        ...


@runtime_checkable
class ReadsMany(Protocol):
    """A protocol that reads what arrived together in less time than one after the other."""

    def read_many(self, model: LoadedModel, requests: Sequence[Request], verb: str) -> Sequence[Call | None]:
        """For each request, all of one verb, the call that :meth:`Wire.read` would make of it alone.

        None says nothing about a request but that it is to be read alone. Raises nothing.
        """
        ...


@runtime_checkable
class WritesMany(Protocol):
    """A protocol that writes the answers to calls predicted together in less time than one after the other."""

    def write_many(
        self, model: LoadedModel, note: Any, result: Any, bounds: Sequence[int]
    ) -> Sequence[Response] | None:
        """The answers that :meth:`Wire.write` would give to calls with this note, to the last byte.

        Args:
            model: Who predicted.
            note: What all of these calls have for a note.
            result: Of all of them.
            bounds: Where in its rows each begins; one more for the end.

        Returns:
            None where they are to be written one by one.
        """
        ...
