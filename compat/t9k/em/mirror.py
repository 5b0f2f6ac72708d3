"""A run's files as Headway's journals, below the run's own directory: what is shipped to a server.

The files are what counts. Each entry of a metric file becomes one row, so the number of rows of a type says how many
entries were taken: taking them again, after a crash too, adds what is new and nothing twice.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.domain.base import now
from headway.domain.facts import ArtifactMark, FactType
from headway.errors import HeadwayError
from headway.journal.codec import JournalHeader
from headway.journal.facts import FactsWriter
from headway.journal.metrics import MetricsWriter
from headway.journal.reader import read_frames
from headway.journal.rows import RowDecoder
from headway.journal.writer import JournalWriter, new_writer_id
from headway.tracking.directory import RunDirectory
from t9k.em import documents, metrics

if TYPE_CHECKING:
    from t9k.em.run import Run

ROLE = "rank0"
STATES = {"Running": "running", "Complete": "complete", "Error": "error"}

Opened = Callable[[Path, JournalHeader, Callable[[], int]], None]


class Mirror:
    """Writes what the run's files say and the journals do not yet.

    Args:
        run: The run.
        opened: Told of each journal that is opened, with what may be shipped of it.
        appended: Called when something was written.
    """

    def __init__(self, run: Run, *, opened: Opened | None = None, appended: Callable[[], None] | None = None) -> None:
        self._run = run
        self._opened, self._appended = opened, appended
        self.directory = RunDirectory(Path(run.local) / ".headway" / "runs" / run.alternative_name).make()
        self._rows: MetricsWriter | None = None
        self._facts: FactsWriter | None = None
        self._taken = _rows_by_type(self.directory)
        self._known_parameters: set[str] = set()

    def take_all(self, marks: Mapping[str, list[ArtifactMark]]) -> None:
        """Everything that the files hold."""
        for kind, entries in self._run.metrics.items():
            for entry in entries[self._taken[kind] :]:
                self.take_entry(kind, entry)
        self.say_identity()
        self.say_parameters(self._run.hparams.as_dict())
        for side, found in marks.items():
            for mark in found:
                self.say_mark(side, mark)
        self.say_state()

    def take_entry(self, kind: str, entry: Mapping[str, Any]) -> None:
        """One entry of a metric file; what is no number in a file that somebody else wrote is left out."""
        self._taken[kind] += 1
        values, sequence = documents.mapping(entry.get("value")), documents.mapping(entry.get("sequence"))
        if self._rows is None:
            self._rows = self._open("metrics", MetricsWriter)
        moment = metrics.seconds(sequence.get("timestamp")) or time.time()
        try:
            self._rows.log_at(moment, values, sequence.get("step"), stage=kind, epoch=sequence.get("epoch"))
        except HeadwayError:
            # The row is counted all the same, so that the entries after it keep their places.
            self._rows.log_at(moment, {}, stage=kind)

    def say_identity(self) -> None:
        run = self._run
        self._say(
            FactType.IDENTITY,
            name=run.name,
            alternative_name=run.alternative_name,
            labels=run.labels,
            description=run.description,
        )

    def say_parameters(self, values: Mapping[str, Any]) -> None:
        gone = sorted(self._known_parameters - set(values))
        self._known_parameters = set(values)
        if values or gone:
            self._say(FactType.CONFIG, set=dict(values), delete=gone)

    def say_mark(self, side: str, mark: ArtifactMark) -> None:
        self._say(FactType(side), artifact=mark.model_dump(exclude_none=True))

    def say_state(self) -> None:
        state = STATES.get(self._run.status, "running")
        if state != "running":
            self._say(FactType.STATE, state=state)

    def close(self) -> None:
        """End the journals; the next mirror opens its own."""
        for writer in (self._rows, self._facts):
            if writer is not None:
                writer.close()

    def _say(self, kind: FactType, **fields: Any) -> None:
        if self._facts is None:
            self._facts = self._open("facts", FactsWriter)
        moment = int(now().timestamp() * 1000)
        self._facts.write({"type": kind.value, "time": moment, **fields})

    def _open(self, kind: str, make: Callable[..., Any]) -> Any:
        writer_id = new_writer_id()
        header = JournalHeader(
            run=self.directory.id,
            stream=f"{kind}/{ROLE}-{writer_id}",
            writer=writer_id,
            replica=ROLE,
            created=now(),
        )
        path = self.directory.journal(header.stream)
        writer: JournalWriter = make(path, header, on_append=self._appended)
        if self._opened is not None:
            self._opened(path, header, lambda: writer.position)
        return writer


def _rows_by_type(directory: RunDirectory) -> Counter[str]:
    found: Counter[str] = Counter()
    for path in directory.journals("metrics"):
        for row in RowDecoder().feed(read_frames(path)):
            found[row.stage or ""] += 1
    return found
