"""Keras: ``model.fit(..., callbacks=[FitCallback(run)])`` and ``model.evaluate(..., callbacks=[EvaluateCallback(run)])``.

Keras 3 on any backend, and Keras 2. Either callback is also taken without a list around it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headway.tracking.integrations.adapters import Adapter
from headway.tracking.integrations.guard import Tracked, guarded, numbers, recorded

_VALIDATION = "val_"


class _KerasCallback(Adapter):
    model: Any  # Keras sets it

    async_safe = True
    """Tells Keras that its batch hooks may come from any thread, so that it need not wait for them."""

    @classmethod
    def framework_bases(cls) -> tuple[type, ...]:
        import keras

        return (keras.callbacks.Callback,)

    def __init__(self, run: Tracked) -> None:
        super().__init__()
        self.run = run

    def _step(self) -> int:
        """How many steps the optimizer has made. Not to be asked within an epoch: with JAX the answer is elsewhere then."""
        return int(_host(self.model.optimizer.iterations))


class FitCallback(_KerasCallback):
    """Records a ``fit``.

    * when it begins, ``optimizer`` (its configuration) and ``lossType`` in the run's config;
    * after every epoch one row of stage ``train`` and, where there was a validation, one of stage ``val`` (without
      Keras' prefix ``val_``), at the optimizer's iteration, with the epoch counted from 1;
    * when it ends, ``metricTypes``: the names of the metrics besides the loss.

    A loop of your own that calls the hooks and never begins an epoch is recorded batch by batch.

    Args:
        run: What records.
    """

    def __init__(self, run: Tracked) -> None:
        super().__init__(run)
        self._in_epoch = False
        self._steps: dict[int, int] = {}

    @guarded
    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._in_epoch = False
        self._steps.clear()
        found = {"optimizer": _optimizer(self.model), "lossType": loss_type(getattr(self.model, "loss", None))}
        self.run.config.update({key: value for key, value in found.items() if value is not None})

    @guarded
    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._in_epoch = True

    @guarded
    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        train, validation = split_logs(logs)
        step = self._step()
        for stage, metrics in (("train", train), ("val", validation)):
            if metrics:
                self.run.log(metrics=metrics, type=stage, step=step, epoch=epoch + 1)

    @guarded
    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if not self._in_epoch:  # Keras calls the end of a batch later and in another thread, the beginning never
            self._steps[batch] = self._step() + 1

    @guarded
    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self._in_epoch:
            return
        step = self._steps.pop(batch, None)
        if metrics := numbers(logs):
            self.run.log(metrics=metrics, type="train", step=self._step() if step is None else step)

    @guarded
    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        self._in_epoch = False
        self.run.config.update({"metricTypes": metric_types(self.model)})


class EvaluateCallback(_KerasCallback):
    """Records the end of an ``evaluate``: one row of stage ``test`` at the optimizer's iteration, without an epoch.

    Args:
        run: What records.
    """

    @guarded
    def on_test_end(self, logs: Mapping[str, Any] | None = None) -> None:
        if metrics := numbers(logs):
            self.run.log(metrics=metrics, type="test", step=self._step())


def split_logs(logs: Mapping[str, Any] | None) -> tuple[dict[str, int | float], dict[str, int | float]]:
    """Keras' logs of an epoch as metrics of the training and metrics of the validation.

    >>> split_logs({"loss": 1.0, "accuracy": 0.5, "val_loss": 2.0})
    ({'loss': 1.0, 'accuracy': 0.5}, {'loss': 2.0})
    """
    found = numbers(logs)
    train = {name: value for name, value in found.items() if not name.startswith(_VALIDATION)}
    validation = {name[len(_VALIDATION) :]: value for name, value in found.items() if name not in train}
    return train, validation


def loss_type(loss: Any) -> Any:
    """What is recorded of ``model.loss``: a text as it is, a loss or function by its name, several each by itself.

    >>> loss_type("mse"), loss_type({"a": "mse", "b": None}), loss_type(None)
    ('mse', {'a': 'mse', 'b': None}, None)
    """
    if loss is None or isinstance(loss, str):
        return loss
    if isinstance(loss, Mapping):
        return {str(output): loss_type(item) for output, item in loss.items()}
    if isinstance(loss, Sequence):
        return [loss_type(item) for item in loss]
    name = getattr(loss, "name", None) or getattr(loss, "__name__", None)
    return str(name or type(loss).__name__)


def metric_types(model: Any) -> list[str]:
    """The names of a compiled model's metrics besides ``loss``, as they stand in the logs.

    Keras 3 answers ``compile_metrics`` for all of them in ``metrics_names``, so its results are asked for.
    """
    results = getattr(model, "get_metrics_result", None)
    names = list(results()) if results is not None else list(model.metrics_names)
    return [str(name) for name in names if name != "loss"]


@guarded
def _optimizer(model: Any) -> Any:
    return recorded(model.optimizer.get_config())


def _host(variable: Any) -> Any:
    """A variable of any backend as something that ``int`` takes. Keras 2 has a method where Keras 3 has a property."""
    value = getattr(variable, "value", variable)
    return value() if callable(value) else value
