from dataclasses import fields
from types import GenericAlias

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibox import errors
from minibox.errors import Failure
from minibox.http_api.problems import STATUS, Problem, failure_of, problem_of, status_of


def kinds(root=Failure):
    return [root, *(deeper for kind in root.__subclasses__() for deeper in kinds(kind))]


ALL = [kind for kind in dict.fromkeys(kinds()) if kind.__module__ == errors.__name__]
SAMPLES = {str: "text é", int: 7}


def sample(kind):
    values = {}
    for each in fields(kind):
        listed = isinstance(each.type, GenericAlias)
        values[each.name] = ["a", "b"] if listed else SAMPLES[each.type]
    return kind(**values)


def test_every_failure_has_its_status():
    assert [kind for kind in ALL if kind not in STATUS] == []
    assert all(400 <= status < 600 for status in STATUS.values())


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind is not Failure])
def test_a_failure_survives_the_wire_with_its_fields(kind):
    failure = sample(kind)
    document = msgspec.json.encode(problem_of(failure, "r1"))
    if kind is errors.Internal:
        failure = errors.Internal(request_id="r1")
    back = failure_of(status_of(failure), document)
    assert type(back) is kind
    assert back.fields() == failure.fields()
    assert msgspec.json.decode(document, type=Problem).detail


@pytest.mark.parametrize("kind", ALL)
def test_no_field_hides_what_every_problem_says(kind):
    own = {each.name for each in fields(kind)} - {"request_id"}
    assert own.isdisjoint(msgspec.structs.asdict(Problem("", "", 0, "", "", "")))


def test_a_failure_without_a_line_has_its_ancestors_status():
    class Narrower(errors.NotFound):
        pass

    try:
        assert status_of(Narrower()) == 404
    finally:
        del Narrower


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, errors.Unauthenticated),
        (404, errors.NotFound),
        (502, errors.Busy),
        (503, errors.Busy),
        (500, errors.Internal),
        (302, errors.Internal),
    ],
)
@pytest.mark.parametrize("document", [b"<html>", b"", b"[1]", b'{"code": 5}', b"\xff"])
def test_a_strangers_page_becomes_the_failure_of_its_status(status, kind, document):
    assert type(failure_of(status, document)) is kind


@given(st.integers(100, 599), st.binary(max_size=100))
def test_any_answer_is_a_failure(status, document):
    assert isinstance(failure_of(status, document), Failure)


@given(st.sampled_from(ALL), st.dictionaries(st.text(max_size=9), st.integers() | st.text()))
def test_a_problem_with_wrong_fields_is_still_a_failure(kind, values):
    assert isinstance(failure_of(500, {**values, "code": kind.code}), Failure)
