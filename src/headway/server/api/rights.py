"""How a route says who may use it. A route that does not say so is refused when the server is assembled."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from headway.domain.users import Permission, TokenKind
from headway.errors import ConflictError, InternalError, InvalidRequestError, PermissionDeniedError
from headway.server.context import Caller, Once, Platform

USERS_ONLY = frozenset({TokenKind.USER})
MAX_KEY = 200


def platform_of(request: Request) -> Platform:
    platform = request.app.state.platform
    assert isinstance(platform, Platform)
    return platform


PlatformParameter = Annotated[Platform, Depends(platform_of)]


class Right:
    """A dependency that gives the caller, and carries what tests and documents read off the route.

    The right on a project is checked by the action, which is what loads the record and knows its project.
    """

    def __init__(self, permission: Permission | None, kinds: Collection[TokenKind]) -> None:
        self.permission = permission
        self.kinds = frozenset(kinds)

    def __call__(self, request: Request) -> Caller:
        caller = request.scope["state"].get("caller")
        if not isinstance(caller, Caller):
            raise InternalError("A request came past the gate without a caller.")
        if caller.token.kind not in self.kinds:
            raise PermissionDeniedError(f"A {caller.token.kind.value} token may not use this route.")
        if self.permission is Permission.SERVER_ADMIN:
            caller.require(self.permission)
        return caller


def right(permission: Permission | None, kinds: Collection[TokenKind] = USERS_ONLY) -> Any:
    """``caller: Caller = right(Permission.READ)``: what a route declares."""
    return Depends(Right(permission, kinds), use_cache=False)


def right_of(route: APIRoute) -> Right | None:
    """The right that a route declares, or None."""
    found = [d.call for d in route.dependant.dependencies if isinstance(d.call, Right)]
    return found[0] if len(found) == 1 else None


def check_routes(router: APIRouter, open_paths: Collection[str]) -> None:
    """InternalError when a route neither declares its right nor is open by name."""
    for route in router.routes:
        path = getattr(route, "path", "")
        if isinstance(route, APIRoute) and (right_of(route) is not None or path in open_paths):
            continue
        raise InternalError(f"The route {path!r} does not say who may use it.")


async def once(request: Request, caller: Caller, platform: Platform, make: Callable[[Caller], BaseModel]) -> Any:
    """Run a create; with an ``Idempotency-Key`` at most once, however often the request is repeated."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return await run_in_threadpool(make, caller)
    if not 1 <= len(key) <= MAX_KEY:
        raise InvalidRequestError(f"An Idempotency-Key has 1 to {MAX_KEY} characters.")
    body = await request.body()
    fingerprint = hashlib.sha256(f"{request.method} {request.url.path}\n".encode() + body).hexdigest()
    known = Once(key=key, fingerprint=fingerprint)
    repeated = await run_in_threadpool(_earlier, platform, caller, known)
    if repeated is None:
        asking = Caller(user=caller.user, token=caller.token, roles=caller.roles, once=known)
        try:
            return await run_in_threadpool(make, asking)
        except ConflictError:
            repeated = await run_in_threadpool(_earlier, platform, caller, known)
            if repeated is None:
                raise
    status, stored = repeated
    return Response(stored, status, media_type="application/json", headers={"Idempotent-Replay": "true"})


def _earlier(platform: Platform, caller: Caller, known: Once) -> tuple[int, bytes] | None:
    with platform.storage.read() as session:
        found = session.idempotency.find(caller.token.id, known.key)
    if found is None:
        return None
    fingerprint, status, body = found
    if fingerprint != known.fingerprint:
        raise ConflictError(f"The Idempotency-Key {known.key!r} was used for another request.", hint="Use a new key.")
    return status, body
