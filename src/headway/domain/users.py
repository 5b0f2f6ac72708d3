"""Users, their roles in projects, and the tokens they present."""

from __future__ import annotations

import hashlib
import secrets
from enum import Enum

from pydantic import Field

from headway.domain.base import Name, Record, Request, Slug, Timestamp


class Role(str, Enum):
    """What a member may do in a project; each includes the ones before it."""

    VIEWER = "viewer"
    """Read everything in the project and call its endpoints."""
    MEMBER = "member"
    """Also submit jobs (which is running arbitrary code), register models and deploy."""
    ADMIN = "admin"
    """Also change and delete the project and its members."""


class Permission(str, Enum):
    """One right on one project, except the last two, which are on the server."""

    READ = "read"
    PREDICT = "predict"
    WRITE = "write"
    MANAGE = "manage"
    AUTHENTICATED = "authenticated"
    """Any valid token of a user."""
    SERVER_ADMIN = "server_admin"


ROLE_PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset({Permission.READ, Permission.PREDICT}),
    Role.MEMBER: frozenset({Permission.READ, Permission.PREDICT, Permission.WRITE}),
    Role.ADMIN: frozenset({Permission.READ, Permission.PREDICT, Permission.WRITE, Permission.MANAGE}),
}


class User(Record):
    """Somebody, or some program, with an account. A server admin may do everything."""

    id: str
    name: str
    admin: bool = False
    created_at: Timestamp
    disabled_at: Timestamp | None = None


class UserCreate(Request):
    name: Slug
    admin: bool = False


class Member(Record):
    """A user's role in one project."""

    project_id: str
    user_id: str
    user_name: str
    role: Role


class MemberSet(Request):
    role: Role


class TokenKind(str, Enum):
    """What a token is for."""

    USER = "user"
    """Acts as its user, in all of the user's projects or in one."""
    JOB = "job"
    """Belongs to one attempt: may report on it, write its run's streams and read and write blobs of its project."""
    GATEWAY = "gateway"
    """May read the routes of all deployments, and nothing else."""


class Token(Record):
    """A credential. The secret itself is shown once, at creation; only its SHA-256 is kept."""

    id: str
    kind: TokenKind
    name: str
    user_id: str
    prefix: str
    project_id: str | None = None
    role: Role | None = None
    attempt_id: str | None = None
    run_id: str | None = None
    created_at: Timestamp
    expires_at: Timestamp | None = None
    revoked_at: Timestamp | None = None


MAX_LIFE = 100 * 366 * 24 * 3600
"""Seconds: about a hundred years."""


class TokenCreate(Request):
    """A token for the caller, or (server admins) for another user; a ``project`` narrows it, a ``role`` lowers it."""

    name: Name = "token"
    user: str | None = None
    project: str | None = None
    role: Role | None = None
    expires_in: int | None = Field(default=None, gt=0, le=MAX_LIFE)
    """Seconds from now; None never expires."""


class TokenCreated(Record):
    """The only answer that ever holds the secret."""

    token: Token
    secret: str

    def __repr__(self) -> str:
        return f"TokenCreated(token={self.token!r}, secret='***')"

    __str__ = __repr__


class Identity(Record):
    """Who the presented token makes you."""

    user: User
    token: Token
    projects: dict[str, Role] = {}
    """Project id to the role that this token has there."""


TOKEN_PREFIX = "hw_"  # noqa: S105
TOKEN_SHOWN = 8


def new_token_secret() -> str:
    """256 random bits behind a prefix that secret scanners can look for."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def token_digest(secret: str) -> str:
    """What is stored for a token. A plain SHA-256 is right here: the secret has full entropy, so it cannot be guessed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
