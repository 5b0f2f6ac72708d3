"""Catalogues: what can be chosen by name or by number when something is trained or deployed."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from pydantic import Field, model_validator
from typing_extensions import Self

from headway.domain.algorithms import ALGORITHMS, find_algorithm
from headway.domain.base import Description, Record, Request, Slug
from headway.domain.runtimes import SERVED_RUNTIMES
from headway.errors import HeadwayError


class CatalogueKind(str, Enum):
    """Which catalogue. Numbers and names are unique in each."""

    TRAIN_MACHINE = "train-machine"
    DEVELOPMENT_MACHINE = "development-machine"
    PREDICT_MACHINE = "predict-machine"
    TRAIN_FRAMEWORK = "train-framework"
    DEVELOPMENT_FRAMEWORK = "development-framework"
    PREDICT_FRAMEWORK = "predict-framework"
    PRESET_ALGORITHM = "preset-algorithm"
    PRESET_MODEL = "preset-model"
    """What a preset algorithm trained; the two share a name."""

    @property
    def is_machine(self) -> bool:
        return self.value.endswith("-machine")


class _Choice(Request):
    """What an entry stands for: a machine for an instance type, a preset for an algorithm."""

    name: Slug
    description: Description = ""
    hidden: bool = False
    """Whether only admins see it; what was made with it goes on."""
    instance_type: Slug | None = None
    """Machines: what it means."""
    image: str | None = Field(default=None, max_length=1024)
    """Frameworks: the image that containers use."""
    command: tuple[str, ...] = Field(default=(), max_length=64)
    """Frameworks for training: what runs a program's file, as ``python -u``."""
    runtime: str | None = None
    """Frameworks and presets for prediction: what serves the files; None leaves it to them."""
    algorithm: str | None = None
    """Presets: which algorithm (:data:`headway.domain.algorithms.ALGORITHMS`)."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.runtime is not None and self.runtime not in SERVED_RUNTIMES:
            raise ValueError(f"{self.runtime!r} is no runtime; there are {', '.join(sorted(SERVED_RUNTIMES))}")
        if self.algorithm is not None:
            try:
                find_algorithm(self.algorithm)
            except HeadwayError as error:
                raise ValueError(str(error)) from None
        return self


class CatalogueEntrySet(_Choice):
    """Add or replace an entry."""


class CatalogueEntryUpdate(Request):
    """Hide or show an entry."""

    hidden: bool


class CatalogueEntry(Record):
    """One choice of one catalogue; see :class:`CatalogueEntrySet` for its fields."""

    kind: CatalogueKind
    id: int = Field(ge=1, lt=1 << 53)
    name: str
    description: str = ""
    hidden: bool = False
    instance_type: str | None = None
    image: str | None = None
    command: tuple[str, ...] = ()
    runtime: str | None = None
    algorithm: str | None = None


_MACHINES = (
    (CatalogueKind.TRAIN_MACHINE, (500050, 500550, 500051, 500052, 500053)),
    (CatalogueKind.DEVELOPMENT_MACHINE, (500250, 500251, 500252, 500253, 500254)),
    (CatalogueKind.PREDICT_MACHINE, (500151, 500152, 500153, 500154, 500155)),
)
_FRAMEWORKS = ("sklearn", "pytorch", "tensorflow", "keras", "xgboost", "lightgbm", "python")
_RUNTIMES = {"pytorch": "torch"}


def default_entries(instance_types: Sequence[str]) -> tuple[CatalogueEntry, ...]:
    """The first catalogues.

    The numbers are those of the examples of the ModelMaker SDK, so that they mean something on a fresh server.

    Args:
        instance_types: Names, the default one first.
    """
    found: list[CatalogueEntry] = []
    for kind, numbers in _MACHINES:
        # Examples name two machines for training, and there may be one size only.
        names = [*instance_types, *instance_types[:1]] if len(instance_types) == 1 else [*instance_types]
        for position, (number, instance_type) in enumerate(zip(numbers, names)):  # noqa: B905  # as many as there are
            name = instance_type if position == names.index(instance_type) else f"{instance_type}-{position}"
            found.append(CatalogueEntry(kind=kind, id=number, name=name, instance_type=instance_type))
    for position, framework in enumerate(_FRAMEWORKS):
        run = ("python", "-u")
        found.append(
            CatalogueEntry(kind=CatalogueKind.TRAIN_FRAMEWORK, id=500100 + position, name=framework, command=run)
        )
        found.append(
            CatalogueEntry(kind=CatalogueKind.DEVELOPMENT_FRAMEWORK, id=500120 + position, name=framework, command=run)
        )
        runtime = _RUNTIMES.get(framework, framework)
        found.append(
            CatalogueEntry(kind=CatalogueKind.PREDICT_FRAMEWORK, id=500150 + position, name=framework, runtime=runtime)
        )
    for position, spec in enumerate(ALGORITHMS):
        for kind in (CatalogueKind.PRESET_ALGORITHM, CatalogueKind.PRESET_MODEL):
            found.append(
                CatalogueEntry(
                    kind=kind,
                    id=500000 + position,
                    name=spec.name,
                    description=spec.description,
                    algorithm=spec.name,
                    runtime="sklearn" if kind is CatalogueKind.PRESET_MODEL else None,
                )
            )
    return tuple(found)
