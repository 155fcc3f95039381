"""The tree of names, and what people do with entries."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import Book

from minibox.coordinator import folders, trash, tree
from minibox.errors import NameConflict, NotFound, ValidationFailed
from minibox.names import MAX_CHILD_KEY_BYTES, MAX_PATH_DEPTH, child_key, fold, valid_name

TEXTS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=60
).filter(lambda text: text not in (".", "..") and len(text.encode()) < 200)


@pytest.fixture
def book():
    return Book()


def make(book, *names):
    return book.in_ledger(lambda ledger, ids: folders.make_path(ledger, ids, book.home, names))


@given(TEXTS, TEXTS)
def test_keys_sort_as_folded_names_do(one, other):
    one, other = fold(valid_name(one)), fold(valid_name(other))
    keys = child_key(one), child_key(other)
    if len(one.encode()) < 200 and len(other.encode()) < 200:
        assert (keys[0] < keys[1]) == (one.encode() < other.encode())
    assert max(map(len, keys)) <= MAX_CHILD_KEY_BYTES


def test_a_name_sorts_before_the_longer_ones_that_begin_with_it(book):
    names = [f"{stem}{tail}" for stem in ("a", "abc", "z") for tail in ("", "d", "!", " (1)")]
    for name in names:
        make(book, name)
    listed = [entry.name for _, entry in tree.children(book.rows, book.home)]
    assert listed == sorted(names)


@pytest.mark.parametrize("twin", ["RÉSUMÉ", unicodedata.normalize("NFD", "résumé")])
def test_a_name_is_found_by_its_twins_and_taken_for_them(book, twin):
    made = make(book, "Résumé")
    assert tree.child(book.rows, book.home, valid_name(twin)) == made
    with pytest.raises(NameConflict):
        book.in_ledger(
            lambda ledger, ids: folders.make(
                ledger, ids, tree.by_id(ledger.writer, book.home), valid_name(twin)
            )
        )


def test_nothing_is_found_below_a_file(book):
    book.commit(["a"], b"x")
    with pytest.raises(NotFound):
        book.at("a", "b")
    with pytest.raises(NameConflict) as refused:
        book.commit(["a", "b", "c"], b"x")
    assert refused.value.path == "/a"


def test_a_folder_never_goes_into_itself(book):
    top, bottom = make(book, "a"), make(book, "a", "b", "c")
    for target in (top, bottom):
        for verb in (
            lambda ledger, _, to=target: folders.move(ledger, top, to, "x"),
            lambda ledger, ids, to=target: folders.copy(ledger, ids, top, to, "x"),
        ):
            with pytest.raises(ValidationFailed):
                book.in_ledger(verb)


def test_a_tree_is_no_deeper_than_paths_are_long(book):
    above = make(book, *["d"] * (MAX_PATH_DEPTH - 1))
    bottom = book.in_ledger(lambda ledger, ids: folders.make(ledger, ids, above, "d"))
    two = make(book, "x", "y")
    x = tree.by_id(book.rows, two.parent)
    with pytest.raises(ValidationFailed):
        book.commit(["f"], b"x", folder=bottom.id)
    with pytest.raises(ValidationFailed):
        book.in_ledger(lambda ledger, _: folders.move(ledger, x, above, "x"))
    with pytest.raises(ValidationFailed):
        book.in_ledger(lambda ledger, ids: folders.copy(ledger, ids, x, above, "x"))
    book.in_ledger(lambda ledger, _: folders.move(ledger, two, above, "y"))


def test_what_is_discarded_may_share_its_name_and_comes_back_with_all_below_it(book):
    for _ in range(2):
        book.commit(["docs", "a"], b"x")
        docs = book.at("docs")
        book.in_ledger(lambda ledger, _, entry=docs: trash.discard(ledger, entry))
    gone = [row.entry for row, _ in trash.listed(book.rows, book.home)]
    assert len(gone) == 2
    names = [
        book.in_ledger(lambda ledger, ids, each=each: trash.restore(ledger, ids, each)).name
        for each in gone
    ]
    assert names == ["docs", "docs (1)"]
    assert book.at("docs (1)", "a").size == 1


def test_content_never_goes_into_the_trash_or_another_home(book):
    other = book.found(2)
    file = book.commit(["docs", "a"], b"x").entry
    docs = book.at("docs")
    with pytest.raises(NotFound):
        book.commit([], b"y", home=other, file=file.id)
    with pytest.raises(NotFound):
        book.commit(["b"], b"y", home=other, folder=docs.id)
    book.in_ledger(lambda ledger, _: trash.discard(ledger, docs))
    with pytest.raises(NotFound):
        book.commit([], b"y", file=file.id)
    with pytest.raises(NotFound):
        book.commit(["b"], b"y", folder=docs.id)
    with pytest.raises(NotFound):
        book.commit([], b"y", file=docs.id)


@pytest.mark.parametrize("name", ["a", "a.txt", "x" * 255, "a." + "b" * 253, "é" * 127, ".a", "a."])
def test_a_free_name_is_valid_free_and_numbered(book, name):
    seen = set()
    for _ in range(12):
        made = book.commit([name], b"x", on_conflict="rename").entry.name
        assert valid_name(made) == made
        assert fold(made) not in seen
        seen.add(fold(made))
