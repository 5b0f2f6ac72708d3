"""headway deploy show, metrics: the page of truth of a deployment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headway.cli.deploy_options import NameArgument, seconds_of
from headway.cli.deploy_update import share_text, spec_text
from headway.cli.deploy_watch import watch_deployment
from headway.cli.options import JsonOption, ProjectOption, connected
from headway.cli.output import fields_lines, local_time, print_fields, print_json, print_table, say, table_lines

if TYPE_CHECKING:
    from headway.domain.deployments import Deployment, Revision
    from headway.domain.traffic import DeploymentTraffic, VersionTraffic
    from headway.sdk.client import Client

LATELY = 60.0
"""Seconds over which ``show`` tells rates and latencies."""
DESCRIBE_SECONDS = 2.0
GUARD_ALARM = "deployment.guard_alarm"
TRAFFIC_COLUMNS = ("REQUESTS/S", "ERRORS", "P50", "P95", "P99", "IN FLIGHT")


def register(app: typer.Typer) -> None:
    app.command("show")(show)
    app.command("metrics")(metrics)


@dataclass(frozen=True)
class DeploymentPage:
    """All that ``show`` says."""

    found: Deployment
    pending: Revision | None
    traffic: DeploymentTraffic
    executions: dict[str, str]
    alarm: str | None

    def to_record(self) -> dict[str, Any]:
        """For programs: the deployment as the API answers it, and more."""
        more = {
            "pending_revision": _dumped(self.pending),
            "traffic": _dumped(self.traffic),
            "execution": self.executions,
            "alarm": self.alarm,
        }
        return {**self.found.model_dump(mode="json"), **more}

    def lines(self) -> list[str]:
        """For people."""
        found = self.found
        lines = [*fields_lines(_fields(found, self.pending, self.alarm)), ""]
        lines += _version_lines(found, self.traffic, self.executions)
        if found.replicas:
            rows = [(replica.name, replica.phase, replica.address, replica.reason) for replica in found.replicas]
            lines += ["", *table_lines(("REPLICA", "PHASE", "ADDRESS", "REASON"), rows)]
        return lines


def look_at(client: Client, found: Deployment) -> DeploymentPage:
    """The page of a deployment, with its traffic of the last minute."""
    pending = client.deployments.revision(found.id, found.pending) if found.pending is not None else None
    return DeploymentPage(found, pending, lately(client, found), _executions(client, found), alarm_of(client, found))


def show(
    deployment: NameArgument,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on as it changes; with --json one line for each change.")
    ] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a deployment: its revision, weights, replicas with states and reasons, and its traffic of the last minute."""
    with connected(project) as client:
        if watch:
            watch_deployment(client, deployment, as_json=as_json)
            return
        page = look_at(client, client.deployments.get(deployment))
    if as_json:
        print_json(page.to_record())
        return
    for line in page.lines():
        say(line)


def metrics(
    deployment: NameArgument,
    since: Annotated[str, typer.Option("--since", help="How far back: 30s, 5m, 1h; a day is kept.")] = "5m",
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show requests, errors and latencies by version, by replica, and over time."""
    back = seconds_of(since, "--since")
    with connected(project) as client:
        found = client.deployments.metrics(deployment, since=back)
    if as_json:
        print_json(found)
        return
    print_fields(
        {
            "since": found.since,
            "until": found.until,
            "requests": found.total.requests,
            "waiting": found.waiting or None,
            "codes": ", ".join(f"{code}: {count}" for code, count in found.total.codes.items()),
        }
    )
    _print_traffic("VERSION", [(each.version, each) for each in found.versions], "No requests.")
    if found.replicas:
        _print_traffic("REPLICA", [(each.replica_id or "none", each) for each in found.replicas], "")
    if found.windows:
        say()
        rows = [
            (local_time(window.start), each.version, each.requests, *_numbers(each)[1:5])
            for window in found.windows
            for each in window.versions
        ]
        print_table(("TIME", "VERSION", "REQUESTS", "ERRORS", "P50", "P95", "P99"), rows, empty="")


def _print_traffic(heading: str, lines: list[tuple[str, VersionTraffic]], empty: str) -> None:
    say()
    rows = [(name, each.requests, *_numbers(each)) for name, each in lines]
    print_table((heading, "REQUESTS", *TRAFFIC_COLUMNS), rows, empty=empty)


def _numbers(traffic: VersionTraffic) -> tuple[str, ...]:
    """The cells under :data:`TRAFFIC_COLUMNS`."""
    return (
        f"{traffic.requests_per_second:.3g}",
        "" if traffic.error_rate is None else f"{100 * traffic.error_rate:.3g}%",
        *(milliseconds(value) for value in (traffic.p50, traffic.p95, traffic.p99)),
        f"{traffic.in_flight:.2g}",
    )


def milliseconds(seconds: float | None) -> str:
    """A latency for people.

    >>> milliseconds(0.00042), milliseconds(12.3456), milliseconds(None)
    ('0.42 ms', '12346 ms', '')
    """
    if seconds is None:
        return ""
    value = seconds * 1000
    return f"{value:.0f} ms" if value >= 100 else f"{value:.3g} ms"


def lately(client: Client, found: Deployment) -> DeploymentTraffic:
    """What passed in the last minute."""
    from headway.errors import InvalidRequestError

    try:
        return client.deployments.metrics(found.id, since=LATELY, windows=0)
    except InvalidRequestError:  # this machine's clock goes before the server's
        return client.deployments.metrics(found.id, windows=0)


def _executions(client: Client, found: Deployment) -> dict[str, str]:
    """Where each version's model is called, as one of its replicas has measured: ``loop`` or ``thread``.

    One that may scale to zero is not asked: a look must not keep it awake.
    """
    from headway.errors import HeadwayError

    known: dict[str, str] = {}
    if not any(replica.address and replica.phase.value == "running" for replica in found.replicas):
        return known
    for version in found.versions:
        if version.scaling is not None and version.scaling.minimum == 0:
            continue
        try:
            about = client.deployments.describe(found.id, version=version.version, timeout=DESCRIBE_SECONDS)
        except HeadwayError:
            continue
        if isinstance(about.get("execution"), str):
            known[version.key] = about["execution"]
    return known


def alarm_of(client: Client, found: Deployment) -> str | None:
    """What the guard measured of the live revision, where there was nothing to go back to."""
    alarms = client.events.list(subject=found.id, type=GUARD_ALARM)
    if any(event.data.get("revision") == found.revision for event in alarms):
        return client.deployments.revision(found.id, found.revision).reason
    return None


def _fields(found: Deployment, pending: Revision | None, alarm: str | None) -> dict[str, Any]:
    fields = type(found).model_fields
    changed = {name: getattr(found, name) for name in fields if getattr(found, name) != fields[name].default}
    batching = changed.get("batching")
    return {
        "id": found.id,
        "name": found.name,
        "state": found.state,
        "reason": found.reason,
        "model": spec_text(found),
        "revision": found.revision,
        "pending": f"{pending.number}: {spec_text(pending.spec)}" if pending is not None else None,
        "endpoint": found.endpoint,
        "public": "yes" if found.public else "no",
        "sticky": found.sticky,
        "guard": _guard_text(found),
        "alarm": alarm,
        "batching": batching and f"{batching.max_rows} rows, waits {batching.max_wait_ms:g} ms",
        "deadline": f"{changed['deadline_seconds']:g} s" if "deadline_seconds" in changed else None,
        "max waiting": changed.get("max_waiting"),
        "hedge after": f"{found.hedge_after_seconds:g} s" if found.hedge_after_seconds is not None else None,
        "rollout": changed["rollout"].value if "rollout" in changed else None,
        "created": found.created_at,
    }


def _guard_text(found: Deployment) -> str:
    guard = found.guard
    if guard is None:
        return "none"
    rules = {
        "errors above": None if guard.max_error_rate is None else f"{100 * guard.max_error_rate:g}%",
        "p95 above": None if guard.max_p95_seconds is None else milliseconds(guard.max_p95_seconds),
        "p95 above the old by": None if guard.max_p95_ratio is None else f"{guard.max_p95_ratio:g}×",
    }
    said = " or ".join(f"{name} {value}" for name, value in rules.items() if value is not None)
    return f"{said or 'no rule'}, within {guard.watch_seconds:g} s and from {guard.minimum_requests} requests on"


def _version_lines(found: Deployment, traffic: DeploymentTraffic, executions: dict[str, str]) -> list[str]:
    total = sum(version.weight for version in found.versions)
    seen = {each.version: each for each in traffic.versions}
    rows = []
    for version in found.versions:
        share = share_text(version.weight, total, shadow=version.shadow)
        numbers = _numbers(seen[version.key]) if version.key in seen else ("0", "", "", "", "", "0")
        scale = version.scaling
        count = f"{version.replicas} ({scale.minimum}–{scale.maximum})" if scale is not None else str(version.replicas)
        rows.append((version.key, share, count, executions.get(version.key, ""), *numbers))
    lines = table_lines(("VERSION", "WEIGHT", "REPLICAS", "RUNS ON", *TRAFFIC_COLUMNS), rows)
    shadows = [seen[version.key] for version in found.versions if version.shadow and version.key in seen]
    return lines + [_shadow_text(traffic) for traffic in shadows]


def _shadow_text(traffic: VersionTraffic) -> str:
    equal, different, failed = traffic.shadow_equal, traffic.shadow_different, traffic.shadow_failed
    return f"{traffic.version} as a shadow: {equal} answers equal, {different} different, {failed} failed."


def _dumped(record: Any) -> Any:
    return None if record is None else record.model_dump(mode="json")
