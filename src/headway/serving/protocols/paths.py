"""Paths of every protocol, for replica and gateway alike: ``docs/internals/serving.md`` section 1 lists them."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote

from headway.serving.protocols.base import Target

LONGEST = 2048
"""Characters of a path; nothing that is served needs more."""
UNKNOWN_VERSION = -1
"""Stands for what was written where a version's number belongs and is none: no version has it."""

_MODELS = re.compile(r"/v1/models/([^/]+?)(?:/versions/([0-9]+)|/labels/([^/:]+))?(:[A-Za-z]+|/metadata)?")
_TENSORS = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(/ready|/infer)?")
_DEPLOYMENT = re.compile(r"/model-serving/([^/:]+)(:[A-Za-z]+|/metadata)?")
_BELOW = re.compile(r"/model-serving/([^/:]+)(/.+)")

_FIXED = {
    "/v2": ("openinference", "server"),
    "/v2/health/live": ("openinference", "live"),
    "/v2/health/ready": ("openinference", "ready"),
    "/invocations": ("invocations", "predict"),
    "/ping": ("invocations", "ready"),
    "/health": ("invocations", "ready"),
    "/version": ("invocations", "server"),
    "/predict": ("plain", "predict"),
}


@lru_cache(maxsize=1024)
def locate(path: str) -> Target | None:
    """The target of a path (without its query, as it was sent), or None when no protocol has it.

    >>> locate("/v1/models/digits/versions/3:predict")
    Target(protocol='tensorflow', verb='predict', model='digits', version=3, label=None, deployment=None)
    >>> locate("/model-serving/my%20digits%3Apredict")
    Target(protocol='any', verb='predict', model='', version=None, label=None, deployment='my digits')
    >>> locate("/model-serving/digits/v2/models/x/infer").deployment
    'digits'
    """
    if len(path) > LONGEST:
        return None
    path = re.sub("%3a", ":", path, flags=re.IGNORECASE)
    found = _DEPLOYMENT.fullmatch(path)
    if found is not None:
        verb = _verb(found[2])
        return Target("any" if verb == "predict" else "tensorflow", verb, deployment=_text(found[1]))
    below = _BELOW.fullmatch(path)
    return _offered(path, None) if below is None else _offered(below[2], _text(below[1]))


def _offered(path: str, deployment: str | None) -> Target | None:
    """What a replica offers below ``/``, and the same below a deployment's path."""
    fixed = _FIXED.get(path)
    if fixed is not None:
        return Target(*fixed, deployment=deployment)
    found = _MODELS.fullmatch(path)
    if found is not None:
        name, version, label, verb = found.groups()
        return Target("tensorflow", _verb(verb), _text(name), _number(version), _text(label) or None, deployment)
    found = _TENSORS.fullmatch(path)
    if found is None:
        return None
    name, version, end = found.groups()
    verb = {None: "metadata", "/ready": "ready", "/infer": "predict"}[end]
    return Target("openinference", verb, _text(name), _number(version), deployment=deployment)


def _text(part: str | None) -> str:
    return unquote(part or "", errors="replace")


def _verb(part: str | None) -> str:
    return part[1:] if part else "status"


def _number(part: str | None) -> int | None:
    if part is None:
        return None
    return int(part) if re.fullmatch("[0-9]{1,18}", part) else UNKNOWN_VERSION
