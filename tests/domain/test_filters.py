"""The filter language: what it reads, what it refuses and where, and that nothing else ever comes out of it."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headway.domain import filters
from headway.domain.expressions import (
    Among,
    And,
    Attribute,
    Comparison,
    Contains,
    Like,
    Metric,
    Missing,
    Not,
    Operator,
    Or,
    Order,
    Param,
    Statistic,
)
from headway.domain.filters import parse_filter, parse_order
from headway.domain.metrics import SeriesSummary
from headway.domain.search import Searched, index_params, matches, param_key
from headway.errors import InvalidRequestError
from headway.testing.factories import make_run

NAME = Attribute("name")
LR = Param("lr")


class TestReading:
    @pytest.mark.parametrize(
        ("text", "tree"),
        [
            ("name = 'a'", Comparison(NAME, Operator.EQUAL, "a")),
            ('name == "a"', Comparison(NAME, Operator.EQUAL, "a")),
            ("name='it''s'", Comparison(NAME, Operator.EQUAL, "it's")),
            ('name="say ""hi"""', Comparison(NAME, Operator.EQUAL, 'say "hi"')),
            ("params.lr<-0.5e-3", Comparison(LR, Operator.LESS, -0.0005)),
            ("config.lr >= .5", Comparison(LR, Operator.AT_LEAST, 0.5)),
            ("params.lr <= 5.", Comparison(LR, Operator.AT_MOST, 5.0)),
            ("params.lr > +7", Comparison(LR, Operator.MORE, 7)),
            ("params.n = 9007199254740993", Comparison(Param("n"), Operator.EQUAL, 9007199254740993)),
            ("params.n = 1e999", Comparison(Param("n"), Operator.EQUAL, math.inf)),
            (f"params.n = {'9' * 5000}", Comparison(Param("n"), Operator.EQUAL, math.inf)),
            ("params.n = -Infinity", Comparison(Param("n"), Operator.EQUAL, -math.inf)),
            ("params.n = inf", Comparison(Param("n"), Operator.EQUAL, math.inf)),
            ("params.ok != TRUE", Comparison(Param("ok"), Operator.UNEQUAL, True)),
            ("params.a.b-c/d.0 = 1", Comparison(Param("a.b-c/d.0"), Operator.EQUAL, 1)),
            ("params.`a.b`.`c``d` = 1", Comparison(Param("`a.b`.`c``d`"), Operator.EQUAL, 1)),
            ("params.`lr` = 1", Comparison(LR, Operator.EQUAL, 1)),
            ("params.größe = 1", Comparison(Param("größe"), Operator.EQUAL, 1)),
            ("params.not in (1)", Among(Param("not"), (1,))),
            ("metrics.loss < 1", Comparison(Metric("loss"), Operator.LESS, 1)),
            ("metrics.loss.min < 1", Comparison(Metric("loss", Statistic.MIN), Operator.LESS, 1)),
            ("metrics.val.loss.count < 1", Comparison(Metric("val.loss", Statistic.COUNT), Operator.LESS, 1)),
            ("metrics.validation.loss < 1", Comparison(Metric("val.loss"), Operator.LESS, 1)),
            ("metrics.`validation`.loss < 1", Comparison(Metric("validation.loss"), Operator.LESS, 1)),
            ("metrics.min < 1", Comparison(Metric("min"), Operator.LESS, 1)),
            ("metrics.loss.`min` < 1", Comparison(Metric("loss.min"), Operator.LESS, 1)),
            ("metrics.train.`τ of all`.max < 1", Comparison(Metric("train.τ of all", Statistic.MAX), Operator.LESS, 1)),
            ("metrics.gpu/0 < 1", Comparison(Metric("gpu/0"), Operator.LESS, 1)),
            ("name in ('a', 'b')", Among(NAME, ("a", "b"))),
            ("name not in ('a')", Among(NAME, ("a",), negated=True)),
            ("name like 'a%'", Like(NAME, "a%")),
            ("name NOT LIKE 'a%'", Like(NAME, "a%", negated=True)),
            ("labels contains 'best'", Contains(Attribute("labels"), "best")),
            ("labels not contains 'best'", Contains(Attribute("labels"), "best", negated=True)),
            ("job_id is none", Missing(Attribute("job_id"))),
            ("job_id is not none", Missing(Attribute("job_id"), negated=True)),
            ("job_id = none", Missing(Attribute("job_id"))),
            ("job_id != none", Missing(Attribute("job_id"), negated=True)),
            ("created_at > '2026-01-02'", Comparison(Attribute("created_at"), Operator.MORE, 1767312000000)),
            (
                "created_at > '2026-01-02T01:00:00.500+01:00'",
                Comparison(Attribute("created_at"), Operator.MORE, 1767312000500),
            ),
            (
                "created_at < '2026-01-02T00:00:00.500Z'",
                Comparison(Attribute("created_at"), Operator.LESS, 1767312000500),
            ),
        ],
    )
    def test_a_comparison(self, text: str, tree: Any) -> None:
        assert parse_filter(text) == tree
        assert parse_filter(f"  (({text}))\n") == tree

    def test_and_binds_tighter_than_or_and_not_tighter_than_both(self) -> None:
        a, b, c = (Comparison(NAME, Operator.EQUAL, letter) for letter in "abc")
        assert parse_filter("name='a' or name='b' and not name='c'") == Or((a, And((b, Not(c)))))
        assert parse_filter("(name='a' or name='b') and name='c'") == And((Or((a, b)), c))
        assert parse_filter("not not name='a'") == Not(Not(a))

    def test_nan_is_a_number(self) -> None:
        found = parse_filter("metrics.loss = NaN")
        assert isinstance(found, Comparison)
        assert isinstance(found.value, float)
        assert math.isnan(found.value)

    def test_an_order(self) -> None:
        assert parse_order("name") == Order(NAME)
        assert parse_order(" -params.lr ") == Order(LR, descending=True)
        assert parse_order("- metrics.val.loss.min") == Order(Metric("val.loss", Statistic.MIN), descending=True)


class TestRefusing:
    @pytest.mark.parametrize(
        ("text", "position", "says"),
        [
            ("", 0, "the end comes where a field belongs"),
            ("   ", 0, "the end comes where a field belongs"),
            ("name", 4, "the end comes where a comparison belongs"),
            ("name =", 6, "the end comes where a value belongs"),
            ("name = 'a' or", 13, "the end comes where a field belongs"),
            ("name = 'a' name = 'b'", 11, "'name' stands follows"),
            ("name = running", 7, "Put text in quotes: 'running'"),
            ("nmae = 'a'", 0, "Did you mean 'name'?"),
            ("name = 'a' and metric.loss < 1", 15, "Did you mean 'metrics.loss'?"),
            ("parms.lr < 1", 0, "Did you mean 'params.lr'?"),
            ("metrics < 1", 0, "'metrics' needs a name after it"),
            ("name = 'a", 7, "the ' has no partner"),
            ("params.`a = 1", 6, "cannot be read"),
            ("params.a @ 1", 9, "cannot be read"),
            ("params.a = 1.2.3", 11, "cannot be read"),
            ("name = 5", 7, "name is compared with text, not 5"),
            ("attempts = 'a'", 11, "attempts is compared with numbers"),
            ("metrics.loss = 'a'", 15, "compared with numbers"),
            ("metrics.loss = true", 15, "compared with numbers"),
            ("metrics.loss like 'a'", 0, "looks into text"),
            ("duration contains '1'", 0, "looks into text"),
            ("params.a < true", 11, "no order"),
            ("params.a < none", 9, "none has no order"),
            ("params.a in (1, none)", 16, "none cannot be in a list"),
            ("params.a in ()", 13, "where a value belongs"),
            ("params.a in (1", 14, "where ')' belongs"),
            ("params.a like 1", 14, "followed by text"),
            ("params.a is 1", 12, "where 'none' belongs"),
            ("params.a not < 1", 13, "after 'not' belongs"),
            ("state = 'runing'", 8, "Did you mean 'running'?"),
            ("created_at > 'yesterday'", 13, "is no time"),
            ("created_at > 5", 13, "compared with text"),
            ("labels = 'a'", 9, "labels contains"),
            ("labels like 'a'", 0, "Ask for a whole label"),
            ("name = 'a\0b'", 9, "NUL"),
            ("name = 'a\ud800b'", 9, "surrogate"),
            ("name lik 'a'", 5, "Did you mean 'like'?"),
        ],
    )
    def test_it_says_where_and_why(self, text: str, position: int, says: str) -> None:
        with pytest.raises(InvalidRequestError) as caught:
            parse_filter(text)
        assert says in str(caught.value)
        assert caught.value.details["position"] == position
        assert f"at character {position + 1}" in caught.value.message

    @pytest.mark.parametrize("text", ["", "-", "labels", "-labels", "name, id", "nmae", "name desc", "metrics", "-5"])
    def test_an_order_that_is_none(self, text: str) -> None:
        with pytest.raises(InvalidRequestError, match="order_by"):
            parse_order(text)

    def test_bounds(self) -> None:
        deep = filters.MAX_DEPTH
        assert parse_filter("(" * deep + "name = 'a'" + ")" * deep)
        assert parse_filter("not " * deep + "name = 'a'")
        for opening in ("(", "not ", "not ("):
            with pytest.raises(InvalidRequestError, match="nested"):
                parse_filter(opening * (deep + 1) + "name = 'a'" + ")" * (deep + 1))
        with pytest.raises(InvalidRequestError, match="10001 characters"):
            parse_filter("x" * 10_001)
        with pytest.raises(InvalidRequestError, match="201 comparisons"):
            parse_filter(" or ".join(["name = 'a'"] * 201))
        with pytest.raises(InvalidRequestError, match="33 hyperparameters"):
            parse_filter(" or ".join(f"params.p{number} = 1" for number in range(33)))


WORDS = [
    *("and", "or", "not", "in", "like", "is", "contains", "none", "true", "(", ")", ",", "=", "!=", "<=", "name"),
    *(
        "params.a",
        "metrics.val.loss.min",
        "labels",
        "created_at",
        "'a'",
        '"b"',
        "1",
        "-2.5e3",
        "`q`",
        ".",
        "'",
        "`",
        "\0",
    ),
]


@settings(max_examples=300, deadline=None)
@given(text=st.one_of(st.text(max_size=200), st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join)))
@example("((((((((((" * 1000)
@example("not " * 2500)
@example("'" * 9_999)
@example("`" * 9_999)
@example("params." + "a." * 4_000)
@example("1" * 10_000)
@example("params.a in (" + "1," * 4_000)
@example("-" * 10_000)
@example("٣.٣")
def test_whatever_is_given_comes_out_as_a_tree_or_as_one_error(text: str) -> None:
    for read in (parse_filter, parse_order):
        try:
            read(text)
        except InvalidRequestError as error:
            assert 0 <= error.details["position"] <= len(text)


def test_the_longest_filter_is_read_in_no_time() -> None:
    text = " or ".join(["params.lr < 0.1"] * 200)
    began = time.process_time()
    for hostile in (text, "params.`" + "``" * 4_900, "name like '" + "%_" * 4_900 + "'", "a" * 10_000, "(" * 10_000):
        try:
            parse_filter(hostile)
        except InvalidRequestError:
            pass
    assert time.process_time() - began < 5


class TestMeaning:
    """What a tree says of a run; tests of storage hold the databases to the same."""

    def holds(self, text: str, *, config: dict[str, Any] | None = None, metrics: Any = (), **fields: Any) -> bool:
        run = make_run(config=config or {}, **fields)
        return matches(parse_filter(text), Searched.of(run, metrics))

    def test_what_is_missing_satisfies_only_is_none(self) -> None:
        for test in ("= 1", "!= 1", "< 1", ">= 1", "in (1)", "not in (1)", "like '%'", "not like 'a'", "contains ''"):
            assert not self.holds(f"params.a {test}")
            assert self.holds(f"not params.a {test}")
        assert self.holds("params.a is none")
        assert self.holds("params.a is none", config={"a": None})
        assert self.holds("metrics.loss is none")

    def test_forms_do_not_mix(self) -> None:
        assert not self.holds("params.a = '1'", config={"a": 1})
        assert self.holds("params.a != '1'", config={"a": 1})
        assert not self.holds("params.a = 1", config={"a": True})
        assert self.holds("params.a = true", config={"a": True})
        assert not self.holds("params.a < 2", config={"a": "1"})
        assert self.holds("params.a < '2'", config={"a": "1"})

    def test_whole_numbers_of_64_bits_are_exact(self) -> None:
        big = 2**63 - 1
        assert self.holds(f"params.a = {big}", config={"a": big})
        assert not self.holds(f"params.a = {big - 1}", config={"a": big})
        assert self.holds(f"params.a > {big - 1} and params.a >= {big}", config={"a": big})
        assert not self.holds("params.a > 9007199254740993", config={"a": 9007199254740993})

    def test_nan_equals_nan_and_has_no_order(self) -> None:
        diverged = [SeriesSummary(name="loss", stage="val", count=2, last="NaN", nan_count=1, min=0.5)]
        assert self.holds("metrics.val.loss = nan and metrics.val.loss is not none", metrics=diverged)
        assert self.holds("metrics.val.loss != 3", metrics=diverged)
        assert not self.holds("metrics.val.loss < 3 or metrics.val.loss >= 3", metrics=diverged)
        assert self.holds("metrics.validate.loss.min = 0.5 and metrics.val.loss.max is none", metrics=diverged)
        assert self.holds("params.a = nan and params.a = 'NaN'", config={"a": "NaN"})
        assert self.holds("params.a > 1e308 and params.a = 'Infinity'", config={"a": "Infinity"})

    def test_like_tells_cases_apart(self) -> None:
        assert self.holds("name like 'A_b%'", name="Axb\n\nrest")
        assert not self.holds("name like 'a%'", name="Abc")
        assert not self.holds("name like 'A_'", name="Abc")
        assert self.holds("name like '%.*[b%'", name="a.*[b")

    def test_labels_are_whole_and_text_is_not(self) -> None:
        assert self.holds("labels contains 'best'", labels=("best", "x"))
        assert not self.holds("labels contains 'bes'", labels=("best",))
        assert self.holds("labels not contains 'bes'", labels=("best",))
        assert not self.holds("labels not contains 'bes'")
        assert self.holds("labels is none and description contains 'es'", description="best")

    def test_lists_and_groups(self) -> None:
        config = {"layers": [64, 32], "optimizer": {"lr": 0.1, "a.b": {"`": 2}}, "empty": {}}
        assert self.holds("params.layers = '[64, 32]' and params.layers contains '32'", config=config)
        assert self.holds("params.optimizer.lr = 0.1 and params.optimizer is none", config=config)
        assert self.holds("params.optimizer.`a.b`.```` = 2", config=config)
        assert self.holds("params.empty = '{}'", config=config)


def test_what_cannot_be_searched_is_left_out_and_harms_nothing() -> None:
    config = {"a\0b": 1, "c": "d\0e", "f": "\ud800", "\udfff": 1, "x" * 2000: 1, "ok": 1, "big": 10**400}
    assert set(index_params(config)) == {"ok", "big"}
    deep: dict[str, Any] = {}
    for _ in range(200):
        deep = {"a": deep}
    assert len(index_params(deep)) == 1
    assert len(index_params({str(number): number for number in range(10_000)})) == 5000


@given(
    path=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1, max_size=4)
)
def test_every_path_can_be_written_in_a_filter(path: list[str]) -> None:
    quoted = ".".join("`" + name.replace("`", "``") + "`" for name in path)
    assert parse_filter(f"params.{quoted} = 1") == Comparison(Param(param_key(tuple(path))), Operator.EQUAL, 1)
