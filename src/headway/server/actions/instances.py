"""The catalogue of instance types."""

from __future__ import annotations

from collections.abc import Sequence

from headway.domain.base import did_you_mean
from headway.domain.instances import InstanceType, InstanceTypeSet, default_catalogue
from headway.domain.users import Permission
from headway.errors import ConflictError, InvalidRequestError, NotFoundError
from headway.server.actions.recording import record
from headway.server.context import Caller, Platform
from headway.storage.base import Session


def fill_catalogue(platform: Platform) -> None:
    """At the first start: the default catalogue, fitted to what the engine has."""
    with platform.storage.read() as session:
        if session.instance_types.list():
            return
    with platform.storage.write() as session:
        for instance_type in default_catalogue(platform.engine.capacity()):
            session.instance_types.put(instance_type)


def list_types(platform: Platform) -> Sequence[InstanceType]:
    with platform.storage.read() as session:
        return session.instance_types.list()


def set_type(platform: Platform, caller: Caller, name: str, request: InstanceTypeSet) -> InstanceType:
    """Create or replace ``name``; an alias gets the size of what it stands for."""
    caller.require(Permission.SERVER_ADMIN)
    with platform.storage.write() as session:
        old = session.instance_types.find(name)
        size = request.model_dump()
        if request.alias_of is not None:
            target = resolve_type(session, request.alias_of)
            if target.name == name:
                raise InvalidRequestError(f"{name!r} cannot stand for itself.", details={"field": "alias_of"})
            size |= {"cpu": target.cpu, "memory_mb": target.memory_mb, "gpu": target.gpu, "alias_of": target.name}
        found = InstanceType(name=name, default=old.default if old else False, **size)
        session.instance_types.put(found)
        record(session, "instance_type.set", name, project_id=None, actor=caller.user.id)
        return found


def delete_type(platform: Platform, caller: Caller, name: str) -> None:
    caller.require(Permission.SERVER_ADMIN)
    with platform.storage.write() as session:
        found = session.instance_types.find(name)
        if found is None:
            raise _unknown(session, name)
        if found.default:
            raise ConflictError(f"{name!r} is the default instance type.", hint="It cannot be deleted, only changed.")
        session.instance_types.delete(name)
        record(session, "instance_type.deleted", name, project_id=None, actor=caller.user.id)


def resolve_type(session: Session, name: str | None) -> InstanceType:
    """The type called ``name``; the default one for None.

    Raises:
        NotFoundError: Unknown, with the closest name.
    """
    if name is None:
        return next(t for t in session.instance_types.list() if t.default)
    found = session.instance_types.find(name)
    if found is None:
        raise _unknown(session, name)
    return found


def _unknown(session: Session, name: str) -> NotFoundError:
    names = [instance_type.name for instance_type in session.instance_types.list()]
    hint = did_you_mean(name, names) or f"There are: {', '.join(names)}."
    return NotFoundError(f"There is no instance type {name!r}.", hint=hint)
