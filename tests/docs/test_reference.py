"""docs/reference/ is what the code says, and covers all of it; so do the hand-written lists of the guide."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from headway.domain.jobs import JobCreate, RoleSpec
from headway.domain.runtimes import RUNTIME_FILES
from headway.errors import ERRORS_BY_CODE
from headway.server.settings import ServerSettings
from headway.serving.runtimes.registry import RUNTIMES

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"


@pytest.fixture
def generators(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages' own modules can be imported."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))


def read(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def test_the_reference_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, ROOT / "docs" / "generate.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_command_is_in_the_reference(generators: None) -> None:
    from generators import cli

    names = [words for words, _ in cli.commands()]
    assert len(names) > 40
    assert [words for words in names if f"## {words}\n" not in read("cli.md")] == []


def test_every_route_is_in_the_reference(generators: None) -> None:
    from generators import http

    routes = [f"### {verb} {path}\n" for verb, path, _ in http.routes()]
    assert len(routes) > 60
    assert [heading for heading in routes if heading not in read("http.md")] == []


def test_every_route_is_in_the_contract(generators: None) -> None:
    """The table groups verbs and shortens paths, so the last fixed words of a path are looked for."""
    from generators import http

    pages = ("contracts.md", "tracking.md", "estimator.md")
    contract = "".join((ROOT / "docs" / "internals" / page).read_text(encoding="utf-8") for page in pages)
    missing = [path for _, path, _ in http.routes() if fixed_end(path) not in contract]
    assert not missing


def fixed_end(path: str) -> str:
    words = [word for word in path.split("/") if word and not word.startswith("{")]
    return f"/{words[-1]}"


def test_every_setting_is_in_the_reference() -> None:
    assert [name for name in ServerSettings.model_fields if f"| `{name}` |" not in read("settings.md")] == []


def test_every_error_is_in_the_reference() -> None:
    assert [code for code in ERRORS_BY_CODE if f"| `{code}` |" not in read("errors.md")] == []


def test_every_public_name_and_every_verb_of_the_client_is_in_the_reference(generators: None) -> None:
    from generators import sdk

    import headway

    text = read("sdk.md")
    assert [name for name in headway.__all__ if name != "__version__" and f"`headway.{name}`" not in text] == []
    resources = list(sdk.resources())
    assert len(resources) >= 10
    assert [attribute for attribute, _ in resources if f"## client.{attribute}\n" not in text] == []


def test_documented_variables_and_those_in_the_code_are_the_same(generators: None) -> None:
    from generators import environment

    own = {name for name in environment.documented() if environment.OWN_NAME.fullmatch(name)}
    in_code = environment.in_code() - environment.INTERNAL
    assert sorted(own - in_code) == []
    assert sorted(in_code - own) == []


def test_variables_that_a_program_is_given_are_documented(generators: None) -> None:
    """The other way round for names that are not ours: RANK, MASTER_PORT and their like."""
    from generators import environment

    from headway.domain.cluster import Member, cluster_environment

    member = Member(role="worker", index=0, rank=0, host="127.0.0.1", ports=(1, 2))
    given = set(cluster_environment([member], "native")[0])
    assert given <= set(environment.PROGRAM)


def test_every_variable_named_in_the_guide_exists(generators: None) -> None:
    from generators import environment

    known = environment.in_code()
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs" / "guide").glob("*.md")]:
        found = set(environment.OWN_NAME.findall(document.read_text(encoding="utf-8")))
        assert sorted(found - known - {"HEADWAY_DATA_KEY"}) == [], document.name


@pytest.mark.parametrize("name", sorted({*JobCreate.model_fields, *JobCreate.input_shortcuts, *RoleSpec.model_fields}))
def test_every_field_of_a_job_file_is_in_the_guide(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs" / "guide" / "jobs.md").read_text(encoding="utf-8")


def test_the_table_of_runtimes_in_the_guide_is_that_of_the_code() -> None:
    text = (ROOT / "docs" / "guide" / "models-and-deployments.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]*) \| `(\w+)` \|(?: `([^`|]+)`)? \|$", text, re.MULTILINE)
    assert [runtime for _, runtime, _ in rows] == [runtime for runtime, _ in RUNTIME_FILES]
    for _, runtime, needed in rows:
        assert needed == (RUNTIMES[runtime].install if runtime in RUNTIMES else "")
    for (patterns, _, _), (_, files) in zip(rows, RUNTIME_FILES, strict=True):
        assert tuple(re.findall(r"`([^`]+)`", patterns)) == files
