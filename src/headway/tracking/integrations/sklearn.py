"""scikit-learn: ``with track(model, run): model.fit(X, y)``, or ``autolog(run)`` once for every estimator.

Recorded of a fit, under the estimator's class name (``SVC``; the second object of that class is ``SVC_2``):

* in the run's config its parameters, how many samples and features it saw, which keywords ``fit`` was given, and of a
  parameter search the best parameters;
* metrics ``SVC/fit_seconds``, ``SVC/n_iter`` where there is one, and ``SVC/score`` on the data it was fitted on, of stage
  ``train``; of a search ``…/best_score`` of stage ``val``;
* of a search a table ``…/cv_results``.

A score that the program asks for is recorded as ``SVC/score`` of stage ``test``. The step counts the fits of an
estimator, from 0. A fit that begins while another one is under way (the parts of a pipeline, the candidates of a search,
also in other threads) belongs to that one and is not recorded by itself.
"""

from __future__ import annotations

import functools
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from headway.tracking.integrations.guard import Tracked, guarded, numbers, recorded

_METHODS = ("fit", "fit_transform", "fit_predict", "score")


@contextmanager
def track(estimator: Any, run: Tracked | None = None, *, training_score: bool = True) -> Iterator[Any]:
    """Record what ``estimator`` does within the ``with``; yields the estimator. Copies of it are not recorded.

    Args:
        estimator: Any object with scikit-learn's ``fit``.
        run: What records; without one, the run that this process began last, or a new one.
        training_score: Whether to score the data of a fit, which takes a prediction of all of it.
    """
    journal = FitJournal(run, training_score)
    names = [name for name in _METHODS if callable(getattr(estimator, name, None))]
    for name in names:
        _shadow(estimator, name, journal)
    try:
        yield estimator
    finally:
        for name in names:
            vars(estimator).pop(name, None)


def autolog(run: Tracked | None = None, *, training_score: bool = True, disable: bool = False) -> None:
    """Record every fit and score of scikit-learn's estimators, and of classes derived from theirs, from now on in this
    process. Calling it again begins anew, with another run if need be.

    Args:
        run: What records; without one, at each fit, the run that this process began last, or a new one.
        training_score: As for :func:`track`.
        disable: Record no more.
    """
    global _journal
    _journal = None
    if not disable:
        _patch_all()
        _journal = FitJournal(run, training_score)


class FitJournal:
    """Records what estimators do into one run. Arguments as for :func:`autolog`."""

    def __init__(self, run: Tracked | None, training_score: bool = True) -> None:
        self._run = run
        self._training_score = training_score
        self._labels: dict[int, tuple[Any, str]] = {}
        self._classes: Counter[str] = Counter()
        self._fits: Counter[str] = Counter()

    def call(
        self, name: str, estimator: Any, method: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Any:
        """Call ``method`` and record what it did, unless it is a part of something that is under way."""
        with _outermost() as is_outermost:
            began = time.perf_counter()
            result = method(*args, **keywords)
            if is_outermost and name == "score":
                self._record_score(estimator, result)
            elif is_outermost:
                self._record_fit(estimator, time.perf_counter() - began, args, keywords)
        return result

    @property
    def run(self) -> Tracked:
        if self._run is not None:
            return self._run
        from headway.tracking.opening import current_run, init

        return current_run() or init()

    @guarded
    def _record_fit(self, estimator: Any, seconds: float, args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        run, label = self.run, self._label(estimator)
        step = self._fits[label]
        self._fits[label] += 1
        samples = args[0] if args else keywords.get("X")
        run.config.update({label: {**_parameters(estimator), **_sizes(samples), **_keywords(keywords)}})
        found = {"fit_seconds": seconds, "n_iter": getattr(estimator, "n_iter_", None)}
        if self._training_score and hasattr(estimator, "score"):
            found["score"] = _score(estimator, args, keywords)
        run.log(metrics=_named(label, found), type="train", step=step)
        if hasattr(estimator, "cv_results_"):
            _record_search(run, label, estimator, step)

    @guarded
    def _record_score(self, estimator: Any, found: Any) -> None:
        label = self._label(estimator)
        if metrics := _named(label, {"score": found}):
            self.run.log(metrics=metrics, type="test", step=max(0, self._fits[label] - 1))

    def _label(self, estimator: Any) -> str:
        """The estimator's class, with a number from the second object on."""
        known = self._labels.get(id(estimator))
        if known is not None and known[0]() is estimator:
            return known[1]
        name = type(estimator).__name__
        self._classes[name] += 1
        label = name if self._classes[name] == 1 else f"{name}_{self._classes[name]}"
        self._labels[id(estimator)] = weakref.ref(estimator), label
        return label


# What is recorded


def _parameters(estimator: Any) -> dict[str, Any]:
    found = recorded(estimator.get_params(deep=True))
    best = getattr(estimator, "best_params_", None)
    return {**found, "best_params": recorded(best)} if best is not None else dict(found)


def _sizes(samples: Any) -> dict[str, int]:
    shape = getattr(samples, "shape", None) or ()
    if not shape and hasattr(samples, "__len__"):
        shape = (len(samples),)
    return dict(zip(("samples", "features"), (int(size) for size in shape), strict=False))


def _keywords(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of a fit besides the data, with arrays as no more than their shape."""
    given = {name: value for name, value in keywords.items() if name not in ("X", "y")}
    shapes = {name: f"array{tuple(value.shape)}" if hasattr(value, "shape") else value for name, value in given.items()}
    return {"fit_keywords": recorded(shapes)} if shapes else {}


@guarded
def _score(estimator: Any, args: tuple[Any, ...], keywords: Mapping[str, Any]) -> Any:
    given = {name: keywords[name] for name in ("X", "y") if name in keywords}
    return type(estimator).score(estimator, *args[:2], **given)


def _named(label: str, values: Mapping[str, Any]) -> dict[str, int | float]:
    return numbers({f"{label}/{name}": value for name, value in values.items() if value is not None})


@guarded
def _record_search(run: Tracked, label: str, search: Any, step: int) -> None:
    from headway.tracking.tables import Table

    if best := _named(label, {"best_score": getattr(search, "best_score_", None)}):
        run.log(metrics=best, type="val", step=step)
    results = {name: _column(values) for name, values in search.cv_results_.items() if name != "params"}
    rows = [list(row) for row in zip(*results.values(), strict=True)]
    run.log(metrics={f"{label}/cv_results": Table(columns=list(results), rows=rows)}, type="val", step=step)


def _column(values: Any) -> list[Any]:
    """A column of ``cv_results_`` as JSON values; what a candidate has no value for is None."""
    return [recorded(value) for value in (values.tolist() if hasattr(values, "tolist") else values)]


# How methods are overheard

_journal: FitJournal | None = None
"""Of :func:`autolog`; None while it is disabled."""
_under_way = 0
_counting = threading.Lock()


@contextmanager
def _outermost() -> Iterator[bool]:
    """Whether nothing else that is recorded is under way, in any thread."""
    global _under_way
    with _counting:
        _under_way += 1
        is_outermost = _under_way == 1
    try:
        yield is_outermost
    finally:
        with _counting:
            _under_way -= 1


class _Overheard:
    """A bound method that a journal hears of. Pickled and copied as the plain method."""

    def __init__(self, name: str, estimator: Any, method: Callable[..., Any], journal: FitJournal) -> None:
        functools.update_wrapper(self, method)
        self._parts = name, estimator, method, journal

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        name, estimator, method, journal = self._parts
        return journal.call(name, estimator, method, args, keywords)

    def __getattr__(self, name: str) -> Any:
        if name == "_parts":  # it is being copied
            raise AttributeError(name)
        return getattr(self._parts[2], name)

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (self._parts[1], self._parts[0])


class _Patched:
    """Stands in a class for one of its methods, which may be a function or a descriptor."""

    def __init__(self, name: str, original: Any) -> None:
        self.original = original
        self._name = name

    def __get__(self, estimator: Any, owner: type | None = None) -> Any:
        method = self.original.__get__(estimator, owner)
        if estimator is None or _journal is None:
            return method
        return _Overheard(self._name, estimator, method, _journal)


@guarded
def _shadow(estimator: Any, name: str, journal: FitJournal) -> None:
    """Put an attribute before a method, on this one object."""
    setattr(estimator, name, _Overheard(name, estimator, getattr(estimator, name), journal))


def _patch(kind: type) -> None:
    for name in _METHODS:
        method = vars(kind).get(name)
        if hasattr(method, "__get__") and not isinstance(method, _Patched):
            setattr(kind, name, _Patched(name, method))


@functools.cache
def _patch_all() -> None:
    """All classes of scikit-learn and those derived from them, the latter also when they are made later."""
    from sklearn.base import BaseEstimator
    from sklearn.utils import all_estimators

    all_estimators()  # imports them
    waiting = [BaseEstimator]
    while waiting:
        kind = waiting.pop()
        _patch(kind)
        for base in kind.__mro__[1:]:
            if base.__module__.startswith("sklearn."):
                _patch(base)  # mixins have scores
        waiting += kind.__subclasses__()
    inherited = BaseEstimator.__init_subclass__.__func__

    def heard_of(cls: type[Any], /, **keywords: Any) -> None:
        inherited(cls, **keywords)
        _patch(cls)

    BaseEstimator.__init_subclass__ = classmethod(heard_of)
