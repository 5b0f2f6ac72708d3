"""Algorithms over tables and matrices of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    root_mean_squared_error,
    silhouette_score,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from headway.errors import InvalidRequestError
from headway.presets.context import Context
from headway.presets.datasets import Dataset, read_dataset, split
from headway.presets.saving import save

SILHOUETTE_ROWS = 2000
"""At most so many rows are compared with each other: the time grows with their square."""


def logistic_regression(context: Context) -> None:
    """Train a logistic regression; metrics: accuracy, f1 (macro), log_loss."""
    p = context.parameters
    _classify(context, LogisticRegression(C=p["C"], max_iter=p["max_iter"], random_state=p["seed"]))


def gradient_boosting(context: Context) -> None:
    """Train gradient boosting; metrics: the training loss of each tree, then accuracy, f1 (macro), log_loss."""
    p = context.parameters
    model = GradientBoostingClassifier(
        n_estimators=p["n_estimators"],
        learning_rate=p["learning_rate"],
        max_depth=p["max_depth"],
        subsample=p["subsample"],
        random_state=p["seed"],
    )
    fitted = _classify(context, model)
    for step, loss in enumerate(fitted.train_score_, start=1):
        context.report({"loss": loss}, step=step, stage="train")


def k_means(context: Context) -> None:
    """Find centres; metrics: inertia, silhouette."""
    p = context.parameters
    data = read_dataset(context.train, target=None, supervised=False)
    if p["n_clusters"] > len(data):
        raise InvalidRequestError(f"{p['n_clusters']} clusters are asked for, and there are {len(data)} rows.")
    model = KMeans(p["n_clusters"], max_iter=p["max_iter"], n_init=p["n_init"], random_state=p["seed"])
    pipeline = _pipeline(data, model)
    labels = pipeline.fit_predict(_features(data))
    metrics = {"inertia": float(model.inertia_), "iterations": float(model.n_iter_)}
    prepared = pipeline[:-1].transform(_features(data))
    if 1 < len(set(labels)) < len(labels):
        size = min(SILHOUETTE_ROWS, len(labels))
        metrics["silhouette"] = silhouette_score(prepared, labels, sample_size=size, random_state=p["seed"])
    context.report(metrics)
    save(context, pipeline, _features(data))


def linear_regression(context: Context) -> None:
    """Train a linear regression; metrics: r2, rmse, mae."""
    p = context.parameters
    train, validation = _read(context, stratified=False)
    target = _numbers(train)
    model = Ridge(p["alpha"], random_state=p["seed"]) if p["alpha"] else LinearRegression()
    pipeline = _pipeline(train, model).fit(_features(train), target)
    for stage, data in (("train", train), ("validation", validation)):
        if data is not None:
            truth, found = _numbers(data), pipeline.predict(_features(data))
            metrics = {"rmse": root_mean_squared_error(truth, found), "mae": mean_absolute_error(truth, found)}
            if len(truth) > 1:
                metrics["r2"] = r2_score(truth, found)
            context.report(metrics, stage=stage)
    save(context, pipeline, _features(train))


def _classify(context: Context, model: Any) -> Any:
    train, validation = _read(context, stratified=True)
    check_classes(train)
    pipeline = _pipeline(train, model).fit(_features(train), train.target)
    for stage, data in (("train", train), ("validation", validation)):
        if data is not None:
            context.report(scores(data.target, pipeline.predict_proba(_features(data)), model.classes_), stage=stage)
    save(context, pipeline, _features(train))
    return model


def check_classes(data: Dataset) -> None:
    """InvalidRequestError unless there are two classes at least, and not as many as examples."""
    assert data.target is not None
    count = len(np.unique(data.target))
    if count < 2:
        raise InvalidRequestError("The target has one value only; there is nothing to tell apart.")
    if data.target.dtype.kind == "f" and count > max(20, len(data) // 2):
        raise InvalidRequestError(
            f"The target has {count} different numbers among {len(data)} rows.", hint="Use linear-regression for them."
        )


def scores(truth: Any, probabilities: Any, classes: Any) -> dict[str, float]:
    """Accuracy, macro F1, and log loss where every class of the truth is known."""
    found = classes[probabilities.argmax(axis=1)]
    metrics = {"accuracy": float(accuracy_score(truth, found)), "f1": float(f1_score(truth, found, average="macro"))}
    if set(np.unique(truth)) <= set(classes):
        metrics["log_loss"] = float(log_loss(truth, probabilities, labels=classes))
    return metrics


def _read(context: Context, *, stratified: bool) -> tuple[Dataset, Dataset | None]:
    p = context.parameters
    data = read_dataset(context.train, target=p["target"], supervised=True)
    if context.validation is None:
        return split(data, p["validation_share"], p["seed"], stratified=stratified)
    return data, read_dataset(context.validation, target=p["target"], supervised=True)


def _features(data: Dataset) -> Any:
    if data.is_table or data.features.ndim == 2:
        return data.features
    return data.features.reshape(len(data), -1)


def _numbers(data: Dataset) -> Any:
    try:
        return np.asarray(data.target, dtype=float)
    except (TypeError, ValueError):
        raise InvalidRequestError(
            "The target holds texts; a regression needs numbers.", hint="Use a classifier for texts."
        ) from None


def _pipeline(data: Dataset, model: Any) -> Pipeline:
    """The model behind what makes numbers of its features: missing numbers become medians, texts a column a value."""
    numbers = Pipeline([("fill", SimpleImputer(strategy="median")), ("scale", StandardScaler())])
    if not data.is_table:
        return Pipeline([("numbers", numbers), ("model", model)])
    table: pd.DataFrame = data.features
    numeric = [name for name in table.columns if pd.api.types.is_numeric_dtype(table[name])]
    texts = [name for name in table.columns if name not in numeric]
    for name in texts:
        table[name] = table[name].astype(object).where(table[name].notna(), "").astype(str)
    steps: list[Any] = []
    if numeric:
        steps.append(("numbers", numbers, numeric))
    if texts:
        steps.append(("texts", OneHotEncoder(handle_unknown="ignore", sparse_output=False), texts))
    return Pipeline([("columns", ColumnTransformer(steps)), ("model", model)])
