"""headway artifact gc: give back the space of what nothing refers to."""

from __future__ import annotations

from typing import Annotated

import typer

from headway.cli.options import JsonOption, connected
from headway.cli.output import print_json, say, size_text


def collect(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    grace_hours: Annotated[
        float, typer.Option("--grace-hours", min=0, help="What was sent or asked for since stays in any case.")
    ] = 24.0,
    as_json: JsonOption = False,
) -> None:
    """Remove stored content that nothing refers to: of deleted versions, unfinished uploads, unused environments."""
    with connected() as client:
        report = client.gc(dry_run=dry_run, grace_hours=grace_hours)
    if as_json:
        print_json(report)
        return
    word = "would be removed" if report.dry_run else "removed"
    say(f"{report.blobs} blob(s), {size_text(report.bytes)} {word}; {report.kept} kept")
    if report.uploads:
        say(f"{report.uploads} abandoned upload(s), {size_text(report.upload_bytes)} {word}")
    if report.environments:
        size = size_text(report.environment_bytes)
        say(f"{report.environments} environment(s) of models that none uses, {size} {word}")
