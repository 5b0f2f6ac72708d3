"""``mlcmd --configure``: ask for the configuration file and write it, readable by its owner alone."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import Sequence

from headway.paths import private_directory, write_atomic
from modelmaker.configuration import file_place, file_values

QUESTIONS = ("username", "password", "host_base", "region", "bucket")


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask for each setting; an empty answer keeps what is there."""
    parser = argparse.ArgumentParser(prog="mlcmd", description="Write the configuration file of modelmaker.")
    parser.add_argument("--configure", action="store_true", required=True, help="ask for the settings and write them")
    parser.parse_args(arguments)
    place = file_place()
    try:
        known = file_values() if place.is_file() else {}
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    values = {**known, **{name: answer for name in QUESTIONS if (answer := _ask(name, known.get(name)))}}
    private_directory(place.parent)
    write_atomic(place, (json.dumps({"iam_config": values}, indent=2) + "\n").encode())
    sys.stdout.write(f"written: {place}\n")
    return 0


def _ask(name: str, known: object) -> str:
    if name == "password":
        shown = " [****]" if known else ""
        return getpass.getpass(f"{name} (a Headway token){shown}: ").strip()
    return input(f"{name} [{known}]: " if known else f"{name}: ").strip()


if __name__ == "__main__":
    raise SystemExit(main())
