"""Counting what comes back while load runs."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable

from headway.domain.latency import bucket_of
from headway.sdk.load.answers import HttpAnswer
from headway.sdk.load.plan import LoadPlan, LoadReport, Second, quantiles

OnSecond = Callable[[Second], None]


class Tally:
    """What has come back so far. Used from one thread."""

    def __init__(self, plan: LoadPlan) -> None:
        self._plan = plan
        self.done = 0
        """Requests of which it is known what came of them."""
        self._latencies = array("d")
        self._late = array("d")
        self._codes: Counter[int] = Counter()
        self._failures: Counter[str] = Counter()
        self._versions: Counter[str] = Counter()
        self._seconds: list[Second] = []
        self._first_error = ""
        self._fresh = array("d")
        self._fresh_errors = 0

    def sent(self, late: float) -> None:
        """A request went out at once, ``late`` seconds after it was due."""
        self._late.append(late)

    def answered(self, answer: HttpAnswer, latency: float) -> None:
        self.done += 1
        self._codes[answer.status] += 1
        if 200 <= answer.status < 300:
            self._latencies.append(latency)
            self._fresh.append(latency)
            self._versions[answer.version] += 1
            return
        self._fresh_errors += 1
        if not self._first_error:
            self._first_error = f"{answer.status}: {answer.body.decode('utf-8', 'replace')[:300]}"

    def failed(self, why: str, text: str = "", count: int = 1) -> None:
        if not count:
            return
        self.done += count
        self._failures[why] += count
        self._fresh_errors += count
        if not self._first_error:
            self._first_error = text or why

    def turn(self, on_second: OnSecond | None) -> None:
        """A second has passed."""
        found = Second(
            second=len(self._seconds),
            answered=len(self._fresh),
            errors=self._fresh_errors,
            **quantiles(self._fresh),
        )
        self._seconds.append(found)
        self._fresh, self._fresh_errors = array("d"), 0
        if on_second is not None:
            on_second(found)

    def report(self, elapsed: float) -> LoadReport:
        """What came of it all; ``elapsed`` seconds have passed from the first request to the end of the last answer."""
        plan, good = self._plan, self._latencies
        errors = self.done - len(good)
        return LoadReport(
            address=plan.address,
            wanted_rate=plan.rate,
            seconds=plan.seconds,
            connections=plan.connections,
            requests=plan.count,
            answered=len(good),
            rate=len(good) / max(elapsed, plan.seconds),
            errors=errors,
            error_rate=errors / max(1, self.done),
            codes=dict(sorted(self._codes.items())),
            failures=dict(sorted(self._failures.items())),
            versions={name: count for name, count in sorted(self._versions.items()) if name},
            **quantiles(good),
            mean=sum(good) / len(good) if good else None,
            least=min(good, default=None),
            greatest=max(good, default=None),
            late_p99=quantiles(self._late)["p99"],
            first_error=self._first_error,
            per_second=tuple(self._seconds),
            histogram=dict(sorted(Counter(map(bucket_of, good)).items())),
        )
