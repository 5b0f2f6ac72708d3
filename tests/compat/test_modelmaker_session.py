"""ModelMaker's Session: where settings come from, the object area, and what its log never shows."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from headway.testing.server import ServerProcess
from modelmaker import configure
from modelmaker.estimator import Estimator
from modelmaker.exceptions import ApiException, ModelMakerError
from modelmaker.ids import to_number
from modelmaker.session import Session


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No configuration of whoever runs the tests."""
    for name in ("MODELMAKER_CONFIG", "MODELMAKER_LEVEL", "PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def by_environment(running_server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> Session:
    """HEADWAY_URL and HEADWAY_TOKEN are enough."""
    monkeypatch.setenv("HEADWAY_URL", running_server.url)
    monkeypatch.setenv("HEADWAY_TOKEN", running_server.token)
    return Session()


def write(place: Path, **values: object) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps({"iam_config": values}))
    return place


def test_the_environment_of_headway_is_enough(by_environment: Session, running_server: ServerProcess) -> None:
    assert (by_environment.iam_server, by_environment.token) == (running_server.url, running_server.token)
    assert (by_environment.username, by_environment.bucket, by_environment.project_id) == (None, None, 0)
    assert (by_environment.auth, by_environment.region) == ("token", "js01")


def test_the_file_in_the_home_directory_wins_over_headways_settings(
    own_home: Path, running_server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWAY_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("HEADWAY_TOKEN", "hw_wrong")
    place = own_home / ".modelmaker" / "config.json"
    write(place, username="admin", password=running_server.token, host_base=running_server.url, bucket="own")
    found = Session()
    assert (found.username, found.password, found.bucket) == ("admin", running_server.token, "own/")


def test_a_named_file_and_arguments_win_over_others(
    tmp_path: Path, own_home: Path, running_server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(own_home / ".modelmaker" / "config.json", host_base="http://127.0.0.1:1")
    token = running_server.token
    named = write(tmp_path / "a.json", username="admin", password=token, host_base="http://127.0.0.1:1", region="a")
    monkeypatch.setenv("MODELMAKER_CONFIG", str(write(tmp_path / "b.json", region="b")))
    plain = running_server.url.removeprefix("http://")

    found = Session(str(named), iam_server=f"{plain}/mmr", bucket="s3://pail/dir/")
    assert (found.iam_server, found.region, found.bucket) == (running_server.url, "a", "pail/dir/")
    assert Session(username="x", password=token, host_base=f"{running_server.url}/mmr").region == "b"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"username": "admin"}, "username and password must both be set"),
        ({"password": "hw_x"}, "username and password must both be set"),
        ({"username": "a", "password": "b", "host_base": "172.16.14.201:9048"}, "host_base must start with http"),
        ({"config_file": "/no/such/file.json"}, "there is no configuration file"),
    ],
)
def test_wrong_settings_are_value_errors(given: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Session(**given)  # type: ignore[arg-type]


def test_files_that_hold_something_else_are_value_errors(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"iam_config": 5}'):
        (tmp_path / "c.json").write_text(text)
        with pytest.raises(ValueError, match="configuration file"):
            Session(config_file=str(tmp_path / "c.json"))


def test_no_server_and_a_wrong_password_fail_to_log_in(running_server: ServerProcess) -> None:
    with pytest.raises(ApiException, match="Get token failed!"):
        Session()
    with pytest.raises(ApiException, match="Get token failed!") as caught:
        Session(username="admin", password="hw_wrong-password", host_base=running_server.url)
    assert caught.value.status == 401
    assert "hw_wrong-password" not in str(caught.value)


def test_a_session_prints_no_password(running_server: ServerProcess) -> None:
    found = Session(username="admin", password=running_server.token, host_base=running_server.url)
    assert repr(found) == f"Session(username='admin', password='****', iam_server='{running_server.url}')"


def test_the_project_is_named_or_numbered_or_made(by_environment: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    projects = by_environment.client.projects
    assert by_environment.project == projects.get("modelmaker").id
    team = projects.create("modelmaker-team")
    assert Session(project_id="modelmaker-team").project == team.id
    assert Session(project_id=to_number(team.id)).project == team.id
    monkeypatch.setenv("PROJECT_ID", str(to_number(team.id)))
    assert Session().project == team.id
    assert Session(project_id="modelmaker").project == by_environment.project
    monkeypatch.delenv("PROJECT_ID")
    monkeypatch.setenv("HEADWAY_PROJECT", "modelmaker-team")
    assert Session().project == team.id
    with pytest.raises(ApiException):
        _ = Session(project_id="modelmaker-nobody").project


def test_data_goes_up_and_comes_down(by_environment: Session, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "a.txt").write_text("a")
    (tmp_path / "b.txt").write_text("b")
    by_environment.upload_data("updown/dir/", str(source))
    by_environment.upload_data("s3://updown/dir/", [str(tmp_path / "b.txt")])
    by_environment.create_directory("updown/dir/", "empty")
    target = tmp_path / "target"
    target.mkdir()
    by_environment.download_data("updown/dir/", str(target))
    by_environment.download_data("updown/dir/b.txt", str(tmp_path / "home"))

    found = sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file())
    assert found == ["b.txt", "source/deep/a.txt"]
    assert (tmp_path / "home" / "b.txt").read_text() == "b"

    by_environment.delete_directory("updown/dir/", "source")
    keys = [each.key for each in by_environment.s3_client.list("s3://updown", project=by_environment.project)]
    assert keys == ["dir/b.txt", "dir/empty/"]


def test_data_calls_are_refused_with_reasons(by_environment: Session, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bucket_path must end with '/'"):
        by_environment.upload_data("bucket/dir", str(tmp_path))
    with pytest.raises(ModelMakerError, match="is not exist!"):
        by_environment.upload_data("bucket/", str(tmp_path / "missing"))
    with pytest.raises(ValueError, match="must be a directory that exists!"):
        by_environment.download_data("bucket/", str(tmp_path / "missing"))
    with pytest.raises(ApiException, match="Download data failed!"):
        by_environment.download_data("modelmaker-no-bucket/", str(tmp_path))


def test_level_10_shows_requests_without_secrets(
    running_server: ServerProcess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODELMAKER_LEVEL", "10")
    session = Session(username="admin", password=running_server.token, host_base=running_server.url)
    made = Estimator(
        modelmaker_session=session,
        framework_type="BASIC_FRAMEWORK",
        framework=500100,
        boot_file="train.py",
        git_info={"url": "https://git.invalid/x.git", "username": "me", "password": "git-secret-word"},
        train_instance_type=500050,
        train_instance_count=1,
        volume_size=1,
        output_path="s3://shown/out/",
    )
    session.s3_client.put("s3://shown/in/a.txt", b"a", project=session.project)
    version = made.fit("s3://shown/in/", job_name="shown")["versionId"]
    made.stop(version)
    printed = "".join(capsys.readouterr())

    assert f"POST {running_server.url}/api/v1/jobs" in printed
    assert "headers: " in printed
    assert "https://git.invalid/x.git" in printed
    assert running_server.token not in printed
    assert "git-secret-word" not in printed


def test_mlcmd_asks_for_the_file_and_a_session_reads_it(
    own_home: Path, running_server: ServerProcess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter(["admin", running_server.url, "js02", "pail"])
    monkeypatch.setattr("builtins.input", lambda question: next(answers))
    monkeypatch.setattr("getpass.getpass", lambda question: running_server.token)
    assert configure.main(["--configure"]) == 0
    place = own_home / ".modelmaker" / "config.json"
    assert place.stat().st_mode & 0o777 == 0o600
    assert running_server.token not in capsys.readouterr().out
    found = Session()
    assert (found.username, found.iam_server, found.region, found.bucket) == (
        "admin",
        running_server.url,
        "js02",
        "pail/",
    )

    # An empty answer keeps what is there.
    monkeypatch.setattr("builtins.input", lambda question: "")
    monkeypatch.setattr("getpass.getpass", lambda question: "")
    assert configure.main(["--configure"]) == 0
    assert Session().bucket == "pail/"
    with pytest.raises(SystemExit):
        configure.main([])


@pytest.mark.parametrize(("text", "level"), [("", 20), ("10", 10), ("40", 40), ("loud", 20)])
def test_levels(text: str, level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELMAKER_LEVEL", text)
    with pytest.raises(ValueError, match="both"):
        Session(username="x")
    assert logging.getLogger("modelmaker").level == level
