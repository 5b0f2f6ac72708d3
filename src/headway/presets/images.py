"""Small pictures: a network of fully connected layers."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier

from headway.errors import InvalidRequestError
from headway.presets.context import Context
from headway.presets.datasets import Dataset, read_dataset, split
from headway.presets.saving import save_images
from headway.presets.tabular import check_classes, scores


def mlp_image_classifier(context: Context) -> None:
    """Train the network; metrics of each epoch: loss of the training data, accuracy and log_loss of the validation data."""
    p = context.parameters
    train, validation = _read(context)
    check_classes(train)
    scale = float(np.abs(train.features).max()) or 1.0
    shape = tuple(train.features.shape[1:])
    classes = np.unique(np.asarray(train.target))
    model = MLPClassifier(
        hidden_layer_sizes=_widths(p["hidden_layers"]),
        learning_rate_init=p["learning_rate"],
        batch_size=min(p["batch_size"], len(train)),
        alpha=p["alpha"],
        random_state=p["seed"],
    )
    pixels = _pixels(train, scale)
    chance = np.random.default_rng(p["seed"])
    for epoch in range(1, p["epochs"] + 1):
        order = chance.permutation(len(pixels))
        model.partial_fit(pixels[order], train.target[order], classes=classes)  # type: ignore[index]
        context.report(
            {"loss": log_loss(train.target, model.predict_proba(pixels), labels=classes)}, step=epoch, stage="train"
        )
        if validation is not None:
            found = scores(validation.target, model.predict_proba(_pixels(validation, scale)), classes)
            context.report(found, step=epoch, stage="validation")
    save_images(context, model, shape, scale, train.features[:2])


def _read(context: Context) -> tuple[Dataset, Dataset | None]:
    p = context.parameters
    data = _pictures(read_dataset(context.train, target=p["target"], supervised=True))
    if context.validation is None:
        return split(data, p["validation_share"], p["seed"], stratified=True)
    other = _pictures(read_dataset(context.validation, target=p["target"], supervised=True))
    if other.features.shape[1:] != data.features.shape[1:]:
        raise InvalidRequestError(
            f"Pictures for validation are {other.features.shape[1:]} and those for training {data.features.shape[1:]}."
        )
    return data, other


def _pictures(data: Dataset) -> Dataset:
    """As arrays of numbers; a table's row is a picture of so many pixels."""
    features = data.features
    try:
        pixels = np.asarray(features.to_numpy() if data.is_table else features, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidRequestError("The pictures hold something else than numbers.") from None
    if not np.isfinite(pixels).all():
        raise InvalidRequestError("The pictures hold NaN or infinite pixels.")
    return Dataset(pixels, data.target)


def _pixels(data: Dataset, scale: float) -> Any:
    return data.features.reshape(len(data), -1) / scale


def _widths(text: str) -> tuple[int, ...]:
    try:
        widths = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        widths = ()
    if not widths or not all(1 <= width <= 65_536 for width in widths) or len(widths) > 64:
        raise InvalidRequestError(f"hidden_layers: {text!r} is no list of widths.", hint="Write 128 or 128,64.")
    return widths
