"""docs/reference/environment.md: every environment variable that Headway reads or sets."""

from __future__ import annotations

import re
from pathlib import Path

import headway
from generators.markdown import code, table

SOURCES = (
    Path(headway.__file__).parent,
    *(Path(__file__).parents[2] / "compat" / name for name in ("gradient", "modelmaker", "t9k")),
)
OWN_NAME = re.compile(r"\b(?:HEADWAY|PS|PAPERSPACE|MODELMAKER|EM|T9K)_[A-Z0-9]+(?:_[A-Z0-9]+)*\b")
EXAMPLES = {"HEADWAY_INPUT_TRAIN", "HEADWAY_INPUT_VAL_EXTRA", "HEADWAY_PARAM_LR"}
"""What HEADWAY_INPUT_<NAME> and HEADWAY_PARAM_<NAME> may be."""
INTERNAL = {
    *("HEADWAY_GIT_USERNAME", "HEADWAY_GIT_PASSWORD", "HEADWAY_TEST", "HEADWAY_TEST_FULL", "HEADWAY_TEST_SEED"),
    *EXAMPLES,
}
"""Between the agent and the git program it starts, of this repository's tests (CONTRIBUTING.md), and examples."""

CLIENT = {
    "HEADWAY_URL": "The server's address.",
    "HEADWAY_TOKEN": "The secret that requests present.",
    "HEADWAY_TOKEN_FILE": "A file that holds it.",
    "HEADWAY_PROJECT": "The project of calls that name none.",
    "HEADWAY_PROFILE": "Which profile of the user file counts.",
    "HEADWAY_CONFIG": "Another place for the user file.",
    "HEADWAY_DIR": "Where a training program keeps its runs and artifacts; `.headway` here without it.",
    "HEADWAY_MODE": "`online`, `offline` or `disabled`: whether a tracked run goes to a server.",
    "HEADWAY_DEBUG": "With `1` the command line shows a traceback when Headway itself fails.",
    "NO_COLOR": "Set to anything: no colours on the terminal.",
}
SERVER = {
    "HEADWAY_DATABASE_URL": "`headway up`: `postgresql://…` instead of SQLite.",
}
PROGRAM = {
    "RANK": "This replica's number among all, from 0.",
    "WORLD_SIZE": "How many replicas there are, of all roles.",
    "LOCAL_RANK": "Its number among those on its machine.",
    "LOCAL_WORLD_SIZE": "How many there are on its machine.",
    "NODE_RANK": "The number of its machine.",
    "NNODES": "How many machines there are.",
    "MASTER_ADDR": "The host of rank 0.",
    "MASTER_PORT": "A port of rank 0 that is leased for this job and used by nothing else.",
    "TF_CONFIG": "The cluster and this replica's task as JSON, in TensorFlow's form.",
    "HEADWAY_PEERS": "`host:port` of every replica by rank, with commas between.",
    "HOST": "The address on which this replica is reached.",
    "PORT": "The port that is leased for this replica.",
    "CUDA_VISIBLE_DEVICES": "The GPUs that are this replica's own; empty where it has none and the machine has some.",
    "HEADWAY_URL": "The server.",
    "HEADWAY_TOKEN": "A token of this attempt: it writes this run's streams, and reads and writes the project's blobs.",
    "HEADWAY_PROJECT": "The project's id.",
    "HEADWAY_RUN_ID": "The run that holds this job's log.",
    "HEADWAY_JOB_ID": "The job.",
    "HEADWAY_DEPLOYMENT_ID": "In a replica that serves, instead of the job: the deployment.",
    "HEADWAY_ATTEMPT": "Which attempt this is, from 1.",
    "HEADWAY_ATTEMPT_TOKEN": "The attempt's name on the engine; it is no secret.",
    "HEADWAY_REPLICA": "Role and index, as `worker-1`.",
    "HEADWAY_MODEL_DIR": "Where to leave the model; for a replica that serves, where the model is.",
    "HEADWAY_OUTPUT_DIR": "Where to leave other files that are to be kept.",
    "HEADWAY_DATA_DIR": "`data/` of the workspace, with `train/`, `val/` and `test/`.",
    "HEADWAY_INPUT_DIR": "`data/train`; with inputs but none called `train`, the directory of the first one.",
    "HEADWAY_INPUT_<NAME>": "The directory of each input; what a variable cannot hold in a name is `_`.",
    "HEADWAY_INIT_MODEL_DIR": "Where the model to go on training from lies; not set without one.",
    "HEADWAY_PARAMS_FILE": "The job's parameters as JSON; `{}` without any, unless the workspace has such a file.",
    "HEADWAY_PARAM_<NAME>": "Each parameter: texts as they are, all else as JSON, nothing as an empty text.",
    "HEADWAY_MODEL_NAME": "In a replica that serves: what the endpoint calls the model.",
    "HEADWAY_MODEL_VERSION": "In a replica that serves: the version's number.",
    "HEADWAY_MODEL_LABELS": "In a replica that serves: the model's aliases for this version, with commas between them.",
    "HEADWAY_BATCHING": "In a replica that serves: how requests that arrive together are answered, as JSON.",
    "HEADWAY_ENVIRONMENTS_DIR": "In a replica that serves: where virtual environments of models are kept; "
    "`~/.cache/headway/environments` without it.",
    "HEADWAY_ENVIRONMENTS_KEEP": "In a replica that serves: how many such environments are kept; 16 without it.",
    "PS_MODEL_PATH": "The same as HEADWAY_MODEL_DIR, for scripts from Gradient.",
    "PYTHONUNBUFFERED": "`1`, so that lines arrive as they are printed.",
}
GRADIENT = {
    "PS_API_KEY": "A Headway token, where none is given as `api_key`.",
    "PAPERSPACE_API_KEY": "The same.",
    "PAPERSPACE_CONFIG_HOST": "The server; only scheme, host and port count.",
    "PAPERSPACE_CONFIG_LOG_HOST": "The same.",
    "PAPERSPACE_CONFIG_EXPERIMENTS_HOST": "The same.",
    "PAPERSPACE_CONFIG_EXPERIMENTS_HOST_V2": "The same.",
}
MODELMAKER = {
    "MODELMAKER_CONFIG": "The configuration file; `~/.modelmaker/config.json` without it.",
    "MODELMAKER_LEVEL": "What is logged: 10, 20, 30 or 40 (debug, info, warnings, errors); 20 without it.",
    "PROJECT_ID": "The project: its name, id or number.",
}
T9K = {
    "EM_RUN_PARENT_DIR": "Where runs are kept; `.em/runs` without it.",
    "EM_ARTIFACT_PARENT_DIR": "Where artifacts are kept; `.em/artifacts` without it.",
    "T9K_CONFIG": "The configuration file; `~/.t9k/t9k-config.yaml` without it.",
    "T9K_CONFIG_CONTEXT": "Which of its contexts counts.",
}
INHERITANCE = """From the machine a program also gets `PATH` (the server's Python first), `HOME`, `LANG`, `TMPDIR`, `TZ`,
proxy settings and a few more by a list; nothing else of the server's environment. Then come the job's own variables and
secrets, and then these, which win."""
GROUPS = (
    ("Of clients: the SDK and the command `headway`", "An argument wins over these, these over files.", CLIENT),
    ("Of the server", "`headway up` reads no other variable of Headway's.", SERVER),
    ("In a job's program and in a replica that serves", INHERITANCE, PROGRAM),
    ("Of scripts written for Gradient", "Read by the package `gradient` of headway-compat.", GRADIENT),
    ("Of scripts written for ModelMaker", "Read by the package `modelmaker` of headway-compat.", MODELMAKER),
    ("Of scripts written for t9k", "Read by the package `t9k` of headway-compat.", T9K),
)


def page() -> str:
    parts = ["# Environment variables\n"]
    for title, words, variables in GROUPS:
        rows = [(code(name), meaning) for name, meaning in variables.items()]
        parts += [f"## {title}\n", f"{words}\n", table(("variable", "meaning"), rows)]
    return "\n".join(parts)


def documented() -> set[str]:
    """Every variable of this page."""
    return {name for _, _, variables in GROUPS for name in variables}


def in_code() -> set[str]:
    """Every variable of our own that the code names."""
    text = "\n".join(path.read_text(encoding="utf-8") for root in SOURCES for path in sorted(root.rglob("*.py")))
    return set(OWN_NAME.findall(text))
