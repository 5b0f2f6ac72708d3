"""MLServer: a runtime of one's own, without a pool of workers, by its own command."""

import json
import os
import socket
import sys
import tempfile
from pathlib import Path

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from serving.models import load


class Model(MLModel):
    async def load(self) -> bool:
        self.model = load(os.environ["BENCH_KIND"], os.environ["BENCH_DIRECTORY"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        import numpy as np

        columns = self.model(NumpyCodec.decode_input(payload.inputs[0]))
        outputs = [NumpyCodec.encode_output(name, np.asarray(column)) for name, column in columns.items()]
        return InferenceResponse(model_name=self.name, outputs=outputs)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    os.environ["BENCH_KIND"], os.environ["BENCH_DIRECTORY"] = sys.argv[1:3]
    home = Path(tempfile.mkdtemp())
    settings = {"host": "127.0.0.1", "http_port": int(sys.argv[3]), "grpc_port": free_port(), "parallel_workers": 0}
    (home / "settings.json").write_text(json.dumps({**settings, "metrics_endpoint": None, "debug": False}))
    model = {"name": "bench", "implementation": "serving.peers.mlserver_app.Model"}
    (home / "model-settings.json").write_text(json.dumps(model))
    program = Path(sys.executable).with_name("mlserver")
    os.execv(program, [str(program), "start", str(home)])
