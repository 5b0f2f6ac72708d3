"""Bringing a repository with the git program.

The password goes to git through a helper that reads its environment: never in argv, a URL or .git/config. Nobody's
configuration, hooks or prompts take part, and only ordinary transports are allowed. Submodules are not brought.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from headway.agent.interruption import Interruption
from headway.errors import WorkspaceError
from headway.paths import write_atomic

PROTOCOLS = "https:http:ssh:git:file"
MAX_ERROR = 2000
_COMMIT = re.compile(r"^[0-9a-fA-F]{7,64}$")
_USERINFO = re.compile(r"(\w+://)[^/@\s]+@")
_INHERITED = ("PATH", "LANG", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "LD_LIBRARY_PATH", "SSH_AUTH_SOCK")
_ASKPASS = """#!/bin/sh
case "$1" in
Username*) printf '%s\\n' "$HEADWAY_GIT_USERNAME" ;;
*) printf '%s\\n' "$HEADWAY_GIT_PASSWORD" ;;
esac
"""
# Takes the place of the account's own file. The account may differ from the repository's owner, hence safe.directory.
_CONFIGURATION = f"""[core]
\thooksPath = {os.devnull}
[safe]
\tdirectory = *
[advice]
\tdetachedHead = false
[init]
\tdefaultBranch = main
"""


@dataclass(frozen=True)
class GitSource:
    """What to bring: a URL, a branch, tag or commit (None: the default branch), and how to get in."""

    url: str
    ref: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return _without_userinfo(self.url) + (f" at {self.ref!r}" if self.ref else "")


def clone(source: GitSource, target: Path, scratch: Path, interruption: Interruption) -> None:
    """Check out ``source`` into ``target``, a directory that does not exist yet or is empty.

    Args:
        source: What to bring.
        target: Where to; its parent exists.
        scratch: An existing private directory for git's configuration and the helper script.
        interruption: Ends git when it is set.

    Raises:
        WorkspaceError: With git's own words, without credentials.
    """
    git = _Git(source, _environment(source, scratch), interruption)
    if source.ref is None:
        git.clone(target, "--depth=1")
    elif not _COMMIT.match(source.ref):
        git.clone(target, "--depth=1", f"--branch={_short(source.ref)}")
    else:
        git.clone(target, "--no-checkout")
        git.run(["-C", str(target), "checkout", "--quiet", "--detach", _resolved(git, target, source.ref)])


def _resolved(git: _Git, target: Path, ref: str) -> str:
    """What looks like a commit may be the name of a branch or tag all the same; names win, as in git."""
    for candidate in (f"refs/remotes/origin/{ref}", f"refs/tags/{ref}"):
        if git.succeeds(["-C", str(target), "show-ref", "--verify", "--quiet", candidate]):
            return candidate
    return ref


def _short(ref: str) -> str:
    """``clone --branch`` wants ``main`` where people may also say ``refs/heads/main``."""
    return ref.removeprefix("refs/heads/").removeprefix("refs/tags/")


def _environment(source: GitSource, scratch: Path) -> dict[str, str]:
    helper, configuration = scratch / "git-askpass", scratch / "git-config"
    write_atomic(helper, _ASKPASS.encode(), mode=0o700)
    write_atomic(configuration, _CONFIGURATION.encode())
    inherited = {n: v for n, v in os.environ.items() if n in _INHERITED or n.lower().endswith("_proxy")}
    return {
        **inherited,
        "HOME": str(scratch),
        "LC_ALL": "C",
        "GIT_ALLOW_PROTOCOL": PROTOCOLS,
        "GIT_ASKPASS": str(helper),
        "GIT_CONFIG_GLOBAL": str(configuration),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
        "GIT_TERMINAL_PROMPT": "0",
        "HEADWAY_GIT_USERNAME": source.username or "git",
        "HEADWAY_GIT_PASSWORD": source.password or "",
    }


@dataclass(frozen=True)
class _Git:
    source: GitSource
    environment: dict[str, str] = field(repr=False)
    interruption: Interruption

    def clone(self, target: Path, *options: str) -> None:
        """Servers of plain files cannot give part of a history: then all of it is taken."""
        common = ["clone", "--quiet", "--template="]
        place = ["--", self.source.url, str(target)]
        code, words = self._execute([*common, *options, *place])
        if code != 0 and "shallow" in words and not self.interruption.event.is_set():
            code, words = self._execute([*common, *(o for o in options if not o.startswith("--depth")), *place])
        self._require(code, words)

    def run(self, arguments: Sequence[str]) -> None:
        self._require(*self._execute(arguments))

    def succeeds(self, arguments: Sequence[str]) -> bool:
        return self._execute(arguments)[0] == 0

    def _require(self, code: int, words: str) -> None:
        if code == 0:
            return
        self.interruption.check()
        raise WorkspaceError(
            f"git could not bring {self.source}: {self._masked(words)}",
            hint="Check the URL, the branch, tag or commit, and the credentials.",
        )

    def _execute(self, arguments: Sequence[str]) -> tuple[int, str]:
        """Exit code, and the first 64 KiB of what git complained about."""
        self.interruption.check()
        try:
            process = subprocess.Popen(
                ["git", *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise WorkspaceError(
                "A git workspace needs the git program, which is not installed here.", hint="Install git."
            ) from None
        with self.interruption.ending(process):
            assert process.stderr is not None
            words = process.stderr.read(64 * 1024)
            while process.stderr.read(64 * 1024):
                pass
            return process.wait(), _one_line(words)

    def _masked(self, text: str) -> str:
        for secret in (self.source.password, urlsplit(self.source.url).password):
            if secret:
                text = text.replace(secret, "***")
        return _without_userinfo(text)


def _without_userinfo(text: str) -> str:
    return _USERINFO.sub(r"\1***@", text)


def _one_line(output: bytes) -> str:
    return " ".join(output.decode("utf-8", "replace").split())[-MAX_ERROR:] or "no reason given"
