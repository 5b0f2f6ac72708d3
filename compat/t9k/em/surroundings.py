"""What a run is run on: machine, packages, code; and what it prints."""

from __future__ import annotations

import importlib.metadata
import platform as machine
import subprocess
import sys
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit, urlunsplit

FRAMEWORKS = ("tensorflow", "torch", "keras", "jax")
_GIT_SECONDS = 5.0


def platform() -> dict[str, Any]:
    """Host name, operating system, Python, installed packages, and the framework that the program has imported."""
    packages = {item.metadata["Name"]: item.version for item in importlib.metadata.distributions()}
    framework = next((name for name in FRAMEWORKS if name in sys.modules), None)
    version = packages.get(framework or "", "")
    return {
        "hostname": machine.node(),
        "os": machine.platform(),
        "python": machine.python_version(),
        "pypkgs": {name: packages[name] for name in sorted(packages, key=str.lower)},
        "framework": f"{framework} {version}".strip() if framework else None,
    }


def git() -> dict[str, Any]:
    """The repository of the current directory; empty where there is none or git is slow."""
    root = _ask("rev-parse", "--show-toplevel")
    if not root:
        return {}
    entry = Path(sys.argv[0]).absolute() if sys.argv and sys.argv[0] else None
    return {
        "repo_path": root,
        "remote_url": _without_secrets(_ask("config", "--get", "remote.origin.url")),
        "branch": _ask("rev-parse", "--abbrev-ref", "HEAD"),
        "commit": _ask("rev-parse", "HEAD"),
        "is_dirty": bool(_ask("status", "--porcelain")),
        "entrypoint": str(entry) if entry else None,
    }


def _ask(*arguments: str) -> str:
    command = ["git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", *arguments]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_GIT_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else ""


def _without_secrets(url: str) -> str:
    """A remote's URL without user name and password."""
    if "://" not in url:
        return url
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, parts.fragment))


class StdoutCopy:
    """Copies what the program prints to a file until it is closed. What the program sees of stdout stays the same."""

    def __init__(self, path: Path) -> None:
        self._file: IO[str] | None = path.open("a", encoding="utf-8", errors="replace", buffering=1)
        self._stream = sys.stdout
        self._tee = _Tee(sys.stdout, self)
        sys.stdout = self._tee

    def write(self, text: str) -> None:
        try:
            if self._file is not None:
                self._file.write(text)
        except (OSError, ValueError):
            self._file = None

    def close(self) -> None:
        if sys.stdout is self._tee:
            sys.stdout = self._stream
        file, self._file = self._file, None
        if file is not None:
            file.close()


class _Tee:
    def __init__(self, stream: Any, copy: StdoutCopy) -> None:
        self._stream, self._copy = stream, copy

    def write(self, text: str) -> Any:
        written = self._stream.write(text)
        self._copy.write(text)
        return written

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
