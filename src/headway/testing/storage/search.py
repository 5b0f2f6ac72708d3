"""Searches of runs: what the databases find is what :mod:`headway.domain.search` says of each run by itself."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.domain.base import PageRequest, new_id
from headway.domain.expressions import (
    ATTRIBUTES,
    Among,
    And,
    Attribute,
    Comparison,
    Contains,
    Expression,
    FieldType,
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
from headway.domain.filters import parse_filter
from headway.domain.metrics import SeriesSummary
from headway.domain.runs import Run, RunState
from headway.domain.search import SORTED_TEXT, Form, Searched, matches
from headway.errors import InvalidRequestError
from headway.storage.base import Session, Storage
from headway.testing import factories as make
from headway.testing.storage.fixtures import StorageFixtures, on_one_storage

EXAMPLES = 2000 if os.environ.get("HEADWAY_TEST_FULL") == "1" else 100
BIG = 2**53
NUMBERS = [0, -0.0, 1, 1.5, -2.5, 1e-320, 1e308, BIG, BIG + 1, -BIG - 1, 2**63 - 1, -(2**63) + 1, math.inf, -math.inf]
TEXTS = [
    "",
    "a",
    "A",
    "ab",
    "a%b",
    "a_b",
    "a*b",
    "a?[b]",
    "\\",
    "ä",
    "\U0001f4a9x",
    "'; --",
    "NaN",
    "Infinity",
    "1",
    "a\nb",
]
NAMES = ["a", "b", "lr", "x.y", "ü", "p"]

texts = st.one_of(st.sampled_from(TEXTS), st.text("aAb%_*?[\\é\n", max_size=4))
numbers = st.one_of(st.sampled_from(NUMBERS), st.floats(allow_nan=False), st.integers(-(2**63) + 1, 2**63 - 1))
scalars = st.one_of(texts, numbers, st.booleans())
configs = st.dictionaries(
    st.sampled_from(NAMES),
    st.one_of(
        st.none(), scalars, st.lists(st.integers(0, 3), max_size=2), st.dictionaries(st.sampled_from(NAMES), scalars)
    ),
    max_size=4,
)


def in_words(value: Any) -> Any:
    """As a record carries what JSON lacks."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: in_words(item) for key, item in value.items()}
    return value


@st.composite
def summaries(draw: st.DrawFn) -> list[SeriesSummary]:
    keys = draw(st.lists(st.tuples(st.sampled_from(["", "val"]), st.sampled_from(["loss", "a b"])), unique=True))
    values = st.one_of(st.none(), numbers)
    return [
        SeriesSummary(
            name=name,
            stage=stage,
            count=draw(st.integers(0, 2**53)),
            last=in_words(draw(st.one_of(values, st.just(math.nan)))),
            last_step=draw(st.one_of(st.none(), st.integers(-(2**63) + 1, 2**63 - 1))),
            min=in_words(draw(values)),
            max=in_words(draw(values)),
            mean=in_words(draw(st.one_of(st.none(), st.floats(allow_nan=False)))),
            nan_count=draw(st.integers(0, 5)),
        )
        for stage, name in keys
    ]


@st.composite
def tracked(draw: st.DrawFn) -> tuple[Run, list[SeriesSummary]]:
    created = make.moment(draw(st.integers(0, 3)))
    finished = draw(st.one_of(st.none(), st.integers(-5, 100_000)))
    run = make.make_run(
        name=draw(texts),
        state=draw(st.sampled_from(RunState)),
        folder=draw(st.sampled_from(["", "a", "a/b"])),
        labels=tuple(draw(st.lists(st.sampled_from(["best", "bes", "%", "b"]), max_size=2, unique=True))),
        description=draw(texts),
        config=in_words(draw(configs)),
        job_id=draw(st.sampled_from([None, "job1"])),
        attempts=draw(st.integers(0, 3)),
        created_at=created,
        finished_at=None if finished is None else created + timedelta(milliseconds=finished),
        created_by=draw(st.sampled_from(["usr1", "usr2"])),
    )
    return run, draw(summaries())


attributes = st.sampled_from([Attribute(name) for name in ATTRIBUTES])
params = st.builds(Param, st.sampled_from(["a", "b", "lr", "`x.y`", "ü", "p", "a.b", "p.`x.y`", "absent"]))
metrics = st.builds(Metric, st.sampled_from(["loss", "val.loss", "a b", "absent"]), st.sampled_from(Statistic))
fields = st.one_of(attributes, params, metrics)
literals = st.one_of(numbers, st.just(math.nan))


@st.composite
def comparisons(draw: st.DrawFn) -> Expression:
    """Any that a filter can say: of a type that fits the field."""
    field = draw(fields)
    negated = draw(st.booleans())
    if draw(st.integers(0, 4)) == 0:
        return Missing(field, negated)
    if isinstance(field, Attribute) and field.type is FieldType.LABELS:
        return Contains(field, draw(st.sampled_from(["best", "bes", "", "%"])), negated)
    textual = isinstance(field, Param) or (
        isinstance(field, Attribute) and field.type in (FieldType.TEXT, FieldType.STATE)
    )
    kind = draw(st.sampled_from(["compare", "among", "like", "contains"] if textual else ["compare", "among"]))
    if kind == "like":
        return Like(field, draw(texts), negated)
    if kind == "contains":
        return Contains(field, draw(texts), negated)
    values: st.SearchStrategy[Any] = texts if textual else literals
    if isinstance(field, Param):
        values = st.one_of(texts, literals, st.booleans())
    if isinstance(field, Attribute) and field.type is FieldType.TIME:
        values = st.integers(0, 3).map(lambda second: int(make.moment(second).timestamp() * 1000))
    if kind == "among":
        return Among(field, tuple(draw(st.lists(values, min_size=1, max_size=4))), negated)
    value = draw(values)
    operators = [Operator.EQUAL, Operator.UNEQUAL] if isinstance(value, bool) else list(Operator)
    return Comparison(field, draw(st.sampled_from(operators)), value)


expressions = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        inner.map(Not),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: And(tuple(parts))),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: Or(tuple(parts))),
    ),
    max_leaves=6,
)
orders = st.builds(Order, fields.filter(lambda field: field != Attribute("labels")), st.booleans())


def walk(session: Session, limit: int, project_id: str, **asked: Any) -> list[str]:
    """The ids on all pages of a search."""
    found: list[str] = []
    cursor = None
    while True:
        page = session.runs.search(PageRequest(limit=limit, cursor=cursor), project_ids=[project_id], **asked)
        assert len(page.items) <= limit
        found += [run.id for run in page.items]
        if page.next_cursor is None:
            return found
        cursor = page.next_cursor


def expected_order(runs: Sequence[Run], known: Mapping[str, Searched], order: Order | None) -> list[str]:
    """As the guide says: numbers, NaN, booleans, texts, nothing; equal ones newest first."""
    found = sorted(runs, key=lambda run: (run.created_at, run.id), reverse=True)
    if order is None:
        return [run.id for run in found]

    def value(run: Run) -> tuple[float, int, str]:
        indexed = known[run.id].value(order.field)
        if indexed is None:
            return 0.0, 0, ""
        text = (indexed.text or "")[:SORTED_TEXT] if indexed.form is Form.TEXT else ""
        return indexed.number or 0.0, indexed.rest, text

    def form(run: Run) -> int:
        indexed = known[run.id].value(order.field)
        return len(Form) if indexed is None else indexed.form.value

    found.sort(key=value, reverse=order.descending)
    if order.descending:  # a reversed sort keeps equal ones in place, too
        assert [run.id for run in found] == [run.id for run in sorted(found, key=value, reverse=True)]
    return [run.id for run in sorted(found, key=form)]


def put_runs(storage: Storage, population: Sequence[tuple[Run, Sequence[SeriesSummary]]]) -> str:
    project_id = new_id("prj")
    with storage.write() as session:
        for run, found in population:
            session.runs.add(run.evolve(project_id=project_id))
            session.run_metrics.put(run.id, found)
    return project_id


class SearchContract(StorageFixtures):
    @settings(on_one_storage, max_examples=EXAMPLES)
    @given(
        population=st.lists(tracked(), max_size=8),
        where=st.one_of(st.none(), expressions),
        order=st.one_of(st.none(), orders),
        limit=st.integers(1, 4),
    )
    def test_a_search_finds_what_each_run_by_itself_satisfies(
        self,
        storage: Storage,
        population: list[tuple[Run, list[SeriesSummary]]],
        where: Expression | None,
        order: Order | None,
        limit: int,
    ) -> None:
        project_id = put_runs(storage, population)
        known = {run.id: Searched.of(run, found) for run, found in population}
        wanted = [run for run, _ in population if where is None or matches(where, known[run.id])]
        with storage.read() as session:
            found = walk(session, limit, project_id, where=where, order=order)
        assert found == expected_order(wanted, known, order)

    @settings(on_one_storage, max_examples=40)
    @given(population=st.lists(tracked(), min_size=1, max_size=3))
    def test_summaries_come_back_as_they_were_put(
        self, storage: Storage, population: list[tuple[Run, list[SeriesSummary]]]
    ) -> None:
        put_runs(storage, population)
        with storage.read() as session:
            for run, put in population:
                found = session.run_metrics.of_run(run.id)
                assert [repr(one) for one in found] == [repr(one) for one in sorted(put, key=lambda one: one.key)]
                assert [one.model_dump_json() for one in found] == [
                    one.model_dump_json() for one in sorted(put, key=lambda one: one.key)
                ]

    def test_a_later_summary_replaces_and_others_stay(self, storage: Storage) -> None:
        loss, accuracy = (
            SeriesSummary(name="loss", stage="val", count=1, last=2),
            SeriesSummary(name="accuracy", stage="", count=1, last=0.5),
        )
        run = make.make_run()
        put_runs(storage, [(run, [loss, accuracy])])
        later = loss.evolve(count=2, last=1)
        with storage.write() as session:
            session.run_metrics.put(run.id, [later])
            session.run_metrics.put("absent", [later])
        with storage.read() as session:
            assert session.run_metrics.of_run(run.id) == [accuracy, later]
            assert session.run_metrics.of_run(run.id, prefix="val.") == [later]
            assert session.run_metrics.of_run("absent") == []
            assert session.run_metrics.of_runs([run.id, "absent"], limit=1) == {run.id: [accuracy]}
            assert session.run_metrics.of_runs([], limit=1) == {}

    def test_many_series_of_many_runs(self, storage: Storage) -> None:
        population = [
            (make.make_run(), [SeriesSummary(name=f"m{n:04}", stage="", count=n, last=n) for n in range(1200)])
            for _ in range(2)
        ]
        put_runs(storage, population)
        with storage.write() as session:
            session.run_metrics.put(population[0][0].id, [one.evolve(last=-1) for one in population[0][1]])
        with storage.read() as session:
            found = session.run_metrics.of_runs([run.id for run, _ in population], limit=1000)
            assert [one.last for one in session.run_metrics.of_run(population[0][0].id)] == [-1] * 1200
        assert [len(some) for some in found.values()] == [1000, 1000]
        assert [one.count for one in found[population[1][0].id]] == list(range(1000))

    def test_a_changed_configuration_is_found_by_what_it_is_now(self, storage: Storage) -> None:
        run = make.make_run(config={"lr": 0.1, "old": 1})
        project_id = put_runs(storage, [(run, [])])
        with storage.write() as session:
            session.runs.put(run.evolve(project_id=project_id, config={"lr": 0.2}))
        with storage.read() as session:
            assert walk(session, 9, project_id, where=parse_filter("params.lr = 0.2 and params.old is none")) == [
                run.id
            ]

    def test_a_deleted_run_leaves_nothing_but_the_note_that_its_bytes_must_go(self, storage: Storage) -> None:
        run = make.make_run(config={"lr": 0.1})
        stream = make.make_stream(run_id=run.id, name="metrics/rank0-a", committed=10)
        project_id = put_runs(storage, [(run, [SeriesSummary(name="loss", stage="", count=1, last=1)])])
        with storage.write() as session:
            session.streams.put(stream)
            session.runs.delete("never there")
            session.runs.delete(run.id)
        with storage.write() as session:
            assert session.removed_runs.has(run.id)
            assert not session.removed_runs.has("never there")
            assert list(session.removed_runs.list()) == [run.id]
            session.runs.add(run.evolve(project_id=project_id, config={}))
            assert session.streams.of_run(run.id) == []
            assert session.run_metrics.of_run(run.id) == []
            assert session.run_details.find(run.id) is None
            assert session.streams.unfolded(["metrics"]) == []
            assert walk(session, 9, project_id, where=parse_filter("params.lr is none")) == [run.id]
            session.removed_runs.delete(run.id)
            assert not session.removed_runs.has(run.id)

    def test_many_values_and_comparisons_fit_into_one_search(self, storage: Storage) -> None:
        run = make.make_run(config={f"p{number}": number for number in range(32)})
        project_id = put_runs(storage, [(run, [])])
        every = " and ".join(f"(params.p{number} = {number} or not name = 'x')" for number in range(32))
        listed = f"params.p5 in ({', '.join(str(number) for number in range(1500))}, 'a', true, nan, {2**60})"
        with storage.read() as session:
            assert walk(session, 1, project_id, where=parse_filter(every)) == [run.id]
            assert walk(session, 1, project_id, where=parse_filter(listed)) == [run.id]
            nested = "not (" * 32 + "name = 'a'" + ")" * 32
            assert walk(session, 1, project_id, where=parse_filter(nested)) == []

    def test_a_cursor_of_another_order_is_refused(self, storage: Storage) -> None:
        runs: list[tuple[Run, list[SeriesSummary]]] = [(make.make_run(config={"a": n}), []) for n in range(3)]
        project_id = put_runs(storage, runs)
        with storage.read() as session:
            first = session.runs.search(PageRequest(limit=1), project_ids=[project_id], order=Order(Param("a")))
            assert first.next_cursor is not None
            for order in (None, Order(Attribute("name")), Order(Metric("loss"))):
                with pytest.raises(InvalidRequestError, match="cursor"):
                    session.runs.search(PageRequest(limit=1, cursor=first.next_cursor), order=order)

    @pytest.mark.parametrize("text", ["\x01" * 500, "\U0001f4a9" * 500, '"' * 500])
    def test_pages_go_on_after_any_text(self, storage: Storage, text: str) -> None:
        population: list[tuple[Run, list[SeriesSummary]]] = [
            (make.make_run(description=text, config={"t": text}), []) for _ in range(3)
        ]
        project_id = put_runs(storage, population)
        with storage.read() as session:
            for field in (Attribute("description"), Param("t")):
                assert len(walk(session, 1, project_id, order=Order(field))) == 3

    def test_runs_by_name_folder_and_silence(self, storage: Storage) -> None:
        old = make.make_run(name="a", folder="f", project_id="p", created_at=make.moment(-100))
        new = make.make_run(name="a", folder="f", project_id="p", heartbeat_at=make.moment(5))
        owned = make.make_run(name="a", folder="", project_id="p", created_at=make.moment(-100), job_id="job1")
        ended = make.make_run(name="b", folder="g", project_id="p", state=RunState.LOST, created_at=make.moment(-100))
        with storage.write() as session:
            for run in (old, new, owned, ended):
                session.runs.add(run)
            assert session.runs.named("p", "f", "a") == [new, old]
            assert session.runs.named("p", "", "a") == [owned]
            assert session.runs.named("q", "f", "a") == []
            assert session.runs.in_folder("p", "g")
            assert not session.runs.in_folder("p", "h")
            assert session.runs.silent(make.moment(-50)) == [old]
            session.runs.put(old.evolve(heartbeat_at=make.moment()))
            assert session.runs.silent(make.moment(-50)) == []
            assert session.runs.states(project_ids=["p"]) == {"running": 3, "lost": 1}
            assert session.runs.states(project_ids=[]) == {}

    def test_streams_that_are_not_folded_yet(self, storage: Storage) -> None:
        facts = make.make_stream(name="facts/rank0-a", committed=5, created_at=make.moment(-2))
        rows = make.make_stream(name="metrics/rank0-a", committed=5, folded=2)
        done = make.make_stream(name="metrics/rank0-b", committed=5, folded=5)
        with storage.write() as session:
            for stream in (rows, done, facts):
                session.streams.put(stream)
        with storage.read() as session:
            assert session.streams.unfolded(["facts", "metrics"]) == [facts, rows]
            assert session.streams.unfolded(["facts", "metrics"], limit=1) == [facts]
            assert session.streams.unfolded(["logs"]) == []
        with storage.write() as session:
            session.streams.put(rows.evolve(folded=5))
        with storage.read() as session:
            assert session.streams.unfolded(["metrics"]) == []
