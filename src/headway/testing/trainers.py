"""Programs that train, as processes of their own: what tests of tracking start, interrupt and kill."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

from headway.tracking.local import LocalRun, local_runs

QUIET = "capture=False, console=False, system=False"
"""Keywords of init for runs in which only what is logged counts."""


def environment(directory: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """A program's variables: nothing of ours but that runs lie in ``directory``."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HEADWAY_", "SLURM_", "OMPI_"))}
    return {**kept, "HEADWAY_DIR": str(directory), "PYTHONUNBUFFERED": "1", **(more or {})}


@contextmanager
def started(
    code: str, directory: Path, *arguments: str, more: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A program that has begun; whatever is left of it at the end of the block is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", dedent(code), *arguments],
        env=environment(directory, more),
        cwd=directory.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def train(
    code: str,
    directory: Path,
    *arguments: str,
    more: Mapping[str, str] | None = None,
    code_expected: int | None = 0,
    timeout: float = 60.0,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, and check how that was (None checks nothing)."""
    with started(code, directory, *arguments, more=more) as process:
        out, err = process.communicate(timeout=timeout)
    ended = subprocess.CompletedProcess(process.args, process.returncode, out, err)
    assert code_expected is None or ended.returncode == code_expected, f"exit {ended.returncode}: {err}"
    return ended


def only_run(directory: Path) -> LocalRun:
    """The one run below ``directory``."""
    found = local_runs(directory)
    assert len(found) == 1, found
    return found[0]


def steps(run: LocalRun, name: str, stage: str | None = None) -> Sequence[int | None]:
    """The steps of all points of a metric, over all ranks and attempts, sorted."""
    return sorted(run.metrics(name, stage, view="all").steps, key=lambda step: (step is None, step or 0))
