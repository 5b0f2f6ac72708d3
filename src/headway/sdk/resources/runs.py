"""client.runs: what is tracked. Jobs and deployments have one each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from headway.domain.base import parse_request
from headway.domain.filters import parse_filter, parse_order
from headway.domain.logs import LogRow
from headway.domain.metrics import SeriesSummary
from headway.domain.runs import Run, RunCreate, RunCreated, RunHeartbeat, RunRow, RunUpdate, Stream
from headway.errors import HeadwayError, NotFoundError
from headway.journal.documents import plain_json
from headway.sdk.resources.base import refuse_unknown
from headway.sdk.resources.comparisons import RunComparisons
from headway.sdk.resources.entries import RunEntries
from headway.sdk.resources.logs import read_logs
from headway.sdk.resources.metrics import RunMetrics
from headway.sdk.views import RunView

QUERY_WORDS = {"filter", "order_by", "project", "limit", "include_summary"}


class Runs(RunMetrics, RunEntries, RunComparisons):
    path = "/api/v1/runs"
    noun = "run"

    def create(self, name: str | None = None, *, project: str | None = None, **fields: Any) -> RunCreated:
        """Make a run without tracking it from here; :func:`headway.init` is for programs that log.

        Args:
            name: For people; two words are made up without one.
            project: Id or name; the client's own without it.
            fields: The other fields of :class:`headway.domain.runs.RunCreate`: ``id`` (repeating is then harmless),
                ``folder``, ``make_folder``, ``conflict_strategy``, ``alternative_name``, ``labels``, ``description``,
                ``config``, ``created_at``.

        Returns:
            The run; ``outcome`` says whether it was made, found, or something else done about its name.

        Raises:
            InvalidRequestError: A field is wrong or unknown; found before anything is sent.
            ConflictError: The id or the name is taken.
            NotFoundError: There is no such project or folder.
        """
        given = {"name": name, **fields, "project": self._project(project)}
        values = {key: value for key, value in given.items() if value is not None}
        if isinstance(values.get("config"), Mapping):
            values["config"] = json.loads(plain_json(values["config"], "config"))
        return self._session.create(RunCreated, self.path, parse_request(RunCreate, values, what="The run"))

    def get(self, run: str) -> RunView:
        """By id: the record, which can also be asked for metrics, logs and more.

        Raises:
            NotFoundError: There is no such run; says so if it is the name of one.
        """
        try:
            return RunView.of(self._session.get(Run, self._address(run)), self._session)
        except NotFoundError as error:
            raise NotFoundError(error.message, hint=self._hint(run), details=error.details) from None

    def _hint(self, run: str) -> str:
        """What to do when ``run`` is the id of none."""
        quoted = run.replace("'", "''")
        filter = f"name = '{quoted}'"
        try:
            named = [*self._session.pages(Run, self.path, {"project": self._scope(None), "filter": filter}, 2)]
        except HeadwayError:
            named = []  # the answer stays that there is none
        if len(named) == 1:
            return f"{run!r} is the name of a run, not an id; its id is {named[0].id!r}."
        return f"Find it by name with client.runs.query({filter!r}); ids of runs begin with 'run'."

    def list(self, *, project: str | None = None, limit: int | None = None) -> Iterator[RunView]:
        """Runs, newest first."""
        return self.query(project=project, limit=limit)

    def query(
        self,
        filter: str | None = None,
        *,
        order_by: str | None = None,
        project: str | None = None,
        limit: int | None = None,
        include_summary: bool = False,
        **unknown: Any,
    ) -> Iterator[RunView]:
        """Runs that ``filter`` holds of.

        ::

            for run in client.runs.query("params.lr < 0.01 and metrics.val.loss.min < 0.3", order_by="metrics.val.loss"):
                print(run.name, run.summary["val.loss"].min)

        Args:
            filter: See docs/guide/filters.md; all runs without it.
            order_by: A field, with ``-`` before it for the greatest first; newest first without it.
            project: Id or name; the client's own without it.
            limit: How many at most.
            include_summary: Bring each run's summary along instead of asking for it later.

        Raises:
            InvalidRequestError: The filter cannot be understood, or a keyword is unknown; found before anything is sent.
        """
        refuse_unknown(unknown, QUERY_WORDS, "A query for runs")
        for text, read in ((filter, parse_filter), (order_by, parse_order)):
            if text is not None:
                read(text)
        query = {"project": self._scope(project), "filter": filter, "order_by": order_by}
        if not include_summary:
            found = self._session.pages(Run, self.path, query, limit)
            return (RunView.of(run, self._session) for run in found)
        rows = self._session.pages(RunRow, self.path, {**query, "include": "summary"}, limit)
        return (RunView.of(row.run, self._session, row.summary if row.complete else None) for row in rows)

    def update(
        self,
        run: str,
        *,
        name: str | None = None,
        labels: Sequence[str] | None = None,
        description: str | None = None,
        folder: str | None = None,
    ) -> RunView:
        """Change what people write about a run; what is None stays as it is. It outlives what the run itself said before."""
        given: Mapping[str, Any] = {"name": name, "labels": labels, "description": description, "folder": folder}
        values = {key: value for key, value in given.items() if value is not None}
        request = parse_request(RunUpdate, values, what="The change")
        return RunView.of(self._session.act(Run, "PATCH", self._address(run), body=request), self._session)

    def delete(self, run: str) -> None:
        """Delete a run with everything that it sent. Artifacts and models that it made stay."""
        self._session.call("DELETE", self._address(run))

    def heartbeat(self, run: str, *, writer: str, attempt: int = 0, health: Mapping[str, int] | None = None) -> Run:
        """Say that a writer of the run lives, so that it does not count as lost."""
        values = {"writer": writer, "attempt": attempt, "health": dict(health or {})}
        request = parse_request(RunHeartbeat, values, what="The heartbeat")
        return self._session.act(Run, "POST", self._address(run, "heartbeat"), body=request)

    def summary(self, run: str, *, prefix: str | None = None) -> Sequence[SeriesSummary]:
        """Last, least, greatest and mean value of each series whose key (as ``val.loss``) begins with ``prefix``."""
        return self._session.items(SeriesSummary, self._address(run, "summary"), {"prefix": prefix})

    def environment(self, run: str) -> dict[str, Any]:
        """What was captured about code, machine and packages."""
        return dict(self._session.call("GET", self._address(run, "environment")) or {})

    def logs(
        self,
        run: str,
        *,
        follow: bool = False,
        replica: str | None = None,
        attempt: int | None = None,
        tail: int | None = None,
        timeout: float | None = None,
    ) -> Iterator[LogRow]:
        """What the run's ranks printed; as :meth:`headway.sdk.resources.jobs.Jobs.logs`."""
        path = self._address(run, "logs")
        return read_logs(
            self._session, path, follow=follow, replica=replica, attempt=attempt, tail=tail, timeout=timeout
        )

    def follow(self, run: str, *, timeout: float | None = None) -> Iterator[LogRow]:
        """Rows of the log as they come, until the run has ended."""
        return self.logs(run, follow=True, timeout=timeout)

    def streams(self, run: str) -> Sequence[Stream]:
        """What the run has emitted, and how far the server holds it."""
        return self._session.items(Stream, self._address(run, "streams"))
