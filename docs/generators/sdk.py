"""docs/reference/sdk.md: the client and its resources, and every public name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import headway
from generators.markdown import code, first_sentence, own_docstring, prose, table
from headway.sdk.client import Client


def page() -> str:
    parts = [
        "# The SDK\n",
        "`import headway` is quick and loads nothing of the server. Records are described in [records.md](records.md),",
        "errors in [errors.md](errors.md).\n",
        "## Public names\n",
        table(("name", "what it is"), _names()),
        "## headway.Client\n",
        _signature("headway.Client", Client.__init__),
        prose(Client.__doc__) + "\n",
    ]
    parts += [_method("client", name, value) for name, value in _methods(Client)]
    for attribute, kind in resources():
        parts.append(f"## client.{attribute}\n")
        if kind.__doc__:
            parts.append(prose(kind.__doc__) + "\n")
        parts += [_method(f"client.{attribute}", name, value) for name, value in _methods(kind)]
    return "\n".join(parts)


def resources() -> Iterator[tuple[str, type]]:
    """Attribute of the client and the class behind it, in the order of the code."""
    for name, value in vars(Client).items():
        if isinstance(value, cached_property):
            yield name, inspect.signature(value.func, eval_str=True).return_annotation


def _names() -> Iterator[tuple[str, str]]:
    for name in headway.__all__:
        if name != "__version__":
            value = getattr(headway, name)
            yield code(f"headway.{name}"), first_sentence(own_docstring(value)) if inspect.isclass(value) else ""


def _methods(kind: type) -> Iterator[tuple[str, Any]]:
    for name, value in vars(kind).items():
        if not name.startswith("_") and inspect.isfunction(value):
            yield name, value


def _method(owner: str, name: str, value: Any) -> str:
    return "\n".join([f"### {owner}.{name}\n", _signature(f"{owner}.{name}", value), prose(value.__doc__) + "\n"])


def _signature(called: str, value: Any) -> str:
    """The call with its parameters, a line each where it is long."""
    signature = inspect.signature(value)
    parts, starred = [], False
    for parameter in list(signature.parameters.values())[1:]:
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            starred = True
            parts.append("*")
        parts.append(_parameter(parameter))
    answer = (
        "" if signature.return_annotation in (inspect.Signature.empty, "None") else f" -> {signature.return_annotation}"
    )
    line = f"{called}({', '.join(parts)}){answer}"
    if len(line) > 100:
        line = f"{called}(\n    " + ",\n    ".join(parts) + f",\n){answer}"
    return f"```text\n{line}\n```\n"


def _parameter(parameter: inspect.Parameter) -> str:
    name = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "") + parameter.name
    annotation = "" if parameter.annotation is parameter.empty else f": {parameter.annotation}"
    if parameter.default is parameter.empty:
        return name + annotation
    shown = re.sub(r"<(\w+\.\w+): .*>", r"\1", repr(parameter.default))
    return f"{name}{annotation} = {shown}"
