"""headway deploy bench: open-loop load on a deployment, kept as a run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headway.cli.deploy_options import NameArgument
from headway.cli.deploy_show import milliseconds
from headway.cli.deploy_update import spec_text
from headway.cli.options import JsonOption, ProjectOption, connected
from headway.cli.output import clean, print_fields, print_json, say

if TYPE_CHECKING:
    from headway.domain.deployments import Deployment
    from headway.sdk.load.bench import BenchOptions
    from headway.sdk.load.plan import LoadPlan, LoadReport, Second
    from headway.sdk.resources.deployments import Deployments
    from headway.tracking.run import TrackedRun

OnSecond = Callable[["Second"], None]
HISTOGRAM_ROWS = 16
BAR_WIDTH = 40
STANDARD_INPUT = "-"


def register(app: typer.Typer) -> None:
    app.command("bench")(bench)


def bench(
    deployment: NameArgument,
    rate: Annotated[float, typer.Option("--rate", help="Requests a second, sent whether or not earlier are answered.")],
    seconds: Annotated[float, typer.Option("--seconds", help="For how long.")] = 30.0,
    connections: Annotated[int, typer.Option("--connections", help="How many at most, one request each.")] = 64,
    data: Annotated[
        str | None,
        typer.Option("--data", "-d", help="JSON, or a file with it (.jsonl: one body a line); made up without it."),
    ] = None,
    rows: Annotated[int, typer.Option("--rows", help="Rows of an input that is made up.")] = 1,
    version: Annotated[str | None, typer.Option("--version", help="Only this version, as v3 or an alias.")] = None,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds after which a request is given up.")] = 10.0,
    keep: Annotated[
        bool, typer.Option("--keep/--no-keep", help="Keep it as a run of the deployment's project.")
    ] = True,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send predictions at a fixed rate and show how long they took, counted from when each was due."""
    from headway.sdk.load.bench import BenchOptions
    from headway.sdk.load.generator import run_load

    given = sys.stdin.read() if data == STANDARD_INPUT else data
    options = BenchOptions(rate, seconds, connections, timeout, given, version, rows)
    with connected(project) as client:
        found = client.deployments.get(deployment)
        plan = client.deployments.plan(found.id, options)
        with _kept(client.deployments, found, options, plan, keep=keep) as run:
            with _progress(seconds) as advance:
                report = run_load(plan, _both(advance, _logger(run)))
            if run is not None:
                _log_report(run, report)
    if as_json:
        print_json({**report.model_dump(mode="json"), "run_id": None if run is None else run.id})
        return
    _print_report(report)


@contextmanager
def _kept(
    deployments: Deployments, found: Deployment, options: BenchOptions, plan: LoadPlan, *, keep: bool
) -> Iterator[TrackedRun | None]:
    """The run that keeps it; tracking itself says where it is."""
    if not keep:
        yield None
        return
    from headway.tracking.opening import init

    connection = deployments.connection
    with init(
        found.project_id,
        f"bench {found.name} at {options.rate:g}/s",
        _config(found, options, plan),
        labels=("bench", found.name),
        mode="online",
        capture=False,
        console=False,
        system=False,
        url=connection.url,
        token=connection.token,
    ) as run:
        yield run


def _config(found: Deployment, options: BenchOptions, plan: LoadPlan) -> dict[str, Any]:
    """What a run of a load is compared by; latencies are logged in seconds."""
    return {
        "deployment": found.name,
        "deployment_id": found.id,
        "revision": found.revision,
        "serves": spec_text(found),
        "replicas": found.replica_count,
        "rate": options.rate,
        "seconds": options.seconds,
        "connections": options.connections,
        "timeout": options.timeout,
        "version": None if options.version is None else str(options.version),
        "rows": options.rows if options.data is None else None,
        "bodies": len(plan.bodies),
        "body_bytes": sum(map(len, plan.bodies)) // len(plan.bodies),
        "unit": "seconds",
    }


def _logger(run: TrackedRun | None) -> OnSecond | None:
    """Logs what came back in each second as it passes."""
    if run is None:
        return None

    def log(second: Second) -> None:
        latencies = {"p50": second.p50, "p95": second.p95, "p99": second.p99}
        known = {name: value for name, value in latencies.items() if value is not None}
        run.log({"rate": second.answered, "errors": second.errors, **known}, second.second, stage="second")

    return log


def _log_report(run: TrackedRun, report: LoadReport) -> None:
    values = {
        "rate": report.rate,
        "requests": report.requests,
        "answered": report.answered,
        "errors": report.errors,
        "error_rate": report.error_rate,
        "p50": report.p50,
        "p95": report.p95,
        "p99": report.p99,
        "mean": report.mean,
        "max": report.greatest,
        "late_p99": report.late_p99,
    }
    run.log({name: value for name, value in values.items() if value is not None})
    if report.histogram:
        run.log({"latency": _as_media(report)})


def _as_media(report: LoadReport) -> Any:
    """The histogram in seconds, its buckets as wide as those of :mod:`headway.domain.latency`."""
    from headway.domain.latency import upper_bound
    from headway.tracking.histograms import Histogram

    first, last = min(report.histogram), max(report.histogram)
    edges = [0.0 if first == 0 else upper_bound(first - 1), *map(upper_bound, range(first, last + 1))]
    counts = [report.histogram.get(bucket, 0) for bucket in range(first, last + 1)]
    return Histogram(counts=counts, edges=edges, caption=f"Latency in seconds at {report.wanted_rate:g} requests/s")


def _both(first: OnSecond, second: OnSecond | None) -> OnSecond:
    def told(passed: Second) -> None:
        first(passed)
        if second is not None:
            second(passed)

    return told


@contextmanager
def _progress(seconds: float) -> Iterator[OnSecond]:
    """A bar on stderr where that is a terminal; nothing elsewhere, and nothing of it stays."""
    if not sys.stderr.isatty():
        yield lambda _second: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("asking", total=seconds)

        def advance(second: Second) -> None:
            said = f"{second.answered}/s  p99 {milliseconds(second.p99)}  {second.errors} errors"
            progress.update(task, completed=second.second + 1, description=said)

        yield advance


def _print_report(report: LoadReport) -> None:
    codes = ", ".join(f"{code}: {count}" for code, count in report.codes.items())
    failures = ", ".join(f"{name}: {count}" for name, count in report.failures.items())
    print_fields(
        {
            "requests": f"{report.requests} due at {report.wanted_rate:g}/s for {report.seconds:g} s",
            "answered": f"{report.answered}, {report.rate:.1f}/s",
            "errors": f"{report.errors} ({100 * report.error_rate:.3g}%)",
            "codes": codes,
            "failures": failures,
            "versions": ", ".join(f"{name}: {count}" for name, count in report.versions.items()),
            "p50": milliseconds(report.p50),
            "p95": milliseconds(report.p95),
            "p99": milliseconds(report.p99),
            "mean": milliseconds(report.mean),
            "max": milliseconds(report.greatest),
            "sent late": f"{milliseconds(report.late_p99)} at p99 by this program" if report.late_p99 else None,
            "first error": clean(report.first_error).replace("\n", " "),
        }
    )
    if report.histogram:
        say()
        for line in histogram_lines(report.histogram):
            say(line)


def histogram_lines(counts: dict[int, int], rows: int = HISTOGRAM_ROWS) -> list[str]:
    """A latency histogram as text, each line one span of time, at most ``rows`` of them."""
    from headway.domain.latency import upper_bound

    first, last = min(counts), max(counts)
    step = max(1, -(-(last - first + 1) // rows))
    spans = range(first, last + 1, step)
    sums = [sum(counts.get(bucket, 0) for bucket in range(start, start + step)) for start in spans]
    bounds = [milliseconds(upper_bound(min(start + step - 1, last))) for start in spans]
    total, greatest, width = sum(sums), max(sums), max(map(len, bounds))
    counted = max(len(str(count)) for count in sums)
    lines, seen = [], 0
    for bound, count in zip(bounds, sums, strict=True):
        seen += count
        bar = _bar(count / greatest)
        lines.append(f"≤ {bound:>{width}}  {count:>{counted}}  {100 * seen / total:5.1f}%  {bar}".rstrip())
    return lines


def _bar(share: float) -> str:
    return "█" * max(1, round(share * BAR_WIDTH)) if share else ""
