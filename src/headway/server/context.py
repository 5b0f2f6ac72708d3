"""What actions and workers are given: the parts of this server, and who is asking."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from headway.domain.base import now
from headway.domain.users import ROLE_PERMISSIONS, Identity, Permission, Role, Token, TokenKind, User
from headway.engines.base import Engine
from headway.errors import NotFoundError, PermissionDeniedError
from headway.server.wakeups import Wakeups
from headway.storage.base import Session, Storage
from headway.storage.blobs.base import BlobStore
from headway.storage.segments.base import SegmentStore
from headway.storage.series.base import SeriesReader


@dataclass(frozen=True)
class Platform:
    """The assembled server. Only server/app.py makes one."""

    storage: Storage
    blobs: BlobStore
    segments: SegmentStore
    series: SeriesReader
    engine: Engine
    wakeups: Wakeups
    data: Path
    host: str
    url: str
    instance: str
    containers: str
    secret_key: bytes = field(repr=False)
    database_url: str | None = field(default=None, repr=False)
    keep_failed_hours: float = 24.0
    keep_environments: int = 16
    run_lost_seconds: float = 60.0
    fetch_networks: tuple[str, ...] = ()

    @property
    def address_file(self) -> Path:
        """Where agents and the gateway read this server's present address."""
        return self.data / "server.json"

    @property
    def environments(self) -> Path:
        """Where virtual environments of models are kept."""
        return self.data / "environments"

    def attempt_secret(self, attempt_id: str) -> str:
        """The token of one attempt, derived and never stored, so that a start can be repeated after a crash."""
        return "hwj_" + hmac.new(self.secret_key, f"attempt:{attempt_id}".encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class Once:
    """A create that must happen once: the caller's key and what it asked for."""

    key: str
    fingerprint: str


@dataclass(frozen=True)
class Caller:
    """Who is asking, with which token, and what that allows."""

    user: User
    token: Token
    roles: Mapping[str, Role]
    """Project id to role; a server admin's unrestricted token needs none."""
    once: Once | None = None

    @property
    def admin(self) -> bool:
        """Whether this token may do everything: a server admin's, not narrowed to a project or role."""
        plain = self.token.project_id is None and self.token.role is None
        return self.user.admin and self.token.kind is TokenKind.USER and plain

    @property
    def narrowed(self) -> bool:
        """Whether this token was made for less than everything that its user may do in projects."""
        return self.token.project_id is not None or self.token.role not in (None, Role.ADMIN)

    @property
    def visible(self) -> frozenset[str] | None:
        """The ids of the projects that may be seen; None is all."""
        return None if self.admin else frozenset(self.roles)

    def may(self, permission: Permission, project_id: str | None = None) -> bool:
        if self.admin:
            return True
        if permission is Permission.AUTHENTICATED:
            return True
        if permission is Permission.SERVER_ADMIN or project_id is None:
            return False
        role = self.roles.get(project_id)
        return role is not None and permission in ROLE_PERMISSIONS[role]

    def owns_run(self, run_id: str) -> bool:
        """Whether this token is not a job's, or is the token of the job that has this run."""
        return self.token.kind is not TokenKind.JOB or self.token.run_id == run_id

    def require(self, permission: Permission, project_id: str | None = None, what: str = "This") -> None:
        """Nothing, or the error that fits: what may not be seen is not found, what may be seen is forbidden."""
        if self.may(permission, project_id):
            return
        if project_id is not None and not self.may(Permission.READ, project_id):
            raise NotFoundError(f"{what} does not exist.")
        whom = "a server admin" if permission is Permission.SERVER_ADMIN else "an admin of the project"
        raise PermissionDeniedError(
            f"This token may not do that: the right {permission.value!r} is missing.",
            hint=f"Ask {whom} for a role that has it.",
        )

    def remember(self, session: Session, record: BaseModel, status: int = 201) -> None:
        """Keep the answer of a create in the create's own transaction, so that a repetition gives the same answer."""
        if self.once is not None:
            body = record.model_dump_json().encode()
            session.idempotency.add(self.token.id, self.once.key, self.once.fingerprint, status, body, now())

    def to_identity(self) -> Identity:
        return Identity(user=self.user, token=self.token, projects=dict(self.roles))
