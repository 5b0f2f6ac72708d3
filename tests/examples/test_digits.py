"""The digits example by itself: several real processes that train together, and the model they leave."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from headway.domain.cluster import Member, cluster_environment, rank_order
from headway.ports import lease_port, release_port

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


class Gang:
    """Ranks of one training, started as a platform would start them."""

    def __init__(self, directory: Path, roles: list[tuple[str, int]], ports: list[int]) -> None:
        self.directory = directory
        self._ports = iter(ports)
        members = [
            Member(role=role, index=index, rank=rank, host="127.0.0.1", ports=(next(self._ports), next(self._ports)))
            for rank, (role, index) in enumerate(rank_order(roles))
        ]
        self.environments = cluster_environment(members, "native")
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, **extra: str) -> None:
        for rank, variables in self.environments.items():
            environment = {**os.environ, **variables, **extra, "HEADWAY_MODEL_DIR": str(self.directory / "model")}
            log = (self.directory / f"rank-{rank}.log").open("w")
            with log:
                self.processes.append(
                    subprocess.Popen(
                        [sys.executable, str(DIGITS / "train.py")],
                        env=environment,
                        cwd=self.directory,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        text=True,
                    )
                )

    def wait(self) -> list[int]:
        return [process.wait(timeout=90) for process in self.processes]

    def log(self, rank: int) -> str:
        return (self.directory / f"rank-{rank}.log").read_text()

    def follow(self, rank: int, text: str) -> None:
        """Returns once ``text`` is in the log of ``rank``."""
        subprocess.run(
            ["timeout", "60", "sh", "-c", f"tail -n +1 -f 'rank-{rank}.log' | grep -q -m1 '{text}'"],
            cwd=self.directory,
            check=True,
        )

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.fixture
def ports() -> Iterator[list[int]]:
    leased = [lease_port() for _ in range(6)]
    yield leased
    for port in leased:
        release_port(port)


@pytest.fixture
def gang(request: pytest.FixtureRequest, tmp_path: Path, ports: list[int]) -> Iterator[Gang]:
    made = Gang(tmp_path, request.param, ports)
    yield made
    made.end()


def load_predictor(model: Path) -> object:
    spec = importlib.util.spec_from_file_location("digits_predict", model / "predict.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Predictor(str(model))


def held_out() -> list[dict[str, object]]:
    return json.loads((DIGITS / "held_out.json").read_text())


SHAPES = [[("worker", 2), ("ps", 1)], [("worker", 2)]]


@pytest.mark.parametrize("gang", SHAPES, indirect=True, ids=["two workers and a server", "two ranks"])
def test_ranks_train_one_good_model_together(gang: Gang) -> None:
    gang.start()

    assert gang.wait() == [0] * len(gang.environments), [gang.log(rank) for rank in gang.environments]
    lines = gang.log(0).splitlines()
    final = next(line for line in reversed(lines) if line.startswith("epoch 30/30"))
    assert float(final.partition("accuracy=")[2]) > 0.95
    assert final.partition("accuracy=")[2] == gang.log(1).splitlines()[-1].partition("accuracy=")[2]
    predictor = load_predictor(gang.directory / "model")
    answer = predictor.predict([digit["pixels"] for digit in held_out()])  # type: ignore[attr-defined]
    right = sum(a == digit["label"] for a, digit in zip(answer["classes"], held_out(), strict=True))
    assert right >= 9
    assert np.allclose(np.sum(answer["probabilities"], axis=1), 1, atol=1e-4)


@pytest.mark.parametrize("gang", SHAPES, indirect=True, ids=["two workers and a server", "two ranks"])
@pytest.mark.parametrize("victim", [0, 1, -1])
def test_a_killed_rank_breaks_training_for_all(gang: Gang, victim: int) -> None:
    gang.start(EPOCHS="1000000")
    gang.follow(0, "^epoch 1/")
    gang.processes[victim].send_signal(signal.SIGKILL)

    codes = gang.wait()
    assert codes[victim] == -signal.SIGKILL
    survivors = [rank for rank, code in enumerate(codes) if code != -signal.SIGKILL]
    for rank in survivors:
        assert codes[rank] == 1
        assert "training stopped:" in gang.log(rank)
        assert "Traceback" not in gang.log(rank)
    assert not (gang.directory / "model").exists()


def test_the_digits_shown_to_users_were_never_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DIGITS))
    spec = importlib.util.spec_from_file_location("digits_data", DIGITS / "data.py")
    assert spec and spec.loader
    data = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(data)
    training, test = data.load_split()
    shown = [digit["pixels"] for digit in held_out()]
    shown += json.loads((DIGITS / "digit.json").read_text())["inputs"]

    trained, kept = {tuple(row) for row in training.pixels}, {tuple(row) for row in test.pixels}
    for pixels in shown:
        assert tuple(pixels) in kept
        assert tuple(pixels) not in trained


@pytest.mark.parametrize("inputs", [[], [[1, 2, 3]], 5, [[0] * 65], "digit"])
def test_a_wrong_input_is_a_value_error(tmp_path: Path, inputs: object) -> None:
    (tmp_path / "predict.py").write_text((DIGITS / "predict.py").read_text())
    np.savez(
        tmp_path / "weights.npz",
        w1=np.zeros((64, 2)), b1=np.zeros(2), w2=np.zeros((2, 10)), b2=np.zeros(10),
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"images|could not convert"):
        load_predictor(tmp_path).predict(inputs)  # type: ignore[attr-defined]
