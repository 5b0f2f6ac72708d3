"""client.tokens: credentials."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headway.domain.base import parse_request
from headway.domain.users import Token, TokenCreate, TokenCreated
from headway.sdk.resources.base import Resource


class Tokens(Resource):
    path = "/api/v1/tokens"
    noun = "token"

    def create(self, name: str = "token", **fields: Any) -> TokenCreated:
        """A new token; ``.secret`` is shown this once.

        Further fields: ``user`` (server admins), ``project`` to narrow it, ``role`` to lower it, ``expires_in``
        seconds.
        """
        request = parse_request(TokenCreate, {"name": name, **fields})
        return self._session.create(TokenCreated, self.path, request)

    def list(self, *, limit: int | None = None) -> Iterator[Token]:
        """The caller's tokens; for server admins all of them. Never their secrets."""
        return self._session.pages(Token, self.path, {}, limit)

    def delete(self, token: str) -> None:
        """Revoke a token by its id; it stops working at once."""
        self._session.call("DELETE", self._address(token))
