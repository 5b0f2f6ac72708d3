"""Hyperparameters: JSON values only, nested, each change noted; and what init may be told."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from headway.errors import ConfigurationError, InvalidRequestError
from headway.tracking.config import read_options
from headway.tracking.hyperparameters import Config, spelled

KEYS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
NUMBERS = st.integers(-(1 << 63), (1 << 64) - 1) | st.floats()
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


class Noted:
    """A config and what was said of its changes."""

    def __init__(self, values: dict[str, Any] | None = None) -> None:
        self.changes: list[tuple[dict[str, Any], list[str]]] = []
        self.config = Config(values, lambda changed, gone: self.changes.append((json.loads(json.dumps(changed)), gone)))


@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_what_is_put_in_comes_out(values: dict[str, Any]) -> None:
    config = Config(values)
    assert repr(config.as_dict()) == repr(values)
    json.dumps(spelled(config.as_dict()), allow_nan=False)


def test_nested_changes_are_noted_with_their_top_level_key() -> None:
    noted = Noted({"optimizer": {"name": "adam", "betas": [0.9, 0.999]}, "seed": 1})
    noted.config["optimizer"]["lr"] = 0.1
    noted.config.optimizer.schedule = {"warmup": 5}
    noted.config["optimizer"]["schedule"]["warmup"] = 6
    del noted.config["optimizer"]["name"]
    del noted.config["seed"]
    expected = {"betas": [0.9, 0.999], "lr": 0.1, "schedule": {"warmup": 6}}
    assert noted.config == {"optimizer": expected}
    assert noted.changes[-2:] == [({"optimizer": expected}, []), ({}, ["seed"])]
    assert noted.changes[0] == ({"optimizer": {"name": "adam", "betas": [0.9, 0.999], "lr": 0.1}}, [])


def test_update_overrides_unless_told_not_to() -> None:
    config = Config({"a": 1})
    config.update({"a": 2, "b": 2}, override=False)
    assert config.as_dict() == {"a": 1, "b": 2}
    config.update({"a": 3}, c=4)
    assert config.as_dict() == {"a": 3, "b": 2, "c": 4}
    assert len(config) == 3 and list(config) == ["a", "b", "c"] and "a" in config and config.get("x") is None


def test_scalars_of_numpy_and_subclasses_become_plain() -> None:
    config = Config({"lr": numpy.float32(0.5), "n": numpy.int64(3), "on": numpy.bool_(True), "zero": numpy.array(2)})
    assert [type(value) for value in config.values()] == [float, int, bool, int]
    assert math.isnan(Config({"x": float("nan")})["x"])


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"model": {"layer": object()}}, r"config\.model\.layer is an object"),
        ({"sizes": [1, {2, 3}]}, r"config\.sizes\.1 is a set"),
        ({"weights": numpy.zeros(3)}, r"config\.weights is a ndarray.*tolist"),
        ({"made": object()}, r"config\.made is an object"),
        ({"seed": 1 << 64}, r"config\.seed is a whole number of more than 64 bits"),
        ({"name": "\ud800"}, r"config\.name: .*lone surrogate"),
        ({3: 1}, r"config: the key 3"),
        ({"a": {"b\0": 1}}, r"config\.a: the key"),
        ({"raw": b"x"}, r"config\.raw is a bytes"),
    ],
)
def test_what_is_no_json_value_is_named_and_nothing_is_taken(value: dict[Any, Any], where: str) -> None:
    noted = Noted({"kept": 1})
    for attempt in (noted.config.update, noted.config.parse):
        with pytest.raises(InvalidRequestError, match=where):
            attempt({"fine": 1, **value})
    assert noted.config == {"kept": 1} and not noted.changes


def test_a_mapping_that_contains_itself_is_refused() -> None:
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    with pytest.raises(InvalidRequestError, match="contains itself"):
        Config(loop)


def test_a_refused_change_leaves_the_config_as_it_was() -> None:
    def refuse(changed: dict[str, Any], gone: list[str]) -> None:
        raise InvalidRequestError("no")

    config = Config({"a": {"b": 1}}, refuse)
    for change in (lambda: config.update({"c": 2}), lambda: config["a"].update({"b": 2}), lambda: config.pop("a")):
        with pytest.raises(InvalidRequestError):
            change()
        assert config == {"a": {"b": 1}}


@dataclasses.dataclass
class Optimizer:
    lr: float = 0.1


@dataclasses.dataclass
class Training:
    epochs: int = 3
    optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)


class Data(BaseModel):
    path: str = "/data"
    shuffle: bool = True


def test_parse_takes_what_programs_keep_their_settings_in() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    config = Config()
    config.parse(parser.parse_args(["--lr", "0.2"]), Training(), SimpleNamespace(data=Data()), {"more": Optimizer()})
    assert config.as_dict() == {
        "lr": 0.2,
        "epochs": 3,
        "optimizer": {"lr": 0.1},
        "data": {"path": "/data", "shuffle": True},
        "more": {"lr": 0.1},
    }
    with pytest.raises(InvalidRequestError, match="cannot be read from an int"):
        config.parse(3)


DEFAULTS: dict[str, Any] = {
    "project": None,
    "name": None,
    "config": None,
    "id": None,
    "resume": None,
    "folder": "",
    "make_folder": False,
    "labels": (),
    "description": "",
    "alternative_name": None,
    "mode": None,
    "dir": None,
    "rank": None,
    "conflict_strategy": None,
    "capture": True,
    "console": True,
    "system": True,
    "durability": "process",
    "url": None,
    "token": None,
}


@pytest.mark.parametrize(
    ("keywords", "what"),
    [
        ({"mode": "of-line"}, "mode must be one of online, offline, disabled.*Did you mean 'offline'"),
        ({"resume": "allways"}, "resume must be None or one of"),
        ({"resume": "must"}, "resume='must' needs the id"),
        ({"conflict_strategy": "overwrite"}, "conflict_strategy"),
        ({"folder": "a/../b"}, "folder"),
        ({"name": "a\0b"}, "name"),
        ({"labels": "one"}, "labels"),
        ({"id": "../other"}, "cannot be the id of a run"),
        ({"durability": "disk"}, "durability must be one of process, power"),
        ({"console": "yes"}, "console must be True or False"),
        ({"config": 3}, "cannot be read from an int"),
    ],
)
def test_what_init_cannot_be_told_is_named(keywords: dict[str, Any], what: str) -> None:
    with pytest.raises(InvalidRequestError, match=what):
        read_options({**DEFAULTS, **keywords}, {})


def test_an_unknown_keyword_is_named_with_the_one_that_was_meant() -> None:
    with pytest.raises(InvalidRequestError, match=r"init has no keyword 'nmae'\. Did you mean 'name'\?"):
        read_options(DEFAULTS, {"nmae": "x"})


def test_a_file_beats_arguments_and_its_unknown_keys_are_named(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("name: from-file\nlabels: [a, b]\nconfig: {lr: 0.1}\nfolder: /runs/today/\n")
    options = read_options({**DEFAULTS, "name": "argument", "description": "kept"}, {}, path)
    assert options.identity == {
        "name": "from-file",
        "labels": ("a", "b"),
        "folder": "runs/today",
        "description": "kept",
    }
    assert options.config == {"lr": 0.1}
    path.write_text("hparamz: {}\n")
    with pytest.raises(InvalidRequestError, match="unknown key 'hparamz'"):
        read_options(DEFAULTS, {}, path)


def test_the_mode_follows_the_environment_and_the_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_options(DEFAULTS, {}).mode == "offline"
    with pytest.raises(ConfigurationError, match="no server is configured"):
        read_options({**DEFAULTS, "mode": "online"}, {})
    monkeypatch.setenv("HEADWAY_URL", "http://127.0.0.1:1")
    assert read_options(DEFAULTS, {}).mode == "online"
    monkeypatch.setenv("HEADWAY_MODE", "offline")
    monkeypatch.setenv("HEADWAY_PROJECT", "digits")
    options = read_options(DEFAULTS, {})
    assert (options.mode, options.project) == ("offline", "digits")
    assert options.connection is not None and options.connection.url == "http://127.0.0.1:1"


def test_secrets_among_hyperparameters_stay_in_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import headway

    monkeypatch.chdir(tmp_path)
    secret = "canary-5f1b2c"
    config = {"lr": 0.1, "num_tokens": 7, "api_key": secret, "database": {"password": secret}}
    with headway.init(config=config, capture=False, console=False, system=False) as run:
        run.config["url"] = f"https://user:{secret}@example.org/"
        assert run.config["api_key"] == secret
    kept = headway.local_runs(tmp_path / ".headway")[0].config
    assert kept["lr"] == 0.1
    assert kept["num_tokens"] == 7
    assert kept["api_key"] == kept["database"]["password"] == "[redacted]"
    found = [path for path in tmp_path.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    assert found == []


def test_paths_dates_and_the_like_are_their_text() -> None:
    import datetime
    import enum
    import uuid

    class Colour(enum.Enum):
        RED = "red"

    options = argparse.Namespace(
        out=Path("a/b"),
        day=datetime.date(2026, 1, 2),
        at=datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.timezone.utc),
        colour=Colour.RED,
        id=uuid.UUID(int=1),
    )
    config = Config()
    config.parse(options)
    assert config.as_dict() == {
        "out": "a/b",
        "day": "2026-01-02",
        "at": "2026-01-02T03:00:00+00:00",
        "colour": "red",
        "id": "00000000-0000-0000-0000-000000000001",
    }
