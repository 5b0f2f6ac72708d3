"""Runs of this machine, asked as those of a server are, and compared with each other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import headway
from headway import InvalidRequestError, NotFoundError
from headway.tracking.views import LocalView, local_table, local_views

QUIET: dict[str, Any] = {"mode": "offline", "capture": False, "system": False}


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """HEADWAY_DIR of a user who knows no server."""
    monkeypatch.setenv("HEADWAY_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("HEADWAY_CONFIG", str(tmp_path / "config.yaml"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def tracked(name: str, rate: float, **options: Any) -> headway.TrackedRun:
    """A run with two stages, one of them under two words."""
    with headway.init("digits", name, {"lr": rate}, **{**QUIET, "console": False, **options}) as run:
        for step in range(4):
            run.log({"loss": rate * step}, step=step, stage="val" if step % 2 else "validation")
            run.log({"count": step})
        return run


def view(name: str) -> LocalView:
    return next(each for each in local_views() if each.name == name)


def test_a_run_here_answers_as_one_of_a_server_does(base: Path) -> None:
    run = tracked("first", 0.5, labels=["a"])
    found = view("first")
    assert isinstance(found, headway.Run)
    assert (found.id, found.state.value, found.labels, found.config) == (run.id, "complete", ("a",), {"lr": 0.5})
    assert found.metrics("loss", stage="validate").values == [0.0, 0.5, 1.0, 1.5]
    assert found.metrics("loss", stage="val", replica="rank7").values == []
    assert [(s.name, s.stage, s.replica, s.attempts, s.count) for s in found.series()] == [
        ("count", "", "rank0", (0,), 4),
        ("loss", "val", "rank0", (0,), 4),
    ]
    assert found.summary["validation.loss"].max == 1.5
    assert "first" in found._repr_html_()
    with pytest.raises(InvalidRequestError, match="aggregate needs a server"):
        found.metrics("count", aggregate="mean")


def test_points_keep_the_word_that_was_logged(base: Path, tmp_path: Path) -> None:
    tracked("first", 0.5)
    blocks = list(view("first").points().blocks(tmp_path))
    assert sorted((block.name, block.word, block.stage, len(block.line)) for block in blocks) == [
        ("count", "", "", 4),
        ("loss", "val", "val", 2),
        ("loss", "validation", "val", 2),
    ]
    assert len({block.writer for block in blocks}) == 1


def test_what_was_printed_is_read_to_its_end_or_from_it(base: Path, tmp_path: Path) -> None:
    script = tmp_path / "talk.py"
    lines = (
        "import headway",
        "with headway.init('digits', 'talk', system=False):",
        "  [print(n) for n in range(2500)]",
    )
    script.write_text("\n".join(lines))
    subprocess.run([sys.executable, str(script)], check=True, capture_output=True, timeout=60)
    assert [row.message for row in view("talk").logs()] == [str(number) for number in range(2500)]
    assert [row.message for row in view("talk").logs(tail=2)] == ["2498", "2499"]
    assert list(view("talk").logs(replica="rank3")) == []
    with pytest.raises(InvalidRequestError, match="cannot be followed"):
        list(view("talk").logs(follow=True))


def test_runs_are_searched_and_sorted_as_on_a_server(base: Path) -> None:
    for name, rate in (("a", 0.3), ("b", 0.1), ("c", 0.2)):
        tracked(name, rate)

    def names(filter: str | None = None, **options: Any) -> list[str]:
        return [row["name"] for row in local_table(local_views(), filter, columns=["name"], **options)]

    assert names() == ["c", "b", "a"]
    assert names(order_by="params.lr") == ["b", "c", "a"]
    assert names("metrics.val.loss.max > 0.5", order_by="-metrics.val.loss.max") == ["a", "c"]
    assert names("not params.lr = 0.1", limit=1) == ["c"]


def test_runs_are_compared_by_id_as_they_are_and_while_they_run(base: Path) -> None:
    first, second = tracked("first", 0.5), tracked("second", 0.25)
    by_id = headway.diff(first.id, second.id)
    assert [(change.key, change.a, change.b) for change in by_id.config] == [("lr", 0.5, 0.25)]
    assert [change.key for change in by_id.metrics] == ["val.loss"]
    with headway.init("digits", "third", {"lr": 0.5}, console=False, **QUIET) as third:
        third.log({"loss": 1.0})
        found = headway.diff(headway.local_runs()[-1], third)
        assert (found.a.name, found.b.name, found.config) == ("first", "third", ())
        assert {change.key for change in found.metrics} == {"loss", "count", "val.loss"}
    assert not headway.diff(view("first"), first.id)


def test_what_is_no_run_is_refused(base: Path) -> None:
    with pytest.raises(NotFoundError, match="no-such-run"):
        headway.diff("no-such-run", "no-such-run")
    with pytest.raises(InvalidRequestError, match="int is no run"):
        headway.diff(1, 2)  # type: ignore[arg-type]
    with headway.init("digits", mode="disabled") as run, pytest.raises(InvalidRequestError, match="disabled"):
        headway.diff(run, run)
