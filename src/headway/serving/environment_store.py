"""The virtual environments of models that are kept: which are in use, and which go when there are too many.

Whoever uses the environment ``<digest>`` holds a shared lock on ``<digest>.used`` as long as it lives, also across exec; the
file's time is that of the last start. An environment is removed under the exclusive lock of that file, which nobody gets
while it is used, and the file goes with it: who waited for it meanwhile finds that it is no longer there, and makes another.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

USED, LOCK = ".used", ".lock"
_DIGEST = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class KeptEnvironment:
    """One that is there and was not in use when it was looked at."""

    place: Path
    used_at: float
    """When it was last entered, in seconds since the epoch."""
    bytes: int
    """That only it takes: uv links most files from its cache."""


def hold(place: Path) -> int:
    """Say that ``place`` is in use until this process, and whatever it becomes by exec, has ended. Answers the open file."""
    marker = place.with_suffix(USED)
    while True:
        file = os.open(marker, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(file, fcntl.LOCK_SH)
        if _is_still(file, marker):
            os.set_inheritable(file, True)
            os.utime(file)
            return file
        os.close(file)  # it was removed with its environment meanwhile


def idle(directory: Path) -> list[KeptEnvironment]:
    """The environments in ``directory`` that nobody uses now, the one that was used longest ago first."""
    found = []
    for place in _places(directory):
        with _alone(place) as free:
            if free:
                found.append(KeptEnvironment(place, _used_at(place), _own_bytes(place)))
    return sorted(found, key=lambda each: each.used_at)


def prune(directory: Path, keep: int) -> list[Path]:
    """Remove what was used longest ago until at most ``keep`` environments are left; what is in use always stays. What
    builds that failed left goes, too.
    """
    for marker in directory.glob(f"*{USED}"):
        _clear_unbuilt(marker.with_suffix(""))
    surplus = len(_places(directory)) - keep
    removed: list[Path] = []
    for each in idle(directory) if surplus > 0 else ():
        if len(removed) < surplus and remove(each):
            removed.append(each.place)
    return removed


def remove(environment: KeptEnvironment) -> bool:
    """Remove an environment, unless somebody has used it since it was looked at."""
    place = environment.place
    with _alone(place) as free:
        if not free or _used_at(place) > environment.used_at:
            return False
        gone = place.with_name(f".{place.name}.gone-{secrets.token_hex(4)}")
        try:
            place.rename(gone)
        except FileNotFoundError:
            return False
        _clear(place)
        return True


def _clear_unbuilt(place: Path) -> None:
    with _alone(place) as free:
        if free and not place.exists():
            _clear(place)


def _clear(place: Path) -> None:
    """Remove what lies beside an environment that is gone. Its marker goes last: until then nobody begins to build."""
    for left in place.parent.glob(f".{place.name}.*"):
        shutil.rmtree(left, ignore_errors=True)
    place.with_suffix(LOCK).unlink(missing_ok=True)
    place.with_suffix(USED).unlink(missing_ok=True)


def _places(directory: Path) -> list[Path]:
    try:
        return [entry for entry in directory.iterdir() if _DIGEST.fullmatch(entry.name) and entry.is_dir()]
    except FileNotFoundError:
        return []


@contextmanager
def _alone(place: Path) -> Iterator[bool]:
    """Whether nobody uses ``place``, nor begins to until this is left."""
    marker = place.with_suffix(USED)
    if not marker.exists():
        try:
            _mark_old(place, marker)
        except FileNotFoundError:
            yield False
            return
    file = os.open(marker, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield _locked_alone(file) and _is_still(file, marker)
    finally:
        os.close(file)


def _mark_old(place: Path, marker: Path) -> None:
    """Give an environment from before there were markers one of its own age."""
    built = place.stat().st_mtime
    marker.touch(mode=0o600)
    os.utime(marker, (built, built))


def _locked_alone(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _used_at(place: Path) -> float:
    try:
        return place.with_suffix(USED).stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _own_bytes(place: Path) -> int:
    total = 0
    for path in place.rglob("*"):
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue
        total += found.st_size if S_ISREG(found.st_mode) and found.st_nlink == 1 else 0
    return total
