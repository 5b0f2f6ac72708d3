"""Expressions: what they find in a line, that many lines at once give the same, and what is refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headway.errors import InvalidRequestError
from headway.monitors import Expression, Match, Point, check_sample, compile_expression
from headway.monitors.expressions import readable

ATOMS = st.sampled_from(
    [
        *("a", "b", "1", ".", "^", "$", r"\A", r"\z", r"\s", r"\S", r"\d", r"\w", r"\W", r"\b", r"\B", "[^a]", "[^b1]"),
        *("[ab]", r"[\s1]", r"[^\S]", "ü", r"\x00", r"\n", r"\r", "[[:space:]]", "[^[:alpha:]]", r"\pL", r"\PL", r"\C"),
        *(
            "(?s).",
            "(?m)^",
            "(?m)$",
            "(?i)A",
            "(?U)a*",
            "(?-m)$",
            "(?s:.)",
            "(?m:$)",
            "(?s-m:.$)",
            r"\Q.\E",
            r"\x{2028}",
        ),
    ]
)


def compounds(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.lists(inner, min_size=1, max_size=4).map("".join),
        st.tuples(inner, inner).map("|".join),
        inner.map("(?:{})".format),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "*?", "+?", "{0,2}", "{1,3}?"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        ),
        inner.map("({})".format),
        inner.map("(?m:{})".format),
    )


EXPRESSIONS = st.recursive(ATOMS, compounds, max_leaves=8)
TEXTS = st.lists(st.text("ab1 .\0\rüß\u2028A-e_x", max_size=8), min_size=1, max_size=8).map("\n".join)


def line_by_line(expression: Expression, lines: bytes) -> list[Match]:
    """What :meth:`Expression.scan` must give, from each line by itself."""
    found, start = [], 0
    for line in lines.split(b"\n"):
        match = expression.match_line(line)
        if match is not None:
            found.append(Match(start, start + len(line), match.point))
        start += len(line) + 1
    return found


def compiled(regex: str) -> Expression | None:
    try:
        return compile_expression(regex)
    except InvalidRequestError:
        return None  # more than two groups, or something repeated that cannot be


@settings(max_examples=1500, deadline=None)
@given(EXPRESSIONS, TEXTS)
@example(r"\s*a", "b\n\n a")
@example("[^a]$", "b\na\nb")
@example("(?s)a.*b", "a\nb\nab")
@example("$", "\n\n")
@example("a*", "")
@example(r"\b1\b", "1\n1\na1")
@example(r"(?:^|b)1", "b\n1")
@example(r"\Qa", "b\na")
@example(r"(\d+)|(a)", "1\na\nb 2")
@example("(?m)(?-m)^a$", "a\na")
def test_many_lines_at_once_give_what_each_line_gives(regex: str, text: str) -> None:
    expression = compiled(regex)
    if expression is not None:
        lines = text.encode()
        assert repr([*expression.scan(lines)]) == repr(line_by_line(expression, lines))


@settings(max_examples=500, deadline=None)
@given(EXPRESSIONS, st.binary(max_size=40))
def test_bytes_that_are_no_text_are_seen_as_readers_see_them(regex: str, data: bytes) -> None:
    """Replaced together or line by line is the same, and the scan finds what the decoded lines hold."""
    together = readable(data)
    assert together == b"\n".join(map(readable, data.split(b"\n")))
    assert together.decode() == data.decode(errors="replace")
    expression = compiled(regex)
    if expression is not None:
        assert repr([*expression.scan(together)]) == repr(line_by_line(expression, together))


@pytest.mark.parametrize(
    ("regex", "line", "point"),
    [
        (r"loss = (\S+), step = (\d+)", "12:00 loss = 0.3, step = 159", Point(0.3, 159)),
        (r"loss = (\S+), step = (\S+)", "loss = 1e-3, step = 3.0", Point(0.001, 3)),
        (r"loss = (\S+), step = (\S+)", "loss = 1e-3, step = 3.5", None),
        (r"loss=(\S+)", "loss=-.5", Point(-0.5, None)),
        (r"loss=(\S+)", "loss=inf", Point(math.inf, None)),
        (r"loss=(\S+)", "loss=1,234", None),
        (r"loss=(\S+)", "loss=1_000", None),
        (r"loss=(\S+)", "loss=12%", None),
        (r"loss=(\S+)", "loss=0x10", None),
        (r"loss=(\S+)", "loss=٣", None),
        (r"loss=(\S+)( at \d+)?", "loss=7", Point(7.0, None)),
        (r"loss=(\d+)|acc=(\d+)", "acc=7", None),
        (r"loss.*", "epoch 1 loss 0.5 of 2", Point(2.0, None)),
        (r"loss.*", "loss unknown", None),
        (r"(?P<value>\d+) at (?P<step>-?\d+)", "5 at -2", Point(5.0, -2)),
        (r"x(\d+)", "x1 x2", Point(1.0, None)),
        (r"s=(\d+) (\d+)", "s=1 9223372036854775808", None),
    ],
)
def test_the_first_match_of_a_line_is_its_point(regex: str, line: str, point: Point | None) -> None:
    assert compile_expression(regex).point_of(line) == point


def test_not_a_number_is_a_value() -> None:
    found = compile_expression(r"loss (\w+)").point_of("loss NaN")
    assert found is not None
    assert math.isnan(found.value)


@pytest.mark.parametrize(
    ("regex", "words"),
    [
        (r"(?<=loss )\d+", "put a group around the number"),
        (r"\d+(?!%)", "put a group around the number"),
        (r"(a)\1", "write the repeated part out again"),
        (r"(?P<a>x)(?P=a)", "write the repeated part out again"),
        (r"(?>a+)b", "write the group or repetition plainly"),
        (r"a++", "write the group or repetition plainly"),
        (r"loss (\d+", "a ( is not closed"),
        (r"loss)", "a ) has no ("),
        (r"[ab", "a [ is not closed"),
        (r"*a", "nothing before it to repeat"),
        (r"a{2000}", "at most 1000 times"),
        (r"loss\Z", r"Write \z"),
        (r"\u0041", r"\x{0041}"),
        (r"(?x) a", "flags i, m, s and U"),
        (r"a\h", r"[ \t]"),
        ("a\\", "single backslash"),
        (r"\p{Foo}", "class of characters"),
        ("\ud800", "no valid text"),
        (r"(a)(b)(c)", "it has 3 groups"),
        (r"(?:(?:\w{300}){3})\d", "too large"),
        (r"((((a{100}){100}){100}){100}){100}", "1000 times"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_to_write_instead(regex: str, words: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        compile_expression(regex)
    assert words in str(caught.value)
    assert "cannot be used" in str(caught.value)


@pytest.mark.parametrize("regex", [r"(a+)+$", r"(x+x+)+y", r"(a|aa)+$", r"(.*)*(\d)"])
def test_what_would_backtrack_for_ever_elsewhere_ends(regex: str) -> None:
    line = b"a" * (1 << 20) + b"!"
    assert compile_expression(regex).match_line(line) is None


def test_a_sample_must_hold_a_point() -> None:
    assert check_sample(r"loss = (\S+)", "loss = 0.3\n").regex == r"loss = (\S+)"
    assert check_sample("x", None).groups == 0
    with pytest.raises(InvalidRequestError, match="does not match the sample 'acc = 1'"):
        check_sample(r"loss = (\S+)", "acc = 1")
    with pytest.raises(InvalidRequestError, match="is no number and step"):
        check_sample(r"loss = (\S+)", "loss = 0.3,")
    with pytest.raises(InvalidRequestError, match="match holds no number"):
        check_sample("loss", "loss = 0.3")
    with pytest.raises(InvalidRequestError, match="several lines"):
        check_sample("loss", "loss\n0.3")


@pytest.mark.parametrize(
    ("regex", "point"),
    [
        (r"step (?P<step>\d+): loss (?P<value>\S+)", Point(0.5, 7)),
        (r"step (?P<step>\d+): loss (\S+)", Point(0.5, 7)),
        (r"step (\d+): loss (?P<value>\S+)", Point(0.5, 7)),
        (r"step \d+: loss (?P<value>\S+)", Point(0.5, None)),
        (r"step (\d+)", Point(7.0, None)),
    ],
)
def test_groups_with_names_stand_in_any_order(regex: str, point: Point) -> None:
    assert compile_expression(regex).point_of("step 7: loss 0.5") == point


def test_a_step_without_a_value_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="no value"):
        compile_expression(r"step (?P<step>\d+)")
