"""What preset algorithms take, and what they refuse before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from headway.domain.algorithms import ALGORITHMS, AlgorithmSpec, find_algorithm
from headway.errors import InvalidRequestError


@pytest.mark.parametrize("spec", ALGORITHMS, ids=lambda spec: spec.name)
def test_defaults_fit_what_an_algorithm_says_of_itself(spec: AlgorithmSpec) -> None:
    found = spec.read({})
    assert set(found) == {parameter.name for parameter in spec.parameters}
    assert spec.read(found) == found


@pytest.mark.parametrize("spec", ALGORITHMS, ids=lambda spec: spec.name)
def test_values_of_a_command_line_are_the_values_they_say(spec: AlgorithmSpec) -> None:
    defaults = {name: value for name, value in spec.read({}).items() if value is not None}
    assert spec.read({name: str(value) for name, value in defaults.items()}) == spec.read({})


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("logistic-regression", {"c": 1}, "no parameter 'c'"),
        ("logistic-regression", {"C": -1}, "below"),
        ("logistic-regression", {"C": "strong"}, "no number"),
        ("logistic-regression", {"C": float("nan")}, "below"),
        ("logistic-regression", {"max_iter": 1.5}, "no integer"),
        ("logistic-regression", {"max_iter": True}, "no integer"),
        ("logistic-regression", {"target": 3}, "no text"),
        ("gradient-boosting", {"subsample": 2}, "above 1"),
        ("k-means", {"n_clusters": 0}, "below 1"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(name: str, parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        find_algorithm(name).read(parameters)


def test_a_misspelled_parameter_or_algorithm_is_told_the_closest() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        find_algorithm("k-means").read({"n_cluster": 3})
    assert "n_clusters" in str(caught.value.hint)
    with pytest.raises(InvalidRequestError) as caught:
        find_algorithm("kmeans")
    assert "k-means" in str(caught.value.hint)
