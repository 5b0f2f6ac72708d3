"""headway run diff: two runs side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headway.cli.finding import LocalOption, finding
from headway.cli.options import JsonOption
from headway.cli.output import clean, print_json, print_table, say

if TYPE_CHECKING:
    from headway.sdk.compare import RunDiff


def diff(
    a: Annotated[str, typer.Argument(help="Run id, or a name that only one run has.")],
    b: Annotated[str, typer.Argument(help="Run id, or a name that only one run has.")],
    local: LocalOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show what differs between two runs: config, environment, metrics and inputs."""
    from headway.sdk.compare import compare

    with finding(local) as finder:
        found = compare(finder.find(a), finder.find(b))
    if as_json:
        print_json(found.to_dict())
    else:
        _print(found)


def _print(diff: RunDiff) -> None:
    from headway.sdk.compare import SECTIONS, difference
    from headway.sdk.summaries import format_number

    say(clean(f"a  {diff.a.name} ({diff.a.id})"))
    say(clean(f"b  {diff.b.name} ({diff.b.id})"))
    if not diff:
        say("Nothing differs.")
    rows = [*diff.rows()]
    for section in SECTIONS:
        shown = [(key, a, b) for place, key, a, b in rows if place == section]
        if not shown:
            continue
        say()
        if section == "metrics":
            deltas = [format_number(difference(change)) for change in diff.metrics]
            table = [(*row, delta) for row, delta in zip(shown, deltas, strict=True)]
            print_table(("METRICS (LAST)", "A", "B", "B - A"), table, empty="")
        else:
            print_table((section.upper(), "A", "B"), shown, empty="")
