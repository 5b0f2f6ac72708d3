"""The program's environment, as a pure function."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.agent.environment import ReplicaFacts, program_environment
from headway.domain.replicas import Directive, OwnerKind, ReplicaSpec, ServerAddress


def spec(**changes: Any) -> ReplicaSpec:
    values: dict[str, Any] = {
        "attempt_token": "t",
        "attempt_id": "a",
        "attempt": 2,
        "replica_id": "r",
        "owner_kind": OwnerKind.JOB,
        "owner_id": "job1",
        "owner_name": "n",
        "project_id": "p",
        "run_id": "run1",
        "role": "worker",
        "index": 1,
        "rank": 1,
        "world_size": 3,
        "command": ("true",),
        "server": ServerAddress(url="http://s"),
        "token": "secret",
    }
    return ReplicaSpec.model_validate({**values, **changes})


def facts(inherited: dict[str, str]) -> ReplicaFacts:
    return ReplicaFacts(
        inherited=inherited,
        interpreter_directory=Path("/venv/bin"),
        server_url="http://now",
        workspace=Path("/w"),
        model_directory=Path("/m"),
        output_directory=Path("/w/run/run1/output"),
        tracking_directory=Path("/r/tracking"),
        host="127.0.0.1",
        ports=(1, 2),
    )


def environment(inherited: dict[str, str], directive: dict[str, str] | None = None, **changes: Any) -> dict[str, str]:
    return program_environment(spec(**changes), Directive(environment=directive or {}), facts(inherited))


def test_the_platform_says_where_everything_is() -> None:
    found = environment({})
    assert found["PATH"] == "/venv/bin:/usr/local/bin:/usr/bin:/bin"
    assert (found["RANK"], found["WORLD_SIZE"], found["PORT"], found["HOST"]) == ("1", "3", "1", "127.0.0.1")
    assert (found["HEADWAY_URL"], found["HEADWAY_TOKEN"], found["HEADWAY_REPLICA"]) == (
        "http://now",
        "secret",
        "worker-1",
    )
    assert (found["HEADWAY_MODEL_DIR"], found["PS_MODEL_PATH"], found["HEADWAY_ATTEMPT"]) == ("/m", "/m", "2")
    assert found["HEADWAY_DIR"] == "/r/tracking"
    assert found["HEADWAY_PARAMS_FILE"] == "/w/params/params.json"


@pytest.mark.parametrize(
    "name",
    [
        "HOME",
        "LANG",
        "LC_ALL",
        "TZ",
        "TMPDIR",
        "SSL_CERT_FILE",
        "https_proxy",
        "NO_PROXY",
        "PIP_INDEX_URL",
        "UV_CACHE_DIR",
    ],
)
def test_what_passes(name: str) -> None:
    assert environment({name: "x"})[name] == "x"


@pytest.mark.parametrize("name", ["HEADWAY_DATABASE", "VIRTUAL_ENV", "PYTHONPATH", "AWS_SECRET_ACCESS_KEY", "PWD"])
def test_what_does_not(name: str) -> None:
    assert name not in environment({name: "canary"})


@given(st.dictionaries(st.text(string.ascii_uppercase + "_", min_size=1), st.just("canary"), max_size=20))
def test_no_unlisted_variable_ever_passes(inherited: dict[str, str]) -> None:
    prefixed = {f"HEADWAY_{name}": value for name, value in inherited.items()}
    assert "canary" not in environment(prefixed).values()


def test_later_sources_win() -> None:
    found = environment(
        {"LANG": "agent", "PATH": "/agent"},
        {"RANK": "from directive", "MASTER_ADDR": "m"},
        environment={"LANG": "job", "RANK": "job", "HEADWAY_TOKEN": "job", "KEY": "job", "PATH": "/mine"},
        secrets={"KEY": "secret value"},
    )
    assert (found["LANG"], found["RANK"], found["KEY"]) == ("job", "from directive", "secret value")
    assert (found["HEADWAY_TOKEN"], found["MASTER_ADDR"], found["PATH"]) == ("secret", "m", "/mine")


def test_a_deployment_is_no_job() -> None:
    found = environment({}, owner_kind=OwnerKind.DEPLOYMENT)
    assert "HEADWAY_JOB_ID" not in found and found["HEADWAY_DEPLOYMENT_ID"] == "job1"
