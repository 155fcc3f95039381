import hashlib
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyfastcdc.py import FastCDC

from minibox.chunk import (
    AVERAGE_CHUNK_BYTES,
    MAX_CHUNK_BYTES,
    MIN_CHUNK_BYTES,
    WINDOW_BYTES,
    Cutter,
    chunk_id,
)


def stream(seed: str, length: int) -> bytes:
    """Pseudo-random bytes that are the same for ever: SHAKE-256 of the seed."""
    return hashlib.shake_256(seed.encode()).digest(length)


LONG = stream("minibox", 24 * 1024 * 1024)
ZEROS = bytes(4 * MAX_CHUNK_BYTES + 5)


def cut(content: bytes, sizes=()) -> list[bytes]:
    cutter, chunks, done = Cutter(), [], 0
    for size in sizes:
        chunks += cutter.feed(content[done : done + size])
        done += size
    chunks += cutter.feed(content[done:])
    return chunks + cutter.finish()


def boundaries(chunks):
    return list(accumulate(map(len, chunks)))


def test_the_cuts_of_known_content_never_change():
    assert boundaries(cut(LONG)) == GOLDEN


def test_the_reference_implementation_cuts_at_the_same_places():
    content = LONG[: 6 * 1024 * 1024]
    reference = FastCDC(
        avg_size=AVERAGE_CHUNK_BYTES, min_size=MIN_CHUNK_BYTES, max_size=MAX_CHUNK_BYTES
    )
    assert [each.length for each in reference.cut_buf(content)] == [len(c) for c in cut(content)]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 9 * 1024 * 1024), max_size=8), st.sampled_from([LONG, ZEROS]))
def test_how_a_stream_is_fed_changes_no_cut(sizes, content):
    assert boundaries(cut(content, sizes)) == boundaries(cut(content))


@pytest.mark.parametrize("size", [64 * 1024, 1_000_003, MAX_CHUNK_BYTES, WINDOW_BYTES])
def test_a_stream_in_even_parts_is_cut_as_a_whole(size):
    assert cut(LONG, [size] * (len(LONG) // size)) == cut(LONG)


def test_chunks_joined_are_the_content_and_keep_their_limits():
    chunks = cut(LONG)
    assert b"".join(chunks) == LONG
    assert all(MIN_CHUNK_BYTES <= len(c) <= MAX_CHUNK_BYTES for c in chunks[:-1])


def test_content_without_a_place_to_cut_is_cut_at_the_maximum():
    assert [len(c) for c in cut(ZEROS)] == [MAX_CHUNK_BYTES] * 4 + [5]


@pytest.mark.parametrize("length", [1, 1000, MIN_CHUNK_BYTES])
def test_a_small_file_is_one_chunk(length):
    assert cut(LONG[:length]) == [LONG[:length]]


def test_an_empty_stream_has_no_chunk():
    assert Cutter().finish() == []
    assert Cutter().feed(b"") == []


def test_a_cutter_holds_less_than_a_chunk_a_window_and_the_last_part():
    cutter, fed, cut_off = Cutter(), 0, 0
    for start in range(0, len(ZEROS), 100_000):
        part = ZEROS[start : start + 100_000]
        fed += len(part)
        cut_off += sum(map(len, cutter.feed(part)))
        assert fed - cut_off < MAX_CHUNK_BYTES + WINDOW_BYTES + len(part)


def test_an_insertion_at_the_head_changes_few_chunks():
    before = {chunk_id(c) for c in cut(LONG)}
    after = {chunk_id(c) for c in cut(b"a new first line\n" + LONG)}
    assert len(after - before) <= 2


def test_an_id_is_the_sha256_of_the_content():
    assert chunk_id(b"abc").hex() == hashlib.sha256(b"abc").hexdigest()
    assert chunk_id(memoryview(b"abc")) == chunk_id(b"abc")


GOLDEN = [  # so long as these hold, the same files give the same chunks
    1363214,
    1810808,
    3118322,
    4261416,
    5378040,
    6599064,
    6962432,
    7930978,
    8459765,
    10319535,
    11905599,
    12988930,
    14054795,
    15175318,
    16438683,
    16877339,
    17630079,
    18838835,
    20416753,
    21542200,
    22677704,
    23017072,
    25082233,
    25165824,
]
