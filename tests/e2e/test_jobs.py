"""Jobs from submission to their end, through the SDK, on a real server and its local engine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from headway import Client
from headway.domain.jobs import JobState
from headway.errors import (
    ConflictError,
    InvalidRequestError,
    JobFailedError,
    NotFoundError,
    WaitTimeoutError,
)

IN_ORDER = [
    "queued",
    "provisioning",
    "provisioned",
    "network setting up",
    "network setup",
    "running",
    "succeeded",
]


def states(client: Client, job_id: str) -> list[str]:
    return [str(event.data["to"]) for event in client.jobs.watch(job_id, timeout=60)]


def test_a_job_goes_through_every_state_once_and_in_order(client: Client) -> None:
    job = client.jobs.create("hello", command="echo hello")
    assert states(client, job.id) == IN_ORDER
    assert client.jobs.get(job.id).state is JobState.SUCCEEDED


def test_logs_keep_the_order_of_both_outputs_and_number_lines_from_one(client: Client) -> None:
    program = "import sys\nfor i in range(50):\n    print(i, flush=True)\n    print(-i, file=sys.stderr, flush=True)"
    job = client.jobs.create("order", command=[sys.executable, "-c", program])
    rows = list(client.jobs.logs(job.id, follow=True))
    assert [row.line for row in rows] == list(range(1, 101))
    assert [row.message for row in rows] == [str(n) for i in range(50) for n in (i, -i)]


def test_the_log_has_ended_only_after_the_model_is_registered(client: Client) -> None:
    job = client.jobs.create(
        "model", command='echo "class Predictor: pass" > $HEADWAY_MODEL_DIR/predict.py', model_name="digits"
    )
    list(client.jobs.logs(job.id, follow=True))
    (version,) = client.models.versions(job=job.id)
    assert (version.name, version.version, version.runtime, version.job_id) == ("digits", 1, "python", job.id)
    assert client.jobs.get(job.id).model_version_id == version.id


@pytest.mark.parametrize("path", ["out/deep", "/storage/models/tutorial/", None])
def test_every_form_of_model_path_is_collected(client: Client, tmp_path: Path, path: str | None) -> None:
    job = client.jobs.create("paths", command="echo weights > $HEADWAY_MODEL_DIR/weights.bin", model_path=path)
    client.jobs.wait(job.id, timeout=60)
    (version,) = client.models.versions(job=job.id)
    files = client.models.download(version.id, tmp_path / "model")
    assert [file.read_text() for file in files] == ["weights\n"]


def test_a_literal_model_path_that_the_program_could_write_is_honoured(client: Client, tmp_path: Path) -> None:
    literal = tmp_path / "storage" / "x"
    job = client.jobs.create(
        "literal", command=f"mkdir -p {literal} && echo 1 > {literal}/w.bin", model_path=f"{literal}/"
    )
    client.jobs.wait(job.id, timeout=60)
    (version,) = client.models.versions(job=job.id)
    assert [entry.path for entry in version.files] == ["w.bin"]


def test_replicas_find_each_other_over_tcp(client: Client) -> None:
    program = """
import json, os, socket
rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
address = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
cluster = json.loads(os.environ["TF_CONFIG"])["cluster"]
assert {role: len(found) for role, found in cluster.items()} == {"worker": 2, "ps": 1}
if rank == 0:
    with socket.create_server(address) as server:
        for _ in range(size - 1):
            connection, _ = server.accept()
            print("met", connection.recv(10).decode(), flush=True)
else:
    while True:
        try:
            with socket.create_connection(address) as connection:
                connection.sendall(os.environ["HEADWAY_REPLICA"].encode())
            break
        except ConnectionRefusedError:
            continue
"""
    roles = {
        "worker": {"count": 2},
        "ps": {"count": 1, "command": [sys.executable, "-c", program + "\nimport time\ntime.sleep(600)"]},
    }
    job = client.jobs.create("meet", roles=roles, command=[sys.executable, "-c", program])
    job = client.jobs.wait(job.id, timeout=60)
    messages = sorted(row.message for row in client.jobs.logs(job.id))
    assert messages == ["met ps-0", "met worker-1"]
    assert job.state is JobState.SUCCEEDED


def test_a_failure_names_the_rank_that_failed_first_and_stops_the_rest(client: Client) -> None:
    command = 'if [ "$RANK" = 1 ]; then echo broken pipe of rank one; exit 3; fi; sleep 600'
    job = client.jobs.create("fails", command=command, count=3)
    with pytest.raises(JobFailedError) as caught:
        client.jobs.wait(job.id, timeout=60)
    failure = caught.value.job.failure
    assert (failure.replica, failure.rank, failure.exit_code) == ("worker-1", 1, 3)
    assert failure.last_lines[-1] == "broken pipe of rank one"
    assert "worker-1" in str(caught.value)


def test_a_command_that_does_not_exist_says_so(client: Client) -> None:
    for command in ("no-such-program --flag", ["/no/such/program"]):
        job = client.jobs.create("missing", command=command)
        with pytest.raises(JobFailedError, match="does not exist"):
            client.jobs.wait(job.id, timeout=60)


def test_a_failed_job_is_retried_as_often_as_asked_and_each_attempt_keeps_its_log(client: Client) -> None:
    command = 'echo attempt $HEADWAY_ATTEMPT; [ "$HEADWAY_ATTEMPT" = 3 ]'
    job = client.jobs.create("retry", command=command, retries=2)
    assert client.jobs.wait(job.id, timeout=60).attempt == 3
    rows = list(client.jobs.logs(job.id))
    assert [(row.attempt, row.line, row.message) for row in rows] == [(n, 1, f"attempt {n}") for n in (1, 2, 3)]
    assert [row.message for row in client.jobs.logs(job.id, attempt=2)] == ["attempt 2"]


def test_a_job_can_be_retried_by_hand(client: Client) -> None:
    job = client.jobs.create("again", command='[ "$HEADWAY_ATTEMPT" = 2 ]')
    assert client.jobs.wait(job.id, timeout=60, raise_on_failure=False).state is JobState.FAILED
    client.jobs.retry(job.id)
    assert client.jobs.wait(job.id, timeout=60).state is JobState.SUCCEEDED
    with pytest.raises(ConflictError):
        client.jobs.retry(job.id)


def test_stop_ends_the_programs_and_the_job(client: Client) -> None:
    job = client.jobs.create("stop", command="trap 'echo asked; exit 0' TERM; echo up; while :; do sleep 0.1; done")
    lines = client.jobs.logs(job.id, follow=True)
    assert next(lines).message == "up"
    client.jobs.stop(job.id)
    assert "asked" in [row.message for row in lines]
    assert client.jobs.get(job.id).state is JobState.STOPPED
    assert client.jobs.stop(job.id).state is JobState.STOPPED


def test_a_hard_stop_does_not_wait_for_the_grace_period(client: Client) -> None:
    job = client.jobs.create("deaf", command="trap '' TERM; echo up; while :; do sleep 0.1; done", grace_seconds=600)
    next(iter(client.jobs.logs(job.id, follow=True)))
    client.jobs.stop(job.id, hard=True)
    ended = client.jobs.wait(job.id, timeout=30, raise_on_failure=False)
    assert ended.state is JobState.STOPPED
    assert "killed" not in ended.replicas[0].reason


def test_max_runtime_ends_a_job_that_runs_too_long(client: Client) -> None:
    job = client.jobs.create("long", command="sleep 600", max_runtime=0.5, grace_seconds=0.2)
    with pytest.raises(JobFailedError, match="max_runtime"):
        client.jobs.wait(job.id, timeout=60)


def test_a_job_that_is_created_without_being_started_waits_for_start(client: Client) -> None:
    job = client.jobs.create("later", command="true", start=False)
    assert job.state is JobState.CREATED
    assert client.jobs.start(job.id).state is not JobState.CREATED
    assert client.jobs.wait(job.id, timeout=60).state is JobState.SUCCEEDED


def test_wait_gives_up_and_the_job_goes_on(client: Client) -> None:
    job = client.jobs.create("slow", command="sleep 600")
    with pytest.raises(WaitTimeoutError):
        client.jobs.wait(job.id, timeout=0.5)
    assert not client.jobs.get(job.id).finished
    client.jobs.stop(job.id, hard=True)
    client.jobs.wait(job.id, timeout=30, raise_on_failure=False)


def test_a_workspace_folder_arrives_with_its_programs_and_without_what_is_ignored(
    client: Client, tmp_path: Path
) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "run.sh").write_text("#!/bin/sh\nfind . -type f | sort\n")
    (tmp_path / "package" / "run.sh").chmod(0o755)
    (tmp_path / "secret.txt").write_text("not to be sent")
    (tmp_path / ".headwayignore").write_text("secret.txt\n")
    job = client.jobs.create("files", command="./package/run.sh", workspace=tmp_path)
    client.jobs.wait(job.id, timeout=60)
    names = [row.message for row in client.jobs.logs(job.id)]
    assert "./package/run.sh" in names
    assert "./secret.txt" not in names


def test_secrets_reach_the_program_and_nothing_else(client: Client) -> None:
    job = client.jobs.create("secret", command='echo "$API_KEY" | wc -c', secrets={"API_KEY": "canary-7f3a9c"})
    client.jobs.wait(job.id, timeout=60)
    assert [row.message.strip() for row in client.jobs.logs(job.id)] == ["14"]
    shown = client.jobs.get(job.id).model_dump_json() + repr(list(client.events.list(subject=job.id)))
    assert "canary" not in shown


def test_environment_values_arrive_as_text(client: Client) -> None:
    environment = {"A": True, "B": None, "C": 5, "D": 0.25, "E": "x y"}
    job = client.jobs.create("env", command='echo "$A|$B|$C|$D|$E"', environment=environment)
    client.jobs.wait(job.id, timeout=60)
    assert [row.message for row in client.jobs.logs(job.id)] == ["true||5|0.25|x y"]


def test_outputs_of_a_job_can_be_fetched_and_a_failed_jobs_model_is_kept_as_output(
    client: Client, tmp_path: Path
) -> None:
    command = "echo done > $HEADWAY_OUTPUT_DIR/result.txt; echo half > $HEADWAY_MODEL_DIR/w.bin; exit 1"
    job = client.jobs.create("outputs", command=command)
    job = client.jobs.wait(job.id, timeout=60, raise_on_failure=False)
    assert [entry.path for entry in job.outputs] == ["model/w.bin", "result.txt"]
    assert not list(client.models.versions(job=job.id))
    found = client.jobs.download_outputs(job.id, tmp_path / "outputs")
    assert sorted(path.read_text() for path in found) == ["done\n", "half\n"]


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"comand": "true"}, InvalidRequestError, "Did you mean 'command'"),
        ({"command": "true", "retrys": 1}, InvalidRequestError, "Did you mean 'retries'"),
        ({"command": "true", "count": -1}, InvalidRequestError, "count"),
        ({"command": "true", "count": 0}, InvalidRequestError, "count"),
        ({"command": ""}, InvalidRequestError, "empty"),
        ({"command": "true", "instance_type": "cpu.smal"}, NotFoundError, "Did you mean 'cpu.small'"),
        ({"command": "true", "project": "no-such"}, NotFoundError, "no-such"),
        ({"command": "true", "max_runtime": -5}, InvalidRequestError, "max_runtime"),
        ({"command": "true", "environment": {"A=B": "x"}}, InvalidRequestError, "A=B"),
        ({"command": "true", "workspace": "/no/such/folder"}, Exception, "no/such/folder"),
    ],
)
def test_bad_input_is_one_clear_error_and_makes_nothing(
    client: Client, fields: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        client.jobs.create("bad", **fields)
    assert not list(client.jobs.list(name="bad"))
    assert not [run for run in client.runs.list() if run.name == "bad"]


def test_a_git_url_that_fails_fails_the_job_with_gits_reason(client: Client, tmp_path: Path) -> None:
    job = client.jobs.create("git", command="true", workspace={"url": f"file://{tmp_path}/nowhere.git"})
    with pytest.raises(JobFailedError, match=r"nowhere\.git"):
        client.jobs.wait(job.id, timeout=60)


def test_gpus_that_are_not_there_are_refused_at_submission(client: Client) -> None:
    client.instance_types.set("gpu.huge", gpu=64)
    with pytest.raises(InvalidRequestError, match="64 GPUs"):
        client.jobs.create("gpu", command="true", instance_type="gpu.huge")


def test_memory_is_reserved_and_the_queue_says_why_a_job_waits(client: Client) -> None:
    total = (
        client.status()["capacity"]["memory_mb"]
        if isinstance(client.status(), dict)
        else client.status().capacity.memory_mb
    )
    client.instance_types.set("most", memory_mb=int(total * 0.7))
    first = client.jobs.create("first", command="echo up; sleep 600", instance_type="most")
    next(iter(client.jobs.logs(first.id, follow=True)))
    second = client.jobs.create("second", command="true", instance_type="most")
    reasons = client.events.stream(subject=second.id, type="job.waiting")
    assert "memory" in next(iter(reasons)).message
    client.jobs.stop(first.id, hard=True)
    assert client.jobs.wait(second.id, timeout=60).state is JobState.SUCCEEDED


def test_deleting_a_job_takes_its_log_and_leaves_its_model(client: Client) -> None:
    job = client.jobs.create("gone", command="echo 1 > $HEADWAY_MODEL_DIR/w.bin; echo line")
    client.jobs.wait(job.id, timeout=60)
    client.jobs.delete(job.id)
    with pytest.raises(NotFoundError):
        client.jobs.get(job.id)
    with pytest.raises(NotFoundError):
        list(client.jobs.logs(job.id))
    assert list(client.models.versions(model="gone"))
