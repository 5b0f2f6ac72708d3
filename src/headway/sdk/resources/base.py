"""What every resource has: the session, the default project, names beside ids."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel

from headway.domain.base import did_you_mean
from headway.errors import InvalidRequestError, NotFoundError
from headway.sdk.session import Query, Session, segment

R = TypeVar("R", bound=BaseModel)

PROJECT_HINT = "Pass project=…, set HEADWAY_PROJECT, or name one in headway.yaml."


class Resource:
    """One noun of a server. ``path`` is where its list lives."""

    path = ""
    noun = ""

    def __init__(self, session: Session) -> None:
        self._session = session

    def _project(self, project: str | None) -> str:
        """The project of a call that needs one."""
        chosen = project or self._session.connection.project
        if not chosen:
            raise InvalidRequestError("No project was named.", hint=PROJECT_HINT)
        return chosen

    def _scope(self, project: str | None) -> str | None:
        """The project of a list: the default one, or None for all that the token may see."""
        return project or self._session.connection.project

    def _address(self, reference: str, *more: str) -> str:
        """The path of one thing, with names below it."""
        return "/".join((f"{self.path}/{segment(reference, self.noun)}", *more))

    def _get_named(self, model: type[R], reference: str, project: str | None) -> R:
        """By id, or by name within a project. A name with ``/`` in it does not fit into an address and is looked up."""
        scope: Query = {"project": self._scope(project)}
        if "/" not in reference:
            return self._session.get(model, self._address(reference), scope)
        found = [*self._session.pages(model, self.path, {**scope, "name": reference}, 2)]
        for record in found:
            if getattr(record, "name", None) == reference:
                return record
        raise NotFoundError(f"There is no {self.noun} {reference!r}.")

    def _id(self, model: type[R], reference: str, project: str | None) -> str:
        """The id of what ``reference`` names."""
        return str(self._get_named(model, reference, project).id)  # type: ignore[attr-defined]


def refuse_unknown(values: dict[str, object], known: set[str], what: str) -> None:
    """InvalidRequestError with a did-you-mean for a keyword that ``what`` does not have."""
    for word in values:
        if word not in known:
            raise InvalidRequestError(f"{what} has no keyword {word!r}.", hint=did_you_mean(word, sorted(known)))
