"""A model's own packages: built once for all its replicas, in front of Headway's, and said clearly when they cannot be."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headway.errors import ModelLoadError
from headway.serving import environment_store, environments
from headway.serving.environments import BEHIND, environment_digest, environment_for, environments_directory, keep_count
from headway.serving.index_settings import pip_settings, uv_settings
from headway.testing.faults import until

NAME = "headway_test_package"
BUILD = """
import sys
from pathlib import Path
from headway.serving.environments import environment_for
print("ready", flush=True)
sys.stdin.readline()
print(environment_for(Path(sys.argv[1])))
"""


def make_wheel(directory, version="1.0", name=NAME, body=""):
    """A package of one module, as a wheel. Source: the binary distribution format of packaging.python.org."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", f"VERSION = {version!r}\n{body}")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Environments go into a directory of the test's, and nothing comes from an index."""
    monkeypatch.setenv("HEADWAY_ENVIRONMENTS_DIR", str(tmp_path / "environments"))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    return tmp_path / "environments"


@pytest.fixture
def model(tmp_path):
    """A model that asks for a package it brings along."""
    directory = tmp_path / "model"
    make_wheel(directory / "wheels")
    (directory / "requirements.txt").write_text(f"--find-links ./wheels\n{NAME}==1.0\n")
    (directory / "predict.py").write_text(
        f"import os, sys, {NAME}, numpy\n"
        "class Predictor:\n"
        "    def predict(self, x):\n"
        f"        return {{'version': {NAME}.VERSION, 'prefix': sys.prefix, 'numpy': numpy.__file__, 'pid': os.getpid()}}\n"
    )
    return directory


def ask(python, code):
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_the_models_packages_are_there_and_headways_behind_them(model, home):
    environment = environment_for(model)
    assert environment.parent == home
    code = f"import sys, json, {NAME}, numpy, headway; print(json.dumps([{NAME}.__file__, numpy.__file__, sys.path]))"
    own, numpy_file, paths = ask(environment / "bin" / "python", code)
    assert own.startswith(str(environment))
    import numpy

    assert numpy_file == numpy.__file__
    [site] = [number for number, path in enumerate(paths) if path.startswith(str(environment))]
    assert site < paths.index(os.path.dirname(os.path.dirname(numpy.__file__)))


def test_the_models_own_version_wins(model):
    make_wheel(model / "wheels", "99.0", "orjson", "def loads(x): return 'the model\\'s own'\n")
    (model / "requirements.txt").write_text("--find-links wheels\norjson==99.0\n")
    python = environment_for(model) / "bin" / "python"
    assert ask(python, "import json, orjson; print(json.dumps([orjson.VERSION, orjson.loads('')]))") == [
        "99.0",
        "the model's own",
    ]


def test_a_model_without_requirements_has_no_environment(tmp_path, home):
    assert environment_for(tmp_path) is None
    (tmp_path / "requirements.txt").write_text("# nothing\n\n  # still nothing\n")
    assert environment_for(tmp_path) is None
    assert not home.exists()


def test_an_environment_is_built_once(model, monkeypatch, capfd):
    first = environment_for(model)
    assert "Building the model's environment" in capfd.readouterr().err
    marker = first / "marker"
    marker.touch()
    assert environment_for(model) == first
    assert marker.exists()
    assert capfd.readouterr().err == ""


def test_the_digest_is_of_all_that_is_installed(model):
    before = environment_digest(model)
    assert environment_digest(model) == before
    (model / "data.csv").write_text("1,2")
    (model / "predict.py").write_text("changed")
    assert environment_digest(model) == before
    make_wheel(model / "wheels", body="more = 1\n")
    changed = environment_digest(model)
    assert changed != before
    (model / "more.txt").write_text("other\n")
    (model / "requirements.txt").write_text(f"--find-links=wheels\n-r more.txt\n{NAME}==1.0\n")
    named = environment_digest(model)
    (model / "more.txt").write_text("another\n")
    assert len({before, changed, named, environment_digest(model)}) == 4


def test_two_replicas_that_start_at_once_build_it_once(model, home):
    started = [
        subprocess.Popen(
            [sys.executable, "-c", BUILD, str(model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in started:
        assert process.stdout.readline() == "ready\n"
    with ThreadPoolExecutor(3) as pool:
        said = list(pool.map(lambda process: process.communicate("go\n", timeout=120), started))
    assert len({out for out, _ in said}) == 1
    assert sum("Building the model's environment" in error for _, error in said) == 1, said
    assert [path.name for path in home.iterdir() if path.suffix not in (".lock", ".used")] == [
        environment_digest(model)
    ]


def test_what_a_killed_build_left_is_cleared_and_an_environment_without_its_python_is_built_again(model, home):
    place = environment_for(model)
    (place / "bin" / "python").unlink()
    left = home / f".{place.name}.dead"
    left.mkdir()
    assert environment_for(model) == place
    assert (place / "bin" / "python").exists()
    assert not left.exists()


def test_a_build_that_fails_says_uvs_own_words_and_leaves_nothing(model, home):
    (model / "requirements.txt").write_text("headway-no-such-package==3.1\n")
    with pytest.raises(ModelLoadError, match=r"could not be built\. uv says: .*headway-no-such-package") as caught:
        environment_for(model)
    assert "\n" not in str(caught.value)
    assert [path for path in home.iterdir() if path.suffix not in (".lock", ".used")] == []


def test_a_server_without_uv_says_so(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "uv", None)
    with pytest.raises(ModelLoadError, match="Run `pip install uv`"):
        environment_for(model)


def test_a_replica_runs_in_the_models_environment(model, home, spawn):
    replica = spawn("headway.serving", "--model-dir", str(model))
    request = urllib.request.Request(
        f"http://127.0.0.1:{replica.port}/predict", b"1", {"Content-Type": "application/json"}
    )
    answer = json.loads(urllib.request.urlopen(request, timeout=30).read())
    assert answer["version"] == "1.0"
    assert answer["prefix"] == str(home / environment_digest(model))
    assert answer["pid"] == replica.pid


def test_a_replica_whose_environment_cannot_be_built_ends_with_the_reason(model):
    (model / "requirements.txt").write_text("headway-no-such-package==3.1\n")
    done = subprocess.run(
        [sys.executable, "-m", "headway.serving", "--model-dir", str(model)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 3
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("The model cannot be served: The model's environment could not be built. uv says:")
    assert "Traceback" not in done.stderr


def test_environments_lie_in_the_users_cache_unless_something_else_is_said(tmp_path):
    assert environments_directory({"HEADWAY_ENVIRONMENTS_DIR": "/e"}).as_posix() == "/e"
    assert environments_directory({"XDG_CACHE_HOME": "/c"}).as_posix() == "/c/headway/environments"
    assert environments_directory({}).parts[-3:] == (".cache", "headway", "environments")


def test_the_file_that_puts_headways_packages_behind_is_read_last(model):
    packages = next((environment_for(model) / "lib").glob("python*/site-packages"))
    assert max(path.name for path in packages.glob("*.pth")) == BEHIND


def pip_file(tmp_path, text):
    (tmp_path / "pip.conf").write_text(text)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    return {**clean, "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}


def test_uv_looks_where_pip_looks(tmp_path):
    variables = pip_file(
        tmp_path,
        "[global]\nindex-url = https://one.example/simple\nfind-links = /a\n    /b\ntimeout = 20\n"
        "[install]\nextra-index-url = https://two.example/simple https://three.example/simple\n",
    )
    found = uv_settings({**variables, "PIP_TRUSTED_HOST": "one.example"})
    assert found["UV_DEFAULT_INDEX"] == "https://one.example/simple"
    assert found["UV_INDEX"] == "https://two.example/simple https://three.example/simple"
    assert found["UV_FIND_LINKS"] == "/a,/b"
    assert found["UV_HTTP_TIMEOUT"] == "20"
    assert found["UV_INSECURE_HOST"] == "one.example"
    assert found["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert found["UV_PYTHON_DOWNLOADS"] == "never"


def test_a_nearer_setting_of_pips_wins_and_uvs_own_win_over_all(tmp_path):
    variables = pip_file(
        tmp_path, "[global]\nindex-url = https://far.example\n[install]\nindex-url = https://near.example\n"
    )
    assert pip_settings(variables)["index-url"] == "https://near.example"
    assert uv_settings(variables)["UV_DEFAULT_INDEX"] == "https://near.example"
    nearest = {**variables, "PIP_INDEX_URL": "https://nearest.example"}
    assert uv_settings(nearest)["UV_DEFAULT_INDEX"] == "https://nearest.example"
    own = uv_settings({**nearest, "UV_FIND_LINKS": "/mine"})
    assert own["UV_FIND_LINKS"] == "/mine"
    assert "UV_DEFAULT_INDEX" not in own


def test_a_python_without_pip_has_no_settings_of_pips(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    assert uv_settings({"PIP_INDEX_URL": "https://said.example"})["UV_DEFAULT_INDEX"] == "https://said.example"


def test_waiting_for_another_build_is_said(model, home, capfd):
    home.mkdir()
    place = home / environment_digest(model)
    with environments._locked(place):
        waiting = subprocess.Popen(
            [sys.executable, "-c", BUILD, str(model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        waiting.stdin.write("go\n")
        waiting.stdin.flush()
        assert waiting.stderr.readline() == "Another replica builds the model's environment; waiting for it.\n"
    _, rest = waiting.communicate(timeout=120)
    assert waiting.returncode == 0
    assert "The model's environment is built." in rest


USE = """
import sys
from pathlib import Path
from headway.serving.environments import environment_for
print(environment_for(Path(sys.argv[1])), flush=True)
sys.stdin.readline()
"""
EXEC = """
import os, sys
from pathlib import Path
from headway.serving.environments import environment_for
place = environment_for(Path(sys.argv[1]))
wait = f"import sys; print({str(place)!r}, flush=True); sys.stdin.readline()"
os.execv(place / "bin" / "python", ["python", "-c", wait])
"""


@pytest.fixture
def user():
    """Starts processes that use a model's environment until they are told to end; each with the place that it uses."""
    started = []

    def use(model, code=USE, **variables):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **variables},
        )
        started.append(process)
        return process, Path(process.stdout.readline().strip())

    yield use
    for process in started:
        process.kill()
        process.communicate()


def end(process):
    process.communicate("\n", timeout=60)


def another(model, number):
    """The same model with other requirements, and so an environment of its own."""
    copy = model.with_name(f"model-{number}")
    shutil.copytree(model, copy)
    (copy / "requirements.txt").write_text(f"# {number}\n--find-links ./wheels\n{NAME}==1.0\n")
    return copy


def test_what_was_used_longest_ago_goes_and_what_is_used_stays(model, home, user):
    models = [another(model, number) for number in range(4)]
    using, used = user(models[0], EXEC)
    places = [used]
    for each in models[1:3]:
        process, place = user(each)
        end(process)
        places.append(place)
    for age, place in enumerate(reversed(places)):
        os.utime(place.with_suffix(".used"), (1_000_000 - age, 1_000_000 - age))
    process, place = user(models[3], HEADWAY_ENVIRONMENTS_KEEP="2")
    assert [each.exists() for each in (*places, place)] == [True, False, False, True], "the oldest is in use"
    assert {entry.name for entry in home.iterdir()} == {
        f"{each.name}{end}" for each in (used, place) for end in ("", ".used", ".lock")
    }
    end(process)
    end(using)
    process, again = user(models[1], HEADWAY_ENVIRONMENTS_KEEP="1")
    assert again == places[1], "it is built anew"
    assert [each.exists() for each in (used, place, again)] == [False, False, True]


def test_one_that_is_entered_while_it_is_looked_at_is_not_removed(model, home, user):
    process, place = user(model)
    assert environment_store.idle(home) == []
    end(process)
    [found] = environment_store.idle(home)
    assert found.place == place
    assert found.bytes > 0
    process, _ = user(model)
    assert not environment_store.remove(found), "it is in use"
    end(process)
    assert not environment_store.remove(found), "it was used since"
    assert environment_store.remove(environment_store.idle(home)[0])
    assert list(home.iterdir()) == []
    assert not environment_store.remove(found)


def test_who_waits_for_one_that_is_being_removed_makes_another(model, home, user):
    process, place = user(model)
    end(process)
    marker = place.with_suffix(".used")
    with marker.open("r+") as removing:
        fcntl.flock(removing, fcntl.LOCK_EX)
        waiting = subprocess.Popen(
            [sys.executable, "-c", USE, str(model)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        until(lambda: blocked_on(waiting.pid), 60, "a process that waits for the lock")
        shutil.rmtree(place)
        marker.unlink()
    assert waiting.stdout.readline().strip() == str(place)
    assert (place / "bin" / "python").exists()
    assert environment_store.idle(home) == [], "and holds the new one"
    end(waiting)


def blocked_on(pid):
    """Whether a process waits for a lock of a file; Linux's list of locks marks those that wait with an arrow."""
    return any("->" in line and f" {pid} " in line for line in Path("/proc/locks").read_text().splitlines())


def test_what_a_failed_build_left_goes_with_the_next(model, home, user):
    wrong = another(model, 7)
    (wrong / "requirements.txt").write_text("headway-no-such-package==3.1\n")
    failed = subprocess.run(
        [sys.executable, "-c", USE, str(wrong)], input="", capture_output=True, text=True, check=False
    )
    assert failed.returncode
    assert [path.suffix for path in sorted(home.iterdir())] == [".lock", ".used"]
    process, place = user(model)
    assert {path.stem for path in home.iterdir()} == {place.name}
    end(process)


def test_an_environment_without_a_marker_is_as_old_as_it_is(model, home, user):
    process, place = user(model)
    end(process)
    place.with_suffix(".used").unlink()
    os.utime(place, (1_000_000, 1_000_000))
    assert [each.used_at for each in environment_store.idle(home)] == [1_000_000]


def test_nothing_is_kept_where_nothing_was_built(tmp_path):
    assert environment_store.idle(tmp_path / "none") == []
    assert environment_store.prune(tmp_path / "none", 0) == []
    assert [keep_count({"HEADWAY_ENVIRONMENTS_KEEP": said}) for said in ("3", "", "many", "-1")] == [3, 16, 16, 16]
