"""Typed tables: keys, order, and damage that is never taken for something else."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibox.codec import Record
from minibox.errors import RecordDamaged
from minibox.simulation.clock import VirtualClock
from minibox.simulation.threads import SimulatedThreads
from minibox.store import MemoryDisk, MemoryStore, Rows, Table
from minibox.world import World

END = b"\xff" * 8


class Note(Record):
    kind = "note"

    text: str
    number: int = 0


class Other(Record):
    kind = "other"

    text: str
    number: int = 0


NOTES = Table(b"n", Note)
MARKS = Rows(b"m")


class Opened:
    """A memory store; each write is done when the call returns."""

    def __init__(self) -> None:
        self._clock = VirtualClock()
        world = World(
            clock=self._clock,
            random_bytes=Random(1).randbytes,
            endpoints=None,
            threads=SimulatedThreads(self._clock, Random(2)),
        )
        self._store = MemoryStore(world, MemoryDisk(Random(3)))
        self.read = self._store.read

    def write(self, function):
        return self._clock.run(self._store.write(function))


@pytest.fixture
def store():
    return Opened()


def put(store, note, *key) -> None:
    store.write(lambda writer: NOTES.put(writer, note, *key))


def raw(store):
    return store.read(lambda reader: list(reader.scan(b"", END)))


def scanned(store, *prefix, **kw):
    return store.read(lambda reader: [(k, v.text) for k, v in NOTES.scan(reader, *prefix, **kw)])


def marked(store, *prefix, **kw):
    return store.read(lambda reader: list(MARKS.scan(reader, *prefix, **kw)))


def test_a_record_comes_back_as_it_was(store):
    put(store, Note("hello", 7), 5, b"name")
    assert store.read(lambda reader: NOTES.get(reader, 5, b"name")) == Note("hello", 7)


def test_what_was_not_put_is_none(store):
    put(store, Note("hello"), 5)
    assert store.read(lambda reader: NOTES.get(reader, 6)) is None


def test_delete_tells_whether_the_record_was_there(store):
    put(store, Note("hello"), 5)
    assert store.write(lambda w: (NOTES.delete(w, 5), NOTES.delete(w, 5))) == (True, False)
    assert raw(store) == []


def test_the_layout_of_a_row_is_what_the_format_says(store):
    put(store, Note("hi", 1), 258, b"k")
    key = b"n" + (258).to_bytes(8, "big") + b"k"
    # CRC-32 of key and payload, then the record as MessagePack.
    assert raw(store) == [(key, bytes.fromhex("1e86157a") + b"\x94\xa4note\x01\xa2hi\x01")]


def test_numbers_in_keys_sort_as_numbers(store):
    numbers = [0, 1, 255, 256, 65_536, 2**63, 2**64 - 1]
    for number in reversed(numbers):
        put(store, Note(str(number)), number)
    assert [text for _, text in scanned(store)] == [str(number) for number in numbers]


@pytest.mark.parametrize("number", [-1, 2**64])
def test_a_number_that_does_not_fit_is_a_bug(store, number):
    with pytest.raises(OverflowError):
        put(store, Note(""), number)


def test_a_key_of_more_than_511_bytes_is_a_bug(store):
    put(store, Note("fits"), b"k" * 510)
    with pytest.raises(ValueError, match="512 bytes"):
        put(store, Note(""), b"k" * 511)
    with pytest.raises(ValueError, match="512 bytes"):
        store.read(lambda reader: NOTES.get(reader, b"k" * 511))


@pytest.mark.parametrize("tag", [b"", b"\0a", b"a\xff"])
def test_a_tag_that_scans_could_not_bound_is_a_bug(tag):
    with pytest.raises(ValueError, match="tag"):
        Table(tag, Note)
    with pytest.raises(ValueError, match="tag"):
        Rows(tag)


def test_a_scan_sees_its_prefix_and_no_neighbour(store):
    for parent in (4, 5, 6):
        for name in (b"a", b"b\xff", b"\xff\xff", b""):
            put(store, Note(f"{parent}{name!r}"), parent, name)
    store.write(lambda w: (Table(b"m", Note).put(w, Note("x"), 5), Rows(b"o").add(w, 5)))
    names = [b"", b"a", b"b\xff", b"\xff\xff"]
    assert scanned(store, 5) == [(name, f"5{name!r}") for name in names]
    assert len(scanned(store)) == 12


def test_a_scan_below_the_highest_number_ends(store):
    put(store, Note("top"), 2**64 - 1, b"\xff")
    store.write(lambda w: Rows(b"o").add(w, 5))
    assert scanned(store, 2**64 - 1) == [(b"\xff", "top")]


def test_a_scan_goes_on_strictly_after_a_place_in_either_direction(store):
    for name in (b"a", b"a\0", b"b", b"c"):
        put(store, Note(name.decode()), 5, name)
    put(store, Note("neighbour"), 4, b"z")
    put(store, Note("neighbour"), 6, b"a")

    def suffixes(**kw):
        return [suffix for suffix, _ in scanned(store, 5, **kw)]

    assert suffixes(after=b"a") == [b"a\0", b"b", b"c"]
    assert suffixes(after=b"") == [b"a", b"a\0", b"b", b"c"]
    assert suffixes(after=b"bb") == [b"c"]
    assert suffixes(after=b"c") == []
    assert suffixes(after=b"\xff" * 9) == []
    assert suffixes(after=b"b", reverse=True) == [b"a\0", b"a"]
    assert suffixes(after=b"a", reverse=True) == []
    assert suffixes(after=b"", reverse=True) == []
    assert suffixes(reverse=True) == [b"c", b"b", b"a\0", b"a"]


@given(
    names=st.sets(st.binary(min_size=1, max_size=3), max_size=12),
    after=st.none() | st.binary(max_size=3),
    reverse=st.booleans(),
)
def test_pages_of_any_size_together_are_the_whole(names, after, reverse):
    store = Opened()
    store.write(lambda w: [NOTES.put(w, Note(""), 5, name) for name in sorted(names)])
    expected = sorted(
        (n for n in names if after is None or (n < after if reverse else n > after)),
        reverse=reverse,
    )
    assert [suffix for suffix, _ in scanned(store, 5, after=after, reverse=reverse)] == expected


def test_each_flipped_bit_of_a_stored_row_is_reported_as_damage(store):
    put(store, Note("hello", 7), 5)
    put(store, Note("good"), 6)
    [(key, value), *_] = raw(store)
    for bit in range(len(value) * 8):
        damaged = bytearray(value)
        damaged[bit // 8] ^= 1 << bit % 8
        store.write(lambda writer, damaged=bytes(damaged): writer.put(key, damaged))
        with pytest.raises(RecordDamaged) as told:
            store.read(lambda reader: NOTES.get(reader, 5))
        assert told.value.kind == "note"
        with pytest.raises(RecordDamaged):
            scanned(store)
    assert store.read(lambda reader: NOTES.get(reader, 6)) == Note("good")


def test_each_cut_and_each_growth_of_a_stored_row_is_reported_as_damage(store):
    put(store, Note("hello", 7), 5)
    [(key, value)] = raw(store)
    for damaged in [*(value[:length] for length in range(len(value))), value + b"\0"]:
        store.write(lambda writer, damaged=damaged: writer.put(key, damaged))
        with pytest.raises(RecordDamaged):
            store.read(lambda reader: NOTES.get(reader, 5))


def test_a_row_under_another_key_is_reported_as_damage(store):
    put(store, Note("hello"), 5)
    [(key, value)] = raw(store)
    store.write(lambda writer: writer.put(key[:-1] + b"\x06", value))
    assert store.read(lambda reader: NOTES.get(reader, 5)) == Note("hello")
    with pytest.raises(RecordDamaged):
        store.read(lambda reader: NOTES.get(reader, 6))


def test_a_record_of_another_kind_is_reported_as_damage(store):
    store.write(lambda writer: Table(b"n", Other).put(writer, Other("hello"), 5))
    with pytest.raises(RecordDamaged):
        store.read(lambda reader: NOTES.get(reader, 5))


def test_a_damaged_record_can_be_overwritten_and_deleted(store):
    put(store, Note("hello"), 5)
    [(key, _)] = raw(store)
    store.write(lambda writer: writer.put(key, b"rubbish"))
    put(store, Note("again"), 5)
    assert scanned(store) == [((5).to_bytes(8, "big"), "again")]
    store.write(lambda writer: writer.put(key, b"rubbish"))
    assert store.write(lambda writer: NOTES.delete(writer, 5)) is True


def test_rows_are_there_after_they_were_added_and_until_they_are_deleted(store):
    assert store.read(lambda reader: MARKS.has(reader, b"k", 1)) is False
    store.write(lambda writer: (MARKS.add(writer, b"k", 1), MARKS.add(writer, b"k", 1)))
    assert store.read(lambda reader: MARKS.has(reader, b"k", 1)) is True
    assert store.write(lambda w: (MARKS.delete(w, b"k", 1), MARKS.delete(w, b"k", 1))) == (
        True,
        False,
    )
    assert store.read(lambda reader: MARKS.has(reader, b"k", 1)) is False


def test_rows_are_scanned_in_order_below_a_prefix(store):
    store.write(lambda w: [MARKS.add(w, b"k" + bytes((c,)), 9 - c) for c in range(3)])
    store.write(lambda w: MARKS.add(w, b"l", 0))
    nine, eight, seven = (number.to_bytes(8, "big") for number in (9, 8, 7))
    assert marked(store, b"k") == [b"\0" + nine, b"\1" + eight, b"\2" + seven]
    assert marked(store, b"k", after=b"\1" + eight) == [b"\2" + seven]
    assert marked(store, b"k\1") == [eight]


def test_a_row_whose_key_was_damaged_is_reported_by_a_scan(store):
    store.write(lambda writer: MARKS.add(writer, 5))
    [(key, value)] = raw(store)
    moved = key[:-1] + b"\x07"
    store.write(lambda writer: (writer.delete(key), writer.put(moved, value)))
    with pytest.raises(RecordDamaged):
        marked(store)
    with pytest.raises(RecordDamaged):
        store.read(lambda reader: MARKS.has(reader, 7))
