"""Searching in text alike on both databases: bytewise, upper and lower case different."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Dialect, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import Boolean, Integer, TypeDecorator

from headway.storage.sql.columns import BYTEWISE_TEXT, PlainText

# SQLite's LIKE does not tell upper from lower case; its GLOB does.
_GLOB = {"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"}


class _Pattern(TypeDecorator[str]):
    """A pattern with ``%`` and ``_``, as the database's own operator writes it."""

    impl = BYTEWISE_TEXT
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        if dialect.name == "sqlite":
            return "".join(_GLOB.get(character, character) for character in value)
        return value.replace("\\", "\\\\")


class _Matches(FunctionElement[bool]):
    """``text``, ``pattern``."""

    inherit_cache = True
    type = Boolean()
    name = "matches"


class _Position(FunctionElement[int]):
    """Where in ``text`` ``part`` begins, from 1; 0 when it does not."""

    inherit_cache = True
    type = Integer()
    name = "position"


@compiles(_Matches)
def _compile_like(element: _Matches, compiler: Any, **options: Any) -> str:
    text, pattern = (compiler.process(clause, **options) for clause in element.clauses)
    return f"({text} LIKE {pattern})"


@compiles(_Matches, "sqlite")
def _compile_glob(element: _Matches, compiler: Any, **options: Any) -> str:
    text, pattern = (compiler.process(clause, **options) for clause in element.clauses)
    return f"({text} GLOB {pattern})"


@compiles(_Position)
def _compile_strpos(element: _Position, compiler: Any, **options: Any) -> str:
    return f"strpos({compiler.process(element.clauses, **options)})"


@compiles(_Position, "sqlite")
def _compile_instr(element: _Position, compiler: Any, **options: Any) -> str:
    return f"instr({compiler.process(element.clauses, **options)})"


def matches(text: ColumnElement[Any], pattern: str) -> ColumnElement[bool]:
    """Whether all of ``text`` fits ``pattern``: ``%`` is any text, ``_`` any character. Unknown for no text."""
    return _Matches(text, literal(pattern, _Pattern))


def contains(text: ColumnElement[Any], part: str) -> ColumnElement[bool]:
    """Whether ``part`` is somewhere in ``text``. Unknown for no text."""
    if not part:
        return text.is_not(None)
    return _Position(text, literal(part, PlainText)) > 0
