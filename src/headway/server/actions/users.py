"""Users and tokens."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from headway.domain.base import Page, PageRequest, new_id, now
from headway.domain.users import (
    TOKEN_SHOWN,
    Permission,
    Token,
    TokenCreate,
    TokenCreated,
    TokenKind,
    User,
    UserCreate,
    new_token_secret,
    token_digest,
)
from headway.errors import ConflictError, NotFoundError, PermissionDeniedError
from headway.server.actions.access import lower_role
from headway.server.actions.lookup import find_project, find_user
from headway.server.actions.recording import record
from headway.server.context import Caller, Platform
from headway.storage.base import Session

ADMIN_NAME = "admin"


def create(platform: Platform, caller: Caller, request: UserCreate) -> User:
    caller.require(Permission.SERVER_ADMIN)
    user = User(id=new_id("usr"), name=request.name, admin=request.admin, created_at=now())
    with platform.storage.write() as session:
        if session.users.by_name(user.name) is not None:
            raise ConflictError(f"There is a user {user.name!r} already.", hint="Choose another name.")
        session.users.add(user)
        record(session, "user.created", user.id, project_id=None, actor=caller.user.id, name=user.name)
        caller.remember(session, user)
    return user


def list_users(platform: Platform, caller: Caller, page: PageRequest) -> Page[User]:
    caller.require(Permission.SERVER_ADMIN)
    with platform.storage.read() as session:
        return session.users.list(page)


def get(platform: Platform, caller: Caller, reference: str) -> User:
    caller.require(Permission.SERVER_ADMIN)
    with platform.storage.read() as session:
        return find_user(session, reference)


def disable(platform: Platform, caller: Caller, reference: str) -> None:
    """A user that is deleted keeps its record, for the history, and loses every token."""
    caller.require(Permission.SERVER_ADMIN)
    with platform.storage.write() as session:
        user = find_user(session, reference)
        if user.id == caller.user.id:
            raise ConflictError("One cannot delete oneself.", hint="Let another admin do it.")
        session.users.put(user.evolve(disabled_at=now()))
        record(session, "user.deleted", user.id, project_id=None, actor=caller.user.id, name=user.name)


def create_token(platform: Platform, caller: Caller, request: TokenCreate) -> TokenCreated:
    """A token for oneself, or by an admin for somebody else; never with more rights than the token that asks."""
    with platform.storage.write() as session:
        user = caller.user if request.user is None else find_user(session, request.user) if caller.admin else None
        if user is None and caller.user.name != request.user and caller.user.id != request.user:
            raise PermissionDeniedError("Only a server admin makes tokens for others.")
        user = user or caller.user
        project_id = caller.token.project_id
        if request.project is not None:
            project_id = find_project(session, caller, request.project).id
        return _add(session, caller, request, user, project_id)


def _add(session: Session, caller: Caller, request: TokenCreate, user: User, project_id: str | None) -> TokenCreated:
    role = request.role
    if caller.token.role is not None:
        role = lower_role(role, caller.token.role) if role is not None else caller.token.role
    expires_at = None if request.expires_in is None else now() + timedelta(seconds=request.expires_in)
    if caller.token.expires_at is not None:
        expires_at = min(expires_at or caller.token.expires_at, caller.token.expires_at)
    made = _make(session, user, request.name, project_id=project_id, role=role, expires_at=expires_at)
    token = made.token
    record(session, "token.created", token.id, project_id=None, actor=caller.user.id, name=token.name, user=user.name)
    return made


def _make(session: Session, user: User, name: str, kind: TokenKind = TokenKind.USER, **limits: object) -> TokenCreated:
    """A new token with its secret, of which only the digest is kept."""
    secret = new_token_secret()
    token = Token.model_validate(
        {
            "id": new_id("tok"),
            "kind": kind,
            "name": name,
            "user_id": user.id,
            "prefix": secret[:TOKEN_SHOWN],
            "created_at": now(),
            **limits,
        }
    )
    session.tokens.add(token, token_digest(secret))
    return TokenCreated(token=token, secret=secret)


def list_tokens(platform: Platform, caller: Caller, page: PageRequest) -> Page[Token]:
    """One's own tokens, as far as they are no wider than the one that asks; everybody's for a server admin. Those of
    jobs and gateways come and go by themselves."""
    with platform.storage.read() as session:
        user_id = None if caller.admin else caller.user.id
        found = session.tokens.list(page, user_id=user_id, kind=TokenKind.USER)
        return Page(items=tuple(t for t in found.items if _reaches(caller, t)), next_cursor=found.next_cursor)


def revoke_token(platform: Platform, caller: Caller, token_id: str) -> None:
    with platform.storage.write() as session:
        token = session.tokens.get(token_id)
        if not _reaches(caller, token):
            raise NotFoundError(f"There is no token {token_id!r}.")
        if token.revoked_at is None:
            session.tokens.put(token.evolve(revoked_at=now()))
            record(session, "token.revoked", token.id, project_id=None, actor=caller.user.id, name=token.name)


def _reaches(caller: Caller, token: Token) -> bool:
    """Whether ``token`` is the caller's to see and revoke: a narrowed token must not reach what is wider than itself."""
    if caller.admin:
        return True
    own = caller.token
    within_project = own.project_id is None or token.project_id == own.project_id
    within_role = own.role is None or (token.role is not None and lower_role(token.role, own.role) is token.role)
    return token.user_id == caller.user.id and within_project and within_role


def first_token(platform: Platform, show: Callable[[str], None]) -> None:
    """At the first start: make the admin account and ``show`` its token, the only time it is seen.

    It is shown before it is stored: a server killed in between shows another one next time, and locks nobody out.
    """
    with platform.storage.write() as session:
        if session.users.by_name(ADMIN_NAME) is not None:
            return
        user = User(id=new_id("usr"), name=ADMIN_NAME, admin=True, created_at=now())
        session.users.add(user)
        show(_make(session, user, "first admin token").secret)


def gateway_token(platform: Platform) -> str:
    """A fresh token for the gateway."""
    with platform.storage.write() as session:
        admin = session.users.by_name(ADMIN_NAME)
        assert admin is not None
        return _make(session, admin, "gateway", TokenKind.GATEWAY).secret
