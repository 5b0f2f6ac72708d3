"""Lightning: ``Trainer(logger=HeadwayLogger(project="digits"))``, or ``Trainer(callbacks=[HeadwayCallback(run)])``.

Both are taken by ``lightning`` and by ``pytorch_lightning``: an object belongs to whichever the program has imported
when it is made (to both, where it has imported both). Only rank zero records.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any

from headway.domain.metrics import normal_stage
from headway.tracking.integrations.adapters import Adapter
from headway.tracking.integrations.guard import Tracked, guarded, numbers, recorded
from headway.tracking.integrations.sources import RunSource
from headway.tracking.run import TrackedRun

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")


def _bases(module: str, name: str) -> tuple[type, ...]:
    """``name`` of each of the two packages that is in use; of the first one installed while none is."""
    used = [package for package in _PACKAGES if package in sys.modules] or _PACKAGES[:1]
    try:
        return tuple(getattr(importlib.import_module(f"{package}.{module}"), name) for package in used)
    except ModuleNotFoundError:
        if used != _PACKAGES[:1]:
            raise
        return (getattr(importlib.import_module(f"{_PACKAGES[1]}.{module}"), name),)


class HeadwayLogger(Adapter):
    """What ``self.log`` and ``log_hyperparams`` of a LightningModule are given, under the names they were given.

    The step is Lightning's global step (or the metric ``step`` that was logged), the epoch Lightning's, counted from 0.

    Args:
        run: The run to write to. Without one, a run is begun when it is first needed, on rank zero; it ends with the
            program, or by ``logger.experiment.finish()``.
        options: What :func:`headway.init` takes, for that run.
    """

    @classmethod
    def framework_bases(cls) -> tuple[type, ...]:
        return _bases("loggers.logger", "Logger")

    def __init__(self, run: TrackedRun | None = None, **options: Any) -> None:
        super().__init__()
        self._source = RunSource(run, options)

    @property
    def experiment(self) -> Any:
        """The run; on other ranks something that takes every call and does nothing."""
        return self._source.run if is_rank_zero() else _Silence()

    @property
    def name(self) -> str | None:
        return self._source.run.project if self._source.begun or is_rank_zero() else None

    @property
    def version(self) -> str | None:
        return self._source.run.id if self._source.begun or is_rank_zero() else None

    @guarded
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        if not is_rank_zero():
            return
        row = numbers(metrics)
        epoch = row.pop("epoch", None)
        if row:
            self._source.run.log(row, step=step, epoch=epoch)

    @guarded
    def log_hyperparams(self, params: Any, *_more: Any, **_options: Any) -> None:
        if is_rank_zero():
            self._source.run.config.update(_hyperparameters(params))


class HeadwayCallback(Adapter):
    """Records one row at the end of every training epoch, validation and test, of what ``self.log`` was given.

    The stage is ``train``, ``val`` or ``test``; a name that begins with it (``val_loss``, ``val/loss``) is recorded
    without. The step is Lightning's global step, the epoch Lightning's, counted from 0.

    Args:
        run: What records.
    """

    @classmethod
    def framework_bases(cls) -> tuple[type, ...]:
        return _bases("callbacks.callback", "Callback")

    def __init__(self, run: Tracked) -> None:
        super().__init__()
        self.run = run
        # Lightning shows the metrics of all loops as one mapping. Whose a metric is, is told by when its tensor is another
        # one than before: between the beginning and the end of a validation only the validation's are.
        self._at_epoch: dict[str, Any] = {}
        self._at_evaluation: dict[str, Any] = {}
        self._evaluated: set[str] = set()
        """What was computed by validations in this epoch."""
        self._held: dict[str, Any] = {}
        """What the training had computed in this epoch when a validation began."""

    @guarded
    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        parameters = getattr(pl_module, "hparams", None)
        if parameters and trainer.is_global_zero:
            self.run.config.update(_hyperparameters(parameters))

    @guarded
    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._at_epoch = dict(trainer.callback_metrics)
        self._evaluated, self._held = set(), {}

    @guarded
    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        found = _changed(self._at_epoch, trainer.callback_metrics)
        own = {name: self._held.get(name, value) for name, value in found.items() if self._is_trained(name)}
        self._record(trainer, "train", own)

    @guarded
    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self._at_evaluation = dict(trainer.callback_metrics)
        found = _changed(self._at_epoch, self._at_evaluation)
        self._held.update({name: value for name, value in found.items() if name not in self._evaluated})

    @guarded
    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        found = _changed(self._at_evaluation, trainer.callback_metrics)
        self._evaluated.update(found)
        self._held = {name: value for name, value in self._held.items() if name in self._evaluated}
        self._record(trainer, "val", found)

    @guarded
    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        self._at_evaluation = dict(trainer.callback_metrics)

    @guarded
    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        self._record(trainer, "test", _changed(self._at_evaluation, trainer.callback_metrics))

    def _is_trained(self, name: str) -> bool:
        return name not in self._evaluated or name in self._held

    def _record(self, trainer: Any, stage: str, values: Mapping[str, Any]) -> None:
        metrics = numbers({plain_metric(name, stage): value for name, value in values.items()})
        if metrics and trainer.is_global_zero and not trainer.sanity_checking:
            self.run.log(metrics=metrics, type=stage, step=trainer.global_step, epoch=trainer.current_epoch)


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in after.items() if before.get(name) is not value}


def plain_metric(name: str, stage: str) -> str:
    """``name`` without a word for ``stage`` and ``_`` or ``/`` before it.

    >>> plain_metric("val_loss", "val"), plain_metric("validation/loss", "val"), plain_metric("train_loss", "val")
    ('loss', 'loss', 'train_loss')
    """
    for separator in "/_":
        word, found, rest = name.partition(separator)
        if found and rest and normal_stage(word) == stage:
            return rest
    return name


def is_rank_zero() -> bool:
    """Whether this process is the one of Lightning's that speaks for all."""
    from lightning_utilities.core.rank_zero import rank_zero_only

    return not getattr(rank_zero_only, "rank", 0)


def _hyperparameters(parameters: Any) -> dict[str, Any]:
    values = parameters if isinstance(parameters, Mapping) else vars(parameters)
    found = recorded(values)
    return found if isinstance(found, dict) else {}


class _Silence:
    """Takes every call."""

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *_values: Any, **_options: Any) -> Any:
        return self

    def __getitem__(self, key: Any) -> Any:
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        return
