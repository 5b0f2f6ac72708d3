"""The gateway's metrics in Prometheus' text format (version 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from headway.domain.latency import BUCKETS_PER_DOUBLING, upper_bound
from headway.serving.gateway.routes import Backend, Entry, Group
from headway.serving.gateway.traffic import Totals

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
DOUBLINGS = range(7, 27)
"""Bounds of the histogram: from 2^7 microseconds to 2^26, over a minute."""
_PREFIX = "headway_gateway"
_TYPES = {
    "requests_total": "counter",
    "request_seconds": "histogram",
    "replica_requests_total": "counter",
    "replica_requests_in_flight": "gauge",
    "replica_available": "gauge",
    "replica_ejections_total": "counter",
    "replica_hedged_total": "counter",
    "requests_in_flight": "gauge",
    "requests_waiting": "gauge",
    "shadow_total": "counter",
}


def exposition(entries: Iterable[Entry], refused: Mapping[int, int]) -> bytes:
    """All metrics of deployments that have seen a request, each metric with its type.

    Args:
        entries: The deployments.
        refused: Status to the number of requests that could not be read.
    """
    lines: dict[str, list[str]] = {name: [] for name in _TYPES}
    for entry in entries:
        for name, line in _of_entry(entry):
            lines[name].append(line)
    text = []
    for name, kind in _TYPES.items():
        text.append(f"# TYPE {_PREFIX}_{name} {kind}")
        text += lines[name]
    text.append(f"# TYPE {_PREFIX}_refused_total counter")
    text += [f"{_PREFIX}_refused_total{_labels(code=str(code))} {count}" for code, count in sorted(refused.items())]
    return ("\n".join(text) + "\n").encode()


def _of_entry(entry: Entry) -> Iterator[tuple[str, str]]:
    used = False
    for group in entry.groups:
        total = _group_totals(group)
        if total.codes or any(backend.meter.in_flight for backend in group.backends):
            used = True
            yield from _of_version(entry.id, group.key, total)
            for backend in group.backends:
                yield from _of_backend(entry.id, backend)
    unsent = entry.meter.totals()
    if unsent.codes:
        yield from _of_version(entry.id, "", unsent)
    if used or unsent.codes or entry.load:
        labels = _labels(deployment=entry.id)
        yield "requests_in_flight", f"{_PREFIX}_requests_in_flight{labels} {entry.load}"
        yield "requests_waiting", f"{_PREFIX}_requests_waiting{labels} {entry.held}"


def _group_totals(group: Group) -> Totals:
    total = Totals()
    total.add(group.totals)
    for backend in group.backends:
        total.add(backend.meter.unfolded())
    return total


def _of_version(deployment: str, version: str, total: Totals) -> Iterator[tuple[str, str]]:
    for code, count in sorted(total.codes.items()):
        labels = _labels(deployment=deployment, version=version, code=str(code))
        yield "requests_total", f"{_PREFIX}_requests_total{labels} {count}"
    name = f"{_PREFIX}_request_seconds"
    for bound, count in _histogram(total.latency):
        labels = _labels(deployment=deployment, version=version, le=bound)
        yield "request_seconds", f"{name}_bucket{labels} {count}"
    labels = _labels(deployment=deployment, version=version)
    yield "request_seconds", f"{name}_sum{labels} {total.seconds}"
    yield "request_seconds", f"{name}_count{labels} {sum(total.latency.values())}"
    shadow = {
        "equal": total.shadow_equal,
        "different": total.shadow_different,
        "failed": total.shadow_failed,
        "dropped": total.shadow_dropped,
    }
    if any(shadow.values()):
        for result, count in shadow.items():
            labels = _labels(deployment=deployment, version=version, result=result)
            yield "shadow_total", f"{_PREFIX}_shadow_total{labels} {count}"


def _of_backend(deployment: str, backend: Backend) -> Iterator[tuple[str, str]]:
    own = {"deployment": deployment, "version": backend.group.key, "replica": backend.id}
    totals = backend.meter.totals()
    if totals.hedged:
        yield "replica_hedged_total", f"{_PREFIX}_replica_hedged_total{_labels(**own)} {totals.hedged}"
    for code, count in sorted(totals.codes.items()):
        line = f"{_PREFIX}_replica_requests_total{_labels(**own, code=str(code))} {count}"
        yield "replica_requests_total", line
    numbers = {
        "replica_requests_in_flight": backend.meter.in_flight,
        "replica_available": int(backend.available),
        "replica_ejections_total": backend.ejections,
    }
    for name, number in numbers.items():
        yield name, f"{_PREFIX}_{name}{_labels(**own)} {number}"


def _histogram(latency: Mapping[int, int]) -> Iterator[tuple[str, int]]:
    """Bounds and how many did not exceed them."""
    for doubling in DOUBLINGS:
        last = doubling * BUCKETS_PER_DOUBLING
        yield repr(upper_bound(last)), sum(count for bucket, count in latency.items() if bucket <= last)
    yield "+Inf", sum(latency.values())


def _labels(**labels: str) -> str:
    escaped = {k: v.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for k, v in labels.items()}
    return "{" + ",".join(f'{key}="{value}"' for key, value in escaped.items()) + "}"
