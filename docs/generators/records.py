"""docs/reference/records.md: the vocabulary, every record, request and enum of headway.domain."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from enum import Enum
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from generators.markdown import attribute_notes, code, own_docstring, prose, table
from headway import domain
from headway.domain.base import Record, Request
from headway.domain.jobs import JOB_MOVES, JobCreate, JobState
from headway.server.api import blobs, objects, system

UNSEEN = ("headway.domain.base", "headway.domain.cluster")
"""Modules whose classes never cross the wire by themselves."""
OTHERS = (
    blobs.MissingRequest,
    blobs.MissingAnswer,
    blobs.BundleRequest,
    blobs.BlobStored,
    objects.ObjectsNamed,
    system.VersionAnswer,
)
"""Requests and answers that belong to one route alone."""


def page() -> str:
    parts = [
        "# Records and requests\n",
        "What the server keeps and answers (records), and what callers send (requests). Records ignore fields that they do",
        "not know; requests refuse them. Times are UTC, ISO 8601 with milliseconds and `Z` in JSON.\n",
    ]
    module = ""
    for kind in kinds():
        if kind.__module__ != module:
            module = kind.__module__
            parts.append(f"## {_heading(module)}\n")
        parts.append(_described(kind))
    return "\n".join(parts)


def kinds() -> Iterator[type]:
    """Every public class of the domain, by module."""
    for info in sorted(pkgutil.iter_modules(domain.__path__), key=lambda info: info.name):
        module = importlib.import_module(f"headway.domain.{info.name}")
        for name, value in vars(module).items():
            if _belongs(name, value, module.__name__):
                yield value
    yield from OTHERS


def _belongs(name: str, value: object, module: str) -> bool:
    if not isinstance(value, type) or value.__module__ != module or name.startswith("_"):
        return False
    return module not in UNSEEN and issubclass(value, (BaseModel, Enum))


def _heading(module: str) -> str:
    last = module.rpartition(".")[2]
    return last.capitalize() if module.startswith("headway.domain") else f"Of one route: {last}"


def _described(kind: type) -> str:
    own = own_docstring(kind)
    parts = [f"### {kind.__name__}\n"]
    if own:
        parts.append(prose(own) + "\n")
    parts.append(_members(kind) if issubclass(kind, Enum) else _fields(kind))
    return "\n".join(parts)


def _members(kind: type[Enum]) -> str:
    notes = attribute_notes(kind)
    if kind is not JobState:
        return table(("value", "meaning"), [(code(m.value), notes.get(m.name, "")) for m in kind])
    rows = [
        (code(m.value), notes.get(m.name, ""), ", ".join(code(s.value) for s in kind if s in JOB_MOVES[m]))
        for m in kind
    ]
    return table(("value", "meaning", "may be followed by"), rows)


def _moves(state: JobState) -> str:
    return ", ".join(code(following.value) for following in JobState if following in JOB_MOVES[state])


def _fields(kind: Any) -> str:
    notes = attribute_notes(kind)
    rows = [
        (code(name), code(_type(field)), _default(field), notes.get(name, ""))
        for name, field in kind.model_fields.items()
    ]
    if kind is JobCreate:
        rows += [(code(name), "", "", "Default of every role; see RoleSpec.") for name in JobCreate.input_shortcuts]
    return table(("field", "type", "default", "meaning"), rows)


def _type(field: FieldInfo) -> str:
    """The annotation in short words; constraints are told by the error that they raise."""
    text = _annotation(field.annotation)
    return re.sub(r"\s+", " ", text)


def _annotation(kind: Any) -> str:
    if kind is type(None):
        return "None"
    arguments = getattr(kind, "__args__", None)
    origin = getattr(kind, "__origin__", None)
    if arguments is None:
        return str(getattr(kind, "__name__", kind))
    if hasattr(kind, "__metadata__"):
        return _annotation(origin)
    if "Literal" in str(origin):
        return " or ".join(repr(argument) for argument in arguments)
    inner = [_annotation(argument) for argument in arguments if argument is not Ellipsis]
    if origin is tuple:
        return f"list of {inner[0]}"
    if origin is dict:
        return f"map of {inner[0]} to {inner[1]}"
    return " or ".join(inner)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, (Record, Request)):
        return ""
    return code("{}" if value == {} else "[]" if value == () else repr(value) if isinstance(value, str) else str(value))
