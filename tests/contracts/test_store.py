"""What every store promises: the one in LMDB and its memory twin."""

import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from twisted.internet.defer import Deferred

from minibox.errors import AlreadyExists, Busy, DirectoryRefused, StoreFull
from minibox.simulation.clock import VirtualClock
from minibox.simulation.threads import SimulatedThreads
from minibox.store import (
    MAX_GROUP_OPERATIONS,
    MAX_WAITING_OPERATIONS,
    MemoryDisk,
    MemoryStore,
    open_lmdb,
)
from minibox.world import World

END = b"\xff" * 8


def a_world(clock):
    return World(
        clock=clock,
        random_bytes=Random(1).randbytes,
        endpoints=None,
        threads=SimulatedThreads(clock, Random(2)),
    )


class Bench:
    """One directory or memory disk, and the store that is open on it."""

    def __init__(self, directory: Path | None, *, small: bool = False) -> None:
        self.clock = VirtualClock()
        self.directory = directory
        self.small = small
        self.disk = MemoryDisk(Random(3), room_bytes=300_000 if small else None)
        self.store = self.opened()

    def opened(self):
        world = a_world(self.clock)
        if self.directory is None:
            return MemoryStore(world, self.disk)
        map_bytes = 2 * 1024 * 1024 if self.small else 1 << 30
        return self.clock.run(open_lmdb(world, self.directory, map_bytes=map_bytes))

    def reopen(self) -> None:
        self.close()
        self.store = self.opened()

    def close(self) -> None:
        self.clock.run(self.store.close())

    def write(self, function, **kw):
        return self.clock.run(self.store.write(function, **kw))

    def put(self, **rows) -> None:
        self.write(lambda writer: [writer.put(k.encode(), v) for k, v in rows.items()] and None)

    def fill(self, prefix: bytes, size: int) -> int:
        """Put rows of ``size`` until one is refused; how many were not."""
        number = 0
        with contextlib.suppress(StoreFull):
            for number in itertools.count():
                self.write(lambda w, number=number: w.put(prefix + b"%05d" % number, bytes(size)))
        return number

    def rows(self):
        return self.store.read(lambda reader: list(reader.scan(b"", END)))

    def keys(self, start=b"", stop=END, *, reverse=False):
        return self.store.read(
            lambda reader: [key for key, _ in reader.scan(start, stop, reverse=reverse)]
        )


@pytest.fixture(params=["lmdb", "memory"])
def bench(request, tmp_path) -> Iterator[Bench]:
    made = Bench(tmp_path / "store" if request.param == "lmdb" else None)
    yield made
    made.close()


@pytest.fixture(params=["lmdb", "memory"])
def small(request, tmp_path) -> Iterator[Bench]:
    made = Bench(tmp_path / "store" if request.param == "lmdb" else None, small=True)
    yield made
    made.close()


def nothing(_writer) -> None:
    pass


class Outcomes(list):
    """The order in which Deferreds fired, and with what."""

    def watch(self, name: str, deferred: Deferred) -> Deferred:
        deferred.addCallbacks(
            lambda value: self.append((name, value)),
            lambda problem: self.append((name, problem.type)),
        )
        return deferred


def test_what_was_written_is_read(bench):
    bench.put(a=b"1", b=b"")
    assert bench.rows() == [(b"a", b"1"), (b"b", b"")]
    assert bench.store.read(lambda reader: (reader.get(b"a"), reader.get(b"b"))) == (b"1", b"")


def test_what_was_not_written_is_none(bench):
    assert bench.store.read(lambda reader: reader.get(b"a")) is None


def test_a_new_store_shows_no_rows(bench):
    assert bench.rows() == []
    assert bench.keys(reverse=True) == []


def test_a_write_returns_what_its_function_returned(bench):
    assert bench.write(lambda _: ("kept", 7)) == ("kept", 7)


def test_rows_come_in_the_order_of_their_bytes(bench):
    names = [b"b", b"a", b"a\x00", b"\xfe", b"ab", b"a\xff", b"B"]
    bench.write(lambda writer: [writer.put(name, b"") for name in names])
    assert bench.keys() == sorted(names)
    assert bench.keys(reverse=True) == sorted(names, reverse=True)


def test_a_scan_begins_at_its_start_and_ends_before_its_stop(bench):
    bench.put(a=b"", b=b"", c=b"", d=b"")
    assert bench.keys(b"b", b"d") == [b"b", b"c"]
    assert bench.keys(b"b", b"d", reverse=True) == [b"c", b"b"]
    assert bench.keys(b"aa", b"cc") == [b"b", b"c"]
    assert bench.keys(b"aa", b"cc", reverse=True) == [b"c", b"b"]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("start", "stop"), [(b"b", b"b"), (b"c", b"a"), (b"x", b"y"), (b"\x01", b"a"), (b"", b"")]
)
def test_a_scan_of_nothing_yields_nothing(bench, start, stop, reverse):
    bench.put(a=b"", b=b"", c=b"")
    assert bench.keys(start, stop, reverse=reverse) == []


def test_delete_tells_whether_the_row_was_there(bench):
    bench.put(a=b"1")
    told = bench.write(lambda w: (w.delete(b"a"), w.delete(b"a"), w.delete(b"b"), w.get(b"a")))
    assert told == (True, False, False, None)
    assert bench.rows() == []


def test_an_operation_sees_its_own_changes(bench):
    bench.put(a=b"1", c=b"3")

    def change(writer):
        writer.put(b"b", b"2")
        writer.put(b"a", b"0")
        writer.delete(b"c")
        return writer.get(b"a"), writer.get(b"c"), list(writer.scan(b"", END))

    assert bench.write(change) == (b"0", None, [(b"a", b"0"), (b"b", b"2")])


@pytest.mark.parametrize("reverse", [False, True])
def test_an_operation_may_delete_what_it_scans(bench, reverse):
    names = [b"%03d" % number for number in range(200)]
    bench.write(lambda writer: [writer.put(name, b"x" * 50) for name in names])

    def clear(writer):
        return [
            key for key, _ in writer.scan(b"010", b"190", reverse=reverse) if writer.delete(key)
        ]

    cleared = bench.write(clear)
    assert sorted(cleared) == names[10:190]
    assert bench.keys() == names[:10] + names[190:]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_passes_rows_that_are_put_ahead_of_it_and_no_others(bench, reverse):
    bench.put(b=b"", d=b"")

    def grow(writer):
        seen = []
        for key, _ in writer.scan(b"", END, reverse=reverse):
            seen.append(key)
            if key in {b"b", b"d"}:
                writer.put(b"c", b"")
                writer.put(b"e" if reverse else b"a", b"")
        return seen

    assert bench.write(grow) == ([b"d", b"c", b"b"] if reverse else [b"b", b"c", b"d"])


def test_a_scan_may_be_left_in_the_middle(bench):
    bench.put(a=b"", b=b"")
    assert bench.store.read(lambda reader: next(reader.scan(b"", END))) == (b"a", b"")
    bench.put(c=b"")
    assert bench.keys() == [b"a", b"b", b"c"]


def test_a_refused_operation_leaves_no_trace(bench):
    bench.put(a=b"1", b=b"2")

    def refuse(writer):
        writer.put(b"a", b"changed")
        writer.put(b"new", b"")
        writer.delete(b"b")
        writer.put(b"b", b"again")
        writer.delete(b"new")
        raise AlreadyExists(what="it")

    with pytest.raises(AlreadyExists):
        bench.write(refuse)
    assert bench.rows() == [(b"a", b"1"), (b"b", b"2")]


@pytest.mark.parametrize("error", [AlreadyExists(what="it"), ZeroDivisionError()])
def test_siblings_of_a_failing_operation_are_kept(bench, error):
    outcomes = Outcomes()

    def fail(writer):
        writer.put(b"a", b"spoilt")
        writer.delete(b"b")
        raise error

    first = bench.store.write(nothing)
    outcomes.watch("before", bench.store.write(lambda writer: writer.put(b"a", b"1")))
    outcomes.watch("fails", bench.store.write(fail))
    last = outcomes.watch("after", bench.store.write(lambda writer: writer.get(b"a")))
    bench.clock.run(first)
    bench.clock.run(last)
    assert outcomes == [("before", None), ("fails", type(error)), ("after", b"1")]
    assert bench.rows() == [(b"a", b"1")]


def test_a_refusal_is_delivered_only_when_what_it_rests_on_can_be_read(bench):
    seen = []

    def create(writer):
        if writer.get(b"a") is not None:
            raise AlreadyExists(what="a")
        writer.put(b"a", b"1")

    def note(problem):
        seen.append((problem.type, bench.rows()))

    opening = bench.store.write(nothing)
    first, second = bench.store.write(create), bench.store.write(create)
    second.addErrback(note)
    bench.clock.run(opening)
    assert seen == []
    bench.clock.run(first)
    bench.clock.run(second)
    assert seen == [(AlreadyExists, [(b"a", b"1")])]


def test_readers_see_nothing_of_a_group_before_it_is_committed(bench):
    seen = []
    opening = bench.store.write(lambda _: seen.append(bench.rows()))
    bench.store.write(lambda writer: writer.put(b"a", b"1"))
    last = bench.store.write(lambda _: seen.append(bench.rows()))
    bench.clock.run(opening)
    bench.clock.run(last)
    assert seen == [[], []]
    assert bench.rows() == [(b"a", b"1")]


def test_an_answer_comes_when_its_change_can_be_read(bench):
    seen = []
    wrote = bench.store.write(lambda writer: writer.put(b"a", b"1"))
    wrote.addCallback(lambda _: seen.extend(bench.rows()))
    assert bench.rows() == []
    bench.clock.run(wrote)
    assert seen == [(b"a", b"1")]


def test_operations_take_effect_and_are_answered_in_the_order_of_the_calls(bench):
    outcomes = Outcomes()
    count = 2 * MAX_GROUP_OPERATIONS + 3

    def append(writer, number):
        so_far = writer.get(b"log") or b""
        writer.put(b"log", so_far + b"%d," % number)

    for number in range(count):
        last = outcomes.watch(
            str(number), bench.store.write(lambda writer, number=number: append(writer, number))
        )
    bench.clock.run(last)
    assert bench.rows() == [(b"log", b"".join(b"%d," % number for number in range(count)))]
    assert [name for name, _ in outcomes] == [str(number) for number in range(count)]


def test_a_write_happens_though_its_caller_has_left(bench):
    left = bench.store.write(lambda writer: writer.put(b"a", b"1"))
    waiting = bench.store.write(lambda writer: writer.put(b"b", b"2"))
    for each in (left, waiting):
        each.addErrback(lambda _: None)
        each.cancel()
    bench.write(nothing)
    assert bench.keys() == [b"a", b"b"]


def test_a_queue_without_end_is_refused(bench):
    outcomes = Outcomes()
    for _ in range(MAX_WAITING_OPERATIONS + MAX_GROUP_OPERATIONS):
        last = bench.store.write(nothing)
    for number in range(MAX_GROUP_OPERATIONS):
        outcomes.watch(str(number), bench.store.write(nothing))
    assert ("511", Busy) in outcomes
    bench.clock.run(bench.store.close())
    assert last.called


def test_a_key_of_511_bytes_is_kept_and_one_of_512_is_refused(bench):
    longest = b"k" * 511
    bench.write(lambda writer: writer.put(longest, b"1"))
    assert bench.keys() == [longest]
    assert bench.keys(longest, longest + b"\0") == [longest]
    assert bench.keys(longest + b"\0", END) == []
    assert bench.keys(b"a", longest + b"\0", reverse=True) == [longest]
    for wrong in (longest + b"k", b""):
        with pytest.raises(Exception, match=r"(?i)size|bytes"):
            bench.write(lambda writer, wrong=wrong: (writer.put(b"b", b""), writer.put(wrong, b"")))
    assert bench.keys() == [longest]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_goes_on_past_a_changed_row_with_the_longest_key(bench, reverse):
    names = [b"j", b"k" * 511, b"l"]
    bench.write(lambda writer: [writer.put(name, b"") for name in names])

    def touch(writer):
        return [
            writer.put(key, b"seen") or key for key, _ in writer.scan(b"a", b"z", reverse=reverse)
        ]

    assert bench.write(touch) == sorted(names, reverse=reverse)


def test_a_large_value_is_kept_whole(bench):
    value = Random(4).randbytes(3_000_000)
    bench.put(big=value)
    assert bench.rows() == [(b"big", value)]


def test_a_reader_ends_with_its_function(bench):
    bench.put(a=b"1", b=b"2")
    reader = bench.store.read(lambda reader: reader)
    scan = bench.store.read(lambda reader: reader.scan(b"", END))

    def begin(reader):
        begun = reader.scan(b"", END)
        next(begun)
        return begun

    begun = bench.store.read(begin)
    for late in (lambda: reader.get(b"a"), lambda: next(scan), lambda: next(begun)):
        with pytest.raises(Exception, match=r"over|closed"):
            late()


def test_a_writer_ends_with_its_function(bench):
    writer = bench.write(lambda writer: writer)
    with pytest.raises(Exception, match=r"over|closed"):
        writer.put(b"a", b"")
    assert bench.rows() == []


def test_an_operation_that_would_wait_is_refused(bench):
    async def waits(_writer):
        pass  # pragma: no cover

    def answers_later(writer):
        writer.put(b"a", b"")
        return Deferred()

    coroutine = []
    for function in (answers_later, lambda w: coroutine.append(waits(w)) or coroutine[0]):
        with pytest.raises(TypeError):
            bench.write(function)
    coroutine[0].close()
    assert bench.rows() == []


def test_what_a_read_raises_comes_out(bench):
    def refuse(_reader):
        raise AlreadyExists(what="it")

    with pytest.raises(AlreadyExists):
        bench.store.read(refuse)


def test_a_read_inside_a_read_sees_the_last_commit(bench):
    bench.put(a=b"1")
    assert bench.store.read(lambda _: bench.rows()) == [(b"a", b"1")]


def test_all_is_there_after_a_close_and_the_next_opening(bench):
    bench.put(a=b"1", b=b"2")
    bench.write(lambda writer: writer.delete(b"a"))
    bench.reopen()
    assert bench.rows() == [(b"b", b"2")]


def test_closing_finishes_what_is_queued(bench):
    running = bench.store.write(lambda writer: writer.put(b"a", b"1"))
    queued = bench.store.write(lambda writer: writer.put(b"b", b"2"))
    bench.clock.run(bench.store.close())
    assert running.called
    assert queued.called
    with pytest.raises(RuntimeError):
        bench.store.write(nothing)
    bench.reopen()
    assert bench.keys() == [b"a", b"b"]


def test_a_second_opener_is_refused_until_the_first_has_closed(bench):
    with pytest.raises(DirectoryRefused):
        bench.opened()
    assert bench.rows() == []
    bench.reopen()
    bench.put(a=b"1")


def test_a_full_store_refuses_what_does_not_fit_keeps_the_rest_and_still_deletes(small):
    count = small.fill(b"a", 1500)
    kept = [b"a%05d" % each for each in range(count)]
    assert count > 100
    assert small.keys() == kept
    with pytest.raises(StoreFull):
        small.put(more=b"y" * 40_000)
    scattered = kept[:: count // 10]
    assert all(small.write(lambda w: [w.delete(key) for key in scattered], frees=True))
    left = [key for key in kept if key not in scattered]
    assert small.keys() == left
    for key in left:
        assert small.write(lambda w, key=key: w.delete(key), frees=True)
    small.put(again=b"z" * 3000)
    assert small.keys() == [b"again"]


def test_a_full_store_refuses_the_group_of_what_did_not_fit(small):
    outcomes = Outcomes()
    opening = small.store.write(nothing)
    outcomes.watch("fits", small.store.write(lambda writer: writer.put(b"a", b"1")))
    last = outcomes.watch(
        "too much", small.store.write(lambda writer: writer.put(b"b", b"x" * 5_000_000))
    )
    small.clock.run(opening)
    small.clock.run(last)
    assert outcomes == [("fits", StoreFull), ("too much", StoreFull)]
    assert small.rows() == []
    assert not small.store.failed.called


keys = st.sampled_from(
    [b"a", b"a\x00", b"ab", b"b", b"b\xff", b"c" * 511, b"\x01", b"\xfe\xff", b"d", b"e"]
)
bounds = st.one_of(keys, st.just(b""), st.binary(max_size=3), st.just(END))
changes = st.lists(
    st.one_of(
        st.tuples(st.just("put"), keys, st.binary(max_size=40)),
        st.tuples(st.just("delete"), keys, st.just(b"")),
        st.tuples(st.just("scan"), bounds, bounds),
        st.tuples(st.just("fail"), st.just(b""), st.just(b"")),
    ),
    max_size=8,
)


def expected_scan(model, start, stop, *, reverse):
    return sorted(
        ((key, value) for key, value in model.items() if start <= key < stop), reverse=reverse
    )


class StoreAgainstDict(RuleBasedStateMachine):
    """Any operations, in groups of any size, leave what a dict would hold."""

    kind = "memory"

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp()) if self.kind == "lmdb" else None
        self.bench = Bench(self.directory)
        self.model: dict[bytes, bytes] = {}

    @initialize()
    def start(self) -> None:
        self.bench.put(a=b"first")
        self.model[b"a"] = b"first"

    @rule(group=st.lists(changes, max_size=5), reverse=st.booleans())
    def write_a_group(self, group, reverse) -> None:
        opening = self.bench.store.write(nothing)
        told = [
            self.bench.store.write(lambda w, steps=steps: self.apply(w, steps, reverse=reverse))
            for steps in group
        ]
        self.bench.clock.run(opening)
        for deferred, steps in zip(told, group, strict=True):
            before = dict(self.model)
            try:
                expected = self.apply_to_model(steps, reverse=reverse)
            except AlreadyExists:
                self.model = before
                with pytest.raises(AlreadyExists):
                    self.bench.clock.run(deferred)
            else:
                assert self.bench.clock.run(deferred) == expected

    @rule(start=bounds, stop=bounds, reverse=st.booleans())
    def scan(self, start, stop, reverse) -> None:
        found = self.bench.store.read(lambda r: list(r.scan(start, stop, reverse=reverse)))
        assert found == expected_scan(self.model, start, stop, reverse=reverse)

    @rule()
    def reopen(self) -> None:
        self.bench.reopen()

    @invariant()
    def all_rows_are_the_models(self) -> None:
        assert self.bench.rows() == sorted(self.model.items())

    def apply(self, writer, steps, *, reverse):
        told = []
        for verb, key, value in steps:
            if verb == "put":
                writer.put(key, value)
            elif verb == "delete":
                told.append(writer.delete(key))
            elif verb == "scan":
                told.append(list(writer.scan(key, value, reverse=reverse)))
            else:
                raise AlreadyExists(what="it")
        return told

    def apply_to_model(self, steps, *, reverse):
        told = []
        for verb, key, value in steps:
            if verb == "put":
                self.model[key] = value
            elif verb == "delete":
                told.append(self.model.pop(key, None) is not None)
            elif verb == "scan":
                told.append(expected_scan(self.model, key, value, reverse=reverse))
            else:
                raise AlreadyExists(what="it")
        return told

    def teardown(self) -> None:
        self.bench.close()
        if self.directory is not None:
            shutil.rmtree(self.directory)


class LmdbAgainstDict(StoreAgainstDict):
    kind = "lmdb"


TestMemoryAgainstDict = StoreAgainstDict.TestCase
TestMemoryAgainstDict.settings = settings(max_examples=40, deadline=None)
TestLmdbAgainstDict = LmdbAgainstDict.TestCase
TestLmdbAgainstDict.settings = settings(max_examples=25, deadline=None, stateful_step_count=25)
