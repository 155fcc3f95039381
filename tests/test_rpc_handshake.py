"""The handshake against strangers, eavesdroppers and mirrors: two of them joined by a fake link."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibox.codec import encode
from minibox.errors import HandshakeFailed
from minibox.rpc.frames import FrameReader, FrameType
from minibox.rpc.handshake import HIGHEST_VERSION, Handshake, Hello
from minibox.rpc.methods import Identity

KEY = b"k" * 32
N1 = Identity("node", "n1")
N2 = Identity("node", "n2")
GUEST = Identity("guest", "laptop")


def dialer(identity=N1, key=KEY, nonce=b"d" * 32, **more):
    return Handshake("dialer", identity, key, nonce, **more)


def acceptor(identity=N2, key=KEY, nonce=b"a" * 32, **more):
    return Handshake("acceptor", identity, key, nonce, **more)


def headers(sent):
    return [header for header, _ in FrameReader(4096, 0).feed(sent)]


def join(left, right):
    """Carry frames to and fro until nobody has more to say; all that was sent, by side."""
    from_left, from_right = left.opening(), right.opening()
    log = [from_left], [from_right]
    while from_left or from_right:
        from_right = b"".join(right.receive(header) for header in headers(from_left))
        from_left = b"".join(left.receive(header) for header in headers(from_right))
        log[0].append(from_left)
        log[1].append(from_right)
    return log


def hello(**changes):
    fields = {
        "lowest": 1,
        "highest": 1,
        "cluster": "",
        "role": "node",
        "name": "n9",
        "nonce": b"n" * 32,
    }
    return [FrameType.HELLO, 0, encode(Hello(**(fields | changes)))]


def test_both_sides_learn_who_the_other_is():
    left, right = dialer(), acceptor()
    join(left, right)
    assert (left.done, right.done) == (True, True)
    assert (left.peer, right.peer) == (N2, N1)
    assert left.version == right.version == HIGHEST_VERSION


def test_a_guest_needs_no_key_and_stays_a_guest():
    left, right = dialer(GUEST, None), acceptor()
    join(left, right)
    assert (left.done, right.done) == (True, True)
    assert right.peer == GUEST


def test_the_wrong_key_is_refused_by_the_dialer():
    with pytest.raises(HandshakeFailed, match="cluster key"):
        join(dialer(key=b"x" * 32), acceptor())


def test_the_wrong_key_is_refused_by_the_acceptor():
    left, right = dialer(key=b"x" * 32), acceptor()
    answer = headers(right.receive(headers(left.opening())[0]))
    left.receive(answer[0])
    assert not right.done
    with pytest.raises(HandshakeFailed, match="cluster key"):
        right.receive([FrameType.PROOF, 0, left._proof_of("dialer")])


def test_who_does_not_prove_anything_gets_nowhere():
    right = acceptor()
    right.receive(hello())
    for header in (hello(), [FrameType.PROOF, 0, b""], [FrameType.CALL, 1, "put", b""]):
        with pytest.raises(HandshakeFailed):
            right.receive(header)
        assert not right.done


def test_a_recorded_dialer_cannot_be_played_again():
    said, _ = join(dialer(), acceptor())
    fresh = acceptor(nonce=b"b" * 32)
    recorded = [header for sent in said for header in headers(sent)]
    fresh.receive(recorded[0])
    with pytest.raises(HandshakeFailed, match="cluster key"):
        fresh.receive(recorded[1])
    assert not fresh.done


def test_a_recorded_acceptor_cannot_be_played_again():
    _, said = join(dialer(), acceptor())
    fresh = dialer(nonce=b"e" * 32)
    recorded = [header for sent in said for header in headers(sent)]
    fresh.receive(recorded[0])
    with pytest.raises(HandshakeFailed, match="cluster key"):
        fresh.receive(recorded[1])


def test_a_mirror_is_not_believed():
    left = dialer()
    left.receive(headers(left.opening())[0])
    for proof in (left._proof_of("dialer"), b"", b"\0" * 32):
        with pytest.raises(HandshakeFailed, match="cluster key"):
            left.receive([FrameType.PROOF, 0, proof])


def test_an_acceptors_proof_does_not_serve_as_a_dialers():
    right = acceptor()
    answer = headers(right.receive(hello(name="n1")))
    with pytest.raises(HandshakeFailed, match="cluster key"):
        right.receive(answer[1])


@pytest.mark.parametrize(
    "changed", [{"name": "n2"}, {"role": "coordinator"}, {"highest": 2}, {"nonce": b"m" * 32}]
)
def test_an_altered_hello_voids_the_proof(changed):
    honest = {"name": "n1", "nonce": b"d" * 32}
    left, right = dialer(), acceptor()
    answer = headers(right.receive(hello(**(honest | changed))))
    left.receive(answer[0])
    with pytest.raises(HandshakeFailed, match="cluster key"):
        left.receive(answer[1])


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"lowest": HIGHEST_VERSION + 1, "highest": HIGHEST_VERSION + 3}, "versions"),
        ({"lowest": 0, "highest": 0}, "versions"),
        ({"cluster": "other"}, "another cluster"),
        ({"nonce": b""}, "strange length"),
        ({"name": "n" * 300}, "strange length"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(changed, reason):
    with pytest.raises(HandshakeFailed, match=reason):
        acceptor(cluster="mine").receive(hello(**changed))


def test_a_newer_peer_speaks_the_older_version():
    right = acceptor()
    right.receive(hello(highest=HIGHEST_VERSION + 5))
    assert right.version == HIGHEST_VERSION


def test_another_node_than_expected_is_refused():
    with pytest.raises(HandshakeFailed, match="n3"):
        join(dialer(expected_name="n3"), acceptor())


def test_a_guest_cannot_be_dialed():
    with pytest.raises(HandshakeFailed, match="offers nothing"):
        dialer().receive(hello(role="guest"))


def test_the_reason_of_a_refusal_is_passed_on():
    with pytest.raises(HandshakeFailed, match="too old"):
        dialer().receive([FrameType.REFUSED, 0, "too old"])


@given(st.lists(st.integers() | st.binary(max_size=50) | st.text(max_size=9) | st.none()))
def test_any_header_fails_the_handshake_and_nothing_else(header):
    with pytest.raises(HandshakeFailed):
        acceptor().receive(header)


@given(st.binary(max_size=80))
def test_any_hello_fails_the_handshake_and_nothing_else(packed):
    with pytest.raises(HandshakeFailed):
        acceptor().receive([FrameType.HELLO, 0, packed])


@pytest.mark.parametrize("key", [None, b"short"])
def test_a_node_without_a_good_key_is_a_mistake_at_the_start(key):
    with pytest.raises(ValueError, match="key"):
        dialer(key=key)
