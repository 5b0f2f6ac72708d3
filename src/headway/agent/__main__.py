"""``python -m headway.agent DIRECTORY``: run the replica whose specification lies in DIRECTORY, once."""

from __future__ import annotations

import os
import sys

# Where it was started from is no place to import from: a program may write there. Plug-ins of pydantic are not ours.
if sys.path and sys.path[0] in ("", os.getcwd()):  # noqa: PTH109
    del sys.path[0]
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

import logging
import queue
from pathlib import Path

from headway.agent.events import Event
from headway.agent.process import Launcher
from headway.agent.signals import SignalPipe
from headway.agent.supervisor import Supervisor
from headway.attempts import ReplicaDirectory
from headway.processes import identify

log = logging.getLogger("headway.agent")


def main(arguments: list[str]) -> int:
    """0 when the replica was seen to its end, also when another agent does that; 2 when there is nothing to run."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m headway.agent DIRECTORY\n")
        return 2
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    os.umask(0o022)  # a workspace has the modes that its program expects; it lies below a private directory
    directory = ReplicaDirectory(Path(arguments[0]).absolute())
    signals = SignalPipe()
    identity = identify()
    if identity is None or not directory.claim(identity):
        return 0
    spec = directory.read_spec()
    if spec is None:
        log.error("%s is missing or damaged", directory.spec_file)
        return 2
    launcher = Launcher()
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    signals.forward(events)
    Supervisor(spec, directory, identity, launcher, events).run()
    return 0


if __name__ == "__main__":
    # Threads that still wait for something must not hold the end back: all that matters is on the disk by now.
    code = main(sys.argv[1:])
    logging.shutdown()
    os._exit(code)
