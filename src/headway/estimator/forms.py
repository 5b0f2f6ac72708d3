"""The three forms of training, and the job that each means.

===========  ================================================================================================
custom       ``image`` and ``command``: any program
framework    ``framework``, ``entry_point`` and ``source_dir`` (or ``git``): a file of theirs, run as that framework runs
algorithm    ``algorithm``: one of Headway's own, that needs nothing but data and parameters
===========  ================================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from headway.domain.algorithms import find_algorithm
from headway.domain.catalogue import CatalogueKind
from headway.domain.files import check_path
from headway.errors import InvalidRequestError
from headway.sdk.client import Client


@dataclass(frozen=True)
class Program:
    """What is run: the fields of a job that say so."""

    fields: dict[str, Any]
    framework: str | None = None


@dataclass(frozen=True)
class Settings:
    """What an Estimator was given, of which exactly one form is."""

    image: str | None
    command: str | Sequence[str] | None
    framework: str | int | None
    entry_point: str | None
    source_dir: str | Path | None
    git: str | Mapping[str, Any] | None
    algorithm: str | int | None
    hyperparameters: Mapping[str, Any]

    def check(self) -> None:
        """InvalidRequestError unless this is one of the three forms; nothing is asked of a server."""
        given = [name for name in ("command", "framework", "algorithm") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise InvalidRequestError(
                f"An Estimator has one of command, framework and algorithm; this one has {found}.",
                hint="command runs anything, framework runs entry_point, algorithm needs nothing but data.",
            )
        if self.source_dir is not None and self.git is not None:
            raise InvalidRequestError("The code comes from source_dir or from git, not from both.")
        if self.framework is not None:
            self._check_framework()
        elif self.entry_point is not None:
            raise InvalidRequestError("Only a framework has an entry_point; write it into the command.")
        if self.algorithm is not None:
            if self.source_dir is not None or self.git is not None:
                raise InvalidRequestError(
                    "A preset algorithm brings its own code; it takes neither source_dir nor git."
                )
            if isinstance(self.algorithm, str) and not self.algorithm.isdecimal():
                find_algorithm(self.algorithm).read(self.hyperparameters)

    def _check_framework(self) -> None:
        if self.entry_point is None:
            raise InvalidRequestError("A framework needs the file to run.", hint="Give entry_point, as train.py.")
        if self.source_dir is None and self.git is None:
            raise InvalidRequestError("A framework needs your code.", hint="Give source_dir, or git.")
        try:
            check_path(self.entry_point)
        except ValueError as error:
            raise InvalidRequestError(f"entry_point: {error}.") from None
        if self.source_dir is not None and not str(self.source_dir).startswith("s3://"):
            folder = Path(self.source_dir)
            if folder.is_dir() and not (folder / self.entry_point).is_file():
                raise InvalidRequestError(
                    f"There is no {self.entry_point!r} in {str(folder)!r}.",
                    hint="entry_point is relative to source_dir.",
                )

    def program(self, client: Client) -> Program:
        """The fields of the job, with what the catalogues of the server say."""
        fields: dict[str, Any] = {"parameters": dict(self.hyperparameters), "parameter_arguments": True}
        if self.command is not None:
            fields["command"] = self.command
            if self.image is not None:
                fields["container"] = self.image
            return Program({**fields, **self._code()})
        if self.framework is not None:
            entry = client.catalogue.get(CatalogueKind.TRAIN_FRAMEWORK, self.framework)
            fields["command"] = [*(entry.command or ("python", "-u")), self.entry_point]
            if self.image or entry.image:
                fields["container"] = self.image or entry.image
            return Program({**fields, **self._code()}, framework=entry.name)
        assert self.algorithm is not None
        entry = client.catalogue.get(CatalogueKind.PRESET_ALGORITHM, self.algorithm)
        spec = find_algorithm(entry.algorithm or entry.name)
        fields["parameters"] = {
            name: value for name, value in spec.read(self.hyperparameters).items() if value is not None
        }
        fields["parameter_arguments"] = False
        fields["command"] = ["python", "-u", "-m", "headway.presets", spec.name]
        return Program(fields, framework="sklearn")

    def _code(self) -> dict[str, Any]:
        if self.git is not None:
            git = {"url": self.git} if isinstance(self.git, str) else dict(self.git)
            username, password = git.pop("username", None), git.pop("password", None)
            found: dict[str, Any] = {"workspace": {"git": git.pop("url", ""), **git}}
            if password is not None:
                found["workspace_credentials"] = {"username": username or "", "password": password}
            return found
        if self.source_dir is None:
            return {}
        return {"workspace": self.source_dir}


def masked(git: str | Mapping[str, Any] | None) -> str | Mapping[str, Any] | None:
    """Where code comes from, its password where nothing prints it."""
    if isinstance(git, Mapping) and isinstance(git.get("password"), str):
        return {**git, "password": SecretStr(git["password"])}
    return git
