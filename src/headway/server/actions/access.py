"""From a presented token to a caller."""

from __future__ import annotations

from headway.domain.base import now
from headway.domain.users import ROLE_PERMISSIONS, Role, Token, TokenKind, User, token_digest
from headway.errors import AuthenticationError
from headway.server.actions.paging import every
from headway.server.context import Caller, Platform
from headway.storage.base import Session

MAX_TOKEN = 512


def authenticate(platform: Platform, secret: str) -> Caller:
    """The caller that ``secret`` belongs to.

    Raises:
        AuthenticationError: Unknown, revoked or expired. The message is the same for all three, and never the token.
    """
    if not secret or len(secret) > MAX_TOKEN:
        raise _refused()
    with platform.storage.read() as session:
        return _caller(session, session.tokens.by_digest(token_digest(secret)))


def renew(platform: Platform, caller: Caller) -> Caller:
    """``caller`` as of now, for what goes on for long: rights may have changed since it was let in.

    Raises:
        AuthenticationError: The token was revoked or has expired meanwhile.
    """
    with platform.storage.read() as session:
        return _caller(session, session.tokens.get(caller.token.id))


def _caller(session: Session, token: Token | None) -> Caller:
    if token is None or token.revoked_at is not None:
        raise _refused()
    if token.expires_at is not None and token.expires_at <= now():
        raise _refused()
    user = session.users.find(token.user_id)
    # The tokens of attempts and of the gateway are the platform's: what runs goes on when an account is deleted.
    if user is None or (user.disabled_at is not None and token.kind is TokenKind.USER):
        raise _refused()
    return Caller(user=user, token=token, roles=TokenRoles(session).of(user, token))


class TokenRoles:
    """What tokens may do where. What is read of a user serves all tokens of that user, as long as this lives."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._memberships: dict[str, dict[str, Role]] = {}
        self._projects: list[str] | None = None

    def of(self, user: User, token: Token) -> dict[str, Role]:
        """Project id to the role that ``token`` has there: the user's, narrowed by the token."""
        if token.kind is TokenKind.GATEWAY:
            return {}
        if token.kind is TokenKind.JOB:
            return {token.project_id: Role.MEMBER} if token.project_id else {}
        if user.admin:
            ids = [token.project_id] if token.project_id else self._all_projects() if token.role else []
            roles = dict.fromkeys(ids, Role.ADMIN)
        else:
            roles = self._memberships_of(user)
            if token.project_id is not None:
                roles = {p: r for p, r in roles.items() if p == token.project_id}
        if token.role is None:
            return roles
        return {project_id: lower_role(role, token.role) for project_id, role in roles.items()}

    def _memberships_of(self, user: User) -> dict[str, Role]:
        if user.id not in self._memberships:
            self._memberships[user.id] = {m.project_id: m.role for m in self._session.members.of_user(user.id)}
        return self._memberships[user.id]

    def _all_projects(self) -> list[str]:
        if self._projects is None:
            self._projects = [project.id for project in every(self._session.projects.list)]
        return self._projects


def lower_role(one: Role, other: Role) -> Role:
    """The role of the two that allows less."""
    return one if len(ROLE_PERMISSIONS[one]) <= len(ROLE_PERMISSIONS[other]) else other


def _refused() -> AuthenticationError:
    return AuthenticationError(
        "The token is unknown, revoked or expired.",
        hint="Set HEADWAY_TOKEN, or run `headway login`; an admin makes tokens with `headway token create`.",
    )
