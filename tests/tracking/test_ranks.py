"""Several ranks of one launch are one run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from headway.domain.runs import RunState
from headway.errors import InvalidRequestError
from headway.testing.faults import repetitions
from headway.testing.trainers import QUIET, environment, only_run, train
from headway.tracking.launch import Gathering, Launch, find_place
from headway.tracking.local import local_runs

RANKS, FEW = 8, 3
LAUNCHER = """
import os, subprocess, sys
program, count = sys.argv[1], int(sys.argv[2])
ranks = [
    subprocess.Popen(
        ["sh", "-c", 'exec "$@"', "sh", sys.executable, "-c", program],
        env={**os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_PORT": "29500",
             "TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_RESTART_COUNT": "0"},
    )
    for rank in range(count)
]
sys.exit(max(abs(rank.wait()) for rank in ranks))
"""
PROGRAM = f"""
import os, headway
rank = int(os.environ["RANK"])
for turn in range(2):
    with headway.init(name="shared" if turn == 0 else None, config={{"turn": turn}}, {QUIET}) as run:
        for step in range(50):
            run.log({{"x": rank * 1000 + step}}, step=step)
"""


def launch(program: str, directory: Path, count: int = FEW) -> int:
    command = [sys.executable, "-c", LAUNCHER, program, str(count)]
    return subprocess.run(command, env=environment(directory), timeout=120).returncode


def test_eight_ranks_are_one_run_a_turn(tmp_path: Path) -> None:
    """Nobody tells them which: they find it by their launcher (R14)."""
    for number in range(repetitions(1, 10)):
        directory = tmp_path / str(number)
        assert launch(PROGRAM, directory, RANKS) == 0
        found = sorted(local_runs(directory), key=lambda run: run.config["turn"])
        assert [(run.config, run.attempts, run.state) for run in found] == [
            ({"turn": 0}, 1, RunState.COMPLETE),
            ({"turn": 1}, 1, RunState.COMPLETE),
        ]
        for run in found:
            lines = run.metrics("x").lines
            assert [line.replica for line in lines] == [f"rank{rank}" for rank in range(RANKS)]
            for rank, line in enumerate(lines):
                assert line.values == [rank * 1000 + step for step in range(50)]
            assert len(run.journals("facts")) == RANKS
        assert found[0].name == "shared"


def test_another_launch_is_another_run_and_a_restart_another_attempt(tmp_path: Path) -> None:
    program = f"import headway; r = headway.init({QUIET}); r.log({{'x': r.attempt}}); r.finish()"
    for _ in range(2):
        assert launch(program, tmp_path / "runs") == 0
    assert [run.attempts for run in local_runs(tmp_path / "runs")] == [1, 1]
    restarted = LAUNCHER.replace('_COUNT": "0"', '_COUNT": restart').replace(
        "ranks = [", "for restart in '01':\n ranks = ["
    )
    restarted = restarted.replace(
        "sys.exit(max(abs(rank.wait()) for rank in ranks))", " assert not any(rank.wait() for rank in ranks)"
    )
    command = [sys.executable, "-c", restarted, program, str(FEW)]
    subprocess.run(command, env=environment(tmp_path / "again"), check=True, timeout=120)
    run = only_run(tmp_path / "again")
    assert run.attempts == 2
    assert [(line.attempt, line.values) for line in run.metrics("x", view="all").lines] == [
        (attempt, [attempt]) for _ in range(FEW) for attempt in range(2)
    ]


def test_a_rank_that_dies_keeps_the_run_from_being_complete(tmp_path: Path) -> None:
    program = PROGRAM.replace("for turn in range(2)", "for turn in range(1)").replace(
        "for step in range(50):",
        "for step in range(50):\n            if rank == 1 and step == 25: os.kill(os.getpid(), 9)",
    )
    assert launch(program, tmp_path / "runs") == 9
    run = only_run(tmp_path / "runs")
    assert run.state is RunState.LOST
    assert [len(line) for line in run.metrics("x").lines] == [50, 25, 50]


def test_an_id_from_the_environment_needs_no_gathering(tmp_path: Path) -> None:
    program = f"import headway; r = headway.init(resume='never', {QUIET}); r.log({{'x': r.attempt}}); r.finish()"
    command = [sys.executable, "-c", LAUNCHER, program, str(FEW)]
    more = {"HEADWAY_RUN_ID": "given"}
    subprocess.run(command, env=environment(tmp_path / "runs", more), check=True, timeout=120)
    run = only_run(tmp_path / "runs")
    assert (run.id, run.attempts, len(run.metrics("x").lines)) == ("given", 1, FEW)


def test_ranks_are_found_where_launchers_leave_them() -> None:
    assert find_place(environment={}).launch is None
    assert find_place(environment={"RANK": "3", "WORLD_SIZE": "8"}).role == "rank3"
    assert find_place(environment={"RANK": "0", "WORLD_SIZE": "1"}).launch is None
    assert find_place(environment={"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "4"}).rank == 2
    slurm = {"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_JOB_ID": "17", "SLURM_STEP_ID": "0"}
    place = find_place(environment=slurm)
    assert place.launch is not None and place.launch.everywhere and place.rank == 5
    assert find_place(environment={**slurm, "SLURM_PROCID": "6"}).launch == place.launch
    assert find_place(environment={**slurm, "SLURM_JOB_ID": "18"}).launch != place.launch
    assert find_place(environment={"SLURM_PROCID": "0"}).launch is None  # a batch script, not a step
    assert find_place(7, {}).role == "rank7"
    for environ in ({"RANK": "x"}, {"RANK": "-1"}):
        with pytest.raises(InvalidRequestError, match="RANK"):
            find_place(environment=environ)


def test_a_step_of_slurm_has_the_same_run_on_every_machine(tmp_path: Path) -> None:
    """Two machines with disks of their own."""
    found = []
    for machine in ("a", "b"):
        (tmp_path / machine).mkdir()
        gathering = Gathering(tmp_path / machine, Launch("0123456789abcdef", everywhere=True))
        found.append([gathering.run_id(gathering.join(rank)) for rank in (0, 0, 1)])
    assert found[0] == found[1]
    assert found[0][0] == found[0][2] != found[0][1]


def test_spawned_ranks_with_an_argument_share_a_run(tmp_path: Path) -> None:
    code = f"""
import os, subprocess, sys
program = "import headway, sys; r = headway.init(rank=int(sys.argv[1]), {QUIET}); r.log({{'x': 1}}); r.finish()"
ranks = [subprocess.Popen([sys.executable, "-c", program, str(rank)]) for rank in range(3)]
sys.exit(max(abs(rank.wait()) for rank in ranks))
"""
    train(code, tmp_path / "runs")
    assert len(only_run(tmp_path / "runs").metrics("x").lines) == 3
