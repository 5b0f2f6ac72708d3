"""Models that are served by a program of their own: ``serving.yaml`` at the top of the model.

command: [python, server.py, --port, "{port}"]    # {port}, {host} and {model_dir} are filled in
health: /healthz                                   # answers 2xx when it can predict; /health if absent
protocol: openinference                            # where …/model-serving/<deployment>:predict goes; plain if absent
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headway.errors import InvalidRequestError, ModelLoadError

FILE = "serving.yaml"
KEYS = frozenset({"command", "health", "protocol"})
PROTOCOLS = ("plain", "tensorflow", "openinference", "invocations")


@dataclass(frozen=True)
class ServingCommand:
    """What a ``serving.yaml`` says."""

    command: tuple[str, ...]
    health: str = "/health"
    protocol: str = "plain"

    def filled(self, host: str, port: int, model_dir: Path) -> list[str]:
        """The arguments with what only the replica knows."""
        values = {"{host}": host, "{port}": str(port), "{model_dir}": str(model_dir)}
        return [_filled(word, values) for word in self.command]

    def variables(self, host: str, port: int, model_dir: Path) -> dict[str, str]:
        """Its environment: the replica's, with HOST and PORT as its own, and the replica's Python first in PATH."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        own = {"HOST": host, "PORT": str(port), "HEADWAY_MODEL_DIR": str(model_dir), "PATH": path}
        return {**os.environ, **own}


def _filled(word: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(name, value)
    return word


def read_command(model_dir: Path) -> ServingCommand | None:
    """The command of a model; None where it has none, which says nothing of its other files.

    Raises:
        ModelLoadError: The file cannot be read, or what it says of a command is wrong.
    """
    path = model_dir / FILE
    if not path.is_file():
        return None
    from headway.documents import read_yaml  # a replica of any other kind needs no YAML

    try:
        found = read_yaml(path)
    except InvalidRequestError as error:
        raise ModelLoadError(f"{FILE}: {error}") from error
    if not isinstance(found, dict) or not {"command", "image"} & found.keys():
        return None
    if "image" in found:
        raise ModelLoadError(
            f"{FILE} names an image; serving from a container is not offered by this version.",
            hint="Give a command that runs on the machine itself.",
        )
    return _checked(found)


def _checked(found: Mapping[Any, Any]) -> ServingCommand:
    unknown = sorted(str(key) for key in found.keys() - KEYS)
    if unknown:
        raise ModelLoadError(
            f"{FILE}: unknown beside 'command': {', '.join(unknown)}; known: {', '.join(sorted(KEYS))}."
        )
    command, health, protocol = found["command"], found.get("health", "/health"), found.get("protocol", "plain")
    if not isinstance(command, list) or not command or not all(isinstance(word, (str, int, float)) for word in command):
        raise ModelLoadError(
            f"{FILE}: 'command' must be a list of words.", hint='Write it as `command: [python, server.py, "{port}"]`.'
        )
    if not isinstance(health, str) or not health.startswith("/") or not health.isascii() or " " in health:
        raise ModelLoadError(f"{FILE}: 'health' must be a path such as /health; it is {health!r}.")
    if protocol not in PROTOCOLS:
        raise ModelLoadError(f"{FILE}: 'protocol' must be one of {', '.join(PROTOCOLS)}; it is {protocol!r}.")
    return ServingCommand(tuple(str(word) for word in command), health, protocol)
