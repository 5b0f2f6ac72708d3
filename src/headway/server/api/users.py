"""/me, /users, /tokens."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from headway.domain.base import Page
from headway.domain.users import Identity, Permission, Token, TokenCreate, TokenCreated, TokenKind, User, UserCreate
from headway.server.actions import users
from headway.server.api.paging import Paging
from headway.server.api.rights import PlatformParameter, once, right
from headway.server.context import Caller

router = APIRouter(tags=["users"])


@router.get("/me")
def me(caller: Caller = right(Permission.AUTHENTICATED, {TokenKind.USER, TokenKind.JOB})) -> Identity:
    return caller.to_identity()


@router.post("/users", status_code=201, response_model=User)
async def create(
    body: UserCreate,
    request: Request,
    platform: PlatformParameter,
    caller: Caller = right(Permission.SERVER_ADMIN),
) -> Any:
    return await once(request, caller, platform, lambda who: users.create(platform, who, body))


@router.get("/users")
def list_all(
    platform: PlatformParameter, paging: Paging, caller: Caller = right(Permission.SERVER_ADMIN)
) -> Page[User]:
    return users.list_users(platform, caller, paging)


@router.get("/users/{user}")
def get(user: str, platform: PlatformParameter, caller: Caller = right(Permission.SERVER_ADMIN)) -> User:
    return users.get(platform, caller, user)


@router.delete("/users/{user}", status_code=204)
def delete(user: str, platform: PlatformParameter, caller: Caller = right(Permission.SERVER_ADMIN)) -> None:
    users.disable(platform, caller, user)


@router.post("/tokens", status_code=201)
def create_token(
    body: TokenCreate, platform: PlatformParameter, caller: Caller = right(Permission.AUTHENTICATED)
) -> TokenCreated:
    """The secret in the answer is shown this once, which is why a repetition makes another token."""
    return users.create_token(platform, caller, body)


@router.get("/tokens")
def list_tokens(
    platform: PlatformParameter, paging: Paging, caller: Caller = right(Permission.AUTHENTICATED)
) -> Page[Token]:
    return users.list_tokens(platform, caller, paging)


@router.delete("/tokens/{token}", status_code=204)
def revoke(token: str, platform: PlatformParameter, caller: Caller = right(Permission.AUTHENTICATED)) -> None:
    users.revoke_token(platform, caller, token)
