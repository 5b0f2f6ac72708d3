"""The server at a glance."""

from __future__ import annotations

from collections import Counter
from importlib.metadata import version as installed_version

from headway.domain.status import PlatformStatus
from headway.server.actions.paging import every
from headway.server.context import Caller, Platform

VERSION = installed_version("headway")


def check_ready(platform: Platform) -> None:
    """Raises what keeps the server from working."""
    with platform.storage.read() as session:
        session.settings.find("gateway.port")


def read(platform: Platform, caller: Caller, gateway_url: str | None) -> PlatformStatus:
    with platform.storage.read() as session:
        ids = caller.visible
        jobs = Counter(job.state.value for job in every(session.jobs.list, project_ids=ids))
        deployments = Counter(d.state.value for d in every(session.deployments.list, project_ids=ids))
        runs = session.runs.states(project_ids=ids)
    return PlatformStatus(
        version=VERSION,
        instance=platform.instance,
        url=platform.url,
        gateway_url=gateway_url,
        engine=platform.engine.name,
        containers=platform.containers,
        capacity=platform.engine.capacity(),
        jobs=dict(jobs),
        deployments=dict(deployments),
        runs=dict(runs),
    )


def prometheus(platform: Platform) -> str:
    """Counts in the text format that Prometheus reads, version 0.0.4."""
    with platform.storage.read() as session:
        jobs = Counter(job.state.value for job in every(session.jobs.list))
        deployments = Counter(deployment.state.value for deployment in session.deployments.all())
        runs = session.runs.states()
        sequence = session.events.last_sequence()
    lines = ["# HELP headway_jobs Jobs by state.", "# TYPE headway_jobs gauge"]
    lines += [f'headway_jobs{{state="{state}"}} {count}' for state, count in sorted(jobs.items())]
    lines += ["# HELP headway_deployments Deployments by state.", "# TYPE headway_deployments gauge"]
    lines += [f'headway_deployments{{state="{state}"}} {count}' for state, count in sorted(deployments.items())]
    lines += ["# HELP headway_runs Tracked runs by state.", "# TYPE headway_runs gauge"]
    lines += [f'headway_runs{{state="{state}"}} {count}' for state, count in sorted(runs.items())]
    lines += ["# HELP headway_events_total Events recorded.", "# TYPE headway_events_total counter"]
    lines.append(f"headway_events_total {sequence}")
    return "\n".join(lines) + "\n"
