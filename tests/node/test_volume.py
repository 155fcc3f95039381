from random import Random
from zlib import crc32

from hypothesis import given
from hypothesis import strategies as st

from minibox.chunk import chunk_id
from minibox.node.held import Held, held_after
from minibox.node.replay import WINDOW_BYTES, Damaged, Found, replay
from minibox.node.volume import (
    NOWHERE,
    RECORD_HEADER_BYTES,
    RECORD_MAGIC,
    VOLUME_HEADER_BYTES,
    Identity,
    Kind,
    Place,
    Record,
    VolumeHeader,
    pack_record,
    pack_volume_header,
    parse_record,
    parse_volume_header,
)
from minibox.simulation.disk import SimulatedDisk

IDENTITY = Identity(b"c" * 16, b"d" * 8, b"s" * 8)
SALT = IDENTITY.salt

records = st.builds(
    Record,
    st.sampled_from(Kind),
    st.binary(min_size=32, max_size=32),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.builds(Place, st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)),
)
places = st.builds(Place, st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))


def test_the_layout_is_the_documented_one():
    header = pack_volume_header(3, IDENTITY)
    assert (
        header[:64].hex()
        == ("4d494e49424f58560100000003000000" + "63" * 16 + "64" * 8 + "73" * 8 + "00" * 12)[:128]
        + header[60:].hex()
    )
    assert header[60:] == crc32(header[:60]).to_bytes(4, "little")
    record = Record(Kind.TOUCH, b"k" * 32, 5, 6, 7, Place(8, 9))
    packed = pack_record(record, Place(1, 64), SALT)
    assert len(header) == VOLUME_HEADER_BYTES == 64
    assert len(packed) == RECORD_HEADER_BYTES == 72
    assert packed[:4] == b"\xd7MBR"
    assert packed[4:8] == b"\x02\0\0\0"
    assert packed[8:40] == b"k" * 32
    assert [int.from_bytes(packed[at : at + 4], "little") for at in (40, 44, 56)] == [6, 7, 8]
    assert [int.from_bytes(packed[at : at + 8], "little") for at in (48, 60)] == [5, 9]
    seed = SALT + (1).to_bytes(4, "little") + (64).to_bytes(8, "little")
    assert packed[68:] == crc32(seed + packed[:68]).to_bytes(4, "little")


@given(records, places)
def test_a_record_comes_back_as_it_was(record, place):
    assert parse_record(pack_record(record, place, SALT), place, SALT) == record


@given(records, places, st.integers(0, RECORD_HEADER_BYTES * 8 - 1))
def test_no_flipped_bit_of_a_header_goes_unseen(record, place, bit):
    packed = bytearray(pack_record(record, place, SALT))
    packed[bit // 8] ^= 1 << bit % 8
    assert parse_record(bytes(packed), place, SALT) is None


@given(records, places, places)
def test_a_record_is_none_where_it_was_not_written(record, place, other):
    found = parse_record(pack_record(record, place, SALT), other, SALT)
    assert found == (record if place == other else None)


def test_a_record_of_another_disk_is_none():
    packed = pack_record(Record(Kind.CHUNK, b"k" * 32, 1), Place(1, 64), SALT)
    assert parse_record(packed, Place(1, 64), b"another!") is None


@given(st.integers(0, VOLUME_HEADER_BYTES * 8 - 1))
def test_no_flipped_bit_of_a_volume_header_goes_unseen(bit):
    packed = bytearray(pack_volume_header(9, IDENTITY))
    assert parse_volume_header(bytes(packed)) == VolumeHeader(1, 9, IDENTITY)
    packed[bit // 8] ^= 1 << bit % 8
    assert parse_volume_header(bytes(packed)) is None


# Replay


def volume_of(contents):
    """A simulated file with these chunks, and where each record begins."""
    hardware = SimulatedDisk(Random(1))
    file = hardware.attach().create("v")
    file.append([pack_volume_header(1, IDENTITY)])
    places = []
    for content in contents:
        place = Place(1, file.size())
        record = Record(Kind.CHUNK, chunk_id(content), 1, len(content), crc32(content))
        file.append([pack_record(record, place, SALT), content])
        places.append(place)
    return hardware, file, places


def test_replay_finds_every_record_from_any_of_them_on():
    contents = [b"a" * 10, b"", b"b" * WINDOW_BYTES, b"c" * 2 * WINDOW_BYTES, b"d"]
    _, file, places = volume_of(contents)
    for check_content in (True, False):
        for first, place in enumerate(places):
            found = list(replay(file, 1, SALT, place.offset, check_content=check_content))
            assert [each.place for each in found] == places[first:]
            assert all(each.is_whole for each in found)


@given(st.lists(st.binary(max_size=2000), min_size=1, max_size=8), st.data())
def test_one_flipped_byte_costs_one_record(contents, data):
    hardware, file, places = volume_of(contents)
    offset = data.draw(st.integers(VOLUME_HEADER_BYTES, file.size() - 1))
    hardware.flip("v", offset, data.draw(st.integers(1, 255)))
    hit = max(place for place in places if place.offset <= offset)
    found = list(replay(file, 1, SALT, 0, check_content=True))
    good = [each.place for each in found if isinstance(each, Found) and each.is_whole]
    assert good == [place for place in places if place != hit]
    assert len(found) == len(places)


def test_a_chunk_that_holds_a_volume_is_not_taken_for_one():
    inner, _, _ = volume_of([b"x" * 50, b"y" * 50])
    hardware, file, places = volume_of([inner.content("v"), b"after"])
    hardware.flip("v", places[0].offset + 20, 1)
    found = list(replay(file, 1, SALT, 0, check_content=True))
    assert [type(each) for each in found] == [Damaged, Found]
    assert found[1].place == places[1]


def test_a_header_behind_any_length_of_damage_is_found():
    for length in (1, WINDOW_BYTES - 75, WINDOW_BYTES - 2, WINDOW_BYTES, WINDOW_BYTES + 1):
        hardware, file, places = volume_of([RECORD_MAGIC[:3] * (length // 3 + 1), b"after"])
        hardware.flip("v", places[0].offset + 4, 8)
        found = list(replay(file, 1, SALT, 0, check_content=True))
        assert [each.place for each in found if isinstance(each, Found)] == places[1:]


def test_a_cut_volume_gives_all_whole_records():
    _, file, places = volume_of([b"a" * 100, b"b" * 100])
    for size in range(file.size() - 1, places[1].offset, -1):
        file.truncate(size)
        found = list(replay(file, 1, SALT, 0, check_content=False))
        assert found[0].place == places[0]
        assert not any(isinstance(each, Found) and each.is_whole for each in found[1:])


def test_an_unreadable_volume_is_damage_and_no_end():
    hardware, file, places = volume_of([b"a" * 100])
    hardware.make_unreadable("v")
    found = list(replay(file, 1, SALT, 0, check_content=True))
    assert found == [Damaged(1, places[0].offset, file.size())]


# What records do to what is held

CHUNK = b"k" * 32
HERE, THERE = Place(1, 64), Place(2, 64)


def test_a_tombstone_touches_only_the_copy_that_it_names():
    held = held_after(None, Record(Kind.CHUNK, CHUNK, 5, 10, 1), HERE)
    assert held == Held(HERE, 10, 1, 5)
    assert held_after(held, Record(Kind.TOMBSTONE, CHUNK, 7, about=HERE), THERE) is None
    assert held_after(held, Record(Kind.TOMBSTONE, CHUNK, 7, about=THERE), THERE) == held
    assert held_after(None, Record(Kind.TOMBSTONE, CHUNK, 7, about=HERE), THERE) is None


def test_a_touch_saves_a_copy_from_an_older_tombstone():
    held = held_after(Held(HERE, 10, 1, 5), Record(Kind.TOUCH, CHUNK, 9, about=HERE), THERE)
    assert held_after(held, Record(Kind.TOMBSTONE, CHUNK, 7, about=HERE), THERE) == held
    assert held_after(held, Record(Kind.TOMBSTONE, CHUNK, 9, about=HERE), THERE) == held
    assert held_after(held, Record(Kind.TOMBSTONE, CHUNK, 10, about=HERE), THERE) is None


def test_a_new_copy_ends_the_quarantine_of_the_old_and_keeps_its_sequence():
    bad = held_after(Held(HERE, 10, 1, 5), Record(Kind.QUARANTINE, CHUNK, 5, about=HERE), THERE)
    assert bad == Held(HERE, 10, 1, 5, is_quarantined=True)
    anew = held_after(bad, Record(Kind.CHUNK, CHUNK, 3, 10, 1, NOWHERE), THERE)
    assert anew == Held(THERE, 10, 1, 5)
