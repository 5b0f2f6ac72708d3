"""What a program finds in its environment. Nothing here looks at the machine: facts in, variables out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headway.domain.parameters import INPUT_DIRECTORY, input_variable, parameter_variables
from headway.domain.replicas import Directive, OwnerKind, ReplicaSpec

INHERITED = frozenset(
    {
        "HOME",
        "LANG",
        "LANGUAGE",
        "LD_LIBRARY_PATH",
        "LOGNAME",
        "REQUESTS_CA_BUNDLE",
        "SHELL",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "TMPDIR",
        "TZ",
        "USER",
    }
)
"""Variables of the agent that every program gets. A list of what may pass, so that no secret of the server can."""
INHERITED_PREFIXES = ("LC_", "PIP_", "UV_")
PROXIES = frozenset(f"{kind}_proxy" for kind in ("http", "https", "ftp", "all", "no"))
FALLBACK_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True)
class ReplicaFacts:
    """What only the agent knows about the replica it runs."""

    inherited: Mapping[str, str]
    """The agent's own environment."""
    interpreter_directory: Path
    """Goes first in PATH: it has python, pip and headway."""
    server_url: str
    workspace: Path
    model_directory: Path
    output_directory: Path
    tracking_directory: Path
    host: str
    ports: tuple[int, ...]
    inputs: Mapping[str, Path] = field(default_factory=dict)
    init_model: Path | None = None


def program_environment(spec: ReplicaSpec, directive: Directive, facts: ReplicaFacts) -> dict[str, str]:
    """Every variable of the program: the agent's by allow-list, then the job's and its secrets, then the platform's.

    Plain variables of parameters come before all of them: a parameter ``path`` must not take the place of PATH.
    """
    return {
        **(parameter_variables(spec.parameters, plain=True) if spec.parameter_variables else {}),
        **_inherited(facts),
        **spec.environment,
        **spec.secrets,
        **_standing_alone(spec),
        **directive.environment,
        **_platform(spec, facts),
    }


def _inherited(facts: ReplicaFacts) -> dict[str, str]:
    found = {name: value for name, value in facts.inherited.items() if _passes(name)}
    first = str(facts.interpreter_directory)
    rest = [part for part in facts.inherited.get("PATH", FALLBACK_PATH).split(":") if part and part != first]
    return {**found, "PATH": ":".join([first, *rest])}


def _passes(name: str) -> bool:
    return name in INHERITED or name.startswith(INHERITED_PREFIXES) or name.lower() in PROXIES


def _standing_alone(spec: ReplicaSpec) -> dict[str, str]:
    """The gang as one replica knows it by itself; the directive says more where there is more to say."""
    return {
        "RANK": str(spec.rank),
        "WORLD_SIZE": str(spec.world_size),
        "LOCAL_RANK": str(spec.local_rank),
    }


def _platform(spec: ReplicaSpec, facts: ReplicaFacts) -> dict[str, str]:
    owner = "HEADWAY_JOB_ID" if spec.owner_kind is OwnerKind.JOB else "HEADWAY_DEPLOYMENT_ID"
    found = {
        **parameter_variables(spec.parameters),
        **_inputs(facts),
        owner: spec.owner_id,
        "HOST": facts.host,
        "HEADWAY_URL": facts.server_url,
        "HEADWAY_TOKEN": spec.token,
        "HEADWAY_PROJECT": spec.project_id,
        "HEADWAY_RUN_ID": spec.run_id,
        "HEADWAY_ATTEMPT": str(spec.attempt),
        "HEADWAY_ATTEMPT_TOKEN": spec.attempt_token,
        "HEADWAY_REPLICA": spec.name,
        "HEADWAY_MODEL_DIR": str(facts.model_directory),
        "HEADWAY_OUTPUT_DIR": str(facts.output_directory),
        "HEADWAY_DIR": str(facts.tracking_directory),
        "HEADWAY_DATA_DIR": str(facts.workspace / "data"),
        "HEADWAY_PARAMS_FILE": str(facts.workspace / "params" / "params.json"),
        "PS_MODEL_PATH": str(facts.model_directory),
        "PYTHONUNBUFFERED": "1",
    }
    if facts.ports:
        found["PORT"] = str(facts.ports[0])
    return found


def _inputs(facts: ReplicaFacts) -> dict[str, str]:
    """Where inputs lie: the directory for training, which is that of ``train`` or of the first one, and that of each."""
    training = facts.inputs.get("train") or next(iter(facts.inputs.values()), facts.workspace / "data" / "train")
    found = {input_variable(name): str(path) for name, path in facts.inputs.items()}
    found[INPUT_DIRECTORY] = str(training)
    if facts.init_model is not None:
        found["HEADWAY_INIT_MODEL_DIR"] = str(facts.init_model)
    return found
