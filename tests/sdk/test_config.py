"""Where am I connected: precedence, files, and where a token may go."""

from __future__ import annotations

from pathlib import Path

import pytest

from headway import config
from headway.errors import ConfigurationError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADWAY_CONFIG", str(tmp_path / "home" / "config.yaml"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


def test_nothing_is_configured() -> None:
    assert config.look_up() is None
    with pytest.raises(ConfigurationError, match="No server is configured"):
        config.find_connection()


def test_argument_before_environment_before_project_before_user(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_profile("http://127.0.0.1:1", "t-user", project="user")
    assert config.find_connection().project == "user"
    (elsewhere / "headway.yaml").write_text("url: http://127.0.0.1:2\nproject: file\n")
    found = config.find_connection()
    assert (found.url, found.project, found.token) == ("http://127.0.0.1:2", "file", None)
    assert "headway.yaml" in found.sources["url"]
    monkeypatch.setenv("HEADWAY_URL", "http://127.0.0.1:3")
    monkeypatch.setenv("HEADWAY_PROJECT", "environment")
    monkeypatch.setenv("HEADWAY_TOKEN", "t-environment")
    found = config.find_connection()
    assert (found.url, found.project, found.token) == ("http://127.0.0.1:3", "environment", "t-environment")
    found = config.find_connection("http://127.0.0.1:4/", "t-argument", "argument")
    assert (found.url, found.project, found.token) == ("http://127.0.0.1:4", "argument", "t-argument")
    assert set(found.sources.values()) == {"the argument"}


def test_a_project_file_is_found_above_and_in_pyproject(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "pyproject.toml").write_text('[tool.headway]\nurl = "http://127.0.0.1:5"\n')
    below = elsewhere / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert config.find_connection().url == "http://127.0.0.1:5"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("token: hw_leaked", "holds a token"),
        ("urll: http://h", "unknown key 'urll'"),
        ("url: 5", "must be text"),
        ("- a", "keys and values"),
        ("url: [", "not valid YAML"),
        ("url: http://a\nurl: http://b", "twice"),
    ],
)
def test_a_wrong_project_file_is_one_error_that_names_it(elsewhere: Path, text: str, named: str) -> None:
    (elsewhere / "headway.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=named) as caught:
        config.find_connection()
    assert "headway.yaml" in str(caught.value)
    assert "hw_leaked" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["ftp://h", "h:80", "http://", "http://u:p@h", "http://h/?q=1", "http://h/#f", "http://h:99999", "http://a b"],
)
def test_a_wrong_url_is_refused_with_its_source(url: str) -> None:
    with pytest.raises(ConfigurationError, match="the argument"):
        config.find_connection(url)


def test_a_token_is_never_in_a_repr() -> None:
    assert "hw_x" not in repr(config.find_connection("http://h", "hw_x"))
    assert "hw_x" not in repr(config.write_profile("http://h", "hw_x"))


def test_a_profile_is_kept_privately_and_forgotten() -> None:
    config.write_profile("http://127.0.0.1:1", "hw_x")
    assert config.user_file().stat().st_mode & 0o777 == 0o600
    assert config.find_connection().token == "hw_x"
    assert config.remove_profile()
    assert not config.remove_profile()
    assert config.look_up() is None


def test_a_user_file_that_others_can_read_is_refused() -> None:
    config.write_profile("http://127.0.0.1:1", "hw_x")
    config.user_file().chmod(0o644)
    with pytest.raises(ConfigurationError, match="read by others"):
        config.find_connection()
    assert config.find_connection("http://127.0.0.1:2", "hw_y", "p").token == "hw_y"


def test_the_environment_chooses_a_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_profile("http://127.0.0.1:1", "hw_1", name="one")
    config.write_profile("http://127.0.0.1:2", "hw_2", name="two")
    assert config.find_connection().token == "hw_2"
    monkeypatch.setenv("HEADWAY_PROFILE", "one")
    assert config.find_connection().token == "hw_1"
    monkeypatch.setenv("HEADWAY_PROFILE", "onee")
    with pytest.raises(ConfigurationError, match="Did you mean 'one'"):
        config.find_connection()


def test_a_profiles_token_goes_only_to_its_own_server(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_profile("http://mine.example", "hw_mine", project="mine")
    (elsewhere / "headway.yaml").write_text("url: http://theirs.example\n")
    found = config.find_connection()
    assert (found.url, found.token, found.project) == ("http://theirs.example", None, None)
    monkeypatch.setenv("HEADWAY_URL", "http://mine.example/")
    assert config.find_connection().token == "hw_mine"


def test_the_environments_token_does_not_go_where_a_project_file_points(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere / "headway.yaml").write_text("url: http://theirs.example\n")
    monkeypatch.setenv("HEADWAY_TOKEN", "hw_mine")
    with pytest.raises(ConfigurationError, match=r"not sent to http://theirs\.example"):
        config.find_connection()
    (elsewhere / "headway.yaml").write_text("url: http://localhost:1\n")
    assert config.find_connection().token == "hw_mine"


def test_a_token_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWAY_URL", "http://h")
    monkeypatch.setenv("HEADWAY_TOKEN_FILE", str(tmp_path / "token"))
    with pytest.raises(ConfigurationError, match="HEADWAY_TOKEN_FILE"):
        config.find_connection()
    (tmp_path / "token").write_text("hw_file\n")
    assert config.find_connection().token == "hw_file"
    (tmp_path / "token").write_text("hw bad\n")
    with pytest.raises(ConfigurationError) as caught:
        config.find_connection()
    assert "hw bad" not in str(caught.value)
