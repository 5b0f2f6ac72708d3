"""A model's own packages: a virtual environment for its ``requirements.txt``, built once and shared by all its replicas.

The environment lies in ``$HEADWAY_ENVIRONMENTS_DIR`` (the server's, or ``~/.cache/headway/environments``) under a digest of
what it is made of: the requirements with every file of the model that they name, the Python version, the platform, and
the environment that Headway itself runs in, whose packages are visible behind the model's own. It is built beside its place
and renamed there whole, under a lock, so that of several replicas that start at once one builds and the others wait. Whoever
builds one removes those that were used longest ago beyond ``$HEADWAY_ENVIRONMENTS_KEEP``, none that is in use.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import site
import subprocess
import sys
import sysconfig
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from headway.errors import ModelLoadError
from headway.serving import environment_store
from headway.serving.index_settings import uv_settings
from headway.serving.parentage import end_with_parent
from headway.serving.startup import complain

REQUIREMENTS = "requirements.txt"
BEHIND = "zzz-headway.pth"
"""Read by Python's ``site`` last of all, so that its paths come behind the model's own packages."""
KEPT = 16
"""How many environments are kept unless something else is said."""
LAST_WORDS = 12
"""Lines of uv's that an error repeats."""


def enter_environment(model_dir: Path, arguments: Sequence[str]) -> None:
    """Go on as ``python -m headway.serving <arguments>`` in the model's own environment.

    Returns if the model has no requirements, or this process is there already.

    Raises:
        ModelLoadError: The environment could not be built; the message has uv's own words.
    """
    if (Path(sysconfig.get_path("purelib")) / BEHIND).exists():
        return
    environment = environment_for(model_dir)
    if environment is None:
        return
    python = environment / "bin" / "python"
    variables = {**os.environ, "VIRTUAL_ENV": str(environment)}
    variables["PATH"] = f"{environment / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(python, [str(python), "-m", "headway.serving", *arguments], variables)  # noqa: S606  # no shell


def environment_for(model_dir: Path) -> Path | None:
    """The environment of a model, built if it is not there; None for a model that asks for no packages.

    It is in use from now on until this process has ended.

    Raises:
        ModelLoadError: It could not be built.
    """
    requirements = model_dir / REQUIREMENTS
    if not requirements.is_file() or not _asks_for_anything(requirements):
        return None
    place = environments_directory() / environment_digest(model_dir)
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        environment_store.hold(place)
    except OSError as error:
        if not _is_whole(place):  # one that came with a machine whose disk nobody writes to
            raise ModelLoadError(
                f"The model's environment cannot be kept in {place.parent}: {error.strerror or error}."
            ) from error
    if _is_whole(place):
        return place
    with _locked(place):
        if not _is_whole(place):
            _build(place, requirements)
    _prune(place.parent)
    return place


def environments_directory(variables: Mapping[str, str] = os.environ) -> Path:
    """Where environments are kept."""
    if said := variables.get("HEADWAY_ENVIRONMENTS_DIR"):
        return Path(said)
    cache = variables.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "headway" / "environments"


def _prune(directory: Path) -> None:
    """A cache that cannot be made smaller now is made smaller after the next build."""
    try:
        removed = environment_store.prune(directory, keep_count())
    except OSError as error:
        complain(f"Environments that are used no more could not be removed: {error}.")
        return
    if removed:
        complain(f"Removed {len(removed)} environment(s) of models that were used longest ago.")


def keep_count(variables: Mapping[str, str] = os.environ) -> int:
    """How many environments are kept; those in use stay in any case."""
    said = variables.get("HEADWAY_ENVIRONMENTS_KEEP", "")
    return int(said) if said.isdecimal() else KEPT


def environment_digest(model_dir: Path) -> str:
    """What an environment is called: a digest of all that it depends on."""
    found = hashlib.sha256()
    for fact in (sys.version, sysconfig.get_platform(), sys.base_prefix, *_visible_behind()):
        found.update(fact.encode() + b"\0")
    for path in _named_files(model_dir):
        found.update(f"{path.relative_to(model_dir).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            for part in iter(lambda: file.read(1 << 20), b""):
                found.update(part)
    return found.hexdigest()[:32]


def _asks_for_anything(requirements: Path) -> bool:
    lines = requirements.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    return any(line.strip() and not line.strip().startswith("#") for line in lines)


def _named_files(model_dir: Path) -> list[Path]:
    """The requirements, and the files of the model that they name: further requirements, wheels, folders of sources."""
    found: set[Path] = set()
    waiting = [model_dir / REQUIREMENTS]
    while waiting:
        path = waiting.pop()
        if path in found or not path.is_relative_to(model_dir):
            continue
        if path.is_dir():
            waiting += path.iterdir()
            continue
        found.add(path)
        if path.suffix == ".txt":
            waiting += _paths_in(path, model_dir)
    return sorted(found)


def _paths_in(requirements: Path, model_dir: Path) -> Iterator[Path]:
    for line in requirements.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        for word in line.partition(" #")[0].replace("=", " ").split():
            for base in (model_dir, requirements.parent):
                path = Path(os.path.normpath(base / word.removeprefix("file:")))
                if path != model_dir and path.is_relative_to(model_dir) and path.exists():
                    yield path


def _is_whole(place: Path) -> bool:
    """Whether it is there, and so is the Python that it was made with."""
    return (place / "bin" / "python").exists()


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    with place.with_suffix(".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            complain("Another replica builds the model's environment; waiting for it.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(place: Path, requirements: Path) -> None:
    for left in (
        place,
        *place.parent.glob(f".{place.name}.*"),
    ):  # of a build that was killed; nobody else holds the lock
        shutil.rmtree(left, ignore_errors=True)
    draft = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    complain(f"Building the model's environment from {REQUIREMENTS}; this is done once.")
    try:
        _uv("venv", "--relocatable", "--python", sys.executable, str(draft), directory=requirements.parent)
        python = draft / "bin" / "python"
        _uv("pip", "install", "--python", str(python), "-r", REQUIREMENTS, directory=requirements.parent)
        packages = next((draft / "lib").glob("python*/site-packages"))
        (packages / BEHIND).write_text(
            "".join(f"import site; site.addsitedir({path!r})\n" for path in _visible_behind())
        )
        draft.rename(place)
    except OSError as error:
        raise ModelLoadError(f"The model's environment could not be built in {place.parent}: {error}.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    complain("The model's environment is built.")


def _visible_behind() -> list[str]:
    """Where this process finds packages, Headway's own source first."""
    own = str(Path(__file__).resolve().parents[2])
    folders = [own, *(path for path in sys.path if path in site.getsitepackages())]
    if site.ENABLE_USER_SITE:
        folders.append(site.getusersitepackages())
    return list(dict.fromkeys(folder for folder in folders if Path(folder).is_dir()))


def _uv(*arguments: str, directory: Path) -> None:
    """Run uv; what it says goes to stderr as it comes.

    Raises:
        ModelLoadError: It is not installed, or failed.
    """
    try:
        from uv import find_uv_bin

        program = str(find_uv_bin())
    except (ImportError, FileNotFoundError) as error:
        raise ModelLoadError(
            f"A model with {REQUIREMENTS} needs uv to build its environment.", hint="Run `pip install uv`."
        ) from error
    command = [program, *arguments, "--no-progress", "--color", "never"]
    words: deque[str] = deque(maxlen=LAST_WORDS)
    with subprocess.Popen(
        command,
        cwd=directory,
        env=uv_settings(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        preexec_fn=end_with_parent(),
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            words.append(line.strip())
            complain(f"uv: {line.strip()}")
    if process.returncode:
        raise ModelLoadError(f"The model's environment could not be built. uv says: {' '.join(words)}")
