"""What commands print: tables for people, JSON for programs, and user text that cannot drive the terminal.

Colour appears only on a terminal, and never when NO_COLOR is set.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import typer

from headway.cli.errors import READER_GONE

if TYPE_CHECKING:
    from pydantic import BaseModel

_COLOUR = re.compile(r"\x1b\[[0-9;:]{0,64}m")
_SEQUENCE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~])"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
WHOLE = frozenset({"state", "phase", "check", "age"})
"""Columns that are never cut."""
NARROWEST, GAP = 6, 2
"""Characters that a column keeps, and between two columns."""
_RESET = "\x1b[0m"

STATE_STYLES = {
    "succeeded": "green",
    "complete": "green",
    "running": "green",
    "ok": "green",
    "failed": "red",
    "error": "red",
    "fail": "red",
    "lost": "red",
    "stopped": "yellow",
    "stopping": "yellow",
    "retrying": "yellow",
    "warn": "yellow",
}


def colours(stream: Any = None) -> bool:
    """Whether ``stream`` (stdout) takes colours."""
    stream = stream or sys.stdout
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def clean(text: str, *, keep_colours: bool = False) -> str:
    """``text`` without anything that could move the cursor, rename the window or reverse the line.

    >>> clean("a\\x1b[2Jb\\x1b[31mred\\x07")
    'abred'
    """
    if not keep_colours:
        return _CONTROLS.sub("", _SEQUENCE.sub("", text))
    parts: list[str] = []
    last = 0
    for match in _COLOUR.finditer(text):
        parts += [_CONTROLS.sub("", _SEQUENCE.sub("", text[last : match.start()])), match.group()]
        last = match.end()
    coloured = len(parts) > 0
    parts.append(_CONTROLS.sub("", _SEQUENCE.sub("", text[last:])))
    return "".join(parts) + (_RESET if coloured else "")


def say(text: str = "") -> None:
    """One line on stdout, flushed, so that a reader through a pipe sees it at once."""
    encoding = sys.stdout.encoding or "ascii"
    try:
        sys.stdout.write(f"{text.encode(encoding, 'backslashreplace').decode(encoding)}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise typer.Exit(READER_GONE) from None


def note(text: str) -> None:
    """One line on stderr: about the command, not its result."""
    sys.stderr.write(f"{clean(text)}\n")
    sys.stderr.flush()


def print_json(value: Any) -> None:
    """``value`` as JSON, indented."""
    say(json.dumps(_plain(value), indent=2, ensure_ascii=True))


def print_json_line(record: BaseModel | Mapping[str, Any]) -> None:
    """One record on one line, for what is followed."""
    say(json.dumps(_plain(record), ensure_ascii=True))


def print_page(records: Iterable[BaseModel]) -> None:
    """A whole list, in the form of the API."""
    print_json({"items": [_plain(record) for record in records], "next_cursor": None})


def _plain(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if dump is not None else value


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
    """Rows under headings; ``empty`` when there is none. Cells are user text and are shown as such."""
    lines = table_lines(columns, rows)
    if not lines:
        note(empty)
    for line in lines:
        say(line)


def table_lines(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """What :func:`print_table` prints; nothing where there are no rows."""
    from rich.table import Table

    cells = [[_cell(column, value) for column, value in zip(columns, row, strict=True)] for row in rows]
    if not cells:
        return []
    widths = [max(len(column), *(row[place].cell_len for row in cells)) for place, column in enumerate(columns)]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, width in zip(columns, _fitting(columns, widths), strict=True):
        table.add_column(column, width=width, no_wrap=True, overflow="ellipsis")
    for row in cells:
        table.add_row(*row)
    return _rich_lines(table)


def _fitting(columns: Sequence[str], widths: list[int]) -> list[int]:
    """``widths`` made narrow enough for the terminal: the widest column gives first, what must be read whole never."""
    excess = sum(widths) + GAP * (len(widths) - 1) - (_width() or sum(widths) + GAP * len(widths))
    fitting = list(widths)
    for _ in range(excess):
        open_ = [place for place, column in enumerate(columns) if column.lower() not in WHOLE]
        widest = max(open_, key=lambda place: fitting[place], default=None)
        if widest is None or fitting[widest] <= NARROWEST:
            break
        fitting[widest] -= 1
    return fitting


def print_fields(fields: Mapping[str, Any]) -> None:
    """Names and values below each other; what is empty is left out."""
    for line in fields_lines(fields):
        say(line)


def fields_lines(fields: Mapping[str, Any]) -> list[str]:
    """What :func:`print_fields` prints."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields.items():
        if value not in (None, "", (), {}):
            table.add_row(name, _cell(name, value))
    return _rich_lines(table)


def _rich_lines(table: Any) -> list[str]:
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False, no_color=not colours(), width=_width() or 10_000)
    with console.capture() as capture:
        console.print(table)
    return [line.rstrip() for line in capture.get().splitlines()]


def _width() -> int | None:
    """Characters in a line of the terminal; None where stdout is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _cell(column: str, value: Any) -> Any:
    from rich.text import Text

    if isinstance(value, datetime):
        return Text(age(value) if column.lower() in ("age", "created") else local_time(value))
    text = clean("" if value is None else str(getattr(value, "value", value)))
    return Text(text, style=STATE_STYLES.get(text, "") if column.lower() in ("state", "phase", "check") else "")


def age(moment: datetime) -> str:
    """How long ago, in the largest fitting unit.

    >>> age(datetime.now(timezone.utc))
    '0s'
    """
    seconds = max(0, int((datetime.now(timezone.utc) - moment).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def local_time(moment: datetime) -> str:
    """In the reader's time zone, to the second."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def size_text(size: int) -> str:
    """Bytes in the largest fitting unit.

    >>> size_text(1536)
    '1.5 KiB'
    """
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
