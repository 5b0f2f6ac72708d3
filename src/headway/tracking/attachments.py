"""What else runs for a run in its process: what is captured, the copy of its console, samples of its machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from headway.tracking.config import Options
from headway.tracking.share import Share


@dataclass
class Attachments:
    """Stopped, the last one first, before the run ends."""

    stops: list[Callable[[], object]] = field(default_factory=list)

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
    return found


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
        found.stops.append(copy.stop)


def _is_first_on_machine(share: Share) -> bool:
    for name in ("LOCAL_RANK", "SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK"):
        if os.environ.get(name):
            return os.environ[name] == "0"
    return share.seat.leads
