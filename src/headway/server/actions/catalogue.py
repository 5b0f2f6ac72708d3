"""The catalogues that people choose from."""

from __future__ import annotations

from collections.abc import Sequence

from headway.domain.base import did_you_mean
from headway.domain.catalogue import (
    CatalogueEntry,
    CatalogueEntrySet,
    CatalogueEntryUpdate,
    CatalogueKind,
    default_entries,
)
from headway.domain.users import Permission
from headway.errors import InvalidRequestError, NotFoundError
from headway.server.actions.instances import resolve_type
from headway.server.actions.recording import record
from headway.server.context import Caller, Platform
from headway.storage.base import Session


def fill(platform: Platform) -> None:
    """At the first start: the default entries, for the instance types that there are."""
    with platform.storage.read() as session:
        if session.catalogue.list():
            return
    with platform.storage.write() as session:
        types = sorted(session.instance_types.list(), key=lambda found: (not found.default, found.gpu, found.cpu))
        for entry in default_entries([found.name for found in types if found.alias_of is None]):
            session.catalogue.put(entry)


def list_entries(
    platform: Platform, caller: Caller, kind: CatalogueKind | None, *, hidden: bool
) -> Sequence[CatalogueEntry]:
    """Entries by catalogue and number; hidden ones too where an admin asks for them."""
    if hidden:
        caller.require(Permission.SERVER_ADMIN)
    with platform.storage.read() as session:
        return [entry for entry in session.catalogue.list(kind) if hidden or not entry.hidden]


def get(platform: Platform, kind: CatalogueKind, reference: str) -> CatalogueEntry:
    """By number or name, also a hidden one: whoever knows it used it before."""
    with platform.storage.read() as session:
        return find_entry(session, kind, reference)


def find_entry(session: Session, kind: CatalogueKind, reference: str) -> CatalogueEntry:
    """The entry with that number or name.

    Raises:
        NotFoundError: There is none, with the closest name.
    """
    entries = session.catalogue.list(kind)
    for entry in entries:
        if reference in (str(entry.id), entry.name):
            return entry
    shown = {entry.name: entry.id for entry in entries if not entry.hidden}
    listed = ", ".join(f"{name} ({number})" for name, number in shown.items())
    hint = did_you_mean(reference, shown) or f"There are {listed or 'no entries'}."
    raise NotFoundError(f"There is no {kind.value} {reference!r} in the catalogue.", hint=hint)


def set_entry(
    platform: Platform, caller: Caller, kind: CatalogueKind, number: int, request: CatalogueEntrySet
) -> CatalogueEntry:
    """Add or replace an entry."""
    caller.require(Permission.SERVER_ADMIN)
    with platform.storage.write() as session:
        if kind.is_machine:
            if request.instance_type is None:
                raise InvalidRequestError(
                    "A machine needs the instance type that it means.", hint="Give instance_type."
                )
            resolve_type(session, request.instance_type)
        if kind is CatalogueKind.PRESET_ALGORITHM and request.algorithm is None:
            raise InvalidRequestError("A preset algorithm needs the algorithm that it means.", hint="Give algorithm.")
        entry = CatalogueEntry(kind=kind, id=number, **request.model_dump())
        session.catalogue.put(entry)
        _tell(session, caller, "catalogue.set", entry)
        return entry


def update_entry(
    platform: Platform, caller: Caller, kind: CatalogueKind, reference: str, request: CatalogueEntryUpdate
) -> CatalogueEntry:
    """Hide or show an entry."""
    caller.require(Permission.SERVER_ADMIN)
    with platform.storage.write() as session:
        entry = find_entry(session, kind, reference).evolve(hidden=request.hidden)
        session.catalogue.put(entry)
        _tell(session, caller, "catalogue.set", entry)
        return entry


def delete_entry(platform: Platform, caller: Caller, kind: CatalogueKind, reference: str) -> None:
    """Remove an entry; what was made with it goes on."""
    caller.require(Permission.SERVER_ADMIN)
    with platform.storage.write() as session:
        entry = find_entry(session, kind, reference)
        session.catalogue.delete(kind, entry.id)
        _tell(session, caller, "catalogue.deleted", entry)


def _tell(session: Session, caller: Caller, type: str, entry: CatalogueEntry) -> None:
    record(
        session,
        type,
        f"{entry.kind.value}/{entry.id}",
        project_id=None,
        actor=caller.user.id,
        name=entry.name,
        hidden=entry.hidden,
    )
