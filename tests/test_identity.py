import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibox.identity import from_text, new_id, to_text

numbers = st.integers(1, 2**64 - 1)


@given(numbers)
def test_an_id_survives_being_shown(number):
    assert from_text("f", to_text("f", number)) == number


@given(numbers)
def test_an_id_of_one_prefix_is_no_id_of_another(number):
    assert from_text("d", to_text("f", number)) is None


@given(numbers, numbers)
def test_ids_as_text_sort_as_their_numbers(one, other):
    assert (to_text("f", one) < to_text("f", other)) == (one < other)


@given(st.text(max_size=40))
def test_any_text_is_an_id_or_nothing(text):
    for shown in (text, f"f_{text}"):
        number = from_text("f", shown)
        assert number is None or to_text("f", number) == shown


@pytest.mark.parametrize(
    "text", ["f_" + "0" * 13, "f_z" + "z" * 12, "f_" + "0" * 12, "f_" + "U" * 13]
)
def test_no_two_texts_name_one_thing(text):
    assert from_text("f", text) is None


@given(st.integers(0, 4_000_000_000_000), st.integers(1, 10**9), st.binary(min_size=3, max_size=3))
def test_a_later_id_is_greater(milliseconds, later, noise):
    earlier_id = new_id(milliseconds / 1000, b"\xff\xff\xff")
    later_id = new_id(milliseconds / 1000 + later, noise)
    assert 0 < earlier_id < later_id < 2**64


def test_no_id_is_zero():
    assert new_id(0.0, bytes(3)) == 1
