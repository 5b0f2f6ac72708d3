"""The whole way on this machine: start a server, train on several processes, deploy, predict, stop.

    python examples/demo.py [--keep] [--data DIRECTORY]

Everything goes through the public SDK; what happens in `main` is what a user would write.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

import headway
from headway.testing.server import ServerProcess

DIGITS = Path(__file__).parent / "digits"
REPLICAS = 2
COLOURS = ("cyan", "magenta", "yellow", "green", "blue")
TRUE_DIGIT = 5
SHADES = " .:-=+*#@"
PIXEL_MAX = 16

console = Console(highlight=False)


def main() -> None:
    options = read_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started this with Ctrl-C ignored
    started = time.monotonic()
    with data_directory(options) as data, server_in(data) as server:
        with headway.Client(server.url, server.token) as client, tidied(client):
            project = client.projects.create("demo")
            job = submit(client, project)
            follow(client, job)
            version = show_model(client, client.jobs.wait(job.id))
            deployment = deploy(client, project, version)
            predict(client, deployment)
            heading("Stop")
    say(f"Everything is stopped. The whole way took {time.monotonic() - started:.1f} s.", style="bold green")


def submit(client: headway.Client, project: headway.Project) -> headway.Job:
    """Send the job that digits/job.yaml describes, with its folder as the workspace."""
    heading("Train: 2 workers and 1 parameter server")
    description = yaml.safe_load((DIGITS / "job.yaml").read_text())
    job = client.jobs.create(**{**description, "workspace": DIGITS}, project=project.id)
    say(f"job {job.id} submitted to project {project.name!r}")
    return job


def follow(client: headway.Client, job: headway.Job) -> None:
    """Print each state change and each line of every replica as they come, to the end of both."""
    watcher = threading.Thread(target=print_states, args=(client, job), daemon=True)
    watcher.start()
    colours: dict[str, str] = {}
    for row in client.jobs.logs(job.id, follow=True):
        colour = colours.setdefault(row.replica, COLOURS[len(colours) % len(COLOURS)])
        line = Text.assemble((f"{row.replica:>10} ", colour), ("| ", "dim"), Text.from_ansi(row.message))
        console.print(line, soft_wrap=True)
    watcher.join()


def print_states(client: headway.Client, job: headway.Job) -> None:
    for number, event in enumerate(client.jobs.watch(job.id)):
        if number == 0:
            print_state(str(event.data["from"]), "recorded")
        print_state(str(event.data["to"]), event.data.get("reason") or "")


def print_state(state: str, reason: str) -> None:
    marked = Text.assemble(("     state ", "bold"), ("> ", "dim"), (state, "bold"), (f"  {reason}", "dim"))
    console.print(marked, soft_wrap=True)


def show_model(client: headway.Client, job: headway.Job) -> headway.ModelVersion:
    """What the job left behind."""
    heading("The registered model")
    version = next(iter(client.models.versions(project=job.project_id, job=job.id)))
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("model", f"{version.uri}  ({version.id})")
    table.add_row("from", f"job {version.job_id}")
    table.add_row("files", ", ".join(f"{entry.path} ({entry.size} bytes)" for entry in version.files))
    table.add_row("digest", version.digest[:16] + "…")
    table.add_row("runtime", str(version.runtime))
    console.print(table)
    return version


def deploy(client: headway.Client, project: headway.Project, version: headway.ModelVersion) -> headway.Deployment:
    """Put the model behind an endpoint and wait until every replica answers."""
    heading(f"Deploy with {REPLICAS} replicas")
    began = time.monotonic()
    deployment = client.deployments.create("digits", version.id, replicas=REPLICAS, project=project.id)
    say(f"deployment {deployment.id} is {deployment.state.value}")
    deployment = client.deployments.wait(deployment.id, timeout=60)
    say(f"deployment {deployment.id} is {deployment.state.value} after {time.monotonic() - began:.1f} s")
    say(f"endpoint {deployment.endpoint}")
    return deployment


def predict(client: headway.Client, deployment: headway.Deployment) -> None:
    """Ask for a digit that no rank has trained on."""
    heading("Predict a held-out digit")
    digits = json.loads((DIGITS / "held_out.json").read_text())
    digit = next(each for each in digits if each["label"] == TRUE_DIGIT)
    outputs = client.deployments.predict(deployment.id, inputs=[digit["pixels"]]).outputs
    predicted, chances = outputs["classes"][0], outputs["probabilities"][0]
    table = Table(show_header=False, box=None, padding=(0, 4, 0, 0))
    table.add_row(drawing(digit["pixels"]), bars(chances, predicted))
    console.print(table)
    right = predicted == digit["label"]
    say(f"predicted {predicted}, true {digit['label']}", style="bold green" if right else "bold red")


def drawing(pixels: list[int]) -> Text:
    """The image as 8 rows of characters, darker for more ink."""
    rows = [pixels[start : start + 8] for start in range(0, 64, 8)]
    top = len(SHADES) - 1
    return Text("\n".join("".join(SHADES[round(p / PIXEL_MAX * top)] * 2 for p in row) for row in rows), style="bold")


def bars(chances: list[float], predicted: int) -> Text:
    """The probability of each class, as a number and as a bar."""
    lines = Text()
    for number, chance in enumerate(chances):
        style = "bold green" if number == predicted else ""
        lines.append(f"{number}  {chance:6.4f}  {'#' * round(chance * 30)}\n", style=style)
    lines.rstrip()
    return lines


@contextmanager
def server_in(data: Path) -> Iterator[ServerProcess]:
    """A server on a free port of this machine, ended with all that it started."""
    heading("Start a server")
    began = time.monotonic()
    with ServerProcess(data) as server:
        say(f"headway {headway.__version__} is ready after {time.monotonic() - began:.1f} s")
        say(f"url    {server.url}")
        say(f"token  {server.token}   (of the admin; shown once)")
        yield server


@contextmanager
def tidied(client: headway.Client) -> Iterator[None]:
    """Afterwards no deployment serves and no job runs, however the block ended."""
    try:
        yield
    finally:
        for deployment in client.deployments.list():
            client.deployments.stop(deployment.id)
            client.deployments.wait(deployment.id, state="stopped", timeout=20)
        for job in client.jobs.list():
            if not job.finished:
                client.jobs.stop(job.id, hard=True)
                client.jobs.wait(job.id, timeout=20, raise_on_failure=False)


@contextmanager
def data_directory(options: argparse.Namespace) -> Iterator[Path]:
    """Where the server keeps everything: a fresh directory that goes again, unless it was asked for."""
    data = Path(options.data or tempfile.mkdtemp(prefix="headway-demo-")).absolute()
    try:
        yield data
    finally:
        if options.keep or options.data:
            say(f"The data is in {data}; go on with: headway up --data {data}")
        else:
            shutil.rmtree(data, ignore_errors=True)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train, deploy and predict on a server of its own.")
    parser.add_argument("--keep", action="store_true", help="keep the server's data directory")
    parser.add_argument("--data", metavar="DIRECTORY", help="use and keep this data directory")
    return parser.parse_args()


def heading(text: str) -> None:
    console.print()
    console.rule(Text(text, style="bold"), align="left", characters="-")


def say(text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=True)


if __name__ == "__main__":
    try:
        main()
    except headway.HeadwayError as error:
        problem: Any = error
        sys.exit(f"demo: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)
