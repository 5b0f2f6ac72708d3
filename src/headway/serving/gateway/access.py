"""Who may predict."""

from __future__ import annotations

import hmac
import time

from headway.domain.users import token_digest
from headway.serving.gateway.routes import DIGEST_PREFIX, Entry
from headway.serving.http.messages import Request, Response, error_response
from headway.serving.screening import has_foreign_origin, misdirected

_CHALLENGE = (("WWW-Authenticate", "Bearer"),)


def access_problem(entry: Entry, request: Request) -> Response | None:
    """The refusal, or None when the caller may use this deployment. A public one needs nothing."""
    if entry.route.public:
        return None
    if has_foreign_origin(request):
        return misdirected()
    secret = bearer(request)
    if secret is None:
        return error_response(
            401, "This endpoint needs a token. Send `Authorization: Bearer <token>`.", headers=_CHALLENGE
        )
    if not may_predict(entry, secret, time.time()):
        return error_response(401, "The token is unknown here, expired or revoked.", headers=_CHALLENGE)
    return None


def bearer(request: Request) -> str | None:
    """The secret of the one Authorization header, or None."""
    values = request.values(b"authorization")
    if len(values) != 1:
        return None
    scheme, _, secret = values[0].partition(b" ")
    if scheme.lower() != b"bearer" or not secret.strip():
        return None
    return secret.strip().decode("latin-1")


def may_predict(entry: Entry, secret: str, now: float) -> bool:
    """Whether the secret's digest is one of the route's, and not past its time (seconds since 1970)."""
    digest = token_digest(secret)
    allowed = False
    for known, expires in entry.digests.get(digest[:DIGEST_PREFIX], ()):
        same = hmac.compare_digest(known, digest)
        allowed |= same and (expires is None or now < expires)
    return allowed
