"""Artifacts and their versions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from headway.domain.artifacts import Artifact, ArtifactEntry, ArtifactVersion
from headway.domain.base import Page, PageRequest, did_you_mean
from headway.domain.users import Permission
from headway.errors import InvalidRequestError, NotFoundError
from headway.server.actions import manifests
from headway.server.actions.lookup import find_project
from headway.server.actions.paging import every
from headway.server.actions.recording import record
from headway.server.context import Caller, Platform
from headway.storage.base import Session

LATEST = "latest"
_NUMBER = re.compile(r"v([1-9][0-9]{0,8})")


def check_alias(alias: str) -> None:
    """InvalidRequestError for a word that means a version already."""
    if alias == LATEST or _NUMBER.fullmatch(alias):
        raise InvalidRequestError(f"{alias!r} cannot be an alias: it names a version by itself.")


def list_artifacts(
    platform: Platform,
    caller: Caller,
    page: PageRequest,
    *,
    project: str | None = None,
    folder: str | None = None,
    name: str | None = None,
    type: str | None = None,
) -> Page[Artifact]:
    with platform.storage.read() as session:
        ids = caller.visible if project is None else {find_project(session, caller, project).id}
        return session.artifacts.list(page, project_ids=ids, folder=folder, name=name, type=type)


def get(platform: Platform, caller: Caller, reference: str, project: str | None) -> Artifact:
    with platform.storage.read() as session:
        return find_artifact(session, caller, reference, project)


def find_artifact(
    session: Session, caller: Caller, reference: str, project: str | None, right: Permission = Permission.READ
) -> Artifact:
    """By id, or by name in ``project``: ``name``, or ``folder/name`` where several folders have it."""
    artifact = session.artifacts.find(reference)
    if artifact is None and project is not None:
        artifact = _named(session, find_project(session, caller, project).id, reference)
    if artifact is None or not caller.may(Permission.READ, artifact.project_id):
        hint = "List them with `headway artifact ls`." if project else "Name the project too, or use an id."
        raise NotFoundError(f"There is no artifact {reference!r}.", hint=hint)
    caller.require(right, artifact.project_id)
    return artifact


def _named(session: Session, project_id: str, name: str) -> Artifact:
    folder, slash, plain = name.rpartition("/")
    found: Sequence[Artifact] = session.artifacts.named(project_id, plain)
    chosen = [artifact for artifact in found if artifact.folder == folder.strip("/")]
    if not chosen and not slash:
        if len(found) > 1:
            places = ", ".join(repr(f"{artifact.folder}/{artifact.name}") for artifact in found[:5])
            raise InvalidRequestError(f"Several folders have an artifact {name!r}: {places}.", hint="Name the folder.")
        chosen = list(found)
    if chosen:
        return session.artifacts.get(chosen[0].id)
    names = {artifact.name for artifact in every(session.artifacts.list, project_ids=[project_id])}
    hint = _with_colon(name, names) or did_you_mean(plain, names) or "List them with `headway artifact ls`."
    raise NotFoundError(f"There is no artifact {name!r} in this project.", hint=hint)


def _with_colon(reference: str, names: set[str]) -> str | None:
    """What to write for ``name@version``, which other registries have."""
    name, sign, which = reference.rpartition("@")
    if not sign or not which or name.rpartition("/")[2] not in names:
        return None
    return f"A version or alias comes after a colon: {f'{name}:{which}'!r}."


def list_versions(
    platform: Platform,
    caller: Caller,
    page: PageRequest,
    *,
    project: str | None = None,
    artifact: str | None = None,
    run: str | None = None,
) -> Page[ArtifactVersion]:
    with platform.storage.read() as session:
        ids = caller.visible if project is None else {find_project(session, caller, project).id}
        artifact_id = None if artifact is None else find_artifact(session, caller, artifact, project).id
        return session.artifact_versions.list(page, project_ids=ids, artifact_id=artifact_id, run_id=run)


def get_version(platform: Platform, caller: Caller, version_id: str) -> ArtifactVersion:
    with platform.storage.read() as session:
        return find_version(session, caller, version_id)


def find_version(
    session: Session, caller: Caller, version_id: str, right: Permission = Permission.READ
) -> ArtifactVersion:
    version = session.artifact_versions.find(version_id)
    if version is None or not caller.may(Permission.READ, version.project_id):
        raise NotFoundError(
            f"There is no artifact version {version_id!r}.", hint="List them with `headway artifact ls`."
        )
    caller.require(right, version.project_id)
    return version


def resolve(platform: Platform, caller: Caller, reference: str, project: str) -> ArtifactVersion:
    with platform.storage.read() as session:
        return resolve_version(session, caller, reference, find_project(session, caller, project).id)


def resolve_version(session: Session, caller: Caller, reference: str, project_id: str) -> ArtifactVersion:
    """The version that a reference means: a version's id, ``name``, ``name:v3``, ``name:latest`` or ``name:alias``, each
    with ``artifact:`` and a folder before it or not."""
    found = session.artifact_versions.find(reference)
    if found is not None and caller.may(Permission.READ, found.project_id):
        return found
    return named_version(session, reference, project_id)


def is_exact(reference: str) -> bool:
    """Whether a reference names a version by its number, and so always the same one."""
    return _NUMBER.fullmatch(reference.rpartition(":")[2]) is not None and ":" in reference


def named_version(session: Session, reference: str, project_id: str) -> ArtifactVersion:
    """As :func:`resolve_version`, without ids."""
    name, colon, which = reference.removeprefix("artifact:").rpartition(":")
    name, which = (name, which) if colon else (which, LATEST)
    artifact = _named(session, project_id, name)
    if which == LATEST:
        return newest(session, artifact)
    number = _NUMBER.fullmatch(which)
    if number is None and which not in artifact.aliases:
        hint = did_you_mean(which, artifact.aliases) or f"Its newest version is v{artifact.latest_version}."
        raise NotFoundError(f"The artifact {name!r} has no alias {which!r}.", hint=hint)
    wanted = int(number[1]) if number else artifact.aliases[which]
    version = session.artifact_versions.by_number(artifact.id, wanted)
    if version is None:
        raise NotFoundError(
            f"The artifact {name!r} has no version {wanted}.", hint=f"Its newest is v{artifact.latest_version}."
        )
    return version


def newest(session: Session, artifact: Artifact) -> ArtifactVersion:
    """The last version that was made and not deleted."""
    found = session.artifact_versions.by_number(artifact.id, artifact.latest_version)
    if found is not None:
        return found
    left = list(every(session.artifact_versions.list, artifact_id=artifact.id))
    if not left:
        raise NotFoundError(f"The artifact {artifact.name!r} has no version.")
    return max(left, key=lambda version: version.version)


def list_entries(
    platform: Platform, caller: Caller, version_id: str, cursor: str | None, limit: int
) -> Page[ArtifactEntry]:
    version = get_version(platform, caller, version_id)
    if cursor is not None and not re.fullmatch(r"[0-9]{1,18}", cursor):
        raise InvalidRequestError(f"The cursor {cursor!r} was not given out by this server.")
    items, following = manifests.page(platform, version.manifest, int(cursor or 0), limit)
    return Page(items=tuple(items), next_cursor=None if following is None else str(following))


def find_file(platform: Platform, caller: Caller, version_id: str, path: str) -> ArtifactEntry:
    version = get_version(platform, caller, version_id)
    entry = manifests.find_entry(platform, version.manifest, path)
    if entry.digest is None:
        raise InvalidRequestError(
            f"{path!r} of {version.uri} is a reference to {entry.uri!r}; its bytes are not kept here.",
        )
    return entry


def set_alias(
    platform: Platform, caller: Caller, reference: str, project: str | None, alias: str, number: int
) -> Artifact:
    """Let ``alias`` name version ``number``, and no other any more."""
    check_alias(alias)
    with platform.storage.write() as session:
        artifact = find_artifact(session, caller, reference, project, Permission.WRITE)
        if session.artifact_versions.by_number(artifact.id, number) is None:
            raise NotFoundError(f"The artifact {artifact.name!r} has no version {number}.")
        artifact = artifact.evolve(aliases={**artifact.aliases, alias: number})
        session.artifacts.put(artifact)
        _tell(session, caller, "artifact.alias_set", artifact, alias=alias, version=number)
        return artifact


def delete_alias(platform: Platform, caller: Caller, reference: str, project: str | None, alias: str) -> None:
    with platform.storage.write() as session:
        artifact = find_artifact(session, caller, reference, project, Permission.WRITE)
        if alias not in artifact.aliases:
            raise NotFoundError(f"The artifact {artifact.name!r} has no alias {alias!r}.")
        aliases = {name: number for name, number in artifact.aliases.items() if name != alias}
        session.artifacts.put(artifact.evolve(aliases=aliases))
        _tell(session, caller, "artifact.alias_deleted", artifact, alias=alias)


def delete(platform: Platform, caller: Caller, reference: str, project: str | None) -> None:
    """Remove an artifact with all its versions; garbage collection gives back the space."""
    with platform.storage.write() as session:
        artifact = find_artifact(session, caller, reference, project, Permission.WRITE)
        erase(session, artifact)
        _tell(session, caller, "artifact.deleted", artifact)


def delete_version(platform: Platform, caller: Caller, version_id: str) -> None:
    """Remove one version. Its number is not given again."""
    with platform.storage.write() as session:
        version = find_version(session, caller, version_id, Permission.WRITE)
        session.artifact_versions.delete(version.id)
        artifact = session.artifacts.get(version.artifact_id)
        aliases = {name: number for name, number in artifact.aliases.items() if number != version.version}
        session.artifacts.put(artifact.evolve(aliases=aliases))
        _tell(session, caller, "artifact.version_deleted", artifact, version=version.version)


def erase_project(session: Session, project_id: str) -> None:
    """Forget everything of a project that is going to be deleted; garbage collection gives back the space."""
    for artifact in list(every(session.artifacts.list, project_ids=[project_id])):
        erase(session, artifact)
    session.blobs.delete_project(project_id)


def erase(session: Session, artifact: Artifact) -> None:
    """Remove an artifact and its versions."""
    for version in list(every(session.artifact_versions.list, artifact_id=artifact.id)):
        session.artifact_versions.delete(version.id)
    session.artifacts.delete(artifact.id)


def _tell(session: Session, caller: Caller, type: str, artifact: Artifact, **data: Any) -> None:
    record(session, type, artifact.id, project_id=artifact.project_id, actor=caller.user.id, name=artifact.name, **data)
