"""One replica from its claim to its last report: an event loop on the main thread.

Signals, the reporter, the health watch and the thread that brings the workspace put events into one queue; only the
main thread starts and ends processes and decides what happens next.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import time
from pathlib import Path
from typing import Any

from headway.agent.client import ServerClient, present_url
from headway.agent.delivery import Delivery, Outcome
from headway.agent.environment import ReplicaFacts, program_environment
from headway.agent.events import (
    Answering,
    ChildChanged,
    Event,
    Heard,
    Overgrown,
    Prepared,
    Refused,
    Silent,
    Unprepared,
    asks_to_stop,
)
from headway.agent.health import HealthWatch
from headway.agent.interruption import Interruption
from headway.agent.process import UNKNOWN, ExitStatus, Launcher, reap_orphans
from headway.agent.quota import QuotaWatch
from headway.agent.reasons import describe_end
from headway.agent.recording import Recording
from headway.agent.reporting import Reporter
from headway.agent.workspace import prepare
from headway.attempts import ReplicaDirectory, ReplicaState
from headway.domain.base import now
from headway.domain.replicas import Action, Directive, ReplicaPhase, ReplicaSpec
from headway.errors import HeadwayError, StaleAttemptError
from headway.kinship import Kin, end_hard, end_politely, replica_marks
from headway.ports import lease_port, release_port
from headway.processes import ProcessIdentity

HOST = "127.0.0.1"
LOOK_SECONDS = 5.0
"""The program is looked at this often even if no signal said that it changed."""
LEFTOVER_SECONDS = 1.0
"""What a program left running when it ended gets between SIGTERM and SIGKILL."""
STOPPED = "stopped"
STOPPED_EARLY = "stopped before it started"
REPLACED = "this attempt has been replaced"
SILENT = "does not answer its health path"

log = logging.getLogger(__name__)


class Supervisor:
    """Runs one replica.

    Args:
        spec: What to run.
        directory: Where; claimed by this process.
        identity: This process.
        launcher: Made before any thread was.
        events: Signal handlers put into it, too.
    """

    def __init__(
        self,
        spec: ReplicaSpec,
        directory: ReplicaDirectory,
        identity: ProcessIdentity,
        launcher: Launcher,
        events: queue.SimpleQueue[Event],
    ) -> None:
        self._spec, self._directory = spec, directory
        self._identity, self._launcher, self._events = identity, launcher, events
        self._client = ServerClient(spec.server, spec.token)
        self._interruption = Interruption()
        self._refused = threading.Event()
        self._reporter = Reporter(
            self._client.sibling(),
            spec.replica_id,
            spec.attempt_token,
            on_directive=lambda directive: events.put(Heard(directive)),
            on_refused=self._on_refused,
        )
        marks = replica_marks(spec.attempt_token, spec.name)
        self._kin = Kin(marks=[marks], programs=[launcher.identity], agents=[os.getpid()])
        self._outcome = Outcome()
        self._cause: str | None = None
        self._directive: Directive | None = None
        self._recording: Recording | None = None
        self._prepared: Prepared | None = None
        self._running = False
        """Whether the program was executed."""
        self._exceeded = False
        """Whether it was ended because it broke a rule: then even exit code 0 is no success."""

    def run(self) -> None:
        """From here to the end, whatever happens."""
        try:
            self._enter(ReplicaPhase.PREPARING)
            self._reporter.start()
            self._live()
        except StaleAttemptError as error:
            log.warning("ending at once: %s", error)
            self._cause = REPLACED
        except Exception as error:
            log.exception("the agent failed")
            self._cause = _fault(error)
        self._settle()
        self._deliver()
        self._reporter.close()
        for port in self._prepared.ports if self._prepared else ():
            release_port(port)

    def _live(self) -> None:
        """Everything up to the end of the program, or to the decision to end it."""
        quota = self._watch_quota()
        if self._prepare() and self._await_start() and self._start():
            self._watch()
        if quota is not None:
            quota.close()

    def _watch_quota(self) -> QuotaWatch | None:
        if self._spec.workspace_bytes is None:
            return None
        quota = QuotaWatch(
            self._directory.workspace,
            self._spec.workspace_bytes,
            on_exceeded=lambda reason: self._events.put(Overgrown(reason)),
        )
        quota.start()
        return quota

    # Waiting

    def _on_refused(self, error: HeadwayError) -> None:
        self._refused.set()
        self._events.put(Refused(error))

    def _next(self, timeout: float | None = None) -> Event | None:
        """The next event, or None after ``timeout`` seconds. StaleAttemptError when the server wants no more of us."""
        try:
            event = self._events.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(event, Refused):
            raise StaleAttemptError(str(event.error))
        if isinstance(event, Heard) and event.directive.action is Action.START:
            self._directive = event.directive
        return event

    def _enter(self, phase: ReplicaPhase, **facts: Any) -> None:
        """Say where we are: on disk for the engine, in a report for the server."""
        self._write_state(phase)
        self._reporter.tell(phase=phase, **facts)
        log.info("%s", phase.value)

    # The steps

    def _prepare(self) -> bool:
        threading.Thread(target=self._bring, name="workspace", daemon=True).start()
        while True:
            event = self._next()
            if isinstance(event, Prepared):
                self._prepared = event
                return True
            if isinstance(event, Unprepared):
                self._cause = event.reason
                return False
            if asks_to_stop(event) or isinstance(event, Overgrown):
                self._cause = event.reason if isinstance(event, Overgrown) else STOPPED_EARLY
                self._interruption.set()
                return False

    def _bring(self) -> None:
        """On its own thread, since it may take long."""
        try:
            places = prepare(self._spec, self._directory, self._client, self._interruption)
            count = self._spec.ports + (1 if self._spec.rank == 0 else 0)
            self._events.put(Prepared(places, tuple(lease_port(HOST) for _ in range(count))))
        except (HeadwayError, OSError) as error:
            log.warning("the workspace could not be prepared: %s", error)
            self._events.put(Unprepared(str(error)))
        except Exception as error:
            log.exception("preparing failed")
            self._events.put(Unprepared(_fault(error)))

    def _await_start(self) -> bool:
        assert self._prepared is not None
        brought = dict(self._prepared.places.brought)
        self._enter(ReplicaPhase.PREPARED, host=HOST, ports=self._prepared.ports, brought=brought)
        while self._directive is None:
            event = self._next()
            if asks_to_stop(event) or isinstance(event, Overgrown):
                self._cause = event.reason if isinstance(event, Overgrown) else STOPPED_EARLY
                return False
        return True

    def _start(self) -> bool:
        assert self._prepared is not None and self._directive is not None
        environment = program_environment(self._spec, self._directive, self._facts(self._prepared))
        self._recording = Recording(self._spec, self._directory, self._client.sibling(), self._launcher.output)
        self._recording.start()
        self._outcome.started_at = now()
        directory = self._prepared.places.working_directory
        failure = self._launcher.launch(self._spec.command, environment, directory)
        if failure is not None:
            self._cause = failure.reason
            self._outcome.status = ExitStatus(exit_code=failure.exit_code)
            return False
        self._running = True
        phase = ReplicaPhase.STARTING if self._spec.health_path else ReplicaPhase.RUNNING
        self._enter(phase, started_at=self._outcome.started_at)
        return True

    def _facts(self, prepared: Prepared) -> ReplicaFacts:
        return ReplicaFacts(
            inherited=os.environ,
            interpreter_directory=Path(sys.executable).parent,
            server_url=present_url(self._spec.server),
            workspace=prepared.places.workspace,
            model_directory=prepared.places.model,
            output_directory=prepared.places.output,
            tracking_directory=self._directory.tracking,
            host=HOST,
            ports=prepared.ports,
            inputs=prepared.places.inputs,
            init_model=prepared.places.init_model,
        )

    def _watch(self) -> None:
        """Until the program has ended, by itself or because of us."""
        health = self._watch_health()
        limit = self._spec.max_runtime
        deadline = None if limit is None else time.monotonic() + limit
        while self._launcher.poll() is None:
            left = LOOK_SECONDS if deadline is None else deadline - time.monotonic()
            cause = f"ran longer than max_runtime ({limit:g} s)" if left <= 0 else self._look(left)
            if cause is not None:
                self._exceeded = cause != STOPPED
                self._stop(cause)
                break
        if health is not None:
            health.close()

    def _look(self, seconds: float) -> str | None:
        """Take one event; why the program is to be ended, if it is."""
        event = self._next(min(seconds, LOOK_SECONDS))
        if isinstance(event, ChildChanged):
            reap_orphans(self._launcher.pid)
        elif isinstance(event, Answering):
            self._enter(ReplicaPhase.RUNNING)
        elif isinstance(event, Silent):
            return SILENT
        elif isinstance(event, Overgrown):
            return event.reason
        return STOPPED if asks_to_stop(event) else None

    def _watch_health(self) -> HealthWatch | None:
        ports = self._prepared.ports if self._prepared else ()
        if not self._spec.health_path or not ports:
            return None
        watch = HealthWatch(
            HOST,
            ports[0],
            self._spec.health_path,
            on_ready=lambda: self._events.put(Answering()),
            on_silent=lambda: self._events.put(Silent()),
        )
        watch.start()
        return watch

    # The end

    def _stop(self, cause: str) -> None:
        """Ask the program, and all that belongs to it, to end."""
        log.info("ending the program: %s", cause)
        self._cause = cause
        end_politely(self._kin.members, self._spec.grace_seconds, hurry=self._refused.is_set)

    def _settle(self) -> None:
        """Afterwards nothing of the replica runs but this agent, and how it ended is on the disk."""
        if self._running and self._launcher.poll() is not None:
            self._note_status()
            end_politely(self._kin.members, LEFTOVER_SECONDS, hurry=self._refused.is_set)
        if not end_hard(self._kin.members):
            log.error("some processes cannot be ended: %s", sorted(self._kin.members()))
        self._launcher.reap()
        self._note_status()
        if self._recording is not None:
            self._outcome.last_lines = self._recording.drain()
        self._note_status()

    def _note_status(self) -> None:
        """Keep what is known of the end, durably and before it is told; more may be known a moment later."""
        if self._running:
            self._outcome.status = self._launcher.poll() or UNKNOWN
        if self._exceeded and self._outcome.status.exit_code == 0:
            self._outcome.status = UNKNOWN
        known = describe_end(self._outcome.status, self._spec.command, self._outcome.last_lines)
        self._outcome.reason = self._cause if self._cause is not None else known
        try:
            self._directory.write_exit(self._outcome.to_exit())
        except (HeadwayError, OSError) as error:
            log.error("the exit status cannot be written: %s", error)

    def _deliver(self) -> None:
        """Ship, upload, report: in this order, so that whoever sees the end finds everything there."""
        if not self._refused.is_set():
            tracked = self._directory.tracking if self._running else None
            delivery = Delivery(self._spec, self._client.sibling(), self._reporter, self._refused, tracked)
            delivery.run(self._outcome, self._recording, self._prepared.places if self._prepared else None)
        self._write_state(ReplicaPhase.EXITED)
        log.info("%s %s", ReplicaPhase.EXITED.value, self._outcome.reason)

    def _write_state(self, phase: ReplicaPhase) -> None:
        state = ReplicaState(agent=self._identity, phase=phase, program=self._launcher.identity)
        try:
            self._directory.write_state(state)
        except (HeadwayError, OSError) as error:
            log.error("the state cannot be written: %s", error)


def _fault(error: Exception) -> str:
    return f"the agent failed: {type(error).__name__}: {error}"
