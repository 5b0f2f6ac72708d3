"""A real server for the tests of the shims, and a git repository with a program that trains on several nodes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import headway
from headway.testing.server import ServerProcess

DIGITS = Path(__file__).parents[2] / "examples" / "digits"

MNIST = '''
"""Trains on several nodes that know each other from TF_CONFIG, as TensorFlow 1 estimators did."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
from data import PIXEL_MAX, load_split, shard
from exchange import DONE, GRADIENT, ParameterServer, RankLost, connect
from network import SHAPES, accuracy, initial_parameters, loss_and_gradient, unflatten

config = json.loads(os.environ["TF_CONFIG"])
kind, index = config["task"]["type"], config["task"]["index"]
workers = len(config["cluster"]["worker"])
host, _, port = config["cluster"]["ps"][0].rpartition(":")
assert config["cluster"]["master"] == config["cluster"]["worker"][:1], config
epochs, most_steps = int(os.environ["TRAIN_EPOCHS"]), int(os.environ["MAX_STEPS"])


def work():
    training, held_out = load_split()
    mine = shard(training, index, workers)
    server = connect(host, int(port), index)
    parameters = np.frombuffer(server.receive()[2], np.float32)
    batches = np.array_split(np.arange(len(training.labels) // workers), 20)
    steps = 0
    for epoch in range(epochs):
        for batch in batches:
            if steps == most_steps:
                break
            loss, gradient = loss_and_gradient(parameters, mine.pixels[batch] / PIXEL_MAX, mine.labels[batch])
            server.send(GRADIENT, index, gradient.tobytes())
            parameters = np.frombuffer(server.receive()[2], np.float32)
            steps += 1
        score = accuracy(parameters, held_out.pixels / PIXEL_MAX, held_out.labels)
        print(f"{kind} {index}: cross_entropy = {loss:.4f}, step = {steps}, accuracy = {score:.3f}", flush=True)
    server.send(DONE, index)
    if kind == "master":
        target = Path(os.environ["PS_MODEL_PATH"])
        np.savez(target / "weights.npz", **{name: unflatten(parameters)[name] for name in SHAPES})
        shutil.copyfile("predict.py", target / "predict.py")
        print(f"Saving checkpoints for {steps} into {target}", flush=True)


try:
    if kind == "ps":
        steps = ParameterServer(host, int(port), workers, initial_parameters(), 0.1).serve()
        print(f"ps {index}: {steps} steps", flush=True)
    else:
        work()
except RankLost as error:
    sys.exit(str(error))
'''


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server, key or project of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith(("HEADWAY_", "PAPERSPACE_")) or name == "PS_API_KEY":
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def running_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of this test session's own, with all that it started ended afterwards."""
    with ServerProcess(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def native(running_server: ServerProcess) -> Iterator[headway.Client]:
    """The native client, to look at what the shim did."""
    with headway.Client(running_server.url, running_server.token) as client:
        yield client


@pytest.fixture(scope="session")
def mnist_repository(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a git repository with requirements.txt and mnist.py."""
    directory = tmp_path_factory.mktemp("mnist-sample")
    for name in ("data.py", "exchange.py", "network.py", "predict.py"):
        shutil.copy(DIGITS / name, directory)
    (directory / "mnist.py").write_text(MNIST)
    (directory / "requirements.txt").write_text("numpy\nscikit-learn\n")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "mnist"]):
        identity = ["-c", "user.name=Test", "-c", "user.email=test@localhost"]
        subprocess.run(["git", *identity, *arguments], cwd=directory, check=True)
    return directory.as_uri()
