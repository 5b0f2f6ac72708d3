"""headway model against a real server: versions made, found, changed, compared, shown and deleted."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headway import Client
from headway.domain.base import new_id
from headway.testing.server import ServerProcess

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def client(logged_in: ServerProcess, environment: dict[str, str]) -> Iterator[Client]:
    name = new_id("project")
    with Client(logged_in.url, logged_in.token, project=name) as found:
        found.projects.create(name)
        environment["HEADWAY_PROJECT"] = name
        yield found


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "double"
    folder.mkdir()
    (folder / "predict.py").write_text("class Predictor:\n    def predict(self, inputs):\n        return inputs\n")
    (folder / "factor.txt").write_text("2\n")
    return folder


def json_of(found: subprocess.CompletedProcess[str]) -> Any:
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


def register(client: Client, path: Path, name: str = "double", **fields: Any) -> Any:
    return client.models.register(name, path, **fields)


def test_register_says_what_was_made_and_show_has_all_of_it(
    client: Client, headway: Run, model: Path, tmp_path: Path
) -> None:
    signature = tmp_path / "signature.json"
    signature.write_text('{"inputs": [{"name": "x", "dtype": "float64", "shape": [null, 4]}]}')
    made = headway(
        *("model", "register", "double", "double", "--version-name", "1.0.3", "--alias", "champion"),
        *("--label", "stage=production", "--signature", "signature.json", "--description", "Doubles."),
        *("--git-url", "https://me:hunter2@example.org/code.git", "--git-commit", "c0ffee"),
    )
    assert made.returncode == 0, made.stderr
    version = client.models.version("double:1.0.3")
    assert made.stdout.strip() == f"{version.id} models:/double/1 (1.0.3)"
    deployment = client.deployments.create("d", model=version.id, start=False)
    for reference in ("models:/double/1", "double@champion", version.id):
        page = headway("model", "show", reference)
        assert page.returncode == 0, page.stderr
        for part in (
            *("models:/double/1", "1.0.3", "champion", "stage=production", "Doubles.", "predict.py", "factor.txt"),
            *(version.files[0].digest, "float64 (?, 4)", "https://example.org/code.git c0ffee", deployment.name),
        ):
            assert part in page.stdout
        assert "hunter2" not in page.stdout
    found = json_of(headway("model", "show", "double:1.0.3", "--json"))
    assert (found["id"], found["aliases"]) == (version.id, ["champion"])
    assert [each["id"] for each in found["deployments"]] == [deployment.id]
    whole = headway("model", "show", "double")
    assert "1.0.3" in whole.stdout
    assert json_of(headway("model", "show", "double", "--json"))["latest_version"] == 1


def test_list_finds_models_and_versions_by_every_filter(client: Client, headway: Run, model: Path) -> None:
    one = register(client, model, version_name="a", labels={"stage": "production"})
    two = register(client, model, aliases=["champion"])
    register(client, model, "other")

    def ids(*arguments: str) -> list[str]:
        return [item["id"] for item in json_of(headway("model", "list", *arguments, "--json"))["items"]]

    assert ids("oubl") == [one.model_id]
    assert ids("oubl", "--versions") == [two.id, one.id]
    assert ids("--label", "stage=production") == ids("--version-name", "a") == [one.id]
    assert ids("--alias", "champion") == [two.id]
    assert "production" not in headway("model", "list").stdout
    assert " a " in headway("model", "list", "--versions").stdout


def test_update_promote_alias_and_diff(client: Client, headway: Run, model: Path) -> None:
    register(client, model, version_name="1.0", labels={"stage": "dev"})
    (model / "factor.txt").write_text("3\n")
    register(client, model, version_name="2.0", labels={"stage": "dev"})
    changed = headway("model", "update", "double:2.0", "--label", "stage=production", "--description", "Thrice.")
    assert changed.stdout == "Changed models:/double/2.\n"
    version = client.models.version("double:2.0")
    assert (version.labels, version.description) == ({"stage": "production"}, "Thrice.")
    assert json_of(headway("model", "update", "double:2.0", "--remove-label", "stage", "--json"))["labels"] == {}
    assert json_of(headway("model", "update", "double", "--description", "All.", "--json"))["description"] == "All."
    refused = headway("model", "update", "double", "--label", "a=b")
    assert (refused.returncode, "labels belong to versions" in refused.stderr) == (2, True)
    assert headway("model", "update", "double").returncode == 2

    assert headway("model", "promote", "double:1.0").stdout == "double@champion is models:/double/1\n"
    assert headway("model", "alias", "double", "canary", "2.0").stdout == "double: canary=2, champion=1\n"
    assert headway("model", "alias", "double", "canary", "--delete").stdout == "double: champion=1\n"
    assert headway("model", "promote", "double:1.0", "latest").returncode == 2

    shown = headway("model", "diff", "double:1.0", "double:2.0")
    assert "factor.txt" in shown.stdout
    assert "predict.py" not in shown.stdout
    found = json_of(headway("model", "diff", "double:1.0", "double:2.0", "--json"))
    assert list(found["files"]) == ["factor.txt"]
    assert found["labels"] == {"stage": {"a": "dev"}}
    assert "Nothing differs." in headway("model", "diff", "double:1.0", "double@champion").stdout


def test_sources_of_the_server_and_wrong_ones(client: Client, headway: Run, model: Path) -> None:
    client.artifacts.upload("data", model)
    made = json_of(headway("model", "register", "copied", "--source", "artifact:data:latest", "--json"))
    assert made["source"] == "artifact:data:v1"
    assert "data:v1" in headway("model", "show", "models:/copied/1").stdout
    assert "copied/1" in headway("lineage", "artifact:data:v1").stdout
    for arguments, code, said in (
        (["copied"], 2, "needs files"),
        (["copied", "--source", "artefact:data:v1"], 2, "artifact:"),
        (["copied", "--source", "artifact:absent"], 4, "absent"),
        (["copied", "missing"], 2, "missing"),
        (["copied", "double", "--version-name", "v3"], 2, "means a number"),
        (["copied", "double", "--signature", "double"], 2, "double"),
    ):
        refused = headway("model", "register", *arguments)
        assert (refused.returncode, said in refused.stderr) == (code, True), refused.stderr


def test_delete_takes_a_version_or_a_model_but_none_that_is_deployed(client: Client, headway: Run, model: Path) -> None:
    first = register(client, model)
    register(client, model, version_name="2.0")
    client.deployments.create("serving", model=first.id, start=False)
    for reference in ("double:v1", "double"):
        refused = headway("model", "delete", reference, "-y")
        assert (refused.returncode, "'serving'" in refused.stderr) == (2, True), refused.stderr
    assert headway("model", "delete", "double:2.0").returncode == 2
    assert headway("model", "delete", "double:2.0", "-y").returncode == 0
    assert [version.version for version in client.models.versions("double")] == [1]
    client.deployments.delete("serving")
    assert json_of(headway("model", "delete", "double", "-y", "--json")) == {"deleted": first.model_id}
    assert headway("model", "show", "double").returncode == 4
