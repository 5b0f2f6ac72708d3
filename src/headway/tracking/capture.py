"""What a run knows of its surroundings without being told: code, program, packages, machine.

Everything is found out in one daemon thread, part by part, each said as an ``environment`` fact as soon as it is known, so
that beginning a run waits for none of it and a short run has at least the first parts. No environment variable is taken.

=============  ===================================================================================================
``program``    :meth:`headway.tracking.program.Program.describe`
``git``        :func:`headway.tracking.snapshot.describe_repository`, the entry point's path in it, and later with
               :func:`headway.tracking.snapshot.take_snapshot`
``machine``    :func:`headway.tracking.hardware.describe_machine`
``packages``   :func:`headway.tracking.packages.installed_packages`
``gpus``       :func:`headway.tracking.hardware.describe_gpus`
=============  ===================================================================================================
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.domain.facts import FactType
from headway.tracking.blobs import KeepBlob, LocalBlobs
from headway.tracking.imports import importing
from headway.tracking.program import Program

if TYPE_CHECKING:
    from headway.tracking.git import Git
    from headway.tracking.snapshot import SnapshotLimits

GIT_SECONDS = 20.0
"""For everything that git is asked."""
END_SECONDS = 1.0
"""How long the end of the program waits at most for what is not known yet."""

Say = Callable[[Mapping[str, Any]], object]

log = logging.getLogger(__name__)


def start_capture(
    say: Say, directory: Path, *, keep_blob: KeepBlob | None = None, limits: SnapshotLimits | None = None
) -> Capture:
    """Begin to find out, in the background.

    Args:
        say: Takes facts, from another thread; it adds the time.
        directory: The run's directory, for blobs.
        keep_blob: Takes the diff and the untracked files; by default a :class:`LocalBlobs` in ``directory``.
        limits: How much code is taken.
    """
    capture = Capture(say, keep_blob or LocalBlobs(directory).keep, limits)
    capture.start()
    return capture


class Capture:
    """The finding out, see :func:`start_capture`. In a forked child it is over."""

    def __init__(self, say: Say, keep: KeepBlob, limits: SnapshotLimits | None) -> None:
        self._say, self._keep, self._limits = say, keep, limits
        self._program = Program.of_this_process()
        self._git: Git | None = None
        self._owner = os.getpid()
        self._saying = threading.Lock()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="headway-capture", daemon=True)

    def start(self) -> None:
        atexit.register(self._end)
        try:
            self._thread.start()
        except RuntimeError as error:
            log.debug("no thread to look around with: %s", error)

    def wait(self, timeout: float = END_SECONDS) -> bool:
        """Wait until everything was said, ``timeout`` seconds at most; whether it was."""
        if os.getpid() != self._owner or self._thread.ident is None:
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Say nothing any more, from the return of this call on. What is being found out is left."""
        if os.getpid() != self._owner:
            return
        with self._saying:
            self._stopped = True
            if self._git is not None:
                self._git.stop()
        atexit.unregister(self._end)

    def _end(self) -> None:
        if not self.wait():
            self.stop()
            self.wait()  # for git, which is ended, so that nothing of it is left behind
        self.stop()

    def _run(self) -> None:
        for name, find in self._parts():
            if self._stopped:
                return
            started = time.monotonic()
            try:
                for found in find():
                    self._tell(name, found)
            except Exception:
                # One part that fails (a full disk, a driver) must not cost the others, and none of it the run.
                log.warning("%s could not be captured", name, exc_info=True)
            log.debug("%s took %.3f s", name, time.monotonic() - started)

    def _parts(self) -> Iterator[tuple[str, Callable[[], Iterator[Any]]]]:
        """The quick ones first; last what may hang in a driver. What they need is imported here, not by the program."""
        with importing():
            from headway.tracking.hardware import describe_gpus, describe_machine
            from headway.tracking.packages import installed_packages
        yield "program", lambda: iter([self._program.describe()])
        yield "machine", lambda: iter([describe_machine()])
        yield "git", self._find_git
        yield "packages", lambda: iter([installed_packages()])
        yield "gpus", lambda: iter([describe_gpus()])

    def _find_git(self) -> Iterator[dict[str, Any]]:
        with importing():
            from headway.tracking.snapshot import describe_repository, take_snapshot
        home = self._program.home
        git = self._open_git(home) if home is not None else None
        found = describe_repository(git, home) if git is not None and home is not None else None
        if git is None or found is None:
            return
        root = Path(found["root"])
        if self._program.entry_point is not None:
            place = self._program.entry_point.resolve()
            if place.is_relative_to(root):
                found["entry_point"] = str(place.relative_to(root))
        yield found
        yield {**found, **take_snapshot(git, root, self._keep, self._limits)}

    def _open_git(self, home: Path) -> Git | None:
        with importing():
            from headway.tracking.git import Git
        with self._saying:
            if self._stopped:
                return None
            self._git = Git(home, GIT_SECONDS)
            return self._git

    def _tell(self, name: str, found: Any) -> None:
        with self._saying:
            if found and not self._stopped:
                self._say({"type": FactType.ENVIRONMENT.value, "values": {name: found}})
