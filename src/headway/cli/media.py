"""headway run media: what a run logged beside numbers, as files."""

from __future__ import annotations

import mimetypes
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headway.cli.finding import Finder, RunArgument
from headway.cli.options import JsonOption, connected
from headway.cli.output import print_json, print_table, say, size_text

if TYPE_CHECKING:
    from headway.cli.finding import FoundRun
    from headway.sdk.resources.entries import RunEntry

LONGEST_PART = 80
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")


def media(
    run: RunArgument,
    save: Annotated[
        Path | None, typer.Option("--save", help="Write the contents into this directory, which is made if missing.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the images, tables and other media that a run sent to the server, or save them as files."""
    with connected() as client:
        entries = list(client.runs.entries(Finder(client).find(run).id))
        paths = None if save is None else [_save(entry, number, save) for number, entry in enumerate(entries)]
    if as_json:
        items = [entry.model_dump(mode="json") for entry in entries]
        if paths is not None:
            items = [{**item, "path": str(path)} for item, path in zip(items, paths, strict=True)]
        print_json({"items": items})
    elif save is not None:
        say(f"Wrote {len(entries)} file(s) to {save}.")
    else:
        rows = [(each.name, each.stage, each.step, each.type, size_text(each.size)) for each in entries]
        print_table(("NAME", "STAGE", "STEP", "TYPE", "SIZE"), rows, empty="No media.")


def count_types(run: FoundRun) -> dict[str, int]:
    """How many entries of each type the server has of a run; none of a run in a directory here."""
    from headway.sdk.views import RunView

    if not isinstance(run, RunView):
        return {}
    return dict(sorted(Counter(entry.type.value for entry in run.entries()).items()))


def _save(entry: RunEntry, number: int, directory: Path) -> Path:
    """Written below ``directory`` by :func:`headway.sdk.downloads.download_files`, which follows no link out of it."""
    return entry.save(directory / file_name(entry, number))


def file_name(entry: RunEntry, number: int) -> str:
    """A name of plain letters that no other entry of the run has: its number in the list comes first."""
    step = "" if entry.step is None else f"step{entry.step}"
    parts = (_UNSAFE.sub("_", part)[:LONGEST_PART].strip("_") for part in (entry.stage, entry.name, step))
    ending = mimetypes.guess_extension(entry.media_type, strict=False) or ".bin"
    return "-".join(part for part in (f"{number:05d}", *parts) if part) + ending
