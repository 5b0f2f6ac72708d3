"""A protocol driven without a process: one request in, its answer out, as a replica would do it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from headway.serving.encoding import EncodingError
from headway.serving.http.messages import Request, Response
from headway.serving.protocols.base import BadRequestError, ModelState, Served
from headway.serving.protocols.paths import locate
from headway.serving.protocols.registry import body_problem, wires
from headway.serving.runtimes.base import Signature


class FunctionModel:
    """A model that is a function of what :meth:`headway.serving.runtimes.base.LoadedModel.predict` gets."""

    def __init__(
        self,
        function: Callable[[Any], Any],
        signature: Signature | None = None,
        *,
        batch: bool = False,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.predict = function
        self.signature = signature
        self.batch = batch
        self.metadata: Mapping[str, Any] = {"runtime": "function", **(metadata or {})}


def ask(
    model: FunctionModel,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    state: ModelState = ModelState.AVAILABLE,
) -> Response:
    """The answer to ``POST path`` with a body, or to ``GET path`` without one."""
    target = locate(path)
    assert target is not None, f"no protocol has the path {path}"
    wire = wires(Served("m", 3))[target.protocol]
    pairs = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    request = Request("GET" if body is None else "POST", path, "1.1", pairs, "test")
    if body is None:
        return wire.describe(target, model if state is ModelState.AVAILABLE else None, state)
    refused = body_problem(request, target, wire)
    if refused is not None:
        return refused
    request.body = body
    try:
        call = wire.read(model, request, target)
    except BadRequestError as error:
        return (error.wire or wire).fail(error.status, str(error))
    try:
        response: Response = call.wire.write(model, call, model.predict(call.inputs))
    except EncodingError as error:
        response = call.wire.fail(500, str(error))
    return response
