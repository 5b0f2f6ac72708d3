"""Hugging Face transformers: ``Trainer(..., callbacks=[HeadwayCallback(run)])``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headway.tracking.integrations.adapters import Adapter
from headway.tracking.integrations.guard import guarded, numbers, recorded
from headway.tracking.integrations.sources import RunSource
from headway.tracking.run import TrackedRun

_STAGES = {"eval_": "val", "test_": "test"}
"""The Trainer's prefixes. What it evaluates while it trains is the validation; ``predict`` makes the test."""


class HeadwayCallback(Adapter):
    """Records what the Trainer logs: stage ``train``, ``val`` for ``eval_…`` and ``test`` for ``test_…`` (without the
    prefix), at the global step, with the Trainer's fractional epoch; and in the run's config ``training`` (the
    TrainingArguments, tokens masked) and ``model`` (its configuration). Only the world's first process records.

    Args:
        run: The run to write to. Without one, a run is begun when training begins; it ends with the program, or by
            ``callback.run.finish()``.
        options: What :func:`headway.init` takes, for that run.
    """

    @classmethod
    def framework_bases(cls) -> tuple[type, ...]:
        import transformers

        return (transformers.TrainerCallback,)

    def __init__(self, run: TrackedRun | None = None, **options: Any) -> None:
        super().__init__()
        self._source = RunSource(run, options)

    @property
    def run(self) -> TrackedRun:
        return self._source.run

    @guarded
    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_more: Any) -> None:
        if not state.is_world_process_zero:
            return
        found = {"training": recorded(args.to_dict())}
        configuration = getattr(model, "config", None)
        if configuration is not None:
            found["model"] = recorded(configuration.to_dict())
        self.run.config.update(found)

    @guarded
    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_more: Any) -> None:
        if not state.is_world_process_zero:
            return
        for stage, metrics in split_logs(logs).items():
            self.run.log(metrics, step=state.global_step, stage=stage, epoch=state.epoch)


def split_logs(logs: Mapping[str, Any] | None) -> dict[str, dict[str, int | float]]:
    """The Trainer's logs by stage. ``train_loss`` and other totals of the training keep their names beside ``loss``.

    >>> split_logs({"loss": 0.5, "epoch": 0.1}), split_logs({"eval_loss": 0.7, "train_loss": 0.6})
    ({'train': {'loss': 0.5}}, {'val': {'loss': 0.7}, 'train': {'train_loss': 0.6}})
    """
    found: dict[str, dict[str, int | float]] = {}
    for name, value in numbers(logs).items():
        if name == "epoch":
            continue
        prefix = next((prefix for prefix in _STAGES if name.startswith(prefix) and name != prefix), "")
        found.setdefault(_STAGES.get(prefix, "train"), {})[name[len(prefix) :]] = value
    return found
