"""Calls that arrive together are predicted together, and each gets what it would have got alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.serving.batching import MAX_WAITING, Batcher
from headway.serving.joining import RowsError
from headway.serving.pace import FAST, SLOW, Pace, Stopwatch
from headway.serving.protocols.base import Call
from headway.serving.runtimes.base import Signature, TensorSpec
from headway.serving.warming import warm
from headway.serving.worker import ModelWorker

SECONDS = 30.0


class Doubling:
    """Answers twice its input, refuses negative numbers, and writes down what it was asked."""

    signature: Signature | None = Signature((TensorSpec("x", "float64", (None, None)),))
    batch = False
    metadata: dict[str, Any] = {}

    def __init__(self) -> None:
        self.asked: list[np.ndarray] = []
        self.threads: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def predict(self, inputs: Any) -> Any:
        self.asked.append(inputs["x"])
        self.threads.append(threading.get_ident())
        self.entered.set()
        assert self.gate.wait(SECONDS)
        if (inputs["x"] < 0).any():
            raise ValueError("a negative number")
        return {"y": inputs["x"] * 2}


class Item:
    """One who waits; ``kept`` says whether it still does."""

    def __init__(self, inputs: Any, rows: int | None, kind: Any = None) -> None:
        self.call = Call(inputs, rows, kind)
        self.outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.kept = True

    def wanted(self) -> bool:
        return self.kept

    def finish(self, result: Any) -> None:
        self.outcome.set_result(result)

    def fail(self, error: BaseException) -> None:
        self.outcome.set_exception(error)


class Watch:
    """A stopwatch that says what it is told."""

    now = 0.0

    def seconds(self) -> float:
        return self.now


def row_item(*values: float, width: int = 1) -> Item:
    array = np.array(values, dtype=np.float64).reshape(-1, 1).repeat(width, axis=1)
    return Item({"x": array}, len(values), ("x", width))


def batcher_of(
    model: Any, *, max_rows: int = 256, max_wait_ms: float = 0.0, pinned: bool = False, **options: Any
) -> Batcher:
    sizes = options.pop("sizes", [])
    pace = Pace(pinned=pinned)
    return Batcher(
        model, ModelWorker(), pace, max_rows=max_rows, max_wait_ms=max_wait_ms, observe=sizes.append, **options
    )


def run(coroutine: Callable[[], Coroutine[Any, Any, None]]) -> None:
    uvloop.run(asyncio.wait_for(coroutine(), SECONDS))


async def reached(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, SECONDS)


async def turn() -> None:
    await asyncio.sleep(0)


calls = st.lists(
    st.tuples(
        st.lists(st.floats(-1.0, 100.0), min_size=1, max_size=5),  # rows
        st.integers(1, 3),  # width: calls of different widths cannot be joined
        st.booleans(),  # whether the loop turns before the next arrives
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(calls=calls, max_rows=st.integers(1, 12), pinned=st.booleans(), quick=st.booleans())
def test_each_call_gets_what_it_would_have_got_alone(calls, max_rows, pinned, quick):
    async def scene() -> None:
        model = Doubling()
        batcher = batcher_of(model, max_rows=max_rows, pinned=pinned)
        if quick:
            batcher.pace.observe(1, 0.0)
        items = []
        for values, width, pause in calls:
            items.append(row_item(*values, width=width))
            batcher.submit(items[-1])
            if pause:
                await turn()
        outcomes = await asyncio.gather(*(item.outcome for item in items), return_exceptions=True)
        for (values, width, _), outcome in zip(calls, outcomes, strict=True):
            if min(values) < 0:
                assert isinstance(outcome, ValueError)
            else:
                expected = np.array(values).reshape(-1, 1).repeat(width, axis=1) * 2
                np.testing.assert_array_equal(outcome["y"], expected)
        largest = max(max_rows, *(len(values) for values, _, _ in calls))
        assert all(len(asked) <= largest for asked in model.asked)
        assert batcher.waiting == 0

    run(scene)


def test_what_arrives_in_one_turn_is_one_prediction_for_each_shape():
    async def scene() -> None:
        model, sizes = Doubling(), []
        batcher = batcher_of(model, sizes=sizes)
        items = [row_item(float(n), width=1 + n % 2) for n in range(20)]
        for item in items:
            batcher.submit(item)
        assert not model.asked
        await asyncio.gather(*(item.outcome for item in items))
        assert [asked.shape for asked in model.asked] == [(10, 1), (10, 2)]
        assert sizes == [10, 10]

    run(scene)


def test_a_bad_item_fails_alone():
    async def scene() -> None:
        model = Doubling()
        batcher = batcher_of(model)
        items = [row_item(-1.0 if n == 5 else float(n)) for n in range(16)]
        for item in items:
            batcher.submit(item)
        outcomes = await asyncio.gather(*(item.outcome for item in items), return_exceptions=True)
        assert [n for n, outcome in enumerate(outcomes) if isinstance(outcome, ValueError)] == [5]
        assert all(outcome["y"] == [[2.0 * n]] for n, outcome in enumerate(outcomes) if n != 5)
        assert len(model.asked[0]) == 16

    run(scene)


def test_calls_without_rows_and_models_that_take_one_at_a_time_are_predicted_alone():
    class Plain(Doubling):
        signature = None

        def predict(self, inputs: Any) -> Any:
            self.asked.append(inputs)
            return ["answer", *inputs]

    async def scene() -> None:
        model = Plain()
        batcher = batcher_of(model)
        items = [Item([n], 1, "rows") for n in range(3)]
        for item in items:
            batcher.submit(item)
        assert [await item.outcome for item in items] == [["answer", 0], ["answer", 1], ["answer", 2]]
        assert model.asked == [[0], [1], [2]]
        arrays = batcher_of(doubling := Doubling())
        alone = [Item({"x": np.ones((2, 1))}, None) for _ in range(2)]
        for item in alone:
            arrays.submit(item)
        await asyncio.gather(*(item.outcome for item in alone))
        assert len(doubling.asked) == 2

    run(scene)


@pytest.mark.parametrize("columns", [False, True])
def test_lists_of_rows_are_joined_for_a_model_that_takes_many(columns):
    class Rows(Doubling):
        signature = None
        batch = True

        def predict(self, inputs: Any) -> Any:
            self.asked.append(inputs)
            sizes = [len(text) for text in inputs]
            return {"size": sizes} if columns else sizes

    async def scene() -> None:
        model = Rows()
        batcher = batcher_of(model)
        items = [Item(["a"], 1, "rows"), Item(["bb", "ccc"], 2, "rows")]
        for item in items:
            batcher.submit(item)
        found = [await item.outcome for item in items]
        assert found == ([{"size": [1]}, {"size": [2, 3]}] if columns else [[1], [2, 3]])
        assert model.asked == [["a", "bb", "ccc"]]

    run(scene)


def test_a_model_whose_answer_has_other_rows_is_found_out_and_asked_one_by_one(caplog):
    class Summing(Doubling):
        def predict(self, inputs: Any) -> Any:
            self.asked.append(inputs["x"])
            return {"sum": np.asarray(inputs["x"].sum())}

    async def scene() -> None:
        model = Summing()
        batcher = batcher_of(model)
        for expected in (5, 4):  # batches of all four, of two, and four alone; then only those alone
            model.asked.clear()
            items = [row_item(float(n)) for n in range(4)]
            for item in items:
                batcher.submit(item)
            found = [await item.outcome for item in items]
            assert [float(each["sum"]) for each in found] == [0.0, 1.0, 2.0, 3.0]
            assert len(model.asked) >= expected
        assert [len(asked) for asked in model.asked] == [1, 1, 1, 1]

    run(scene)
    assert "one by one" in caplog.text


def test_while_the_thread_works_calls_gather_and_those_nobody_wants_are_dropped():
    async def scene() -> None:
        model = Doubling()
        batcher = batcher_of(model, pinned=True)
        model.gate.clear()
        first = row_item(1.0)
        batcher.submit(first)
        await reached(model.entered)
        later = [row_item(float(n)) for n in range(8)]
        for item in later:
            batcher.submit(item)
            await turn()
        assert batcher.waiting == 9
        later[3].kept = later[4].kept = False
        while batcher.waiting > 7:  # let go of though the thread is still busy
            await asyncio.sleep(0.01)
        model.gate.set()
        await asyncio.gather(first.outcome, *(item.outcome for item in later if item.kept))
        assert [asked.tolist() for asked in model.asked] == [[[1.0]], [[0.0], [1.0], [2.0], [5.0], [6.0], [7.0]]]
        assert not later[3].outcome.done()
        assert batcher.waiting == 0

    run(scene)


def test_a_stopwatch_counts_waiting_and_not_what_others_used_of_the_processor():
    waited, ended = threading.Event(), []

    def wait() -> None:
        watch = Stopwatch()
        waited.wait(0.05)
        ended.append(watch.seconds())

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join(SECONDS)
    assert ended[0] >= 0.05
    watch = Stopwatch()
    assert 0.0 <= watch.seconds() < 1.0


def test_a_pinned_model_is_never_called_on_the_loop():
    async def scene() -> None:
        model = Doubling()
        batcher = batcher_of(model, pinned=True, stopwatch=Watch)
        for n in range(20):
            item = row_item(float(n))
            batcher.submit(item)
            await item.outcome
        assert len(set(model.threads)) == 1 and threading.get_ident() not in model.threads
        assert batcher.pace.execution == "thread"

    run(scene)


def test_a_quick_model_comes_to_the_loop_a_slow_one_leaves_it_and_one_stall_moves_nothing():
    async def scene() -> None:
        here = threading.get_ident()
        model, watch = Doubling(), Watch()
        batcher = batcher_of(model, stopwatch=lambda: watch)

        async def predicted_on() -> str:
            item = row_item(1.0)
            batcher.submit(item)
            await item.outcome
            where = "loop" if model.threads[-1] == here else "thread"
            assert batcher.pace.execution == where
            return where

        watch.now = FAST / 2
        assert await predicted_on() == "thread"  # nothing is known of it yet
        assert await predicted_on() == "loop"
        watch.now = 1000 * SLOW
        assert await predicted_on() == "loop"
        watch.now = FAST / 2
        assert await predicted_on() == "loop"  # one stall moves nothing
        watch.now = 2 * SLOW
        assert [await predicted_on() for _ in range(20)][-1] == "thread"
        watch.now = (FAST + SLOW) / 2
        assert {await predicted_on() for _ in range(50)} == {"thread"}  # between the two it stays where it is
        watch.now = FAST / 2
        assert [await predicted_on() for _ in range(20)][-1] == "loop"
        watch.now = (FAST + SLOW) / 2
        assert {await predicted_on() for _ in range(50)} == {"loop"}

    run(scene)


def test_a_model_that_was_warmed_is_known_before_anybody_asks():
    model, pace = Doubling(), Pace(pinned=False)
    model.signature = Signature((TensorSpec("x", "float32", (None, 3)),))
    warm(model, pace)
    assert {asked.shape for asked in model.asked} == {(1, 3)}
    assert {asked.dtype for asked in model.asked} == {np.dtype("float32")}
    pace.observe(1, 0.0)
    assert pace.choose(1) == "loop"


def test_a_model_that_cannot_take_zeros_or_says_not_what_it_takes_is_left_alone():
    class Choosy(Doubling):
        def predict(self, inputs: Any) -> Any:
            self.asked.append(inputs["x"])
            raise KeyError("no zeros")

    choosy, pace = Choosy(), Pace(pinned=False)
    choosy.signature = Signature((TensorSpec("x", "float64", (None, 2)),))
    warm(choosy, pace)
    assert len(choosy.asked) == 1
    assert pace.choose(1) == "thread"
    for spec in (
        TensorSpec("x", "object", (None, 2)),
        TensorSpec("x", "float64", (None, None)),
        TensorSpec("x", "", None),
    ):
        open_model = Doubling()
        open_model.signature = Signature((spec,))
        warm(open_model, pace)
        assert open_model.asked == []


def test_many_rows_are_not_tried_on_the_loop_because_one_was_quick():
    async def scene() -> None:
        model, watch = Doubling(), Watch()
        batcher = batcher_of(model, stopwatch=lambda: watch)
        batcher.pace.observe(1, FAST / 10)
        wide = row_item(*map(float, range(200)))
        batcher.submit(wide)
        await wide.outcome
        assert threading.get_ident() not in model.threads
        narrow = row_item(1.0)
        batcher.submit(narrow)
        await narrow.outcome
        assert model.threads[-1] == threading.get_ident()

    run(scene)


def test_the_first_waits_as_long_as_it_is_told_to_unless_the_batch_is_full():
    async def scene() -> None:
        model = Doubling()
        batcher = batcher_of(model, max_rows=3, max_wait_ms=1000.0)
        items = [row_item(float(n)) for n in range(3)]
        for item in items[:2]:
            batcher.submit(item)
            for _ in range(10):
                await turn()
        assert not model.asked
        batcher.submit(items[2])
        await asyncio.gather(*(item.outcome for item in items))
        assert [len(asked) for asked in model.asked] == [3]
        last = row_item(7.0)
        batcher.submit(last)
        assert (await last.outcome)["y"] == [[14.0]]

    run(scene)


def test_no_more_wait_than_are_bounded():
    async def scene() -> None:
        model = Doubling()
        batcher = batcher_of(model, pinned=True)
        model.gate.clear()
        items = [row_item(1.0) for _ in range(MAX_WAITING)]
        for item in items:
            assert not batcher.full
            batcher.submit(item)
        assert batcher.full
        model.gate.set()
        await asyncio.gather(*(item.outcome for item in items))
        assert not batcher.full

    run(scene)


def test_one_that_cannot_be_told_keeps_nobody_from_their_answer(caplog):
    class Deaf(Item):
        def finish(self, result: Any) -> None:
            raise RuntimeError("cannot hear")

    async def scene() -> None:
        batcher = batcher_of(Doubling())
        deaf, other = Deaf({"x": np.ones((1, 1))}, 1, ("x", 1)), row_item(2.0)
        batcher.submit(deaf)
        batcher.submit(other)
        assert (await other.outcome)["y"] == [[4.0]]
        assert batcher.waiting == 0

    run(scene)
    assert "could not be told" in caplog.text


def test_what_is_thrown_at_the_boundary_is_the_callers_error_and_the_rest_goes_on():
    class Throwing(Doubling):
        def predict(self, inputs: Any) -> Any:
            raise {0.0: SystemExit, 1.0: MemoryError, 2.0: StopIteration}[float(inputs["x"][0, 0])]("why")

    class Kept(Item):
        def fail(self, error: BaseException) -> None:
            # A future takes no StopIteration, and a SystemExit in one would end the loop.
            self.error = error
            self.outcome.set_result(None)

    async def scene() -> None:
        for quick in (False, True):
            batcher = batcher_of(Throwing())
            if quick:
                batcher.pace.observe(1, 0.0)
            items = [Kept({"x": np.full((1, 1), float(n))}, 1, "k") for n in range(3)]
            for item in items:
                batcher.submit(item)
            await asyncio.gather(*(item.outcome for item in items))
            assert [type(item.error) for item in items] == [SystemExit, MemoryError, StopIteration]

    run(scene)


def test_a_model_that_says_it_answers_row_by_row_and_does_not_is_told_so():
    class Short(Doubling):
        signature = None
        batch = True

        def predict(self, inputs: Any) -> Any:
            return [1]

    async def scene() -> None:
        batcher = batcher_of(Short())
        short, right = Item(["a", "b", "c"], 3, "rows"), Item(["a"], 1, "rows")
        for item in (short, right):
            batcher.submit(item)
        with pytest.raises(RowsError, match="answered 1 rows for 3"):
            await short.outcome
        assert await right.outcome == [1]

    run(scene)
