"""How good a classifier is: confusion matrix, precision-recall and ROC curves, computed with NumPy alone.

Each is a :class:`headway.tracking.tables.Table` of the raw numbers whose entry says in ``details["view"]`` how to draw it.
The definitions are scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headway.errors import InvalidRequestError
from headway.tracking.arrays import as_array, numpy_for
from headway.tracking.tables import Table

POINTS = 1000
"""Points of a curve that are kept by default."""
MAX_CLASSES = 1000


class Plot(Table):
    """A table that is drawn as ``kind``."""

    def __init__(self, kind: str, columns: dict[str, list[Any]], told: dict[str, Any], caption: str | None) -> None:
        super().__init__(columns, caption=caption)
        self._view = {"kind": kind, **told}

    def details(self) -> dict[str, Any]:
        return {**super().details(), "view": self._view}


def confusion_matrix(
    y_true: Any, y_pred: Any, labels: Sequence[Any] | None = None, *, caption: str | None = None
) -> Plot:
    """How often each class was taken for each.

    A table of ``actual``, ``predicted`` and ``count`` with a row for every pair of classes; ``view`` has the ``labels``.

    Args:
        y_true: The true class of each sample: numbers, text or booleans.
        y_pred: The predicted class of each.
        labels: The classes, in their order; samples of others are left out. By default all that occur, sorted. Where
            classes are the numbers 0 to n - 1, ``labels`` may be their n names.
        caption: A line that is shown with it.

    >>> confusion_matrix([0, 1, 1], [0, 1, 0], labels=["cat", "dog"]).details()["view"]["labels"]
    ['cat', 'dog']
    """
    actual, predicted = _listed(y_true, "y_true"), _listed(y_pred, "y_pred")
    _check_lengths(len(actual), len(predicted), "y_pred")
    classes = _classes([*actual, *predicted], labels)
    names = list(labels) if labels is not None else classes
    counts: dict[tuple[Any, Any], int] = {}
    for pair in zip(actual, predicted, strict=True):
        counts[pair] = counts.get(pair, 0) + 1
    pairs = [(one, other) for one in range(len(classes)) for other in range(len(classes))]
    columns = {
        "actual": [names[one] for one, _ in pairs],
        "predicted": [names[other] for _, other in pairs],
        "count": [counts.get((classes[one], classes[other]), 0) for one, other in pairs],
    }
    return Plot("confusion_matrix", columns, {"labels": list(names)}, caption)


def pr_curve(
    y_true: Any,
    scores: Any,
    labels: Sequence[Any] | None = None,
    *,
    points: int | None = POINTS,
    caption: str | None = None,
) -> Plot:
    """Precision against recall over all thresholds, for each class against the rest.

    A table of ``class``, ``threshold``, ``recall`` and ``precision``; the last point of a class, at recall 0 and precision
    1, has no threshold. ``view`` has the ``average_precision`` of each class, from all points.

    Args:
        y_true: The true class of each sample.
        scores: How sure the model is: (samples,) for the second of two classes, or (samples, classes).
        labels: The classes, in the order of the columns of ``scores``, or their names where classes are 0 to n - 1.
        points: How many points to keep of a class, evenly chosen with both ends; None keeps all.
        caption: A line that is shown with it.
    """
    return _curve("pr_curve", y_true, scores, labels, points, caption)


def roc_curve(
    y_true: Any,
    scores: Any,
    labels: Sequence[Any] | None = None,
    *,
    points: int | None = POINTS,
    caption: str | None = None,
) -> Plot:
    """True against false positive rate over all thresholds, for each class against the rest.

    A table of ``class``, ``threshold``, ``false_positive_rate`` and ``true_positive_rate``; the first point of a class has
    an infinite threshold. ``view`` has the ``auc`` of each class, from all points. The arguments are those of
    :func:`pr_curve`.
    """
    return _curve("roc_curve", y_true, scores, labels, points, caption)


_COLUMNS = {"pr_curve": ("recall", "precision"), "roc_curve": ("false_positive_rate", "true_positive_rate")}
_SUMMARY = {"pr_curve": "average_precision", "roc_curve": "auc"}


def _curve(
    kind: str, y_true: Any, scores: Any, labels: Sequence[Any] | None, points: int | None, caption: str | None
) -> Plot:
    if points is not None and (isinstance(points, bool) or not isinstance(points, int) or points < 2):
        raise InvalidRequestError(f"A curve has 2 points or more, not {points!r}.")
    numpy = numpy_for("A curve")
    actual, columns = _listed(y_true, "y_true"), _scores(scores)
    _check_lengths(len(actual), len(columns), "scores")
    classes = _classes(actual, labels, columns.shape[1])
    names = list(labels) if labels is not None else classes
    x_name, y_name = _COLUMNS[kind]
    table: dict[str, list[Any]] = {"class": [], "threshold": [], x_name: [], y_name: []}
    summary: list[float | None] = []
    for place, name in enumerate(names):
        if columns.shape[1] == 1 and place == 0:
            continue  # of two classes with one column of scores, the scores are those of the second
        positive = numpy.fromiter((value == classes[place] for value in actual), bool, len(actual))
        column = columns[:, 0 if columns.shape[1] == 1 else place]
        thresholds, x, y, area = (_pr if kind == "pr_curve" else _roc)(positive, column)
        summary.append(area)
        kept = _evenly(len(x), points)
        table["class"] += [name] * len(kept)
        table["threshold"] += [thresholds[at] for at in kept]
        table[x_name] += [float(x[at]) for at in kept]
        table[y_name] += [float(y[at]) for at in kept]
    shown = names[1:] if columns.shape[1] == 1 else names
    return Plot(kind, table, {"labels": list(shown), _SUMMARY[kind]: summary}, caption)


def _pr(positive: Any, scores: Any) -> tuple[list[float | None], Any, Any, float | None]:
    numpy = numpy_for("A curve")
    thresholds, true, false = _cumulated(positive, scores)
    total = true[-1]
    precision = true / (true + false)
    recall = true / total if total else numpy.ones_like(precision)
    area = float(numpy.sum(numpy.diff(numpy.concatenate([[0.0], recall])) * precision)) if total else None
    ends = (numpy.concatenate([recall[::-1], [0.0]]), numpy.concatenate([precision[::-1], [1.0]]))
    return [*thresholds[::-1].tolist(), None], *ends, area


def _roc(positive: Any, scores: Any) -> tuple[list[float | None], Any, Any, float | None]:
    numpy = numpy_for("A curve")
    thresholds, true, false = _cumulated(positive, scores)
    rates = [
        numpy.concatenate([[0.0], counts / counts[-1] if counts[-1] else numpy.full(len(counts), numpy.nan)])
        for counts in (false, true)
    ]
    x, y = rates
    area = float(numpy.sum(numpy.diff(x) * (y[1:] + y[:-1]) / 2)) if true[-1] and false[-1] else None
    return [float("inf"), *thresholds.tolist()], x, y, area


def _cumulated(positive: Any, scores: Any) -> tuple[Any, Any, Any]:
    """Distinct scores, descending, and how many true and false positives there are at each as threshold."""
    numpy = numpy_for("A curve")
    order = numpy.argsort(-scores, kind="stable")
    ordered, hits = scores[order], positive[order]
    last = numpy.concatenate([numpy.nonzero(numpy.diff(ordered))[0], [len(ordered) - 1]])
    true = numpy.cumsum(hits, dtype=numpy.float64)[last]
    return ordered[last], true, last + 1.0 - true


def _evenly(count: int, points: int | None) -> list[int]:
    if points is None or count <= points:
        return list(range(count))
    return [round(place * (count - 1) / (points - 1)) for place in range(points)]


def _scores(scores: Any) -> Any:
    """As (samples, columns), float64."""
    numpy = numpy_for("A curve")
    array = as_array(scores, "A curve").astype(numpy.float64)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or not array.size:
        raise InvalidRequestError(f"scores has the shape (samples,) or (samples, classes), not {tuple(array.shape)}.")
    if not numpy.isfinite(array).all():
        raise InvalidRequestError("scores holds NaN or infinity.", hint="Look where the model's outputs go wrong.")
    return array[:, 1:] if array.shape[1] == 2 else array


def _listed(values: Any, what: str) -> list[Any]:
    """Classes as plain Python values that can be compared."""
    for method in ("detach", "cpu", "numpy"):
        if callable(found := getattr(values, method, None)):
            values = found()
    plain = values.tolist() if callable(getattr(values, "tolist", None)) else values
    if not isinstance(plain, (list, tuple)):
        raise InvalidRequestError(f"{what} is a list of classes, not {type(values).__name__}.")
    items = [item.item() if callable(getattr(item, "item", None)) else item for item in plain]
    if not items or not all(isinstance(item, (str, int, float)) and item == item for item in items):
        raise InvalidRequestError(f"{what} is a list of classes, one for each sample: numbers, text or booleans.")
    return items


def _check_lengths(expected: int, found: int, what: str) -> None:
    if expected != found:
        raise InvalidRequestError(f"y_true has {expected} samples, and {what} has {found}.")


def _classes(found: list[Any], labels: Sequence[Any] | None, columns: int | None = None) -> list[Any]:
    """The classes as they occur in the data, in the order of ``labels``."""
    present = set(found)
    expected = {1: 2}.get(columns, columns) if columns is not None else None
    if labels is not None:
        classes = list(labels)
        if len(set(classes)) != len(classes):
            raise InvalidRequestError("labels names a class twice.")
        if present.isdisjoint(classes) and _are_numbers_up_to(present, len(classes)):
            classes = list(range(len(classes)))
    elif expected is not None and _are_numbers_up_to(present, expected):
        classes = list(range(expected))
    else:
        classes = _sorted(present)
    _check_classes(classes, expected)
    return classes


def _check_classes(classes: list[Any], expected: int | None) -> None:
    if expected is not None and len(classes) != expected:
        raise InvalidRequestError(
            f"There are scores for {expected} classes, and {len(classes)} classes.", hint="Name them in labels."
        )
    if not 1 <= len(classes) <= MAX_CLASSES:
        raise InvalidRequestError(
            f"There are {len(classes)} classes, and 1 to {MAX_CLASSES} can be shown.", hint="Is y_true continuous?"
        )


def _are_numbers_up_to(present: set[Any], count: int) -> bool:
    return all(not isinstance(value, str) and value in range(count) for value in present)


def _sorted(values: set[Any]) -> list[Any]:
    try:
        return sorted(values)
    except TypeError:
        raise InvalidRequestError("Classes are all numbers or all text.") from None
