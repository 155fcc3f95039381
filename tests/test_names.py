import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibox import names
from minibox.errors import ValidationFailed

anything = st.text(st.characters(), max_size=300)  # lone surrogates and controls included
valid = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/"), min_size=1)


def is_valid(text: str) -> bool:
    try:
        names.valid_name(text)
    except ValidationFailed:
        return False
    return True


@given(anything)
def test_a_text_is_a_name_in_nfc_or_refused_by_its_one_failure(text):
    try:
        name = names.valid_name(text)
    except ValidationFailed:
        return
    assert unicodedata.is_normalized("NFC", name)
    assert 1 <= len(name.encode()) <= 255
    assert names.valid_name(name) == name


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "a/b", "/", "a\0", "a\n", "\x7f", "\x85", "\ud800", "a" * 256, "é" * 128],
)
def test_what_no_file_system_can_hold_is_refused(text):
    assert not is_valid(text)


@pytest.mark.parametrize(
    "text", [" ", "...", "a ", "a.", "CON", "nul.txt", "a:b", "a\\b", "\u202e"]
)
def test_what_linux_can_hold_is_a_name(text):
    assert names.valid_name(text) == text


@pytest.mark.parametrize("text", ["a" * 255, "é" * 127, "e\u0301" * 127])
def test_the_length_that_counts_is_that_of_the_stored_name(text):
    assert is_valid(text)


def test_a_name_that_outgrows_its_limit_when_normalised_is_refused():
    assert not is_valid("\u0958" * 85)  # 255 bytes as written, 510 in NFC


def test_a_huge_text_is_refused_before_it_is_normalised():
    assert not is_valid("e\u0301" * 10_000_000)


@given(valid)
def test_names_that_differ_by_encoding_or_case_fold_to_one_key(text):
    folded = names.fold(text)
    assert names.fold(unicodedata.normalize("NFC", text)) == folded
    assert names.fold(unicodedata.normalize("NFD", text)) == folded
    assert names.fold(text.casefold()) == folded
    assert names.fold(folded) == folded


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A", "a"),
        ("Straße", "STRASSE"),
        ("É", "e\u0301"),
        ("\u03b1\u0345\u0301", "\u1fb4"),
        ("\u03a3a\u03c2", "\u03c3A\u03c3"),
    ],
)
def test_twins_have_one_child_key(one, other):
    assert names.child_key(one) == names.child_key(other)


def test_different_names_have_different_child_keys_however_long_their_common_start():
    assert names.child_key("a" * 254 + "b") != names.child_key("a" * 254 + "c")


@given(valid)
def test_a_child_key_fits_the_store(text):
    assert 17 <= len(names.child_key(text)) <= 216


@given(st.lists(valid.filter(is_valid).map(names.valid_name), max_size=20).map(tuple))
def test_a_path_of_valid_names_parses_back(path):
    joined = names.join_path(path)
    if len(joined.encode()) > names.MAX_PATH_BYTES:
        with pytest.raises(ValidationFailed):
            names.parse_path(joined)
        return
    assert names.parse_path(joined) == path
    assert names.parse_path(joined[1:]) == path
    assert names.parse_path(joined.removesuffix("/") + "/") == path


@given(anything)
def test_a_path_is_parsed_or_refused_by_its_one_failure(text):
    try:
        path = names.parse_path(text)
    except ValidationFailed:
        return
    assert all(is_valid(name) for name in path)


@pytest.mark.parametrize("text", ["//", "a//b", "//a", "a//", "/..", "a/../b", "./a", "a/\0"])
def test_a_path_never_climbs_and_has_no_empty_name(text):
    with pytest.raises(ValidationFailed):
        names.parse_path(text)


@pytest.mark.parametrize("text", ["", "/"])
def test_root_is_the_empty_path(text):
    assert names.parse_path(text) == ()
    assert names.join_path(()) == "/"


def test_depth_and_length_of_a_path_are_bounded():
    assert len(names.parse_path("a/" * 128)) == 128
    with pytest.raises(ValidationFailed):
        names.parse_path("a/" * 129)
    with pytest.raises(ValidationFailed):
        names.parse_path("/".join(["é" * 120] * 18))


@pytest.mark.parametrize("text", ["alice", "a", "Zoë", "o'neil", "a+b_c-d.e", "李"])
def test_people_are_called_what_they_are_called(text):
    assert names.check_username(text) == text


@pytest.mark.parametrize("text", ["", "a@b", "a b", "a:b", "a/b", "a\n", "x" * 65, "\ud800"])
def test_a_username_that_could_be_taken_for_something_else_is_refused(text):
    with pytest.raises(ValidationFailed) as refusal:
        names.check_username(text)
    assert refusal.value.field == "username"


@pytest.mark.parametrize("text", ["a@b.org", "a.b+c@sub.example.org", "a@localhost", "é@é.org"])
def test_an_address_keeps_its_spelling(text):
    assert names.check_email(text) == text


@pytest.mark.parametrize("text", ["", "a", "@b", "a@", "a@b@c", "a b@c", "a@.b", "a@b..c", "a@b."])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValidationFailed):
        names.check_email(text)


@given(anything)
def test_credentials_are_taken_or_refused_by_their_one_failure(text):
    for check in (names.check_username, names.check_email, names.check_password):
        try:
            check(text)
        except ValidationFailed:
            continue


def test_a_password_has_eight_characters_and_is_bounded_in_bytes():
    assert names.check_password("12345678") == "12345678"
    assert names.check_password("é" * 512)
    for refused in ("1234567", "é" * 513, "x" * 1025):
        with pytest.raises(ValidationFailed):
            names.check_password(refused)
