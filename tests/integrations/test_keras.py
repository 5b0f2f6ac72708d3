"""Keras on JAX: what fit and evaluate tell a run."""

from __future__ import annotations

import copy
import logging
import pickle
from typing import Any

import pytest

pytestmark = [
    pytest.mark.frameworks,
    # Keras' own, with NumPy 2.4, where it writes down an optimizer's learning rate.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]

from headway.tracking.integrations.keras import EvaluateCallback, FitCallback  # noqa: E402

SAMPLES, BATCH = 64, 16


@pytest.fixture(scope="module")
def data() -> tuple[Any, Any]:
    import numpy

    random = numpy.random.default_rng(0)
    x = random.random((SAMPLES, 4), dtype="float32")
    return x, (x.sum(axis=1) > 2).astype("int32")


@pytest.fixture
def model() -> Any:
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="softmax")])
    model.compile("adam", loss=keras.losses.SparseCategoricalCrossentropy(), metrics=["accuracy"])
    return model


@pytest.mark.parametrize("wrap", [lambda callback: callback, lambda callback: [callback]], ids=["bare", "list"])
def test_fit_logs_a_row_an_epoch_and_stage_at_the_optimizers_iteration(remembering, data, model, wrap) -> None:
    history = model.fit(
        *data, epochs=3, validation_split=0.25, batch_size=BATCH, verbose=0, callbacks=wrap(FitCallback(remembering))
    )
    steps = SAMPLES * 3 // 4 // BATCH
    for stage, prefix in (("train", ""), ("val", "val_")):
        rows = remembering.of(stage)
        assert [(row.step, row.epoch) for row in rows] == [(steps, 1), (2 * steps, 2), (3 * steps, 3)]
        for name in ("loss", "accuracy"):
            assert [row.metrics[name] for row in rows] == history.history[f"{prefix}{name}"]
        assert all(set(row.metrics) == {"loss", "accuracy"} for row in rows)
    assert len(remembering.rows) == 6


def test_fit_fills_in_the_hyperparameters(remembering, data, model) -> None:
    model.fit(*data, verbose=0, callbacks=FitCallback(remembering))
    assert remembering.config["optimizer"]["beta_1"] == 0.9
    assert remembering.config["optimizer"]["learning_rate"] == pytest.approx(0.001)
    assert remembering.config["lossType"] == "sparse_categorical_crossentropy"
    assert remembering.config["metricTypes"] == ["accuracy"]


def test_without_validation_there_is_no_row_of_it(remembering, data, model) -> None:
    model.fit(*data, verbose=0, callbacks=FitCallback(remembering))
    assert [row.stage for row in remembering.rows] == ["train"]


def test_validation_every_second_epoch_is_recorded_where_it_was(remembering, data, model) -> None:
    model.fit(*data, epochs=4, validation_data=data, validation_freq=2, verbose=0, callbacks=FitCallback(remembering))
    assert [row.epoch for row in remembering.of("train")] == [1, 2, 3, 4]
    assert [row.epoch for row in remembering.of("val")] == [2, 4]


def test_a_second_fit_goes_on_counting_iterations(remembering, data, model) -> None:
    callback = FitCallback(remembering)
    model.fit(*data, batch_size=BATCH, verbose=0, callbacks=callback)
    model.fit(*data, batch_size=BATCH, epochs=2, initial_epoch=1, verbose=0, callbacks=callback)
    assert [(row.step, row.epoch) for row in remembering.rows] == [(4, 1), (8, 2)]


@pytest.mark.parametrize("wrap", [lambda callback: callback, lambda callback: [callback]], ids=["bare", "list"])
def test_evaluate_logs_one_test_row_without_an_epoch(remembering, data, model, wrap) -> None:
    model.fit(*data, batch_size=BATCH, verbose=0)
    loss, accuracy = model.evaluate(*data, verbose=0, callbacks=wrap(EvaluateCallback(remembering)))
    (row,) = remembering.rows
    assert (row.stage, row.step, row.epoch) == ("test", 4, None)
    assert row.metrics == {"loss": pytest.approx(loss), "accuracy": pytest.approx(accuracy)}
    assert remembering.config == {}


def test_several_outputs_and_losses_have_names_of_their_own(remembering, data) -> None:
    import keras

    entry = keras.Input((4,))
    outputs = [keras.layers.Dense(1, name=name)(entry) for name in ("a", "b")]
    model = keras.Model(entry, outputs)
    model.compile("sgd", loss={"a": "mse", "b": keras.losses.MeanAbsoluteError()}, metrics={"a": ["mae"]})
    model.fit(data[0], [data[1], data[1]], verbose=0, callbacks=FitCallback(remembering))
    assert remembering.config["lossType"] == {"a": "mse", "b": "mean_absolute_error"}
    assert "a_mae" in remembering.config["metricTypes"]
    assert "compile_metrics" not in remembering.config["metricTypes"]
    assert "loss" not in remembering.config["metricTypes"]


def test_a_schedule_and_a_loss_of_ones_own_are_recorded(remembering, data) -> None:
    import keras

    def squared(actual: Any, predicted: Any) -> Any:
        return keras.ops.mean(keras.ops.square(predicted - keras.ops.cast(actual[:, None], "float32")))

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    model.compile(keras.optimizers.SGD(schedule), loss=squared)
    model.fit(*data, verbose=0, callbacks=FitCallback(remembering))
    assert remembering.config["lossType"] == "squared"
    assert remembering.config["optimizer"]["learning_rate"]["config"]["decay_steps"] == 10
    assert remembering.config["metricTypes"] == []


@pytest.mark.parametrize("wrap", [lambda callback: callback, lambda callback: [callback]], ids=["bare", "list"])
def test_a_loop_without_epochs_is_recorded_batch_by_batch(remembering, data, model, wrap) -> None:
    import keras

    callbacks = keras.callbacks.CallbackList(wrap(FitCallback(remembering)), model=model)
    callbacks.on_train_begin()
    losses = []
    for batch in range(3):
        callbacks.on_train_batch_begin(batch)
        logs = model.train_on_batch(*data, return_dict=True)
        losses.append(float(logs["loss"]))
        callbacks.on_train_batch_end(batch, logs)
    callbacks.on_train_end()
    found = {row.step: row.metrics["loss"] for row in remembering.of("train")}
    assert found == {1: losses[0], 2: losses[1], 3: losses[2]}


def test_training_goes_on_when_the_run_fails(broken, data, model, caplog) -> None:
    with caplog.at_level(logging.WARNING, "headway"):
        history = model.fit(*data, epochs=2, verbose=0, callbacks=FitCallback(broken))
        model.evaluate(*data, verbose=0, callbacks=EvaluateCallback(broken))
    assert len(history.history["loss"]) == 2
    assert "the disk is on fire" in caplog.text


def test_callbacks_are_those_of_keras_and_can_be_copied(remembering) -> None:
    import keras

    for made in (FitCallback(remembering), EvaluateCallback(remembering)):
        for callback in (made, copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
            assert isinstance(callback, keras.callbacks.Callback)
            assert type(callback).__name__ == type(made).__name__


def test_a_subclass_is_a_callback_too(remembering, data, model) -> None:
    class Marked(FitCallback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            super().on_epoch_end(epoch, {**(logs or {}), "marked": 1})

    model.fit(*data, verbose=0, callbacks=[Marked(remembering)])
    assert remembering.rows[0].metrics["marked"] == 1


def test_a_real_run_keeps_what_was_trained(tracked, data, model) -> None:
    from headway.tracking.local import find_local

    history = model.fit(*data, epochs=3, validation_split=0.25, verbose=0, callbacks=FitCallback(tracked))
    model.evaluate(*data, verbose=0, callbacks=EvaluateCallback(tracked))
    tracked.finish()
    run = find_local(str(tracked.directory))
    assert run.metrics("loss", "train").values == history.history["loss"]
    assert run.metrics("loss", "validation").values == history.history["val_loss"]
    assert run.metrics("loss", "train").epochs == [1.0, 2.0, 3.0]
    assert len(run.metrics("accuracy", "test").values) == 1
    assert run.config["metricTypes"] == ["accuracy"]
    assert run.health == {}
