"""BentoML: a service with one worker, by its own command."""

import os
import sys
from pathlib import Path
from typing import Any

import bentoml

from serving.models import load


@bentoml.service(workers=1)
class Model:
    def __init__(self) -> None:
        self.model = load(os.environ["BENCH_KIND"], os.environ["BENCH_DIRECTORY"])

    @bentoml.api
    def predict(self, instances: list[list[float]]) -> dict[str, Any]:
        return self.model(instances)


if __name__ == "__main__":
    os.environ["BENCH_KIND"], os.environ["BENCH_DIRECTORY"] = sys.argv[1:3]
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    command = [sys.executable, "-m", "bentoml", "serve", "serving.peers.bentoml_app:Model", "--host", "127.0.0.1"]
    working_directory = str(Path(__file__).resolve().parents[2])
    os.execv(sys.executable, [*command, "--port", sys.argv[3], "--working-dir", working_directory])
