"""User text cannot drive the terminal."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.cli import output
from headway.cli.output import clean, size_text


@pytest.mark.parametrize(
    ("text", "plain", "coloured"),
    [
        ("plain \t ü", "plain \t ü", "plain \t ü"),
        ("\x1b[31mred\x1b[0m", "red", "\x1b[31mred\x1b[0m\x1b[0m"),
        ("a\x1b[2J\x1b[1;1Hb", "ab", "ab"),
        ("\x1b]0;title\x07x\x1b]8;;http://evil\x1b\\y", "xy", "xy"),
        ("\x9b31mx\x07\x08\r\x00", "31mx", "31mx"),
        ("\x1bPq#0;2\x1b\\x", "x", "x"),
        ("abc\u202edef", "abcdef", "abcdef"),
        ("\x1b[3\x1b[31m1mx", "31mx", "3\x1b[31m1mx\x1b[0m"),
    ],
)
def test_known_sequences(text: str, plain: str, coloured: str) -> None:
    assert clean(text) == plain
    assert clean(text, keep_colours=True) == coloured


@given(st.text(st.sampled_from("\x1b\x9b[]?0;1mHJPX\\\x07\x08\r\x00ab"), max_size=40))
def test_nothing_but_colours_is_left(text: str) -> None:
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", clean(text))
    without_colours = re.sub(r"\x1b\[[0-9;:]*m", "", clean(text, keep_colours=True))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", without_colours)


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 40, "5.0 TiB")])
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text


def test_a_narrow_terminal_cuts_names_and_never_states(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "_width", lambda: 40)
    rows = [("run" + "x" * 13, "a-long-name-of-a-run", "succeeded", "12m", "label")]
    output.print_table(("ID", "NAME", "STATE", "AGE", "LABELS"), rows, empty="")
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["ID", "NAME", "STATE", "AGE", "LABELS"]
    assert line.split()[2:] == ["succeeded", "12m", "label"]
    assert len(line) <= 40
    assert "…" in line
