"""Where am I connected: argument > environment > project file > user file > nothing.

========================  ==========================================================================================
``HEADWAY_URL``           the server's address
``HEADWAY_TOKEN``         the secret; ``HEADWAY_TOKEN_FILE`` names a file that holds it
``HEADWAY_PROJECT``       the project that calls belong to when they name none
``HEADWAY_PROFILE``       which profile of the user file counts
``HEADWAY_CONFIG``        another place for the user file
========================  ==========================================================================================

The project file is ``headway.yaml``, or ``[tool.headway]`` in ``pyproject.toml``, in the current directory or above it;
it may name ``url`` and ``project``, never a token. The user file is ``~/.config/headway/config.yaml`` (mode 0600)::

    current: default
    profiles:
      default: {url: "http://127.0.0.1:8000", token: hw_…, project: digits}

A token goes only where its owner meant it to: one from a profile to that profile's address, one from the
environment never to an address that a project file chose, unless that is this machine. A checked-out repository
could otherwise collect tokens.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from headway.errors import ConfigurationError, HeadwayError

PROJECT_FILE = "headway.yaml"
PROJECT_KEYS = ("project", "url")
PROFILE_KEYS = ("project", "token", "url")
DEFAULT_PROFILE = "default"
LOGIN_HINT = "Start a server with `headway up`, then run `headway login URL`, or set HEADWAY_URL and HEADWAY_TOKEN."


@dataclass(frozen=True)
class Connection:
    """A server, a credential and a default project; ``sources`` says where each of the three came from."""

    url: str
    token: str | None = field(default=None, repr=False)
    project: str | None = None
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Profile:
    """One entry of the user file."""

    name: str
    url: str
    token: str | None = field(default=None, repr=False)
    project: str | None = None


def check_url(url: str, source: str) -> str:
    """``url`` in its plain form: http or https, a host, perhaps a port and a path; no ``/`` at the end.

    Raises:
        ConfigurationError: It is none; the message names ``source``.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError as error:
        raise _wrong_url(url, source, str(error)) from None
    if "@" in parts.netloc:
        raise ConfigurationError(
            f"The server URL from {source} holds a user name or password.", hint="Give the token by itself."
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _wrong_url(url, source, "it must begin with http:// or https:// and name a host")
    if parts.query or parts.fragment or any(ord(character) <= 32 for character in parts.geturl()):
        raise _wrong_url(url, source, "a query, fragment or space has no place in it")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    location = host if port is None else f"{host}:{port}"
    return urlunsplit((parts.scheme, location, parts.path.rstrip("/"), "", ""))


def _wrong_url(url: str, source: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"The server URL {url!r} from {source} is not usable: {why}.", hint="For example http://127.0.0.1:8000."
    )


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: what decides whether two URLs are the same peer."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)


def is_loopback(url: str) -> bool:
    """Whether ``url`` names this very machine."""
    host = (urlsplit(url).hostname or "").lower()
    return host in ("localhost", "::1") or (host.startswith("127.") and host.replace(".", "").isdigit())


def user_file() -> Path:
    """Where profiles are kept: HEADWAY_CONFIG, else ``headway/config.yaml`` below XDG_CONFIG_HOME or ``~/.config``."""
    chosen = os.environ.get("HEADWAY_CONFIG")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "headway" / "config.yaml"


def find_connection(url: str | None = None, token: str | None = None, project: str | None = None) -> Connection:
    """The connection that arguments, environment and files describe.

    Raises:
        ConfigurationError: No server is named anywhere, or a setting is wrong; the message names the key and its
            source.
    """
    connection = look_up(url, token, project)
    if connection is None:
        raise ConfigurationError("No server is configured.", hint=LOGIN_HINT)
    return connection


def look_up(url: str | None = None, token: str | None = None, project: str | None = None) -> Connection | None:
    """As :func:`find_connection`, but None when no server is named anywhere."""
    files = _Files()
    found = _given(url, "HEADWAY_URL") or files.setting("url") or files.kept("url")
    if found is None:
        return None
    address = check_url(*found)
    secret = _secret(token, address, found[1], files)
    chosen = _given(project, "HEADWAY_PROJECT") or files.setting("project")
    if chosen is None and files.current is not None and origin(files.current.url) == origin(address):
        chosen = files.kept("project")
    named = {"url": found, "token": secret, "project": chosen}
    return Connection(
        url=address,
        token=secret[0] if secret else None,
        project=chosen[0] if chosen else None,
        sources={key: value[1] for key, value in named.items() if value},
    )


def default_project(project: str | None = None) -> str | None:
    """The project that the argument, HEADWAY_PROJECT, the project file or the current profile names, server or not."""
    files = _Files()
    chosen = _given(project, "HEADWAY_PROJECT") or files.setting("project") or files.kept("project")
    return chosen[0] if chosen else None


def _given(argument: str | None, variable: str) -> tuple[str, str] | None:
    """What the caller or the environment says, and which of the two."""
    if argument is not None:
        return argument, "the argument"
    return (os.environ[variable], variable) if os.environ.get(variable) else None


class _Files:
    """Project file and user file, each read when first asked for: a broken one disturbs only those who need it."""

    @cached_property
    def settings(self) -> dict[str, tuple[str, str]]:
        return _project_settings(Path.cwd())

    @cached_property
    def profiles(self) -> dict[str, Profile]:
        return read_profiles()

    @cached_property
    def current(self) -> Profile | None:
        return _current_profile(self.profiles)

    def setting(self, key: str) -> tuple[str, str] | None:
        return self.settings.get(key)

    def kept(self, key: str) -> tuple[str, str] | None:
        value = getattr(self.current, key, None)
        return (value, _profile_source(self.current)) if value and self.current else None


def _profile_source(profile: Profile) -> str:
    return f"profile {profile.name!r} in {user_file()}"


def _secret(argument: str | None, url: str, url_source: str, files: _Files) -> tuple[str, str] | None:
    if argument is not None:
        return _check_token(argument, "the argument"), "the argument"
    given = _environment_token()
    if given is not None:
        chosen_by_file = url_source not in ("the argument", "HEADWAY_URL") and not url_source.startswith("profile ")
        if chosen_by_file and not is_loopback(url):
            raise ConfigurationError(
                f"The token from {given[1]} is not sent to {url}, which {url_source} chose.",
                hint="Set HEADWAY_URL too if that is your server.",
            )
        return given
    ordered = sorted(files.profiles.values(), key=lambda profile: profile is not files.current)
    for profile in ordered:
        if profile.token and origin(profile.url) == origin(url):
            source = _profile_source(profile)
            return _check_token(profile.token, source), source
    return None


def _environment_token() -> tuple[str, str] | None:
    token = os.environ.get("HEADWAY_TOKEN")
    if token:
        return _check_token(token, "HEADWAY_TOKEN"), "HEADWAY_TOKEN"
    path = os.environ.get("HEADWAY_TOKEN_FILE")
    if not path:
        return None
    try:
        with Path(path).open("rb") as file:
            text = file.read(4096).decode("ascii", "replace").strip()
    except OSError as error:
        raise ConfigurationError(f"HEADWAY_TOKEN_FILE: cannot read {path!r}: {error.strerror}.") from error
    return _check_token(text, "HEADWAY_TOKEN_FILE"), "HEADWAY_TOKEN_FILE"


def _check_token(token: str, source: str) -> str:
    """A token fit for a header line; the error never shows it."""
    token = token.strip()
    if not token or len(token) > 4096 or any(not 33 <= ord(character) <= 126 for character in token):
        raise ConfigurationError(f"The token from {source} is not one: it is empty or holds odd characters.")
    return token


def _project_settings(start: Path) -> dict[str, tuple[str, str]]:
    """What the nearest project file says: key to (value, source)."""
    from headway.documents import read_toml, read_yaml

    for directory in (start, *start.parents):
        path = directory / PROJECT_FILE
        if path.is_file():
            return _project_values(_as_configuration(read_yaml, path), path, "")
        path = directory / "pyproject.toml"
        if path.is_file() and "[tool.headway]" in path.read_text("utf-8", "replace"):
            tool = _as_configuration(read_toml, path).get("tool", {})
            return _project_values(tool.get("headway"), path, "tool.headway.")
    return {}


def _as_configuration(read: Any, path: Path) -> Any:
    try:
        return read(path)
    except HeadwayError as error:
        raise ConfigurationError(error.message, hint=error.hint) from error


def _project_values(document: Any, path: Path, prefix: str) -> dict[str, tuple[str, str]]:
    values = _texts({} if document is None else document, PROJECT_KEYS, f"{path}", prefix)
    return {key: (value, f"{path} ({prefix}{key})") for key, value in values.items()}


def _texts(document: Any, known: tuple[str, ...], where: str, prefix: str = "") -> dict[str, str]:
    if not isinstance(document, dict):
        raise ConfigurationError(f"{where} must hold keys and values.", hint=f"Known keys: {', '.join(known)}.")
    for key, value in document.items():
        if key == "token" and key not in known:
            raise ConfigurationError(
                f"{where} holds a token ({prefix}token), and project files are shared.",
                hint="Remove and revoke it; use `headway login` or HEADWAY_TOKEN.",
            )
        if key not in known:
            raise ConfigurationError(f"{where}: unknown key '{prefix}{key}'.", hint=_suggestion(str(key), known))
        if value is not None and not isinstance(value, str):
            raise ConfigurationError(f"{where}: {prefix}{key} must be text, not {type(value).__name__}.")
    return {key: value for key, value in document.items() if value}


def _suggestion(word: str, known: tuple[str, ...]) -> str:
    import difflib

    close = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Known keys: {', '.join(known)}."


def read_profiles() -> dict[str, Profile]:
    """The profiles of the user file by name; none when there is no file."""
    return {name: _profile(name, values) for name, values in _read_user_file()["profiles"].items()}


def _profile(name: str, values: Any) -> Profile:
    where = f"{user_file()}, profile {name!r}"
    texts = _texts(values, PROFILE_KEYS, where)
    if "url" not in texts:
        raise ConfigurationError(f"{where} has no url.")
    return Profile(name, check_url(texts["url"], where), texts.get("token"), texts.get("project"))


def _read_user_file() -> dict[str, Any]:
    from headway.documents import read_yaml

    path = user_file()
    try:
        mode = path.stat().st_mode
    except OSError:
        return {"profiles": {}}
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(f"{path} can be read by others.", hint=f"Run `chmod 600 {path}`.")
    document = _as_configuration(read_yaml, path) or {}
    if not isinstance(document, dict) or not isinstance(document.setdefault("profiles", {}), dict):
        raise ConfigurationError(f"{path} must hold 'current' and 'profiles'.")
    return document


def _current_profile(profiles: Mapping[str, Profile]) -> Profile | None:
    asked = os.environ.get("HEADWAY_PROFILE")
    if asked:
        if asked not in profiles:
            raise ConfigurationError(
                f"HEADWAY_PROFILE: there is no profile {asked!r} in {user_file()}.",
                hint=_suggestion(asked, tuple(profiles)) if profiles else "Run `headway login`.",
            )
        return profiles[asked]
    name = _read_user_file().get("current") if profiles else None
    return profiles.get(str(name)) or profiles.get(DEFAULT_PROFILE)


def active_profile() -> Profile | None:
    """The profile that counts at present, if any."""
    return _current_profile(read_profiles())


def profile_name() -> str:
    """The profile that ``headway login`` writes: HEADWAY_PROFILE, else the current one, else ``default``."""
    asked = os.environ.get("HEADWAY_PROFILE")
    return asked or str(_read_user_file().get("current") or DEFAULT_PROFILE)


def write_profile(url: str, token: str | None, *, project: str | None = None, name: str | None = None) -> Profile:
    """Keep a connection in the user file and make it the current one.

    Raises:
        ConfigurationError: The URL or token is none, or the file cannot be written.
    """
    document = _read_user_file()
    secret = _check_token(token, "the argument") if token is not None else None
    profile = Profile(name or profile_name(), check_url(url, "the argument"), secret, project)
    values = {"url": profile.url, "token": profile.token, "project": profile.project}
    document["profiles"][profile.name] = {key: value for key, value in values.items() if value}
    document["current"] = profile.name
    _write_user_file(document)
    return profile


def remove_profile(name: str | None = None) -> bool:
    """Forget a profile, the current one by default; whether there was one."""
    document = _read_user_file()
    name = name or profile_name()
    if name not in document["profiles"]:
        return False
    del document["profiles"][name]
    if document.get("current") == name:
        document.pop("current")
    _write_user_file(document)
    return True


def _write_user_file(document: Mapping[str, Any]) -> None:
    import yaml

    from headway.paths import private_directory, write_atomic

    path = user_file()
    try:
        private_directory(path.parent)
        write_atomic(path, yaml.safe_dump(dict(document), sort_keys=True).encode(), mode=0o600)
    except OSError as error:
        raise ConfigurationError(f"Cannot write {path}: {error.strerror}.") from error
