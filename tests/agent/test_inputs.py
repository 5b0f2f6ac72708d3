"""Inputs, parameters and init models as a program finds them, and what cannot be brought."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from headway.domain.artifacts import ArtifactEntry, manifest_line
from headway.domain.files import FileEntry
from headway.domain.replicas import INIT_MODEL, Action, InputFiles, ReplicaPhase
from headway.domain.workspaces import FilesWorkspace, GitWorkspace
from headway.testing.https import LOOPBACK, HttpsServer, Page

EXITED, PREPARED = ReplicaPhase.EXITED, ReplicaPhase.PREPARED
LARGE = 300 << 10


def file(server: Any, path: str, data: bytes, **changes: Any) -> ArtifactEntry:
    return ArtifactEntry(path=path, digest=server.add_blob(data), size=len(data), **changes)


def given(server: Any, name: str, entries: Sequence[ArtifactEntry]) -> InputFiles:
    lines = b"".join(manifest_line(entry) for entry in sorted(entries, key=lambda entry: entry.path))
    return InputFiles(name=name, manifest=server.add_blob(lines))


def run(rig: Any, server: Any, command: Any, **changes: Any) -> Any:
    """The last report of a replica that ran ``command``."""
    spec = rig.spec(command, **changes)
    rig.start(spec)
    return server.wait_phase(spec.replica_id, EXITED)


class TestFiles:
    def test_each_input_lies_in_its_directory_and_variables_say_where(self, rig: Any, server: Any) -> None:
        script = file(
            server,
            "bin/show.sh",
            b"#!/bin/sh\ncat $HEADWAY_INPUT_DIR/a.txt $HEADWAY_INPUT_MY_VAL/a.txt",
            executable=True,
        )
        train = given(server, "train", [file(server, "a.txt", b"train "), file(server, "deep/b.txt", b"same"), script])
        validation = given(
            server, "my-val", [file(server, "a.txt", b"val\n"), file(server, "c", b"same"), file(server, "empty", b"")]
        )
        command = "data/train/bin/show.sh; cat data/my-val/c data/train/deep/b.txt; wc -c < data/my-val/empty"
        run(rig, server, command, inputs=(validation, train))
        assert server.lines() == ["train val", "samesame0"]

    def test_without_an_input_train_the_first_one_is_the_directory(self, rig: Any, server: Any) -> None:
        inputs = (given(server, "zebra", [file(server, "a", b"z")]), given(server, "ant", [file(server, "a", b"a")]))
        run(rig, server, "cat $HEADWAY_INPUT_DIR/a", inputs=inputs)
        assert server.lines() == ["z"]

    def test_without_inputs_there_is_an_empty_directory(self, rig: Any, server: Any) -> None:
        run(rig, server, 'ls -A "$HEADWAY_INPUT_DIR" | wc -l; echo "${HEADWAY_INIT_MODEL_DIR-not set}"')
        assert server.lines() == ["0", "not set"]

    def test_files_win_over_those_of_the_workspace(self, rig: Any, server: Any) -> None:
        data = server.add_blob(b"of the workspace")
        workspace = FilesWorkspace(files=(FileEntry(path="data/train/a", digest=data, size=16),))
        run(
            rig,
            server,
            "cat data/train/a",
            workspace=workspace,
            inputs=(given(server, "train", [file(server, "a", b"input")]),),
        )
        assert server.lines() == ["input"]

    def test_many_small_files_take_few_requests(self, rig: Any, server: Any) -> None:
        entries = [file(server, f"{n % 50}/{n}.txt", b"content %d" % n) for n in range(3000)]
        spec = rig.spec(
            "find data/train -type f | wc -l; cat data/train/7/2957.txt", inputs=(given(server, "train", entries),)
        )
        asked: list[str] = []
        server.before_blob = asked.append
        rig.start(spec)
        server.wait_phase(spec.replica_id, EXITED, 60)
        assert server.lines() == ["3000", "content 2957"]
        assert len([each for each in asked if each != "missing"]) <= 10

    def test_small_and_large_files_of_one_content_are_all_there(self, rig: Any, server: Any) -> None:
        entries = [file(server, name, b"x" * LARGE) for name in ("big1", "big2")] + [
            file(server, f"s{n}", b"small") for n in range(3)
        ]
        run(rig, server, "cat data/train/big* | wc -c; cat data/train/s*", inputs=(given(server, "train", entries),))
        assert server.lines() == [str(2 * LARGE), "smallsmallsmall"]

    def test_an_init_model_lies_where_the_variable_says(self, rig: Any, server: Any) -> None:
        model = given(server, INIT_MODEL, [file(server, "weights.bin", b"learned")])
        run(rig, server, "cat $HEADWAY_INIT_MODEL_DIR/weights.bin", init_model=model)
        assert server.lines() == ["learned"]


class TestRefusals:
    @pytest.mark.parametrize("size", [10, LARGE])
    @pytest.mark.parametrize("several", [False, True])
    def test_damaged_bytes_are_named(self, rig: Any, server: Any, size: int, several: bool) -> None:
        entries = [file(server, "a.csv", b"a" * size)] + ([file(server, "b.csv", b"b" * size)] if several else [])
        server.blobs[entries[0].digest] = b"A" * size
        last = run(rig, server, "true", inputs=(given(server, "train", entries),))
        assert last.exit_code is None and "'a.csv' could not be brought" in last.reason

    def test_a_missing_blob_is_named(self, rig: Any, server: Any) -> None:
        gone = ArtifactEntry(path="gone.csv", digest="0" * 64, size=3)
        last = run(rig, server, "true", inputs=(given(server, "train", [gone, file(server, "there.csv", b"x")]),))
        assert "'gone.csv' could not be brought" in last.reason

    def test_a_damaged_list_of_files_is_refused(self, rig: Any, server: Any) -> None:
        item = given(server, "train", [file(server, "a", b"x")])
        server.blobs[item.manifest] = server.blobs[item.manifest].replace(b'"a"', b'"b"')
        assert "list of files of the input 'train'" in run(rig, server, "true", inputs=(item,)).reason

    @pytest.mark.parametrize(
        "lines",
        [
            b'{"path":"../outside","digest":"%s","size":1}\n',
            b'{"path":"/etc/outside","digest":"%s","size":1}\n',
            b'{"path":"a","digest":"%s","size":1}\n{"path":"a","digest":"%s","size":1}\n',
            b"not json\n",
        ],
    )
    def test_a_list_of_files_that_leads_out_or_makes_no_sense_is_refused(
        self, rig: Any, server: Any, lines: bytes
    ) -> None:
        item = InputFiles(name="train", manifest=server.add_blob(lines.replace(b"%s", server.add_blob(b"x").encode())))
        last = run(rig, server, "true", inputs=(item,))
        assert last.exit_code is None and "list of files of the input 'train' is wrong" in last.reason

    def test_a_link_of_the_workspace_leads_no_input_outside(self, rig: Any, server: Any, tmp_path: Path) -> None:
        repository, outside = tmp_path / "repository", tmp_path / "outside"
        (repository / "data").mkdir(parents=True)
        outside.mkdir()
        (repository / "data" / "train").symlink_to(outside)
        git = ["git", "-C", str(repository), "-c", "user.name=T", "-c", "user.email=t@example.org"]
        for words in (["init", "--quiet"], ["add", "-A"], ["commit", "--quiet", "-m", "link"]):
            subprocess.run([*git, *words], check=True, capture_output=True)
        item = given(server, "train", [file(server, "a", b"x")])
        last = run(rig, server, "true", inputs=(item,), workspace=GitWorkspace(url=str(repository)))
        assert "leads out of the workspace" in last.reason
        assert list(outside.iterdir()) == []

    def test_a_reference_that_no_agent_brings_is_named(self, rig: Any, server: Any) -> None:
        entry = ArtifactEntry(path="big.parquet", uri="gs://bucket/big.parquet")
        last = run(rig, server, "true", inputs=(given(server, "train", [entry]),))
        assert "'big.parquet'" in last.reason and "gs:" in last.reason


class TestInterruption:
    @pytest.mark.parametrize("size", [10, LARGE])
    def test_a_server_that_goes_away_in_between_is_waited_for(self, rig: Any, server: Any, size: int) -> None:
        entries = [file(server, f"{n}.bin", bytes([n]) * size) for n in range(3)]
        moments = ("bundle", entries[1].digest)
        went = threading.Event()

        def leave(digest: str) -> None:
            if digest in moments and not went.is_set():
                server.down()
                went.set()

        server.before_blob = leave
        spec = rig.spec("cat data/train/*.bin | sha256sum", inputs=(given(server, "train", entries),))
        rig.start(spec)
        assert went.wait(60)
        server.up()
        server.wait_phase(spec.replica_id, EXITED, 60)
        whole = b"".join(bytes([n]) * size for n in range(3))
        assert server.lines() == [f"{hashlib.sha256(whole).hexdigest()}  -"]

    @pytest.mark.parametrize("size", [10, LARGE])
    def test_a_stop_ends_what_is_being_brought(self, rig: Any, server: Any, size: int) -> None:
        entries = [file(server, f"{n}.bin", bytes([n]) * size) for n in range(3)]
        item = given(server, "train", entries)
        asked, released = threading.Event(), threading.Event()

        def hang(digest: str) -> None:
            if digest != item.manifest:
                asked.set()
                released.wait(60)

        server.before_blob = hang
        spec = rig.spec("true", inputs=(item,))
        agent = rig.start(spec)
        assert asked.wait(60)
        server.direct(spec.replica_id, Action.STOP)
        try:
            assert server.wait_phase(spec.replica_id, EXITED).reason == "stopped before it started"
            assert rig.end(agent) == 0
        finally:
            released.set()


class TestParameters:
    PARAMETERS: dict[str, Any] = {
        "lr": 0.1,
        "optimizer.name": "adam",
        "layers": [1, 2],
        "on": True,
        "none": None,
        "ü": 1,
    }

    def test_they_are_a_file_and_variables(self, rig: Any, server: Any) -> None:
        parameters = {name: value for name, value in self.PARAMETERS.items() if name.isascii()} | {
            "text": "grüße\nzwei"
        }
        names = ("LR", "OPTIMIZER_NAME", "LAYERS", "ON", "NONE")
        values = "|".join(f"$HEADWAY_PARAM_{name}" for name in names)
        command = f'cat $HEADWAY_PARAMS_FILE; echo "{values}|${{LR-unset}}"'
        run(rig, server, command, parameters=parameters)
        *document, variables = server.lines()
        assert json.loads("\n".join(document)) == parameters
        assert variables == "0.1|adam|[1, 2]|true||unset"

    def test_plain_variables_take_no_place_of_the_machine(self, rig: Any, server: Any) -> None:
        run(
            rig,
            server,
            'echo "$LR $HEADWAY_PARAM_PATH"; ls / > /dev/null && echo found',
            parameters={"lr": 1, "path": "/x"},
            parameter_variables=True,
        )
        assert server.lines() == ["1 /x", "found"]

    def test_without_parameters_a_file_of_the_workspace_stays_and_else_there_is_an_empty_one(
        self, rig: Any, server: Any
    ) -> None:
        run(rig, server, "cat $HEADWAY_PARAMS_FILE")
        own = FileEntry(path="params/params.json", digest=server.add_blob(b'{"own": 1}'), size=10)
        run(rig, server, "cat $HEADWAY_PARAMS_FILE", workspace=FilesWorkspace(files=(own,)))
        assert sorted(server.lines()) == sorted(["{}", '{"own": 1}'])


@pytest.fixture
def site(tmp_path: Path) -> Iterator[HttpsServer]:
    directory = tmp_path / "site"
    directory.mkdir()
    with HttpsServer(directory) as server:
        yield server


class TestAddresses:
    def bring(self, rig: Any, server: Any, site: HttpsServer, item: InputFiles, **changes: Any) -> Any:
        spec = rig.spec(
            changes.pop("command", "cat data/train/*"), **{"inputs": (item,), "fetch_networks": (LOOPBACK,), **changes}
        )
        rig.start(spec, SSL_CERT_FILE=str(site.certificate))
        server.wait_phase(spec.replica_id, EXITED, 60)
        return spec

    def reason(self, server: Any, spec: Any) -> str:
        return str(server.reported(spec.replica_id, EXITED).reason)

    def test_a_file_is_brought_under_its_name_and_its_digest_reported(
        self, rig: Any, server: Any, site: HttpsServer
    ) -> None:
        site.pages["/sets/train%20set.csv"] = Page(b"1,2\n")
        item = InputFiles(name="train", uri=site.url("/sets/train%20set.csv?version=3"))
        spec = self.bring(rig, server, site, item, command="ls data/train; cat data/train/*")
        assert server.lines() == ["train set.csv", "1,2"]
        digest = hashlib.sha256(b"1,2\n").hexdigest()
        assert server.reported(spec.replica_id, PREPARED).brought == {"train": digest}
        assert site.asked == ["/sets/train%20set.csv?version=3"]

    def test_references_of_an_artifact_are_brought_too(self, rig: Any, server: Any, site: HttpsServer) -> None:
        site.pages["/b"] = Page(b"fetched\n")
        entries = [file(server, "a.txt", b"kept\n"), ArtifactEntry(path="deep/b.txt", uri=site.url("/b"))]
        self.bring(
            rig, server, site, given(server, "train", entries), command="cat data/train/a.txt data/train/deep/b.txt"
        )
        assert server.lines() == ["kept", "fetched"]

    def test_what_is_not_what_it_was_is_refused(self, rig: Any, server: Any, site: HttpsServer) -> None:
        site.pages["/x"] = Page(b"new")
        item = InputFiles(name="train", uri=site.url("/x?token=hidden"), digest=hashlib.sha256(b"old").hexdigest())
        spec = self.bring(rig, server, site, item)
        assert "is not what it was when this job first brought it" in self.reason(server, spec)
        assert "hidden" not in self.reason(server, spec) + rig.log(spec)

    def test_an_answer_that_breaks_off_is_asked_for_again(self, rig: Any, server: Any, site: HttpsServer) -> None:
        answers = iter([Page(b"half", cut=4), Page(status=503), Page(b"whole\n")])
        site.pages["/x"] = lambda: next(answers)
        self.bring(rig, server, site, InputFiles(name="train", uri=site.url("/x")))
        assert server.lines() == ["whole"]

    @pytest.mark.parametrize(
        ("page", "words"),
        [
            (Page(status=302, headers={"Location": "http://127.0.0.1/plain"}), "Only https:// is fetched"),
            (Page(status=302, headers={"Location": "file:///etc/passwd"}), "Only https:// is fetched"),
            (Page(status=302, headers={"Location": "https://10.0.0.1/"}), "private address"),
            (Page(status=302, headers={"Location": "/x"}), "more than 5 redirects"),
            (Page(status=302), "redirects to nowhere"),
            (Page(status=404), "answers 404"),
            (Page(status=403), "answers 403"),
            (Page(cut=65 << 20), f"larger than {64 << 20} bytes"),
        ],
    )
    def test_what_may_not_be_fetched_is_told(
        self, rig: Any, server: Any, site: HttpsServer, page: Page, words: str
    ) -> None:
        site.pages["/x"] = page
        spec = self.bring(rig, server, site, InputFiles(name="train", uri=site.url("/x")), workspace_bytes=64 << 20)
        assert words in self.reason(server, spec)

    def test_a_redirect_within_https_is_followed(self, rig: Any, server: Any, site: HttpsServer) -> None:
        site.pages["/x"] = Page(status=307, headers={"Location": site.url("/y", "localhost")})
        site.pages["/y"] = Page(b"there\n")
        self.bring(rig, server, site, InputFiles(name="train", uri=site.url("/x")))
        assert server.lines() == ["there"]

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    def test_private_addresses_are_not_asked_unless_allowed(
        self, rig: Any, server: Any, site: HttpsServer, host: str
    ) -> None:
        spec = self.bring(rig, server, site, InputFiles(name="train", uri=site.url("/x", host)), fetch_networks=())
        assert "private address" in self.reason(server, spec) and site.asked == []

    def test_a_certificate_that_nobody_vouches_for_is_refused(self, rig: Any, server: Any, site: HttpsServer) -> None:
        spec = rig.spec("true", inputs=(InputFiles(name="train", uri=site.url("/x")),), fetch_networks=(LOOPBACK,))
        rig.start(spec)
        assert "no valid certificate" in server.wait_phase(spec.replica_id, EXITED, 60).reason
        assert site.asked == []


def test_a_program_reads_all_of_it_the_way_the_guide_says(rig: Any, server: Any) -> None:
    program = (
        "import json, os, pathlib\n"
        "rows = (pathlib.Path(os.environ['HEADWAY_INPUT_DIR']) / 'rows.csv').read_text().split()\n"
        "parameters = json.load(open(os.environ['HEADWAY_PARAMS_FILE']))\n"
        "print(len(rows), parameters['lr'])\n"
    )
    item = given(server, "train", [file(server, "rows.csv", b"1\n2\n3\n")])
    run(rig, server, [sys.executable, "-c", program], inputs=(item,), parameters={"lr": 0.5})
    assert server.lines() == ["3 0.5"]
