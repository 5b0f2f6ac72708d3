"""Whether a new version is good enough to keep its traffic: the rules of a :class:`Guard`, as pure decisions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from headway.domain.deployments import DeployedVersion, DeploymentSpec, Guard
from headway.domain.tally import Tally

BASELINE_SECONDS = 600
"""How far back the versions that were replaced are looked at."""
P95 = 0.95


@dataclass(frozen=True)
class Baseline:
    """What a new version is measured by: the versions it replaces."""

    keys: tuple[str, ...]
    tally: Tally


def new_versions(spec: DeploymentSpec, before: DeploymentSpec | None) -> tuple[DeployedVersion, ...]:
    """Those with traffic that served no traffic in the revision before: other files, or the same ones started otherwise."""
    known = [] if before is None else [_started(version, before) for version in before.versions if version.weight > 0]
    return tuple(v for v in spec.versions if v.weight > 0 and _started(v, spec) not in known)


def replaced_keys(
    version: DeployedVersion, spec: DeploymentSpec, before: DeploymentSpec
) -> tuple[tuple[str, ...], bool]:
    """The keys of the versions that ``version`` is measured by, and whether they still take traffic.

    Those of the revision before that are still there are measured over the same time; where none is, all of that revision
    are measured as they were.
    """
    old = tuple(v.key for v in before.versions if v.weight > 0)
    serving = {v.key for v in spec.versions if v.weight > 0 and v.key != version.key}
    still = tuple(key for key in old if key in serving)
    return (still, True) if still else (old, False)


def problem(guard: Guard, key: str, tally: Tally, baseline: Baseline | None) -> str:
    """What is wrong with a version, in words and numbers; empty while nothing is, or too little is known."""
    if tally.requests < guard.minimum_requests:
        return ""
    found = (_too_many_errors(guard, key, tally), _too_slow(guard, key, tally), _slower(guard, key, tally, baseline))
    return next((text for text in found if text), "")


def _too_many_errors(guard: Guard, key: str, tally: Tally) -> str:
    limit, rate = guard.max_error_rate, tally.error_rate
    if limit is None or rate is None or rate <= limit:
        return ""
    counts = f"{tally.errors} of {tally.requests} requests with 5xx ({_percent(rate)})"
    return f"{key} answered {counts}, more than {_percent(limit)}"


def _too_slow(guard: Guard, key: str, tally: Tally) -> str:
    limit, p95 = guard.max_p95_seconds, tally.quantile(P95)
    if limit is None or p95 is None or p95 <= limit:
        return ""
    return f"{_slow(key, p95, tally)}, more than {_seconds(limit)}"


def _slower(guard: Guard, key: str, tally: Tally, baseline: Baseline | None) -> str:
    limit, p95 = guard.max_p95_ratio, tally.quantile(P95)
    if limit is None or p95 is None or baseline is None or baseline.tally.requests < guard.minimum_requests:
        return ""
    old = baseline.tally.quantile(P95)
    if old is None or p95 <= old * limit:
        return ""
    names = _and(baseline.keys)
    return (
        f"{_slow(key, p95, tally)}, {p95 / old:.3g} times that of {names} ({_seconds(old)}), more than {limit:g} times"
    )


def _slow(key: str, p95: float, tally: Tally) -> str:
    return f"{key} took {_seconds(p95)} or more for 5 % of {tally.requests} requests"


def _started(version: DeployedVersion, spec: DeploymentSpec) -> tuple[object, ...]:
    """All that decides what its replicas do."""
    return version.model_version_id, version.instance_type, tuple(sorted(spec.environment.items())), spec.batching


def _percent(share: float) -> str:
    return f"{share * 100:.3g} %"


def _seconds(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def _and(keys: Sequence[str] | Collection[str]) -> str:
    *most, last = keys
    return f"{', '.join(most)} and {last}" if most else last
