"""Ports that stay ours: leased from a range that the kernel does not give out by itself.

Finding a free port by binding and closing it races with every other program on the machine. Here a port is a file below a
directory that all Headway processes of this account share; whoever creates it (``O_EXCL``) and is still alive holds the
port. The range lies outside the kernel's ephemeral ports, so no outgoing connection takes one meanwhile.
"""

from __future__ import annotations

import os
import random
import socket
import tempfile
from pathlib import Path

from headway.errors import EngineError
from headway.processes import ProcessIdentity, identify, is_alive

FIRST_PORT, LAST_PORT = 20000, 29999


def lease_directory() -> Path:
    """Shared by all Headway processes of this account on this machine; mode 0700."""
    path = Path(tempfile.gettempdir()) / f"headway-ports-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    facts = path.lstat()
    if facts.st_uid != os.getuid() or not path.is_dir() or path.is_symlink():
        raise EngineError(
            f"The port directory {path} belongs to somebody else.", hint="Set TMPDIR to a directory of yours."
        )
    return path


def usable_range() -> tuple[int, int]:
    """First and last port, kept clear of the kernel's ephemeral range."""
    try:
        low, high = (int(part) for part in Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    except (OSError, ValueError):
        return FIRST_PORT, LAST_PORT
    if high < FIRST_PORT or low > LAST_PORT:
        return FIRST_PORT, LAST_PORT
    return (FIRST_PORT, low - 1) if low - FIRST_PORT > 1000 else (10000, min(low, FIRST_PORT) - 1)


def lease_port(host: str = "127.0.0.1") -> int:
    """A port on ``host`` that is this process's until it ends or calls :func:`release_port`.

    Raises:
        EngineError: Every port of the range is taken.
    """
    first, last = usable_range()
    mine = identify()
    assert mine is not None
    count = last - first + 1
    offset = random.SystemRandom().randrange(count)
    for step in range(count):
        port = first + (offset + step) % count
        if _claim(port, mine) and _bindable(host, port):
            return port
    raise EngineError(f"No port between {first} and {last} is free.")


def release_port(port: int) -> None:
    """Give a leased port back; harmless when it is not leased."""
    (lease_directory() / str(port)).unlink(missing_ok=True)


def _claim(port: int, mine: ProcessIdentity) -> bool:
    path = lease_directory() / str(port)
    temporary = path.with_name(f".{mine.pid}-{random.SystemRandom().getrandbits(48):x}")
    temporary.write_text(mine.model_dump_json())
    try:
        os.link(temporary, path)
        return True
    except FileExistsError:
        return _take_over(path, temporary)
    finally:
        temporary.unlink(missing_ok=True)


def _take_over(path: Path, temporary: Path) -> bool:
    """Replace a lease whose holder is dead. Of several who try, the one whose rename moved the old file away wins."""
    try:
        holder = ProcessIdentity.model_validate_json(path.read_text())
        if is_alive(holder):
            return False
    except FileNotFoundError:
        return False
    except ValueError:
        pass
    grave = temporary.with_name(temporary.name + ".old")
    try:
        path.rename(grave)
        os.link(temporary, path)
        return True
    except (FileNotFoundError, FileExistsError):
        return False
    finally:
        grave.unlink(missing_ok=True)


def _bindable(host: str, port: int) -> bool:
    """Whether no program outside Headway listens there. A port in use keeps its lease file until we end, which is right."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
