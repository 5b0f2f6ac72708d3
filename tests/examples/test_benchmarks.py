"""The serving benchmark works: how fast things are is for its own runs to say, not for a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_serving_benchmark_writes_json_and_a_plot(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "serving.py"), "--quick", "--models", "mlp"]
    done = subprocess.run(
        [*command, "--output", "result.json"], cwd=tmp_path, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    servers = result["results"]["models"]["mlp"]["servers"]
    for name in ("headway replica", "headway gateway + 1", "headway gateway + 2", "sketch", "fastapi", "starlette"):
        assert "error" not in servers[name]
        assert [servers[name][count]["requests_per_second"] > 0 for count in ("1", "8", "64")] == [True] * 3
    assert {"1", "8", "64", "half"} == set(servers["headway replica"])
    assert len(result["results"]["many_deployments"]["rounds"]) > 1
    assert len(result["aims"]) == 11
    assert (tmp_path / "result.png").read_bytes().startswith(b"\x89PNG")
    for line in result["aims"]:
        assert line["what"] in done.stdout
