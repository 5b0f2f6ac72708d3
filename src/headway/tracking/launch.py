"""Which processes were started together to be one run, and how they find each other without talking.

Ranks come from RANK, SLURM_PROCID or OMPI_COMM_WORLD_RANK. Ranks of one launch share their launcher: a step of Slurm,
which has a name, or the nearest ancestor that is no rank itself (torchrun, mpirun, the script that spawned them).
Below ``launches/<launch>/`` each of them makes ``<restart>-<number>.<rank>`` with O_EXCL for its ``number``-th run, and
the first one makes ``<number>.run`` with the run's id, which the others read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from headway.domain.base import ID_ALPHABET, ID_LENGTH, new_id
from headway.errors import InvalidRequestError
from headway.paths import private_directory

RANK_VARIABLES = (
    ("RANK", "WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
)
"""Where a rank and the number of ranks are looked for, in this order."""
MAX_RANK = 1 << 20
YOUNG_SECONDS = 120.0
"""A launch whose ranks have all ended is still joined by one that starts so late."""


@dataclass(frozen=True)
class Launch:
    """Processes that were started together.

    ``key`` is the same in all of them, ``restart`` changes when the launcher starts them anew, and ``everywhere`` says
    that the key means the same on every machine.
    """

    key: str
    restart: str = "0"
    everywhere: bool = False


@dataclass(frozen=True)
class Place:
    """One process's place: its rank, and its launch when there may be other ranks."""

    rank: int = 0
    launch: Launch | None = None

    @property
    def role(self) -> str:
        """The writer role: ``rank0``."""
        return f"rank{self.rank}"


def find_place(rank: int | None = None, environment: Mapping[str, str] = os.environ) -> Place:
    """This process's place by argument and environment.

    Raises:
        InvalidRequestError: The rank is none; names where it came from.
    """
    if rank is not None:
        return Place(_checked_rank(rank, "rank"), _launch(environment, None))
    for name, size in RANK_VARIABLES:
        if environment.get(name):
            found = _checked_rank(environment[name], name)
            alone = environment.get(size, "") == "1" or (name == "SLURM_PROCID" and not environment.get(size))
            return Place(found, None if alone else _launch(environment, name))
    return Place()


def _checked_rank(value: object, source: str) -> int:
    try:
        if isinstance(value, (bool, float)):
            raise ValueError
        number = int(value)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        raise InvalidRequestError(f"{source} must be a whole number, not {value!r}.") from None
    if not 0 <= number < MAX_RANK:
        raise InvalidRequestError(f"{source} must be at least 0 and below {MAX_RANK}, not {number}.")
    return int(number)


def _launch(environment: Mapping[str, str], variable: str | None) -> Launch:
    if variable == "SLURM_PROCID":
        names = ("SLURM_CLUSTER_NAME", "SLURM_JOB_ID", "SLURM_STEP_ID")
        return Launch(
            _short("slurm", *(environment.get(name, "") for name in names)),
            environment.get("SLURM_RESTART_COUNT", "0"),
            everywhere=True,
        )
    port = environment.get("MASTER_PORT", "")
    restart = environment.get("TORCHELASTIC_RESTART_COUNT", "0")
    return Launch(_short("launcher", _launcher(variable), environment.get("TORCHELASTIC_RUN_ID", ""), port), restart)


def _short(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _launcher(variable: str | None) -> str:
    """The nearest ancestor that was not itself started as this rank: wrappers of a rank carry its variables, too."""
    own = os.environ.get(variable) if variable else None
    process = os.getppid()
    while own is not None and process > 1 and _variable(process, str(variable)) == own:
        _, parent = _birth(process)
        if parent <= 1:
            break
        process = parent
    started, _ = _birth(process)
    return f"{process} {started} {boot()}"


def _variable(process: int, name: str) -> str | None:
    try:
        entries = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    mark = os.fsencode(f"{name}=")
    return next((os.fsdecode(entry[len(mark) :]) for entry in entries if entry.startswith(mark)), None)


def _birth(process: int) -> tuple[str, int]:
    """When a process was started (clock ticks after boot) and its parent; source: proc_pid_stat(5)."""
    try:
        fields = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return "", 0
    return fields[19].decode(), int(fields[1])


def boot() -> str:
    """The kernel's id of this boot; empty where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def identity() -> str:
    """This very process, as text that no other process ever has."""
    started, _ = _birth(os.getpid())
    return f"{os.getpid()} {started} {boot()}"


def is_running(holder: str) -> bool:
    """Whether the process of :func:`identity` still runs (on this machine)."""
    number, _, rest = holder.partition(" ")
    if not number.isdigit():
        return False
    started, _ = _birth(int(number))
    return bool(started) and rest == f"{started} {boot()}"


class Gathering:
    """The directory by which the ranks of one launch agree."""

    def __init__(self, base: Path, launch: Launch) -> None:
        self._launch = launch
        self._path = private_directory(private_directory(base / "launches") / launch.key)

    def join(self, rank: int) -> int:
        """The number of this rank's next run within the launch: 0 for the first one, the same in all ranks."""
        for number in count():
            mine = self._path / f"{self._launch.restart}-{number}.{rank}"
            if (mine.exists() or self._is_over(number)) or not make_exclusive(mine, identity()):
                continue
            return number
        raise AssertionError("unreachable")

    def run_id(self, number: int) -> str:
        """The id of the launch's ``number``-th run; whoever asks first makes it."""
        agreed = self._path / f"{number}.run"
        made = self._derived(number) if self._launch.everywhere else new_id("run")
        if make_exclusive(agreed, json.dumps({"run": made})):
            return made
        return str(json.loads(agreed.read_text())["run"])

    def attempt_token(self, number: int) -> str:
        """What the attempts of one launch are recognised by."""
        return f"{self._launch.key} {self._launch.restart} {number}"

    def _derived(self, number: int) -> str:
        digest = int(_short("run", self._launch.key, str(number)), 16)
        letters = (ID_ALPHABET[(digest >> (5 * place)) % len(ID_ALPHABET)] for place in range(ID_LENGTH))
        return "run" + "".join(letters)

    def _is_over(self, number: int) -> bool:
        """Whether everybody who came to that run has long gone: somebody started the same again by hand."""
        claims = list(self._path.glob(f"{self._launch.restart}-{number}.*"))
        if not claims or self._launch.everywhere:
            return False
        try:
            if any(is_running(claim.read_text()) for claim in claims):
                return False
            return time.time() - max(claim.stat().st_mtime for claim in claims) > YOUNG_SECONDS
        except FileNotFoundError:
            return False


def make_exclusive(path: Path, text: str) -> bool:
    """Make ``path`` with ``text`` in it, unless it is there; readers never see half of it (where links can be made)."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    _create(temporary, text)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _created(path, text)
    finally:
        temporary.unlink(missing_ok=True)
    return True


_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


def _created(path: Path, text: str) -> bool:
    try:
        _create(path, text)
    except FileExistsError:
        return False
    return True


def _create(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
