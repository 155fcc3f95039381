"""Accounts, sessions, idempotency keys, holders and references, each by itself."""

import pytest
from records import Book, Rows, chunk

from minibox.coordinator import accounts, holders, idempotency, references, sessions, trash
from minibox.coordinator.accounts import Names, checked_names
from minibox.coordinator.holders import Holder
from minibox.coordinator.sessions import IDLE_SECONDS, Session
from minibox.errors import (
    AlreadyExists,
    ChunkMissing,
    IdempotencyMismatch,
    NotFound,
    TokenExpired,
    TokenRevoked,
    ValidationFailed,
)
from minibox.identity import FreshIds

ONE = chunk(b"one")


@pytest.fixture
def rows():
    return Rows()


def create(rows, username, email="", number=1):
    ids = FreshIds(1e9, bytes([number]))
    return accounts.create(rows, 1e9, ids, Names(username, email), b"hash", "user", 0)


def test_names_and_addresses_are_unique_with_their_twins(rows):
    create(rows, "Émile", "e@x.org", 1)
    for number, (name, email) in enumerate([("émile", ""), ("E\u0301MILE", ""), ("f", "E@X.ORG")]):
        with pytest.raises(AlreadyExists):
            create(rows, name, email, number + 2)
    assert accounts.by_login(rows, "ÉMILE") == accounts.by_login(rows, "e@X.org")


def test_a_renamed_user_leaves_no_name_behind(rows):
    user = create(rows, "a", "a@x.org")
    renamed = accounts.rename(rows, user.id, Names("b", ""))
    assert accounts.by_login(rows, "a") is None
    assert accounts.by_login(rows, "a@x.org") is None
    assert accounts.by_login(rows, "b") == renamed
    again = accounts.rename(rows, user.id, Names("c", "c@x.org"))
    assert accounts.by_login(rows, "b") is None
    accounts.remove(rows, user.id)
    assert rows.values == {}
    assert again.id == user.id
    with pytest.raises(NotFound):
        accounts.remove(rows, user.id)


def test_a_name_is_given_or_made_from_the_address():
    assert checked_names("", "eve@x.org") == Names("eve", "eve@x.org", is_derived=True)
    assert checked_names("Eve", "eve@x.org") == Names("Eve", "eve@x.org")
    for username, email in (("", ""), ("a@b", ""), ("", "nobody"), ("a:b", "")):
        with pytest.raises(ValidationFailed):
            checked_names(username, email)


@pytest.mark.parametrize("name", ["", "x" * 255, "x" * 5000, "\ud800", "é" * 254, "\U0001f600@x"])
def test_a_login_that_can_be_nobodys_is_nobodys(rows, name):
    assert accounts.by_login(rows, name) is None


# Sessions


def opened(rows, number=1, user=5, at=0.0):
    session = Session(number, user, b"first", at, at)
    sessions.open_session(rows, session)
    return session


def test_each_refresh_token_serves_once_and_an_old_one_ends_the_session(rows):
    opened(rows)
    assert sessions.refresh(rows, 1, b"first", b"second", 1.0).refresh == b"second"
    assert sessions.refresh(rows, 1, b"second", b"third", 2.0).refresh == b"third"
    assert sessions.refresh(rows, 1, b"first", b"fourth", 3.0) is None
    assert sessions.get(rows, 1) is None
    with pytest.raises(TokenRevoked):
        sessions.refresh(rows, 1, b"third", b"fifth", 3.0)
    assert rows.values == {}


def test_a_session_that_was_idle_too_long_has_ended(rows):
    opened(rows)
    sessions.refresh(rows, 1, b"first", b"second", IDLE_SECONDS)
    with pytest.raises(TokenExpired):
        sessions.refresh(rows, 1, b"second", b"third", 2 * IDLE_SECONDS + 1)


def test_all_sessions_of_one_user_end_but_one(rows):
    for number in (1, 2, 3):
        opened(rows, number)
    opened(rows, 4, user=6)
    sessions.end_all(rows, 5, but_not=2)
    assert [each.id for each in sessions.of_user(rows, 5)] == [2]
    assert sessions.get(rows, 4) is not None


# Idempotency


def test_an_answer_is_kept_for_a_day_for_the_same_request(rows):
    made = []

    def operation():
        made.append(1)
        return b"%d" % len(made)

    def once(request, now):
        return idempotency.once(rows, b"key", request, now, operation)

    assert [once(b"r", 0.0), once(b"r", 1.0)] == [b"1", b"1"]
    with pytest.raises(IdempotencyMismatch):
        once(b"other", 2.0)
    assert once(b"other", idempotency.KEPT_SECONDS) == b"2"
    assert idempotency.forget_old(rows, idempotency.KEPT_SECONDS, None, 10) is None
    assert once(b"other", idempotency.KEPT_SECONDS) == b"2"
    assert idempotency.forget_old(rows, 3 * idempotency.KEPT_SECONDS, None, 10) is None
    assert rows.values == {}


def test_old_answers_are_forgotten_a_part_at_a_time(rows):
    for number in range(5):
        key, at = b"%d" % number, 0.0 if number % 2 else 9e9
        idempotency.once(rows, key, b"r", at, lambda: b"a")
    places, place = [], None
    while True:
        place = idempotency.forget_old(rows, 9e9, place, 2)
        places.append(place)
        if place is None:
            break
    assert places == [b"1", b"3", None]
    assert sorted(key[-1:] for key in rows.keys) == [b"0", b"2", b"4"]


def test_one_key_is_another_for_another_user_and_route():
    keys = {idempotency.key_of(u, r, k) for u in (1, 2) for r in "ab" for k in "xy"}
    assert len(keys) == 8


# Holders, debts, references


def test_a_chunk_is_in_debt_until_enough_nodes_have_confirmed(rows):
    for number, node in enumerate(("n1", "n2", "n2", "n3"), 1):
        holders.confirm(rows, ONE, [Holder(node, b"d")], 3, float(number))
        debt = holders.debt_of(rows, ONE.id)
        assert (debt is None) == (node == "n3")
        if debt is not None:
            assert debt.since == 1.0
    holders.withdraw(rows, ONE.id, "n1", 3, 9.0)
    assert holders.debt_of(rows, ONE.id).have == 2
    holders.withdraw(rows, ONE.id, "n1", 3, 10.0)
    assert holders.debt_of(rows, ONE.id).since == 9.0
    holders.forget(rows, ONE.id)
    assert rows.values == {}


def test_a_new_disk_of_a_node_takes_the_place_of_the_old_one(rows):
    holders.confirm(rows, ONE, [Holder("n1", b"old")], 3, 0.0)
    copies = holders.confirm(rows, ONE, [Holder("n1", b"new")], 3, 0.0)
    assert copies.holders == (Holder("n1", b"new"),)
    assert holders.counted(copies.holders, {"n1": frozenset({b"old"})}) == 0
    assert holders.counted(copies.holders, {"n1": frozenset({b"new"})}) == 1


def test_a_chunk_is_condemned_when_the_last_reference_goes_and_saved_by_the_next(rows):
    references.add(rows, [ONE.id], 1, 1)
    references.add(rows, [ONE.id], 2, 1)
    references.drop(rows, [ONE.id], 1, 1, 5.0)
    assert not references.is_condemned(rows, ONE.id)
    references.drop(rows, [ONE.id], 2, 1, 6.0)
    assert list(references.condemned(rows)) == [(ONE.id, 6.0)]
    references.add(rows, [ONE.id], 3, 1)
    assert not references.is_condemned(rows, ONE.id)


# Commits


def test_a_commit_that_lacks_chunks_leaves_nothing():
    book = Book()
    before = dict(book.rows.values)
    for nodes in ((), ("n1",), ("stranger", "n1")):
        with pytest.raises(ChunkMissing) as refused:
            book.commit(["new", "folder", "a"], b"one", b"two", nodes=nodes)
        assert refused.value.ids == [ONE.id.hex(), chunk(b"two").id.hex()]
        assert book.rows.values == before


def test_a_chunk_that_others_have_is_no_ones_by_its_hash():
    book = Book()
    other = book.found(2)
    file = book.commit(["a"], b"one").entry
    with pytest.raises(ChunkMissing):
        book.commit(["stolen"], b"one", nodes=(), home=other)
    book.commit(["b"], b"one", nodes=())
    book.in_ledger(lambda ledger, _: trash.discard(ledger, file))
    book.commit(["c"], b"one", nodes=())
