"""A ``predict.py`` that breaks on demand, for fault tests."""

from __future__ import annotations

from pathlib import Path

FAULTY_MODEL = """
import os
import resource
import time
from pathlib import Path

CONTROL = Path(os.environ["FAULT_DIRECTORY"])
SECONDS = float(os.environ.get("FAULT_SECONDS", "0.002"))


def allocate():
    # A process that may have no more memory than it has: what a limit of a container looks like from inside.
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), before[1]))
    try:
        return len(bytearray(1 << 30))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


class Predictor:
    def predict(self, instances):
        if instances[0] == "die":
            os._exit(137)
        if instances[0] == "allocate":
            return [allocate()]
        slow = (CONTROL / f"slow-{os.getpid()}").exists()
        time.sleep(0.5 if slow else SECONDS)
        if (CONTROL / "count").exists():
            with (CONTROL / "count").open("ab", buffering=0) as file:
                file.write(b".")
        return [2 * value for value in instances]
"""
"""Doubles numbers; ``"die"`` ends the process, ``"allocate"`` exhausts its memory. Files in FAULT_DIRECTORY slow down one
process (``slow-<pid>``) and count the calls (``count``). One call takes FAULT_SECONDS."""

BROKEN_MODEL = 'raise OSError("the weights are not there")\n'


def save_model(directory: Path, text: str = FAULTY_MODEL) -> Path:
    """A new directory with this ``predict.py``."""
    directory.mkdir()
    (directory / "predict.py").write_text(text)
    return directory
