"""Inputs, parameters and outputs of jobs on a real server with real agents, from each kind of source."""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from headway import Client
from headway.domain.base import new_id
from headway.domain.jobs import Job, JobState
from headway.errors import InvalidRequestError, JobFailedError, NotFoundError
from headway.testing.https import LOOPBACK, HttpsServer, Page
from headway.testing.server import ServerProcess

SECONDS = 120
TRAIN = """
import json, os, pathlib, sys
rows = (pathlib.Path(os.environ["HEADWAY_INPUT_DIR"]) / "rows.csv").read_text().split()
parameters = json.loads(pathlib.Path(os.environ["HEADWAY_PARAMS_FILE"]).read_text())
assert os.environ["HEADWAY_PARAM_LR"] == str(parameters["lr"])
print(len(rows), parameters["lr"], parameters["layers"], sys.argv[1:])
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpsServer]:
    with HttpsServer(tmp_path_factory.mktemp("site")) as server:
        yield server


def trusting(data: Path, site: HttpsServer) -> ServerProcess:
    """A server whose agents may fetch from ``site``, not started yet."""
    return ServerProcess(data, arguments=("--fetch-network", LOOPBACK))


@pytest.fixture(scope="module")
def running_server(tmp_path_factory: pytest.TempPathFactory, site: HttpsServer) -> Iterator[ServerProcess]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(site.certificate))
        server = trusting(tmp_path_factory.mktemp("server") / "data", site).start()
    try:
        yield server
    finally:
        server.close()


def submit(client: Client, command: str | list[str], **fields: object) -> Job:
    return client.jobs.create(new_id("job-"), command, **fields)  # type: ignore[arg-type]


def done(client: Client, command: str | list[str], **fields: object) -> Job:
    return client.jobs.wait(submit(client, command, **fields).id, timeout=SECONDS)


def lines(client: Client, job: Job) -> list[str]:
    return [row.message for row in client.jobs.logs(job.id)]


def folder(path: Path, **files: str) -> Path:
    path.mkdir()
    for name, text in files.items():
        (path / name).write_text(text)
    return path


class TestSources:
    def test_an_artifact_and_parameters_the_way_programs_read_them(self, client: Client, tmp_path: Path) -> None:
        first = client.artifacts.upload("digits", {"rows.csv": folder(tmp_path / "a", rows="1\n2\n3\n") / "rows"})
        parameters = {"lr": 0.1, "layers": [16, 8]}
        job = submit(
            client,
            [sys.executable, "-c", TRAIN],
            inputs={"train": "artifact:digits:latest"},
            parameters=parameters,
            parameter_arguments=True,
        )
        second = client.artifacts.upload("digits", {"rows.csv": folder(tmp_path / "b", rows="4\n") / "rows"})
        job = client.jobs.wait(job.id, timeout=SECONDS)
        arguments = ["--lr", "0.1", "--layers", "[16, 8]"]
        assert lines(client, job) == [f"3 0.1 [16, 8] {arguments}"]
        assert list(job.spec.roles["worker"].command[3:]) == arguments
        given = job.spec.inputs["train"]
        assert (given.source, given.resolved, given.digest) == ("artifact:digits:latest", first.uri, first.digest)
        assert client.runs.get(job.run_id).config == parameters
        assert job.run_id in {node.id for node in client.lineage(first.id, direction="down").nodes}
        assert job.run_id not in {node.id for node in client.lineage(second.id, direction="down").nodes}
        assert first.id in {node.id for node in client.lineage(job.run_id, direction="up").nodes}

    def test_models_and_outputs_of_an_earlier_job(self, client: Client) -> None:
        command = "echo learned > $HEADWAY_MODEL_DIR/w.bin; cd $HEADWAY_OUTPUT_DIR; mkdir s; echo 1 > s/a; echo 2 > b"
        earlier = done(client, command, model_name="first")
        job = done(
            client,
            "cat $HEADWAY_INIT_MODEL_DIR/w.bin data/again/w.bin data/train/a; ls data/train data/one",
            init_model="models:/first/1",
            inputs={
                "again": "models:/first/1",
                "train": f"runs:/{earlier.run_id}/s",
                "one": f"runs:/{earlier.run_id}/b",
            },
        )
        assert lines(client, job) == ["learned", "learned", "1", "data/one:", "b", "", "data/train:", "a"]
        above = {node.id for node in client.lineage(job.run_id, direction="up").nodes}
        assert {earlier.run_id, earlier.model_version_id} <= above
        below = {node.id for node in client.lineage(earlier.run_id, direction="down").nodes}
        assert {job.run_id, earlier.model_version_id} <= below

    def test_outputs_are_named_as_objects_and_are_inputs_and_workspaces_of_later_jobs(self, client: Client) -> None:
        made = submit(
            client,
            "cd $HEADWAY_OUTPUT_DIR; echo of $HEADWAY_REPLICA > both.txt; echo x > $HEADWAY_REPLICA; "
            'echo "cat both.txt" > run.sh',
            count=2,
            output_path="s3://results/first",
        )
        list(client.jobs.logs(made.id, follow=True, timeout=SECONDS))
        # The log has ended, so the objects are there.
        later = submit(
            client,
            "cat data/train/both.txt; ls data/train; sh run.sh",
            inputs={"train": "s3://results/first/"},
            workspace="s3://results/first",
            start=False,
        )
        done(client, "echo replaced > $HEADWAY_OUTPUT_DIR/both.txt", output_path="s3://results/first")
        client.jobs.start(later.id)
        later = client.jobs.wait(later.id, timeout=SECONDS)
        listed = ["both.txt", "run.sh", "worker-0", "worker-1"]
        assert lines(client, later) == ["of worker-0", *listed, "of worker-0"]
        newest = done(client, "cat data/train/both.txt", inputs={"train": "s3://results/first/both.txt"})
        assert lines(client, newest) == ["replaced"]
        above = {node.id for node in client.lineage(later.run_id, direction="up").nodes}
        assert {"s3://results/first/", "s3://results/first"} <= {node.partition("#sha256=")[0] for node in above}

    def test_what_failed_names_no_objects(self, client: Client) -> None:
        job = submit(client, "echo x > $HEADWAY_OUTPUT_DIR/x; exit 1", output_path="s3://never/made")
        client.jobs.wait(job.id, timeout=SECONDS, raise_on_failure=False)
        with pytest.raises(NotFoundError, match="bucket 'never'"):
            submit(client, "true", inputs={"train": "s3://never/made"})

    def test_outputs_that_cannot_be_named_are_an_event_and_no_failure(self, client: Client) -> None:
        long = "y" * 100
        job = done(client, f"echo kept > $HEADWAY_OUTPUT_DIR/{long}", output_path=f"s3://results/{'x' * 1000}")
        assert [entry.path for entry in job.outputs] == [long]
        (told,) = [e for e in client.events.list(subject=job.id) if e.type == "job.output_naming_failed"]
        assert "1024" in told.message

    def test_local_files_become_versions_of_an_artifact_and_are_sent_once(self, client: Client, tmp_path: Path) -> None:
        data = folder(tmp_path / "data", **{"rows.csv": "1\n2\n"})
        (tmp_path / "weights.bin").write_text("w")
        jobs = [
            client.jobs.create(
                "my job",
                "cat data/train/rows.csv init_model/weights.bin",
                inputs={"train": str(data)},
                init_model=tmp_path / "weights.bin",
            )
            for _ in range(2)
        ]
        first, second = (client.jobs.wait(job.id, timeout=SECONDS) for job in jobs)
        assert lines(client, second) == ["1", "2", "w"]
        assert first.spec.inputs["train"].resolved == second.spec.inputs["train"].resolved == "artifact:my-job-train:v1"
        assert first.spec.init_model == second.spec.init_model
        assert len(list(client.artifacts.versions("my-job-train"))) == 1

    @pytest.mark.parametrize(
        ("source", "words"),
        [
            ("artifact:digitz:latest", "no artifact 'digitz'"),
            ("models:/nothing/1", "no model"),
            ("runs:/nothing/x", "no run 'nothing'"),
            ("s3://nowhere/x", "no bucket 'nowhere'"),
            ("https://user@example.org/x", "credentials"),
        ],
    )
    def test_an_unknown_source_refuses_the_job(self, client: Client, source: str, words: str) -> None:
        name = new_id("refused-")
        with pytest.raises((InvalidRequestError, NotFoundError), match=words):
            client.jobs.create(name, "true", inputs={"train": source})
        assert list(client.jobs.list(name=name)) == []


class TestAddresses:
    def test_every_replica_gets_the_file_and_the_job_its_digest(self, client: Client, site: HttpsServer) -> None:
        site.pages["/rows.csv"] = Page(b"1\n2\n")
        url = site.url("/rows.csv?signature=hush-hush-hush")
        job = done(client, "cat data/train/rows.csv", inputs={"train": url}, count=2)
        assert lines(client, job) == ["1", "2"] * 2
        given = job.spec.inputs["train"]
        assert given.digest == hashlib.sha256(b"1\n2\n").hexdigest()
        assert "/rows.csv?signature=hush-hush-hush" in site.asked
        assert "hush" not in client.jobs.get(job.id).model_dump_json()

    def test_another_attempt_gets_the_same_or_nothing(self, client: Client, site: HttpsServer) -> None:
        site.pages["/drifting"] = Page(b"first")
        job = submit(client, "cat data/train/drifting; exit 1", inputs={"train": site.url("/drifting")})
        client.jobs.wait(job.id, timeout=SECONDS, raise_on_failure=False)
        site.pages["/drifting"] = Page(b"second")
        client.jobs.retry(job.id)
        with pytest.raises(JobFailedError, match="is not what it was when this job first brought it"):
            client.jobs.wait(job.id, timeout=SECONDS)
        assert lines(client, client.jobs.get(job.id)) == ["first"]

    def test_replicas_that_got_different_files_do_not_start(self, client: Client, site: HttpsServer) -> None:
        numbers = itertools.count()
        site.pages["/counter"] = lambda: Page(b"%d" % next(numbers))
        job = submit(client, "echo ran", inputs={"train": site.url("/counter")}, count=2)
        with pytest.raises(JobFailedError, match="changed while the replicas brought it"):
            client.jobs.wait(job.id, timeout=SECONDS)
        assert lines(client, job) == []

    def test_other_private_addresses_are_refused(self, client: Client) -> None:
        job = submit(client, "true", inputs={"train": "https://10.255.255.1/x"})
        with pytest.raises(JobFailedError, match="private address"):
            client.jobs.wait(job.id, timeout=SECONDS)


def test_a_workspace_that_grows_too_large_fails_the_job(client: Client) -> None:
    grow = "i=$((i+1)); dd if=/dev/urandom of=p$i bs=1M count=1 2> /dev/null; sleep 0.05"
    command = f"trap 'exit 0' TERM; i=0; while :; do {grow}; done"
    job = submit(client, command, workspace_gib=0.004)
    with pytest.raises(JobFailedError, match="more than workspace_gib allows"):
        client.jobs.wait(job.id, timeout=SECONDS)
    assert client.jobs.get(job.id).state is JobState.FAILED


def test_secrets_among_parameters_reach_the_program_and_nobody_else(client: Client) -> None:
    program = (
        "import json, os, sys\n"
        "print(sys.argv[-1][::-1])\n"
        "print(os.environ['HEADWAY_PARAM_API_KEY'][::-1])\n"
        "print(json.load(open(os.environ['HEADWAY_PARAMS_FILE']))['api_key'][::-1])\n"
    )
    job = submit(
        client,
        [sys.executable, "-c", program],
        parameters={"lr": 1, "api_key": "canary-in-the-mine"},
        parameter_arguments=True,
    )
    job = client.jobs.wait(job.id, timeout=SECONDS)
    assert lines(client, job) == ["enim-eht-ni-yranac"] * 3
    shown = job.model_dump_json() + client.runs.get(job.run_id).model_dump_json()
    shown += "".join(event.model_dump_json() for event in client.events.list(subject=job.id))
    assert "canary-in-the-mine" not in shown and job.spec.parameters["api_key"] == "[redacted]"


def test_a_retry_keeps_everything(client: Client, tmp_path: Path) -> None:
    client.artifacts.upload("kept", {"a": folder(tmp_path / "a", a="data") / "a"})
    command = 'cat data/train/a; echo " $HEADWAY_PARAM_TOKEN $1"; [ "$HEADWAY_ATTEMPT" = 2 ]'
    job = submit(
        client,
        ["/bin/sh", "-c", command, "sh"],
        inputs={"train": "artifact:kept:latest"},
        parameters={"token": "s3cr3t-value"},
        parameter_arguments=True,
        retries=1,
    )
    client.jobs.wait(job.id, timeout=SECONDS)
    assert lines(client, job) == ["data s3cr3t-value --token"] * 2


def test_a_server_that_is_killed_while_inputs_are_brought_costs_nothing(
    tmp_path: Path, site: HttpsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(site.certificate))
    killed = threading.Event()
    with trusting(tmp_path / "data", site) as server, Client(server.url, server.token) as administrator:
        administrator.projects.create("p")
        with Client(server.url, server.token, project="p") as client:

            def kill() -> Page:
                server.kill()
                killed.set()
                return Page(b"fetched ")

            site.pages["/kills"] = kill
            files = {f"{n}.txt": folder(tmp_path / f"f{n}", x=f"{n} ") / "x" for n in range(50)}
            client.artifacts.upload("many", files)
            inputs = {"web": site.url("/kills"), "train": "artifact:many:latest"}
            job = submit(client, "cat data/web/kills data/train/*; echo", inputs=inputs)
            assert killed.wait(SECONDS)
            server.start()
            client.jobs.wait(job.id, timeout=SECONDS)
            (line,) = lines(client, job)
            assert line.split() == ["fetched", *sorted((str(n) for n in range(50)), key=lambda text: f"{text}.txt")]
            assert client.jobs.get(job.id).attempt == 1


def test_the_run_has_its_parameters_before_anything_runs(client: Client) -> None:
    job = submit(client, "true", parameters={"lr": 0.5, "nested": {"a": [1]}}, start=False)
    assert client.runs.get(job.run_id).config == {"lr": 0.5, "nested": {"a": [1]}}
    assert json.loads(json.dumps(dict(job.spec.parameters))) == {"lr": 0.5, "nested": {"a": [1]}}
