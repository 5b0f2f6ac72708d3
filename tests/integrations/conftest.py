"""Runs that remember what they were told, and one that fails whatever it is told."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")


@dataclass
class Row:
    metrics: dict[str, Any]
    step: int | None
    stage: str | None
    epoch: float | None


@dataclass
class RememberingRun:
    """Has the methods of a run that callbacks use, with the real one's signatures."""

    rows: list[Row] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)

    def log(
        self,
        metrics: Mapping[str, Any] | None = None,
        step: int | None = None,
        *,
        type: str | None = None,
        stage: str | None = None,
        epoch: float | None = None,
    ) -> None:
        assert type is None or stage is None
        self.rows.append(Row(dict(metrics or {}), step, type or stage, epoch))

    def of(self, stage: str) -> list[Row]:
        return [row for row in self.rows if row.stage == stage]


class BrokenRun:
    """Every use of it fails."""

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError(f"the disk is on fire ({name})")


@pytest.fixture
def remembering() -> RememberingRun:
    return RememberingRun()


@pytest.fixture
def tracked(tmp_path: Path) -> Iterator[Any]:
    """A real run, kept here and sent nowhere."""
    import headway

    with headway.init(
        project="digits", mode="offline", dir=tmp_path / "here", capture=False, console=False, system=False
    ) as run:
        yield run


@pytest.fixture
def broken() -> BrokenRun:
    return BrokenRun()
