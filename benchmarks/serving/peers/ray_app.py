"""Ray Serve: one replica behind its HTTP proxy, on a cluster of its own."""

import signal
import sys
from typing import Any

import ray
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=1, max_ongoing_requests=100)
class Model:
    def __init__(self, kind: str, directory: str) -> None:
        from serving.models import load

        self.model = load(kind, directory)

    async def __call__(self, request: Request) -> Any:
        return self.model((await request.json())["instances"])


if __name__ == "__main__":
    kind, directory, port = sys.argv[1:4]
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100_000_000, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
    serve.run(Model.bind(kind, directory), route_prefix="/predict")  # type: ignore[attr-defined]
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    ray.shutdown()
