"""LitServe: a LitAPI, one worker."""

import sys
from typing import Any

import litserve

from serving.models import load


class Model(litserve.LitAPI):
    def setup(self, device: str) -> None:  # noqa: ARG002
        self.model = load(*sys.argv[1:3])

    def decode_request(self, request: dict[str, Any]) -> Any:
        return request["instances"]

    def predict(self, instances: Any) -> Any:
        return self.model(instances)

    def encode_response(self, output: Any) -> Any:
        return output


if __name__ == "__main__":
    server = litserve.LitServer(Model(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[3]), generate_client_file=False, log_level="error", access_log=False)
