"""Pieces of Markdown, and what a source file says about the names in a class."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from functools import cache


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are escaped."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").strip()


def code(text: str) -> str:
    """``text`` as code, or nothing for nothing."""
    return f"`{text}`" if text else ""


def prose(docstring: str | None) -> str:
    """A docstring as Markdown: roles and double backticks become code, sections become lists, examples blocks."""
    text = inspect.cleandoc(docstring or "")
    text = re.sub(r":(?:class|func|meth|data|mod|attr):`~?([^`]+)`", r"`\1`", text)
    text = text.replace("``", "`")
    text = re.sub(r"^ {2}(?=headway )", "    ", text, flags=re.MULTILINE)
    return "\n".join(_sections(text.splitlines()))


def _sections(lines: Iterable[str]) -> Iterator[str]:
    """Lines with the parts of ``Args:`` and its like as lists, and without the colons that announce a block."""
    listing = False
    for line in lines:
        if line in ("Args:", "Raises:", "Returns:"):
            listing = True
            yield f"{line}\n"
            continue
        listing = listing and (not line or line.startswith("    "))
        if listing and line.startswith("        "):
            yield "  " + line.strip()
        elif listing:
            yield re.sub(r"^ {4}(\w+): ", r"- `\1`: ", line)
        elif line != "::":
            yield line


def own_docstring(kind: type) -> str:
    """The docstring that somebody wrote for ``kind``; Python gives enums without one a docstring of its own."""
    text = kind.__doc__ or ""
    return "" if text.startswith(("An enumeration", "str(object", "int(")) else text


def first_sentence(docstring: str | None) -> str:
    """The first paragraph on one line."""
    return " ".join(prose(docstring).split("\n\n")[0].split())


@cache
def attribute_notes(kind: type) -> dict[str, str]:
    """Name to the text that stands below its line in the class, inherited ones too."""
    notes: dict[str, str] = {}
    for parent in reversed(kind.__mro__):
        if parent.__module__.startswith("headway."):
            notes.update(_own_notes(parent))
    return notes


def _own_notes(kind: type) -> dict[str, str]:
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    notes = {}
    for line, following in zip(body.body, [*body.body[1:], None], strict=True):
        text = following.value if isinstance(following, ast.Expr) else None
        if isinstance(text, ast.Constant) and isinstance(text.value, str):
            for name in _assigned(line):
                notes[name] = first_sentence(text.value)
    return notes


def _assigned(line: ast.stmt) -> list[str]:
    targets = [line.target] if isinstance(line, ast.AnnAssign) else line.targets if isinstance(line, ast.Assign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]
