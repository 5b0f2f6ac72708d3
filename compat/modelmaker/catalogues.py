"""Machines, frameworks and presets, as the dictionaries that ModelMaker answered."""

from __future__ import annotations

from typing import Any

from headway.domain.catalogue import CatalogueEntry, CatalogueKind
from modelmaker.exceptions import reported_as
from modelmaker.session import Session

LIST_KEYS = {
    CatalogueKind.TRAIN_MACHINE: "resources",
    CatalogueKind.DEVELOPMENT_MACHINE: "resources",
    CatalogueKind.PREDICT_MACHINE: "resources",
    CatalogueKind.TRAIN_FRAMEWORK: "frameWorks",
    CatalogueKind.DEVELOPMENT_FRAMEWORK: "frameWorks",
    CatalogueKind.PREDICT_FRAMEWORK: "frameWorks",
    CatalogueKind.PRESET_ALGORITHM: "presetAlgorithms",
    CatalogueKind.PRESET_MODEL: "presetModels",
}


def listed(session: Session, kind: CatalogueKind) -> dict[str, Any]:
    """One catalogue: ``{"resources": [{"id", "name", …}]}``, by :data:`LIST_KEYS`."""
    with reported_as():
        entries = session.client.catalogue.list(kind)
    return {LIST_KEYS[kind]: [_shown(entry) for entry in entries]}


def find(session: Session, kind: CatalogueKind, number: object, message: str) -> CatalogueEntry:
    """The entry of that number.

    Raises:
        ValueError: ``message``: there is none.
    """
    with reported_as():
        entries = session.client.catalogue.list(kind)
    for entry in entries:
        if entry.id == number:
            return entry
    raise ValueError(message)


def _shown(entry: CatalogueEntry) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": entry.id, "name": entry.name}
    if entry.description:
        shown["description"] = entry.description
    if entry.instance_type is not None:
        shown["instanceType"] = entry.instance_type
    return shown
