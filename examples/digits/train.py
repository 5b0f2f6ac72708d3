"""Train a digit classifier on several ranks, each on its own part of the data.

Run as a Headway job (see job.yaml), or by hand on one machine::

    RANK=0 WORLD_SIZE=1 python train.py

Every rank reads its place from the environment: RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT. Where the job has a role
``ps``, that replica is the parameter server (its address is in TF_CONFIG); otherwise rank 0 is it too. Gradients are
averaged over all workers at every step.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from data import PIXEL_MAX, load_split, shard
from exchange import DONE, GRADIENT, ParameterServer, RankLost, connect
from network import SHAPES, accuracy, initial_parameters, loss_and_gradient, unflatten

EPOCHS = int(os.environ.get("EPOCHS", "30"))
BATCH = int(os.environ.get("BATCH", "32"))
LEARNING_RATE = float(os.environ.get("LEARNING_RATE", "0.1"))


@dataclass(frozen=True)
class Place:
    """Who this process is, and where the parameter server listens."""

    worker: int | None
    workers: int
    serves: bool
    host: str
    port: int


def find_place() -> Place:
    """The place that the environment gives this rank."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    configuration = json.loads(os.environ.get("TF_CONFIG", "{}"))
    servers = configuration.get("cluster", {}).get("ps", [])
    if not servers:
        host, port = os.environ.get("MASTER_ADDR", "127.0.0.1"), int(os.environ.get("MASTER_PORT", "29500"))
        return Place(rank, world, rank == 0, host, port)
    host, _, port = servers[0].rpartition(":")
    is_server = configuration["task"]["type"] == "ps"
    return Place(None if is_server else rank, world - len(servers), is_server, host, int(port))


def train(place: Place) -> np.ndarray:
    """This worker's part of the training; the parameters that all workers end with."""
    assert place.worker is not None
    training, held_out = load_split()
    mine = shard(training, place.worker, place.workers)
    inputs, labels = (mine.pixels / PIXEL_MAX).astype(np.float32), mine.labels
    steps = min(len(shard(training, worker, place.workers).labels) for worker in range(place.workers)) // BATCH
    print(f"worker {place.worker} of {place.workers}: {len(labels)} images, {steps} steps an epoch", flush=True)
    random = np.random.default_rng(place.worker)
    server = connect(place.host, place.port, place.worker)
    parameters = _parameters(server.receive()[2])
    for epoch in range(1, EPOCHS + 1):
        order, losses = random.permutation(len(labels)), []
        for step in range(steps):
            batch = order[step * BATCH : (step + 1) * BATCH]
            loss, gradient = loss_and_gradient(parameters, inputs[batch], labels[batch])
            server.send(GRADIENT, place.worker, gradient.tobytes())
            parameters = _parameters(server.receive()[2])
            losses.append(loss)
        score = accuracy(parameters, held_out.pixels / PIXEL_MAX, held_out.labels)
        print(f"epoch {epoch}/{EPOCHS} loss={np.mean(losses):.4f} accuracy={score:.4f}", flush=True)
    server.send(DONE, place.worker)
    server.close()
    return parameters


def serve(place: Place) -> None:
    """Be the parameter server until every worker is done."""
    server = ParameterServer(place.host, place.port, place.workers, initial_parameters(), LEARNING_RATE)
    print(f"parameter server on {place.host}:{place.port} for {place.workers} workers", flush=True)
    print(f"parameter server took {server.serve()} steps", flush=True)


def save(parameters: np.ndarray, directory: Path) -> None:
    """The weights, and beside them the code that serves them."""
    directory.mkdir(parents=True, exist_ok=True)
    np.savez(directory / "weights.npz", **{name: unflatten(parameters)[name] for name in SHAPES})
    shutil.copyfile(Path(__file__).with_name("predict.py"), directory / "predict.py")
    print(f"model written to {directory}", flush=True)


def run(place: Place) -> None:
    """Everything that this rank has to do."""
    if place.worker is None:
        serve(place)
        return
    helper = threading.Thread(target=_serve_quietly, args=(place,), daemon=True) if place.serves else None
    if helper:
        helper.start()
    parameters = train(place)
    if helper:
        helper.join()
    if place.worker == 0:
        save(parameters, Path(os.environ.get("HEADWAY_MODEL_DIR", "model")))


def _serve_quietly(place: Place) -> None:
    """The server inside rank 0: when a worker is lost, this rank's own training says so."""
    try:
        serve(place)
    except RankLost:
        return


def _parameters(body: bytes) -> np.ndarray:
    return np.frombuffer(body, np.float32).copy()


if __name__ == "__main__":
    try:
        run(find_place())
    except RankLost as error:
        sys.exit(f"training stopped: {error}")
