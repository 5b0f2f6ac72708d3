"""Whether a version keeps its traffic: every rule as a row, and the words it is taken back with."""

from __future__ import annotations

from typing import Any

import pytest

from headway.domain.deployments import Batching, DeployedVersion, DeploymentSpec, Guard
from headway.domain.judgement import Baseline, new_versions, problem, replaced_keys
from headway.domain.latency import bucket_of
from headway.domain.tally import Tally
from headway.testing.storage.traffic import make_cell

DEFAULT = Guard()
SLOW = Guard(max_error_rate=None, max_p95_seconds=0.3)
RATIO = Guard(max_error_rate=None, max_p95_ratio=1.5)


def tally(requests: int, errors: int = 0, seconds: float = 0.01) -> Tally:
    codes = {200: requests - errors, 503: errors}
    return Tally([make_cell("d", codes=codes, latency={bucket_of(seconds): requests})])


def version(number: int, **fields: Any) -> DeployedVersion:
    return DeployedVersion(**{"model_version_id": f"mv{number}", "model": "m", "version": number, **fields})


def spec(*versions: DeployedVersion, **fields: Any) -> DeploymentSpec:
    return DeploymentSpec(versions=versions, **fields)


@pytest.mark.parametrize(
    ("guard", "found", "old", "words"),
    [
        pytest.param(
            DEFAULT,
            tally(80, 12),
            None,
            "v3 answered 12 of 80 requests with 5xx (15 %), more than 5 %",
            id="errors",
        ),
        pytest.param(DEFAULT, tally(100, 5), None, "", id="as many errors as are allowed"),
        pytest.param(DEFAULT, tally(49, 49), None, "", id="too few requests to judge by"),
        pytest.param(DEFAULT, tally(50, 50), None, "50 of 50 requests with 5xx (100 %)", id="enough requests"),
        pytest.param(DEFAULT.evolve(max_error_rate=None), tally(80, 80), None, "", id="the rule is switched off"),
        pytest.param(DEFAULT.evolve(max_error_rate=0.0), tally(80, 1), None, "1 of 80", id="no error is allowed"),
        pytest.param(DEFAULT, tally(80, seconds=60), tally(80), "", id="slowness is no rule by default"),
        pytest.param(
            SLOW,
            tally(80, seconds=0.5),
            None,
            "v3 took 524 ms or more for 5 % of 80 requests, more than 300 ms",
            id="too slow",
        ),
        pytest.param(SLOW, tally(80, seconds=0.2), None, "", id="quick enough"),
        pytest.param(SLOW, tally(80, 80), None, "", id="errors are no matter of slowness"),
        pytest.param(
            RATIO,
            tally(80, seconds=2.0),
            tally(60, seconds=1.0),
            "v3 took 2.1 s or more for 5 % of 80 requests, 2 times that of v1 and v2 (1.05 s), more than 1.5 times",
            id="slower than the old ones",
        ),
        pytest.param(RATIO, tally(80, seconds=1.4), tally(60, seconds=1.0), "", id="hardly slower"),
        pytest.param(RATIO, tally(80, seconds=2.0), tally(49, seconds=1.0), "", id="too little known of the old ones"),
        pytest.param(RATIO, tally(80, seconds=2.0), None, "", id="there are no old ones"),
    ],
)
def test_a_version_is_judged_by_its_guard(guard: Guard, found: Tally, old: Tally | None, words: str) -> None:
    baseline = None if old is None else Baseline(("v1", "v2"), old)
    said = problem(guard, "v3", found, baseline)
    assert said == words if not words or words.startswith("v3") else words in said


@pytest.mark.parametrize(
    ("now", "before", "keys"),
    [
        pytest.param(spec(version(1)), None, ["v1"], id="the first revision"),
        pytest.param(spec(version(2)), spec(version(1)), ["v2"], id="another version"),
        pytest.param(spec(version(1, weight=90), version(2, weight=10)), spec(version(1)), ["v2"], id="a canary"),
        pytest.param(
            spec(version(1, weight=50), version(2, weight=50)),
            spec(version(1, weight=90), version(2, weight=10)),
            [],
            id="only weights",
        ),
        pytest.param(spec(version(1, replicas=5)), spec(version(1)), [], id="only more replicas"),
        pytest.param(spec(version(1)), spec(version(1), environment={"A": "1"}), ["v1"], id="another environment"),
        pytest.param(spec(version(1)), spec(version(1), batching=Batching(max_rows=1)), ["v1"], id="other batching"),
        pytest.param(spec(version(1, instance_type="big")), spec(version(1)), ["v1"], id="another instance type"),
        pytest.param(
            spec(version(1), version(2, weight=0, shadow=True)), spec(version(1)), [], id="a shadow harms nobody"
        ),
        pytest.param(
            spec(version(2)), spec(version(1), version(2, weight=0, shadow=True)), ["v2"], id="a shadow that takes over"
        ),
        pytest.param(spec(version(2)), spec(version(1), version(2, weight=0)), ["v2"], id="one that had no traffic"),
    ],
)
def test_only_versions_that_are_new_to_traffic_are_watched(
    now: DeploymentSpec, before: DeploymentSpec | None, keys: list[str]
) -> None:
    assert [found.key for found in new_versions(now, before)] == keys


@pytest.mark.parametrize(
    ("now", "before", "expected"),
    [
        (spec(version(2)), spec(version(1)), (("v1",), False)),
        (spec(version(1, weight=90), version(2, weight=10)), spec(version(1)), (("v1",), True)),
        (spec(version(1), environment={"A": "1"}), spec(version(1)), (("v1",), False)),
        (
            spec(version(2, weight=50), version(3, weight=50)),
            spec(version(1, weight=50), version(2, weight=50)),
            (("v2",), True),
        ),
        (spec(version(3)), spec(version(1), version(2), version(4, weight=0, shadow=True)), (("v1", "v2"), False)),
    ],
)
def test_a_version_is_measured_by_those_it_replaces(
    now: DeploymentSpec, before: DeploymentSpec, expected: tuple[tuple[str, ...], bool]
) -> None:
    newest = new_versions(now, before)[-1]
    assert replaced_keys(newest, now, before) == expected
