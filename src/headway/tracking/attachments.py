"""What else runs for a run in its process: what is captured, the copy of its console, samples of its machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from headway.tracking.config import Options
from headway.tracking.share import Share

LEFTOVER_SECONDS = 5.0
"""How long a run's end waits at most for what earlier processes left behind."""


@dataclass
class Attachments:
    """Stopped, the last one first, before the run ends."""

    stops: list[Callable[[], object]] = field(default_factory=list)
    quote: Callable[[str], object] | None = None
    """Puts text into the run's log as if it were printed to stderr."""

    def stop(self) -> None:
        while self.stops:
            self.stops.pop()()


def attach(share: Share, options: Options) -> Attachments:
    """Begin what the options want. What a disk does not take is left out; nothing is waited for."""
    found = Attachments()
    if options.system and _is_first_on_machine(share):
        _attach_system(share, found)
    if options.console and not os.environ.get("HEADWAY_REPLICA"):  # there the agent reads what is printed
        _attach_console(share, found)
    if options.capture and share.seat.leads:
        _attach_capture(share, found)
    if options.connection is not None and options.mode == "online" and share.seat.leads:
        _attach_leftovers(share, options, found)
    return found


def _attach_leftovers(share: Share, options: Options, found: Attachments) -> None:
    """Send what earlier processes left behind here; the run's end waits for that a little."""
    connection = options.connection
    assert connection is not None

    def send() -> None:
        from headway.tracking.sync import send_leftovers

        send_leftovers(options.base, connection, share.seat.author.run)

    thread = threading.Thread(target=send, name="headway-leftovers", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return  # no thread can be started any more: the interpreter ends
    found.stops.insert(0, lambda: thread.join(LEFTOVER_SECONDS))


def _attach_capture(share: Share, found: Attachments) -> None:
    from headway.tracking.capture import start_capture

    capture = start_capture(share.recorder.fact, share.seat.directory.path, keep_blob=share.keep_blob)
    found.stops += [capture.stop, capture.wait]


def _attach_system(share: Share, found: Attachments) -> None:
    from headway.tracking.system import SystemMetrics

    writer = share.recorder.open("system", share.recorder.make_metrics)
    if writer is not None:
        sampler = SystemMetrics(writer, directory=share.seat.directory.path)
        sampler.start()
        found.stops.append(sampler.stop)


def _attach_console(share: Share, found: Attachments) -> None:
    from headway.tracking.console import ConsoleCopy

    writer = share.recorder.open("logs", share.recorder.make_lines)
    if writer is not None:
        copy = ConsoleCopy(writer)
        copy.start()
        found.quote = partial(copy.copy, stderr=True)
        found.stops.append(copy.stop)


def _is_first_on_machine(share: Share) -> bool:
    for name in ("LOCAL_RANK", "SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK"):
        if os.environ.get(name):
            return os.environ[name] == "0"
    return share.seat.leads
