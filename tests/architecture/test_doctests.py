"""Every example in a docstring runs."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import pkgutil

import pytest

import headway

SKIPPED = {"headway.__main__", "headway.agent.__main__", "headway.serving.__main__", "headway.serving.gateway.__main__"}
"""Importing these runs a program."""

NEEDS = {f"headway.serving.runtimes.{name}": name for name in ("keras", "lightgbm", "tensorflow", "torch", "xgboost")}
"""Module to the framework that it cannot be imported without."""


def module_names() -> list[str]:
    found = [module.name for module in pkgutil.walk_packages(headway.__path__, "headway.")]
    absent = {name for name, framework in NEEDS.items() if importlib.util.find_spec(framework) is None}
    return [name for name in found if name not in SKIPPED | absent and ".migrations." not in name]


@pytest.mark.parametrize("name", module_names())
def test_the_examples_of_a_module_run(name: str) -> None:
    result = doctest.testmod(
        importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
    )
    assert result.failed == 0
