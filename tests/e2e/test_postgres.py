"""The main job with PostgreSQL behind the server instead of SQLite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from headway import Client
from headway.domain.jobs import JobState
from headway.testing.server import ServerProcess

MODEL = "class Predictor:\n    def predict(self, inputs):\n        return {'sums': [sum(row) for row in inputs]}\n"


@pytest.fixture
def postgres_server_process(
    tmp_path: Path, new_postgres_database: Callable[[], str]
) -> Iterator[tuple[ServerProcess, str]]:
    url = new_postgres_database()
    with ServerProcess(tmp_path / "data", arguments=("--database-url", url)) as server:
        yield server, url


def test_train_register_deploy_predict_and_survive_a_kill(
    postgres_server_process: tuple[ServerProcess, str], tmp_path: Path
) -> None:
    server, url = postgres_server_process
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "predict.py").write_text(MODEL)
    with Client(server.url, server.token) as client:
        client.projects.create("p")
        command = "echo line one; cp predict.py $HEADWAY_MODEL_DIR; echo $RANK"
        job = client.jobs.create("train", project="p", command=command, count=2, workspace=tmp_path / "code")
        rows = list(client.jobs.logs(job.id, follow=True))
        assert sorted((row.replica, row.line) for row in rows) == [(f"worker-{r}", n) for r in (0, 1) for n in (1, 2)]
        assert client.jobs.get(job.id).state is JobState.SUCCEEDED
        client.deployments.create("sums", model="train", project="p", replicas=2)
        client.deployments.wait("sums", project="p", timeout=60)
        slow = client.jobs.create("slow", project="p", command="echo up; sleep 3; echo down")
        next(iter(client.jobs.logs(slow.id, follow=True)))
        server.kill()
        server.start()
        assert client.jobs.wait(slow.id, timeout=60).state is JobState.SUCCEEDED
        assert [row.message for row in client.jobs.logs(slow.id)] == ["up", "down"]
        assert client.deployments.predict("sums", inputs=[[1, 2], [3, 4]], project="p").outputs == {"sums": [3, 7]}
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT count(*) FROM jobs").fetchone()
    assert found == (2,)
    assert not (server.data / "headway.db").exists()
