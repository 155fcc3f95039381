from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibox.http_api.route import Parameter, Route


class Asked(msgspec.Struct):
    page: int = 1
    deep: bool = False
    since: str | None = msgspec.field(default=None, name="from")
    tag: list[str] = []


FILE = Route(
    name="file", method="GET", path="/api/files/{file_id}/versions/{v}", summary="s", query=Asked
)
CONTENT = Route(name="c", method="PUT", path="/api/content/{path:path}", summary="s", raw=True)


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_parameter_is_one_segment_of_the_path(file_id, version):
    path = urlsplit(FILE.url({"file_id": file_id, "v": version})).path
    segments = path.split("/")
    assert [unquote(segments[3]), unquote(segments[5])] == [file_id, version]


@given(st.lists(st.text(min_size=1).filter(lambda x: "/" not in x), min_size=1))
def test_a_path_parameter_keeps_its_slashes(names):
    url = CONTENT.url({"path": "/" + "/".join(names)})
    assert [unquote(name) for name in url.split("/")[3:]] == names


def test_a_query_is_written_with_its_public_names():
    url = FILE.url({"file_id": "f", "v": "1"}, Asked(deep=True, since="a&b", tag=["x", "y"]))
    assert parse_qs(urlsplit(url).query) == {
        "page": ["1"],
        "deep": ["true"],
        "from": ["a&b"],
        "tag": ["x", "y"],
    }


def test_a_missing_parameter_is_a_bug():
    with pytest.raises(KeyError):
        FILE.url({"file_id": "f"})


def test_a_route_knows_its_parameters():
    assert CONTENT.parameters == (Parameter("path", holds_slashes=True),)
    assert CONTENT.template == "/api/content/{path}"
    assert CONTENT.streams


def test_a_route_that_nobody_could_serve_is_refused():
    with pytest.raises(ValueError, match="not both"):
        Route(name="x", method="PUT", path="/x", summary="s", raw=True, body=Asked)
    with pytest.raises(ValueError, match="stands last"):
        Route(name="x", method="PUT", path="/x/{a:path}/{b}", summary="s")
