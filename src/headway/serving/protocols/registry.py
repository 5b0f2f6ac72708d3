"""Which protocol is where. A new one is a file, a line here and its paths in :mod:`headway.serving.protocols.paths`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from headway.serving.http.messages import Request, Response
from headway.serving.protocols.base import Served, Target, Wire
from headway.serving.protocols.invocations import CSV, InvocationsWire
from headway.serving.protocols.openinference import OCTETS, OpenInferenceWire, is_binary
from headway.serving.protocols.plain import PlainWire
from headway.serving.protocols.sniffing import SniffingWire
from headway.serving.protocols.tensorflow import TensorflowWire

PROTOCOLS: Mapping[str, Callable[[Served], Wire]] = {
    "tensorflow": TensorflowWire,
    "openinference": OpenInferenceWire,
    "invocations": InvocationsWire,
    "plain": PlainWire,
    "any": SniffingWire,
}


def wires(served: Served) -> dict[str, Wire]:
    """Every protocol by its name, for one version of a model."""
    return {name: make(served) for name, make in PROTOCOLS.items()}


def body_problem(request: Request, target: Target, wire: Wire) -> Response | None:
    """The refusal (415) of a body that this protocol does not take, by the head alone; None where it does."""
    if request.header(b"content-encoding") not in (None, b"identity"):
        return wire.fail(415, "A compressed body is not taken.")
    if request.is_json:
        return None
    media = (request.header(b"content-type") or b"").partition(b";")[0].strip().lower()
    if target.protocol == "invocations" and media == CSV:
        return None
    if target.protocol in ("openinference", "any") and media == OCTETS and is_binary(request):
        return None
    return wire.fail(415, "Only JSON is taken. Send it with `Content-Type: application/json`.")
