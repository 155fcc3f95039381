"""Frames: whatever the bytes and however they are split."""

import contextlib
import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibox.errors import BadFrame, BadRecord
from minibox.rpc.frames import Body, FrameReader, pack_header, pack_prefix

frames = st.tuples(st.lists(st.integers(0, 2**32) | st.binary(max_size=40)), st.binary())


def reader(max_header_bytes=1000, max_body_bytes=100_000):
    return FrameReader(max_header_bytes, max_body_bytes)


def packed(header, body=b""):
    return pack_prefix(pack_header(header), len(body)) + body


def read(reading, pieces):
    return [(header, body.join()) for piece in pieces for header, body in reading.feed(piece)]


def cut(stream, places):
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:stop] for start, stop in itertools.pairwise(edges)]


@given(st.lists(frames, max_size=8), st.lists(st.integers(0), max_size=12))
def test_frames_come_out_as_they_went_in_wherever_the_stream_is_cut(sent, places):
    stream = b"".join(packed(header, body) for header, body in sent)
    assert read(reader(), cut(stream, places)) == sent


def test_a_frame_survives_a_cut_at_every_boundary_and_one_byte_at_a_time():
    stream = packed([1, 2, "put"], b"x" * 50) + packed([4, 2]) + packed([1], b"y")
    expected = [([1, 2, "put"], b"x" * 50), ([4, 2], b""), ([1], b"y")]
    for place in range(len(stream) + 1):
        assert read(reader(), [stream[:place], stream[place:]]) == expected
    assert read(reader(), [bytes([byte]) for byte in stream]) == expected


@given(st.binary(max_size=200), st.lists(st.integers(0), max_size=5))
def test_any_bytes_raise_bad_frame_and_nothing_else(stream, places):
    reading = reader()
    try:
        for piece in cut(stream, places):
            for header, body in reading.feed(piece):
                assert isinstance(header, list)
                assert len(body) >= 0
    except BadFrame:
        pass


@given(st.binary(max_size=60), st.binary(max_size=30))
def test_any_header_raises_bad_frame_and_nothing_else(header, body):
    with contextlib.suppress(BadFrame):
        read(reader(), [pack_prefix(header, len(body)) + body])


@pytest.mark.parametrize("lengths", [(1001, 0), (10, 100_001), (2**32 - 1, 2**32 - 1)])
def test_a_frame_above_the_limits_is_refused_before_its_bytes_are_gathered(lengths):
    with pytest.raises(BadFrame):
        read(reader(), [struct.pack(">II", *lengths)])
    with pytest.raises(BadFrame):
        read(reader(), [bytes([byte]) for byte in struct.pack(">II", *lengths)])


def test_limits_can_be_raised_between_two_frames_of_one_piece():
    reading = FrameReader(100, 0)
    seen = []
    for header, body in reading.feed(packed([1]) + packed([2], b"now")):
        seen.append((header, body.join()))
        reading.max_body_bytes = 10
    assert seen == [([1], b""), ([2], b"now")]


def test_a_large_body_is_kept_in_the_parts_in_which_it_came():
    pieces = [bytes([number]) * 30_000 for number in range(3)]
    reading = reader()
    head = pack_prefix(pack_header([1]), 90_000)
    assert list(reading.feed(head)) == []
    [(_, body)] = [frame for piece in pieces for frame in reading.feed(piece)]
    assert [part is piece for part, piece in zip(body.parts, pieces, strict=True)] == [True] * 3


def test_a_body_sent_byte_by_byte_is_not_kept_byte_by_byte():
    body = bytes(range(250)) * 40
    reading = reader()
    [(_, received)] = [frame for byte in packed([1], body) for frame in reading.feed(bytes([byte]))]
    assert received.join() == body
    assert len(received.parts) < len(body) // 50


def test_a_long_header_that_comes_byte_by_byte_costs_linear_work():
    stream = packed([b"x" * 300_000])
    reading = reader(max_header_bytes=1_000_000)
    assert sum(1 for byte in stream for _ in reading.feed(bytes([byte]))) == 1


@given(st.lists(st.binary(min_size=1)), st.data())
def test_a_body_splits_into_pieces_that_join_to_it(parts, draw):
    whole = b"".join(parts)
    places = draw.draw(st.lists(st.integers(0, len(whole))))
    pieces = cut(whole, places)
    split = Body(parts).split([len(piece) for piece in pieces])
    assert [b"".join(piece) for piece in split] == pieces


@pytest.mark.parametrize("lengths", [[4], [6], [], [6, -1]])
def test_a_body_does_not_split_into_other_lengths(lengths):
    with pytest.raises(BadRecord):
        Body([b"abc", b"de"]).split(lengths)


def test_splitting_copies_nothing():
    part = bytes(1000)
    [[first], [second]] = Body([part]).split([400, 600])
    assert first.obj is part
    assert second.obj is part
