"""What ``inputs=`` and ``init_model=`` of a job accept, and what is refused before anything is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headway.domain.jobs import JobInput
from headway.errors import HeadwayError, InvalidRequestError
from headway.sdk.inputs import artifact_name
from headway.testing.factories import make_artifact_version, make_model_version


def created(mock: Any, records: Any, **fields: Any) -> Any:
    """The body that ``client.jobs.create`` sends."""
    mock.routes["POST /api/v1/jobs"] = (201, records.job())
    mock.client().jobs.create("my job", "true", **fields)
    return mock.body()


def test_sources_and_records_are_sent_as_they_are(mock: Any, records: Any) -> None:
    body = created(
        mock,
        records,
        inputs={
            "a": "artifact:digits:latest",
            "b": "s3://bucket/prefix",
            "c": make_artifact_version(name="data", version=3),
            "d": JobInput(source="runs:/r/x"),
            "e": {"source": "https://example.org/x"},
        },
        init_model=make_model_version(name="digits", version=2),
        parameters={"lr": 0.1, "layers": [1, 2]},
        parameter_arguments=True,
        output_path="s3://bucket/out",
        workspace_gib=2.5,
    )
    sources = [given["source"] for given in body["inputs"].values()]
    assert sources == [
        "artifact:digits:latest",
        "s3://bucket/prefix",
        "artifact:data:v3",
        "runs:/r/x",
        "https://example.org/x",
    ]
    assert body["init_model"]["source"] == "models:/digits/2"
    assert (body["parameters"], body["parameter_arguments"]) == ({"lr": 0.1, "layers": [1, 2]}, True)
    assert (body["output_path"], body["workspace_gib"]) == ("s3://bucket/out", 2.5)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"inputs": {"train": "artefact:digits:v1"}}, ["inputs.train", "Did you mean 'artifact:digits:v1'"]),
        ({"inputs": {"train": "digits:v1"}}, ["inputs.train", "Did you mean 'artifact:digits:v1'"]),
        ({"inputs": {"train": "no/such/file.csv"}}, ["inputs.train", "no file or folder 'no/such/file.csv'"]),
        ({"inputs": {"train": "http://example.org/x"}}, ["inputs.train", "https://"]),
        ({"inputs": {"train": "https://me:secret@example.org/x"}}, ["credentials"]),
        ({"inputs": {"train": 5}}, ["inputs.train"]),
        ({"inputs": {"train": ""}}, ["inputs.train"]),
        ({"inputs": ["artifact:a"]}, ["inputs"]),
        ({"inputs": {"../x": "artifact:a"}}, ["inputs"]),
        ({"inputs": {"a-b": "artifact:a", "a_b": "artifact:b"}}, ["HEADWAY_INPUT_A_B"]),
        ({"inputs": {"dir": "artifact:a"}}, ["HEADWAY_INPUT_DIR"]),
        ({"init_model": "model:/m/1"}, ["init_model", "Did you mean 'models:/m/1'"]),
        ({"inputs": {"train": {"sourc": "artifact:a"}}}, ["Did you mean 'source'"]),
        ({"parameters": {"lr": float("nan")}}, ["'lr'", "JSON"]),
        ({"parameters": {"1st": 1}}, ["'1st'"]),
        ({"parameters": {"a.b": 1, "a_b": 2}}, ["A_B"]),
        ({"parameters": {"big": "x" * (121 << 10)}}, ["HEADWAY_PARAM_BIG", "larger than"]),
        ({"paramters": {"lr": 1}}, ["Did you mean 'parameters'"]),
        ({"output_path": "results/first"}, ["output_path", "s3://bucket/prefix"]),
        ({"output_path": "s3://No_/x"}, ["output_path"]),
        ({"workspace_gib": 0}, ["workspace_gib"]),
    ],
)
def test_what_is_wrong_is_named_before_anything_is_sent(mock: Any, fields: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        mock.client().jobs.create("x", "true", **fields)
    assert mock.requests == []
    said = f"{caught.value.message} {caught.value.hint}"
    assert all(word in said for word in words) and "secret" not in said


def test_a_wrong_field_is_found_before_a_local_file_is_read(mock: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("1")
    with pytest.raises(InvalidRequestError, match="retries"):
        mock.client().jobs.create("x", "true", inputs={"train": tmp_path / "rows.csv"}, retries=-1)
    assert mock.requests == []


def test_local_files_are_committed_as_versions_of_an_artifact_of_the_job(
    mock: Any, records: Any, tmp_path: Path
) -> None:
    (tmp_path / "rows.csv").write_text("1")
    mock.routes["POST /api/v1/projects/digits/blobs/missing"] = {"missing": []}
    committed: list[str] = []

    def commit(_: Any) -> tuple[int, Any]:
        name = mock.body()["name"]
        committed.append(name)
        return 201, {**make_artifact_version(name=name, version=4).model_dump(mode="json"), "outcome": "created"}

    mock.routes["POST /api/v1/artifact-versions"] = commit
    body = created(mock, records, inputs={"train": tmp_path / "rows.csv", "b": "artifact:b"}, init_model=str(tmp_path))
    assert committed == ["my-job-train", "my-job-init_model"]
    assert {name: given["source"] for name, given in body["inputs"].items()} == {
        "train": "artifact:my-job-train:v4",
        "b": "artifact:b",
    }
    assert body["init_model"]["source"] == "artifact:my-job-init_model:v4"


@pytest.mark.parametrize("job", ["plain", "with space/and:signs", "ünïcode", "…", "x" * 400, "-.-"])
def test_every_name_of_a_job_gives_a_name_of_an_artifact(job: str) -> None:
    name = artifact_name(job, "train")
    assert name.endswith("train") and len(name) <= 256 and name[0].isalnum() and name.isascii()


def test_an_empty_folder_is_told(mock: Any, records: Any, tmp_path: Path) -> None:
    mock.routes["POST /api/v1/projects/digits/blobs/missing"] = {"missing": []}
    mock.routes["POST /api/v1/jobs"] = (201, records.job())
    with pytest.raises(HeadwayError):
        mock.client().jobs.create("x", "true", inputs={"train": tmp_path / "nothing"})
