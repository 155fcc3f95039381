from hypothesis import given
from hypothesis import strategies as st

from minibox.chunk import ChunkRef, chunk_id
from minibox.codec import decode, encode
from minibox.manifest import EMPTY_SHA256, SEGMENT_CHUNKS, Segment, segments, spans

contents = st.lists(st.binary(min_size=1, max_size=20), max_size=20)


def refs(parts):
    return [ChunkRef(chunk_id(part), len(part)) for part in parts]


@given(contents, st.integers(0, 400), st.integers(0, 400))
def test_spans_are_exactly_the_bytes_asked_for(parts, start, stop):
    by_id = {chunk_id(part): part for part in parts}
    found = list(spans(refs(parts), start, stop))
    assert (
        b"".join(by_id[s.chunk.id][s.start : s.stop] for s in found) == b"".join(parts)[start:stop]
    )
    assert all(0 <= s.start < s.stop <= s.chunk.length for s in found)


@given(contents)
def test_spans_of_everything_are_all_chunks_whole(parts):
    chunks = refs(parts)
    found = list(spans(chunks, 0, sum(each.length for each in chunks)))
    assert [(s.chunk, s.start, s.stop) for s in found] == [(c, 0, c.length) for c in chunks]


def test_chunks_behind_the_range_are_never_looked_at():
    def seven():
        for _ in range(7):
            yield ChunkRef(chunk_id(b"x"), 1)
        yield None

    assert len(list(spans(seven(), 5, 7))) == 2


@given(st.integers(0, 2 * SEGMENT_CHUNKS + 1))
def test_segments_are_full_but_the_last_and_lose_nothing(count):
    chunks = refs([b"x"]) * count
    cut = list(segments(chunks))
    assert [each for segment in cut for each in segment.chunks] == chunks
    assert all(len(segment.chunks) == SEGMENT_CHUNKS for segment in cut[:-1])
    assert all(segment.chunks for segment in cut)


def test_a_segment_survives_the_store():
    segment = Segment(tuple(refs([b"a", b"b"])))
    assert decode(Segment, encode(segment)) == segment


def test_the_empty_content_has_the_known_hash():
    assert chunk_id(b"") == EMPTY_SHA256
