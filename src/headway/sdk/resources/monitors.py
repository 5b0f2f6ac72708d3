"""client.monitors: expressions over the log of a run, whose matches are points of its metrics."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from headway.domain.base import did_you_mean, parse_request
from headway.domain.jobs import Job
from headway.domain.monitors import Monitor, MonitorReport, MonitorSpec, MonitorState, MonitorTest, MonitorUpdate
from headway.errors import InvalidRequestError, NotFoundError, WaitTimeoutError
from headway.sdk.resources.base import Resource
from headway.sdk.resources.metrics import run_address
from headway.sdk.session import segment

ASK_SECONDS = 0.2


class _Kept:
    """Stands for what is not given and so stays as it is."""

    def __repr__(self) -> str:
        return "…"


_KEPT: Any = _Kept()
"""What stands for "stays as it is" where None means something."""


class Monitors(Resource):
    """Every call names a run by ``run=`` or a job by ``job=``, whose run is then meant."""

    path = "/api/v1/runs"
    noun = "monitor"

    def create(
        self,
        name: str,
        regex: str,
        *,
        run: str | None = None,
        job: str | None = None,
        sample: str | None = None,
        replica: str | None = None,
    ) -> Monitor:
        """Make every line that matches ``regex`` a point of the series ``name``, from the log's first line on.

        ::

            client.monitors.create("loss", r"loss = (\\S+), step = (\\d+)", job=job.id, sample="loss = 0.3, step = 159")

        Args:
            name: Of the series; a run has one monitor of each name.
            regex: In the syntax of RE2. With two groups the first is the value and the second the step, with one it is the
                value, and without any the value is the last number in the match.
            run: A run's id.
            job: Or a job's.
            sample: A line that must match.
            replica: Only this replica's lines (``worker-0``).

        Raises:
            InvalidRequestError: The expression cannot be used, or finds no point in the sample; found before anything is
                sent.
            ConflictError: The run has a monitor of that name.
        """
        values = {"name": name, "regex": regex, "sample": sample, "replica": replica}
        request = parse_request(MonitorSpec, values, what="The monitor")
        check_specs([request])
        return self._session.create(Monitor, self._place(run, job), request)

    def list(self, *, run: str | None = None, job: str | None = None) -> Sequence[Monitor]:
        """The monitors of a run with what they found, oldest first."""
        return self._session.items(Monitor, self._place(run, job))

    def get(self, monitor: str, *, run: str | None = None, job: str | None = None) -> Monitor:
        """By name or id."""
        place = self._place(run, job)
        if "/" not in monitor:
            return self._session.get(Monitor, f"{place}/{segment(monitor, 'a monitor')}")
        # A name with / in it does not fit into an address.
        found = self._session.items(Monitor, place)
        for record in found:
            if record.name == monitor:
                return record
        hint = did_you_mean(monitor, [record.name for record in found])
        raise NotFoundError(f"The run has no monitor {monitor!r}.", hint=hint)

    def update(
        self,
        monitor: str,
        *,
        run: str | None = None,
        job: str | None = None,
        regex: str | None = None,
        sample: str | None = _KEPT,
        replica: str | None = _KEPT,
    ) -> Monitor:
        """Look for something else: the log is read from its first line again, and the former points are gone.

        Args:
            monitor: Name or id.
            run: A run's id.
            job: Or a job's.
            regex: Stays as it is when it is not given.
            sample: The same; None forgets it. The one that stays must fit the new expression.
            replica: The same; None reads all replicas.

        Raises:
            InvalidRequestError: As for :meth:`create`, or nothing is changed.
        """
        given = {"regex": _KEPT if regex is None else regex, "sample": sample, "replica": replica}
        values = {key: value for key, value in given.items() if value is not _KEPT}
        if not values:
            raise InvalidRequestError("The update changes nothing.", hint="Give regex=, sample= or replica=.")
        request = parse_request(MonitorUpdate, values, what="The update")
        if request.regex is not None:
            _check(request.regex, request.sample)
        return self._session.act(Monitor, "PATCH", self._address_of(monitor, run, job), body=request)

    def delete(self, monitor: str, *, run: str | None = None, job: str | None = None) -> None:
        """Remove a monitor with its points."""
        self._session.call("DELETE", self._address_of(monitor, run, job))

    def test(
        self,
        regex: str,
        *,
        run: str | None = None,
        job: str | None = None,
        sample: str | None = None,
        replica: str | None = None,
        limit: int = 20,
    ) -> MonitorReport:
        """Try an expression over the stored log; nothing is kept.

        Args:
            regex: As for :meth:`create`.
            run: A run's id.
            job: Or a job's.
            sample: A line that must match.
            replica: Only this replica's lines.
            limit: Matches to show, up to 1000.
        """
        values = {"regex": regex, "sample": sample, "replica": replica, "limit": limit}
        request = parse_request(MonitorTest, values, what="The test")
        _check(request.regex, request.sample)
        return self._session.act(MonitorReport, "POST", f"{self._place(run, job)}/test", body=request)

    def wait(
        self, monitor: str, *, run: str | None = None, job: str | None = None, timeout: float | None = None
    ) -> Monitor:
        """Wait until it has read all that is stored of the log.

        Args:
            monitor: Name or id.
            run: A run's id.
            job: Or a job's.
            timeout: Seconds to wait at most.

        Raises:
            WaitTimeoutError: It goes on reading after ``timeout``.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            found = self.get(monitor, run=run, job=job)
            if found.state is not MonitorState.SCANNING:
                return found
            if deadline is not None and time.monotonic() > deadline:
                raise WaitTimeoutError(
                    f"The monitor {found.name!r} has read {found.lines} lines and goes on after {timeout} s.",
                    hint="Wait again.",
                )
            time.sleep(ASK_SECONDS)

    def _place(self, run: str | None, job: str | None) -> str:
        if (run is None) == (job is None):
            raise InvalidRequestError("Name one run (run=) or one job (job=).")
        if job is not None:
            run = self._session.get(Job, f"/api/v1/jobs/{segment(job, 'a job')}").run_id
        assert run is not None
        return run_address(run, "monitors")

    def _address_of(self, monitor: str, run: str | None, job: str | None) -> str:
        place = self._place(run, job)
        if "/" in monitor:
            monitor = self.get(monitor, run=run, job=job).id
        return f"{place}/{segment(monitor, 'a monitor')}"


def check_specs(specs: Iterable[MonitorSpec | Mapping[str, Any]]) -> None:
    """InvalidRequestError unless each expression can be used and finds a point in its sample."""
    for spec in specs:
        found = spec if isinstance(spec, MonitorSpec) else parse_request(MonitorSpec, spec, what="The monitor")
        _check(found.regex, found.sample)


def _check(regex: str, sample: str | None) -> None:
    from headway.monitors import check_sample  # RE2 is loaded where it is needed

    check_sample(regex, sample)
