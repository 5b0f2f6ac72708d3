"""Writes docs/reference/ from the code, so that what it says is what the code does.

    python docs/generate.py [--check]

With ``--check`` nothing is written; it ends with 1 and names the pages that are out of date. `make docs` writes them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from generators import cli, environment, errors, http, records, sdk, settings

REFERENCE = Path(__file__).parent / "reference"
NOTICE = "<!-- Written by docs/generate.py from the code; `make docs` writes it anew. -->\n\n"

PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli.page,
    "environment.md": environment.page,
    "errors.md": errors.page,
    "http.md": http.page,
    "records.md": records.page,
    "sdk.md": sdk.page,
    "settings.md": settings.page,
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Write docs/reference/ from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 when a page is out of date")
    checking = parser.parse_args().check
    stale = [name for name, page in PAGES.items() if _differs(name, page())]
    stray = [path.name for path in REFERENCE.glob("*.md") if path.name not in PAGES]
    if checking:
        for name in [*stale, *stray]:
            sys.stderr.write(f"docs/reference/{name} is out of date: run `make docs`.\n")
        return 1 if stale or stray else 0
    REFERENCE.mkdir(exist_ok=True)
    for name in stale:
        (REFERENCE / name).write_text(NOTICE + PAGES[name](), encoding="utf-8")
    for name in stray:
        (REFERENCE / name).unlink()
    sys.stdout.write(f"{len(PAGES)} pages in docs/reference, {len(stale)} written.\n")
    return 0


def _differs(name: str, text: str) -> bool:
    path = REFERENCE / name
    return not path.is_file() or path.read_text(encoding="utf-8") != NOTICE + text


if __name__ == "__main__":
    sys.exit(main())
