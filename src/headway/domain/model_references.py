"""How people name a version of a model.

==============================  ===================================================================
``models:/digits/3``            the version 3; so do ``models:/digits/v3``, ``digits:3``, ``digits:v3``
``models:/digits/1.0.3``        the version that its maker called ``1.0.3``; so does ``digits:1.0.3``
``models:/digits@champion``     the version that the alias names; so does ``digits@champion``
``models:/digits``              the newest; so do ``digits``, ``digits:latest``, ``digits@latest``
==============================  ===================================================================

A model's name may hold ``/``, ``:`` and ``@`` itself, so a reference may be read in two ways; where the first reading
leads to no model, or to no version of that name, the whole is a name.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from headway.domain.models import VersionName
from headway.errors import InvalidRequestError

SCHEME = "models:/"
LATEST = "latest"
_NUMBER = re.compile(r"v?([0-9]{1,9})")
_NAME: TypeAdapter[str] = TypeAdapter(VersionName)
_FORMS = "Use models:/name/3, models:/name@alias, models:/name/1.0.3, name:v3, name:1.0.3 or a bare name."


class VersionReference(NamedTuple):
    """A model's name and at most one of what tells its versions apart; nothing of it means the newest."""

    model: str
    number: int | None = None
    version_name: str | None = None
    alias: str | None = None

    @property
    def newest(self) -> bool:
        return self.number is None and self.version_name is None and self.alias is None


def is_number(word: str) -> bool:
    """Whether a word after a model's name means a number or the newest, and so can be no alias.

    >>> [is_number(word) for word in ("latest", "3", "v3", "v3.1", "champion")]
    [True, True, True, False, False]
    """
    return word == LATEST or _NUMBER.fullmatch(word) is not None


def check_alias(alias: str) -> None:
    """InvalidRequestError for a word that means a version by itself."""
    if is_number(alias):
        raise InvalidRequestError(f"{alias!r} cannot be an alias: it means a version by itself.")


def parse_reference(reference: str) -> VersionReference:
    """What ``reference`` names, by its first reading.

    >>> parse_reference("models:/digits/3").number, parse_reference("digits:1.0.3").version_name
    (3, '1.0.3')
    >>> parse_reference("digits@champion").alias, parse_reference("digits:latest").newest
    ('champion', True)

    Raises:
        InvalidRequestError: It names no version.
    """
    plain = reference.removeprefix(SCHEME)
    model, at, alias = plain.rpartition("@")
    if at:
        _check(model and alias, reference)
        return VersionReference(model, alias=None if alias == LATEST else alias)
    model, separator, which = plain.rpartition("/" if reference.startswith(SCHEME) else ":")
    if not separator:
        _check(plain, reference)
        return VersionReference(plain)
    _check(model, reference)
    if which in ("", LATEST):
        return VersionReference(model)
    number = _NUMBER.fullmatch(which)
    if number is not None:
        _check(int(number[1]), reference)
        return VersionReference(model, number=int(number[1]))
    try:
        return VersionReference(model, version_name=_NAME.validate_python(which))
    except ValidationError:
        raise _refused(reference) from None


def _check(condition: object, reference: str) -> None:
    if not condition:
        raise _refused(reference)


def _refused(reference: str) -> InvalidRequestError:
    return InvalidRequestError(f"{reference!r} does not name a model version.", hint=_FORMS)
