"""Which deployment a path means, and what is asked of its replica."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from urllib.parse import unquote

from headway.serving.protocols.paths import locate

_OWN = re.compile(r"(/model-serving/)([^/:%]|%(?!3[aA]))+")
_LABEL = re.compile(r"/labels/[^/:%]+")

READ = ("GET", "HEAD")
HERE = ("status", "ready", "live")
"""Verbs that the gateway answers itself: asking how a deployment is must not wait for it, nor wake it."""
READ_VERBS = (*HERE, "metadata", "server")
LONGEST = 2048


@dataclass(frozen=True)
class Destination:
    """What a path asks for."""

    deployment: str
    """An id or a name."""
    verb: str
    rest: str
    """What is asked of a replica, below the deployment's own path."""
    protocol: str = ""
    """Empty for what no protocol knows: a command that listens may."""
    version: int | None = None
    label: str | None = None

    @cached_property
    def methods(self) -> tuple[str, ...]:
        if not self.protocol:
            return ("GET", "HEAD", "POST")
        return READ if self.verb in READ_VERBS else ("POST",)

    def path(self, deployment_id: str, version: int | None) -> str:
        """The path to send. An alias may have moved since the replica started: it is told the version's number."""
        rest = self.rest
        if self.label is not None:
            rest = _LABEL.sub(f"/versions/{version}", rest, count=1)
        return f"/model-serving/{deployment_id}{rest}"


def destination(path: str) -> Destination | None:
    """The deployment that a path names, or None when it names none.

    >>> destination("/model-serving/my%20digits:predict")
    Destination(deployment='my digits', verb='predict', rest=':predict', protocol='any', version=None, label=None)
    >>> destination("/v2/models/digits/versions/3/infer").path("dep1", 3)
    '/model-serving/dep1/v2/models/digits/versions/3/infer'
    """
    return _destination(path) if len(path) <= LONGEST else None


@lru_cache(maxsize=4096)
def _destination(path: str) -> Destination | None:
    target = locate(path)
    own = _OWN.match(path)
    if target is None:
        if own is None or not path[own.end() :].startswith("/"):
            return None
        return Destination(unquote(own[0][len(own[1]) :], errors="replace"), "other", path[own.end() :])
    name = target.deployment if target.deployment is not None else target.model
    if not name:
        return None
    rest = path if own is None else path[own.end() :]
    return Destination(name, target.verb, rest, target.protocol, target.version, target.label)
