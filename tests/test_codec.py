import math
from typing import Literal

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minibox.chunk import ChunkRef, chunk_id
from minibox.codec import Record, decode, encode, unpack
from minibox.errors import BadRecord
from minibox.node_api import Capability, Put


class Sample(Record, frozen=True):
    kind = "sample"
    version = 2
    word: str
    number: int
    raw: bytes
    choice: Literal["a", "b"]
    inner: tuple[ChunkRef, ...] = ()


samples = st.builds(
    Sample,
    word=st.text(),
    number=st.integers(0, 2**64 - 1),
    raw=st.binary(),
    choice=st.sampled_from(["a", "b"]),
    inner=st.lists(st.builds(ChunkRef, st.binary().map(chunk_id), st.integers(0, 2**40))).map(
        tuple
    ),
)


def refused(packed: bytes, expected: type[Record] = Sample) -> bool:
    try:
        decode(expected, packed)
    except BadRecord:
        return True
    return False


@given(samples)
def test_a_record_reads_back(sample):
    assert decode(Sample, encode(sample)) == sample


@given(st.binary(max_size=200))
@example(b"\xc1")
@example(b"\x93" * 100_000)
@example(b"\x81" * 100_000)
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\xc6\xff\xff\xff\xff")
@example(b"\x81\x90\x90")
def test_random_bytes_are_refused_by_one_failure(packed):
    for expected in (Sample, ChunkRef, Capability, Put):
        assert refused(packed, expected)


@given(samples, st.data())
def test_a_mutated_record_is_refused_by_one_failure_or_is_another_record(sample, data):
    packed = bytearray(encode(sample))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(packed) - 1))
        packed[at] = data.draw(st.integers(0, 255))
    try:
        read = decode(Sample, bytes(packed))
    except BadRecord:
        return
    assert decode(Sample, encode(read)) == read


@given(samples, st.data())
def test_a_cut_or_lengthened_record_is_refused(sample, data):
    packed = encode(sample)
    assert refused(packed[: data.draw(st.integers(0, len(packed) - 1))])
    assert refused(packed + data.draw(st.binary(min_size=1)))


def packed_sample(**changes):
    fields = {"word": "w", "number": 1, "raw": b"", "choice": "a"} | changes
    return msgpack.packb(["sample", 2, *fields.values()], use_bin_type=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"word": b"bytes"},
        {"word": None},
        {"number": "1"},
        {"number": 1.0},
        {"number": True},
        {"raw": "text"},
        {"choice": "c"},
        {"inner": [["short"]]},
        {"inner": [], "one_more": 1},
    ],
)
def test_a_field_of_another_type_is_refused(changes):
    assert not refused(packed_sample())
    assert refused(packed_sample(**changes))


@pytest.mark.parametrize(
    "head", [["other", 2], ["sample", 1], ["sample", 3], ["sample", "2"], ["sample"]]
)
def test_another_kind_or_version_is_refused(head):
    assert refused(msgpack.packb([*head, "w", 1, b"", "a"]))


@pytest.mark.parametrize("version", [True, 1.0])
def test_a_version_is_a_whole_number(version):
    packed = msgpack.packb(["chunkref", version, bytes(32), 1])
    assert refused(packed, ChunkRef)


@pytest.mark.parametrize(
    "packed",
    [
        msgpack.packb([math.nan]),
        msgpack.packb([math.inf]),
        msgpack.packb({"a": -math.inf}),
        msgpack.packb([[{"a": [math.nan]}]]),
        msgpack.packb(msgpack.ExtType(5, b"x")),
        msgpack.packb([msgpack.Timestamp(1)]),
        b"\x82\xa1a\x01\xa1a\x02",
        b"\xa1\xff",
        b"\x81\x01\x01",
    ],
)
def test_what_we_never_write_is_never_read(packed):
    with pytest.raises(BadRecord):
        unpack(packed)


def test_a_field_added_at_the_end_reads_old_records():
    assert decode(Sample, packed_sample()).inner == ()
