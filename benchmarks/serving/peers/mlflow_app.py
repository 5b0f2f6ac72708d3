"""MLflow model serving: a pyfunc model from code, served by its own command with one worker."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlflow

from serving.models import load


class Model(mlflow.pyfunc.PythonModel):
    def load_context(self, context: Any) -> None:  # noqa: ARG002
        self.model = load(os.environ["BENCH_KIND"], os.environ["BENCH_DIRECTORY"])

    def predict(self, context: Any, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ARG002
        return self.model(model_input)


if __name__ == "__main__":
    os.environ["BENCH_KIND"], os.environ["BENCH_DIRECTORY"] = sys.argv[1:3]
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # where it looks for uvicorn
    saved = Path(tempfile.mkdtemp()) / "model"
    mlflow.pyfunc.save_model(saved, python_model=str(Path(__file__).resolve()), pip_requirements=[])
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(saved), "--env-manager", "local"]
    os.execv(sys.executable, [*command, "--host", "127.0.0.1", "--port", sys.argv[3], "--workers", "1"])
else:
    mlflow.models.set_model(Model())
