"""client.users: accounts (for server admins)."""

from __future__ import annotations

from collections.abc import Iterator

from headway.domain.base import parse_request
from headway.domain.users import User, UserCreate
from headway.sdk.resources.base import Resource


class Users(Resource):
    path = "/api/v1/users"
    noun = "user"

    def create(self, name: str, *, admin: bool = False) -> User:
        """A new account; give it a token with ``client.tokens.create(user=…)``."""
        request = parse_request(UserCreate, {"name": name, "admin": admin})
        return self._session.create(User, self.path, request)

    def get(self, user: str) -> User:
        """By id or name."""
        return self._session.get(User, self._address(user))

    def list(self, *, limit: int | None = None) -> Iterator[User]:
        """All accounts, newest first."""
        return self._session.pages(User, self.path, {}, limit)

    def delete(self, user: str) -> None:
        """Disable an account; its tokens stop working at once."""
        self._session.call("DELETE", self._address(user))
