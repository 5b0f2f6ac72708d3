"""Predictions: a Headway replica and gateway beside what is written by hand and beside other serving frameworks.

    python benchmarks/serving.py --output build/benchmarks/serving.json   # plot beside it as serving.png
    python benchmarks/serving.py --peers                 # installs the frameworks, each into build/serving-venvs/<name>, too
    python benchmarks/serving.py --quick                 # a few seconds: whether it works, not how fast

One run on two cores that servers and client share; the same models (``serving/models.py``), the same rows, every server
with one process for the model, rounds interleaved, the median round reported. The client (``serving/load.py``) is raw bytes
in a process of its own. The gateway's deployment is private and every request shows its token. Ratios are compared with the
aims of the serving plane; a peer that does not install or start is reported with its reason.

=====================  =====================================================================================
sketch                 httptools + uvloop + orjson, forty lines and no feature: the upper bound
fastapi, starlette     by hand, on uvicorn; a ``def`` route with a pydantic body, an ``async def`` route with json
granian+orjson         by hand, RSGI
litserve, bentoml, …   as their documentation shows it, one worker, no batching where it is not the default
=====================  =====================================================================================
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from serving import extras, models, report
from serving.contenders import BENCHMARKS, BY_HAND, FRAMEWORKS, VENVS
from serving.measure import compare

CORES = 2
SAME_LIBRARIES = ("numpy", "scikit-learn", "skops", "onnxruntime")
REQUIREMENTS = BENCHMARKS / "requirements-serving.txt"


def requirements() -> dict[str, list[str]]:
    """What each virtual environment gets, by its name."""
    lines = [line.partition("#")[0].split() for line in REQUIREMENTS.read_text().splitlines()]
    return {line[0].rstrip(":"): line[1:] for line in lines if line}


def install(names: set[str]) -> None:
    """A virtual environment for each peer, with the model's libraries as they are here."""
    same = [f"{name}=={importlib.metadata.version(name)}" for name in SAME_LIBRARIES]
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    for name, wanted in requirements().items():
        python = VENVS / name / "bin" / "python"
        if name not in names or python.exists():
            continue
        print(f"installing {name}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(VENVS / name)], check=True)
        pip = [uv, "pip", "install", "--quiet", "--python", str(python)]
        command = pip if uv else [str(python), "-m", "pip", "install", "--quiet"]
        done = subprocess.run(
            [str(part) for part in command] + same + wanted, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            print(f"{name} cannot be installed here: {done.stderr.strip()[-300:]}", file=sys.stderr)
            shutil.rmtree(VENVS / name)


def versions() -> dict[str, str]:
    """Of the peers that are there."""
    found = {}
    for name, peer in {**BY_HAND, **FRAMEWORKS}.items():
        if not Path(peer.python).exists():
            continue
        package = {"granian+orjson": "granian", "ray serve": "ray", "sketch": "httptools"}.get(name, name)
        code = f"import importlib.metadata; print(importlib.metadata.version({package!r}))"
        done = subprocess.run([peer.python, "-c", code], capture_output=True, text=True, check=False)
        found[name] = done.stdout.strip()
    return found


def use_two_cores() -> list[int]:
    """This process and its children on the first two cores it may use."""
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    os.sched_setaffinity(0, cores)
    return cores


def run(options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        home = Path(directory)
        results: dict[str, Any] = {
            "models": compare(home, options.seconds, options.rounds, options.peers, tuple(options.models))
        }
        results["bare_memory_mb"] = {kind: extras.bare_memory(kind, home / kind) for kind in options.models}
        model = home / options.models[0]
        results["many_deployments"] = extras.many_deployments(
            home, model, options.deployments, options.seconds, options.rounds
        )
        if not options.quick:
            results["first_answer"] = extras.first_answers(home, home / "digits", 3)
        return results


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", nargs="+", choices=models.KINDS, default=list(models.KINDS))
    parser.add_argument("--deployments", type=int, default=1000)
    parser.add_argument("--peers", action="store_true", help="install the frameworks and measure them, too")
    parser.add_argument("--quick", action="store_true", help="one short round of everything but deploying")
    parser.add_argument("--output", type=Path, default=None, help="write JSON to this file and a plot beside it")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.rounds, options.deployments = 0.2, 1, 50
    return options


def main() -> None:
    options = parse()
    if options.peers:
        install({peer.venv for peer in {**BY_HAND, **FRAMEWORKS}.values() if peer.venv})
    elif not options.quick:
        install({"granian"})
    before = os.getloadavg()[0]
    cores = use_two_cores()
    found: dict[str, Any] = {
        "benchmark": "serving",
        "machine": {"cores": len(cores), "system": platform.platform(), "python": platform.python_version()},
        "versions": versions(),
        "seconds": options.seconds,
        "rounds": options.rounds,
        "load_average_before": before,
        "results": run(options),
    }
    found["aims"] = report.all_aims(found["results"])
    if options.output:
        options.output.write_text(json.dumps(found, indent=2) + "\n")
        report.plot(found, options.output.with_suffix(".png"))
    report.show(found)


if __name__ == "__main__":
    main()
