"""Who may predict."""

from __future__ import annotations

import hmac
import time
from functools import lru_cache

from headway.domain.users import token_digest
from headway.serving.gateway.routes import DIGEST_PREFIX, Entry
from headway.serving.http.messages import Request, Response, error_response
from headway.serving.screening import has_foreign_origin, misdirected

MANY_SECRETS = 1024
_CHALLENGE = (("WWW-Authenticate", "Bearer"),)


def access_problem(entry: Entry, request: Request) -> Response | None:
    """The refusal, or None when the caller may use this deployment. A public one needs nothing."""
    if entry.route.public:
        return None
    if has_foreign_origin(request):
        return misdirected()
    values = request.values(b"authorization")
    digest = digest_of(values[0]) if len(values) == 1 else None
    if digest is None:
        return error_response(
            401, "This endpoint needs a token. Send `Authorization: Bearer <token>`.", headers=_CHALLENGE
        )
    if not may_predict(entry, digest, time.time()):
        return error_response(401, "The token is unknown here, expired or revoked.", headers=_CHALLENGE)
    return None


@lru_cache(maxsize=MANY_SECRETS)
def digest_of(value: bytes) -> str | None:
    """The digest of the secret in the value of an Authorization header; None where there is none.

    It is kept, as the heads of requests are: a client shows the same secret again and again. Whether it may predict is not.
    """
    scheme, _, secret = value.partition(b" ")
    if scheme.lower() != b"bearer" or not secret.strip():
        return None
    return token_digest(secret.strip().decode("latin-1"))


def may_predict(entry: Entry, digest: str, now: float) -> bool:
    """Whether the digest of a secret is one of the route's, and not past its time (seconds since 1970)."""
    allowed = False
    for known, expires in entry.digests.get(digest[:DIGEST_PREFIX], ()):
        same = hmac.compare_digest(known, digest)
        allowed |= same and (expires is None or now < expires)
    return allowed
