"""Which engines there are: a table of strings, so that an engine's dependencies are imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

from headway.domain.base import did_you_mean
from headway.engines.base import Engine
from headway.errors import ConfigurationError

ENGINES = {
    "local": "headway.engines.local:LocalEngine",
}
"""Name to ``module:class``."""


def create_engine(name: str, **options: Any) -> Engine:
    """The engine called ``name``, made with its own options.

    >>> create_engine("locla")
    Traceback (most recent call last):
        ...
    headway.errors.ConfigurationError: There is no engine 'locla'. Did you mean 'local'?

    Raises:
        ConfigurationError: There is no such engine.
        MissingExtraError: Its optional dependency is not installed.
    """
    if name not in ENGINES:
        hint = did_you_mean(name, ENGINES) or f"There are: {', '.join(sorted(ENGINES))}."
        raise ConfigurationError(f"There is no engine {name!r}.", hint=hint)
    module, _, kind = ENGINES[name].partition(":")
    return cast(Engine, getattr(import_module(module), kind)(**options))
