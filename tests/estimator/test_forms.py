"""What an Estimator refuses before anything is sent: no server is near these tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headway import Client, Estimator
from headway.errors import HeadwayError, InvalidRequestError

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def folder(tmp_path: Path) -> str:
    (tmp_path / "train.py").write_text("print('hello')")
    return str(tmp_path)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "none of them"),
        ({"command": "true", "algorithm": "k-means"}, "command and algorithm"),
        ({"framework": "sklearn", "source_dir": "."}, "file to run"),
        ({"framework": "sklearn", "entry_point": "train.py"}, "your code"),
        (
            {"framework": "sklearn", "entry_point": "train.py", "source_dir": ".", "git": "https://x.test/a"},
            "not from both",
        ),
        ({"framework": "sklearn", "entry_point": "../train.py", "source_dir": "."}, "entry_point"),
        ({"framework": "sklearn", "entry_point": "nowhere.py", "source_dir": "FOLDER"}, "no 'nowhere.py'"),
        ({"command": "true", "entry_point": "train.py"}, "Only a framework"),
        ({"algorithm": "k-means", "source_dir": "."}, "brings its own code"),
        ({"algorithm": "k-mean"}, "no preset algorithm 'k-mean'"),
        ({"algorithm": "k-means", "hyperparameters": {"clusters": 3}}, "no parameter 'clusters'"),
        ({"algorithm": "k-means", "hyperparameters": {"n_clusters": 0}}, "below 1"),
        ({"command": "true", "instance_count": 0}, "instance_count"),
        ({"command": "true", "instance_count": True}, "instance_count"),
        ({"command": "true", "monitors": [{"name": "loss", "regexp": "x"}]}, "regexp"),
        ({"command": "true", "monitors": [{"name": "loss"}]}, "regex"),
    ],
)
def test_what_is_no_training_is_refused(fields: dict[str, Any], words: str, folder: str) -> None:
    given = {name: folder if value == "FOLDER" else value for name, value in fields.items()}
    with pytest.raises(InvalidRequestError, match=words):
        Estimator(**given)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("entrypoint", "entry_point"),
        ("hyper_parameters", "hyperparameters"),
        ("instance_typ", "instance_type"),
        ("sourcedir", "source_dir"),
        ("max_run_time", "max_runtime"),
    ],
)
def test_an_unknown_keyword_is_told_the_one_that_was_meant(word: str, meant: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        Estimator(**{"command": "true", word: 1})  # type: ignore[arg-type]
    assert word in str(caught.value)
    assert meant in str(caught.value.hint)


def test_a_password_is_in_no_repr(folder: str) -> None:
    est = Estimator(
        framework="sklearn",
        entry_point="train.py",
        git={"url": "https://git.test/a", "username": "me", "password": "correct-horse-battery"},
        secrets={"KEY": "correct-horse-battery"},
        client=Client(NOWHERE, token="hw_" + "a" * 43, project="p"),
    )
    shown = repr(est) + est._repr_html_() + repr(est.__dict__)
    assert "correct-horse-battery" not in shown
    with pytest.raises(HeadwayError) as caught:
        est.fit()
    assert "correct-horse-battery" not in f"{caught.value!r} {caught.value.hint} {caught.value.details}"


def test_nothing_trained_yet_is_said() -> None:
    est = Estimator(command="true", client=Client(NOWHERE, token="hw_" + "a" * 43, project="p"))
    for act in (lambda: est.create_model("m"), lambda: est.deploy("d"), est.stop):
        with pytest.raises(InvalidRequestError, match="Nothing was trained"):
            act()
