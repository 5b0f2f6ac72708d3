"""kill -9 of the server during a sweep: every trial runs once, the best is right, database and sampler agree."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from headway import Client
from headway.domain.sweeps import SweepState, TrialState
from headway.server.workers.search import choose
from headway.testing.faults import repetitions, until
from headway.testing.server import ServerProcess

WAIT = 600.0
KILLS = repetitions(2, 5)
TRIALS = repetitions(12, 50)
PARALLEL = 4

TRAIN = """
import json, os, sys
import headway

parameters = json.load(open(os.environ["HEADWAY_PARAMS_FILE"]))
mine = json.dumps([os.environ["HEADWAY_JOB_ID"], os.environ["HEADWAY_ATTEMPT"]])
with open(sys.argv[1], "a") as file:
    file.write(mine + "\\n")
place = open(sys.argv[1]).read().splitlines().index(mine)
if place % 5 == 4:
    sys.exit(3)
with headway.init() as run:
    run.log({"loss": (parameters["x"] - 0.3) ** 2}, step=0)
"""


def test_a_sweep_survives_kills_of_the_server(
    own_server: ServerProcess, client: Client, tmp_path: Path, chance: random.Random
) -> None:
    started = tmp_path / "started"
    started.touch()
    space = {"x": {"low": 0.0, "high": 1.0}}
    job = {"command": [sys.executable, "-c", TRAIN, str(started)]}
    made = client.sweeps.create("killed", job, space, metric="loss", trials=TRIALS, parallel=PARALLEL, seed=5)
    for number in range(1, KILLS + 1):
        due = number * TRIALS // (KILLS + 1) + chance.randrange(2)
        until(lambda due=due: len(started.read_text().splitlines()) >= due, WAIT)  # type: ignore[misc]
        own_server.kill()
        own_server.start()
    found = client.sweeps.wait(made.id, timeout=WAIT)
    trials = list(client.sweeps.trials(made.id))
    lines = [json.loads(line) for line in started.read_text().splitlines()]
    assert len(lines) == TRIALS, "no attempt of a job ran twice"
    assert {job_id for job_id, _ in lines} == {trial.job_id for trial in trials}
    failing = {job_id for job_id, _ in lines[4::5]}
    assert found.state is SweepState.SUCCEEDED
    assert [trial.number for trial in trials] == list(range(1, TRIALS + 1))
    for trial in trials:
        if trial.job_id in failing:
            assert (trial.state, trial.value) == (TrialState.FAILED, None)
        else:
            assert (trial.state, trial.value) == (TrialState.SUCCEEDED, (trial.parameters["x"] - 0.3) ** 2)  # type: ignore[operator]
    values = {trial.number: trial.value for trial in trials if trial.value is not None}
    assert found.best is not None
    assert found.best.number == min(values, key=lambda number: (values[number], number))
    # What was chosen first depends on no other trial, so that it can be asked for again.
    assert choose(found, [], 1) == trials[0].parameters
