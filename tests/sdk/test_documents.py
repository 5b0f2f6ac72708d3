"""Documents that people write are bounded and plain."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.documents import parse_yaml, read_text
from headway.errors import InvalidRequestError


def test_an_alias_bomb_is_refused_at_once() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]" for n in range(12)]
    with pytest.raises(InvalidRequestError, match="more than 100000 values"):
        parse_yaml("\n".join(lines), "bomb.yaml")


@pytest.mark.parametrize(
    "text",
    ["&a [*a]", "!!python/object/apply:os.system [id]", "a: 1\n---\nb: 2", "{" * 5000, "a: 2001-99-99", "a: \x08"],
)
def test_what_is_not_a_plain_document_is_one_error(text: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"job\.yaml"):
        parse_yaml(text, "job.yaml")


def test_ordinary_aliases_and_merges_work() -> None:
    text = "base: &b {count: 2}\nworker: {<<: *b, command: x}\n"
    assert parse_yaml(text, "f")["worker"] == {"count": 2, "command": "x"}


@given(st.text(max_size=200))
def test_any_text_is_a_value_or_one_of_our_errors(text: str) -> None:
    try:
        parse_yaml(text, "f")
    except InvalidRequestError as error:
        assert "\n" not in error.message


def test_a_large_or_binary_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"a" * 11)
    with pytest.raises(InvalidRequestError, match="larger than 10"):
        read_text(tmp_path / "large", limit=10)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidRequestError, match="UTF-8"):
        read_text(tmp_path / "binary")
    with pytest.raises(InvalidRequestError, match="Cannot read"):
        read_text(tmp_path / "missing")
