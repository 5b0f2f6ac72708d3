"""How a callback of ours becomes one of the framework's without importing the framework before it is needed."""

from __future__ import annotations

import functools
import types
from abc import ABC, abstractmethod
from typing import Any, cast

from typing_extensions import Self


class Adapter(ABC):
    """A class whose objects are also objects of the classes that :meth:`framework_bases` names.

    Those are looked up when an object is made, so that a module with adapters in it can be imported (and an adapter
    subclassed or renamed) where the framework is not installed, and so that the framework which the program really uses
    is taken where there are two of the same kind.

    >>> import string
    >>> class Counted(Adapter):
    ...     @classmethod
    ...     def framework_bases(cls):
    ...         return (string.Formatter,)
    >>> isinstance(Counted(), Counted), isinstance(Counted(), string.Formatter), issubclass(Counted, string.Formatter)
    (True, True, False)
    """

    _adapter: type[Adapter] | None = None
    """The class that was asked for, on the classes that are made of it."""

    @classmethod
    @abstractmethod
    def framework_bases(cls) -> tuple[type, ...]:
        """The framework's classes; importing them is this method's task."""

    def __new__(cls, *_args: Any, **_options: Any) -> Self:
        bases = cls.framework_bases()
        whole = cls if issubclass(cls, bases) else _joined(cls, bases)
        return cast("Self", object.__new__(whole))

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles are made of the class that can be found by its name."""
        return _bare, (self._adapter or type(self),), self.__dict__


@functools.cache
def _joined(adapter: type[Adapter], bases: tuple[type, ...]) -> type[Adapter]:
    members = {"__module__": adapter.__module__, "__doc__": adapter.__doc__, "_adapter": adapter}
    joined = types.new_class(adapter.__name__, (adapter, *bases), exec_body=lambda body: body.update(members))
    joined.__qualname__ = adapter.__qualname__
    return cast("type[Adapter]", joined)


def _bare(adapter: type[Adapter]) -> Adapter:
    """An object of ``adapter`` whose ``__init__`` has not run."""
    return Adapter.__new__(adapter)
