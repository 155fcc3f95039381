"""From where others listen to where one connects."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibox.allocator import keep_freed_memory
from minibox.endpoint_strings import escape, parse, to_connect


@pytest.mark.parametrize(
    ("listen", "connect"),
    [
        ("tcp:8101:interface=127.0.0.1", "tcp:127.0.0.1:8101"),
        ("tcp:8101", "tcp:127.0.0.1:8101"),
        ("tcp:port=8101:interface=10.0.0.7", "tcp:10.0.0.7:8101"),
        ("tcp:8101:interface=0.0.0.0", "tcp:127.0.0.1:8101"),
        ("tcp6:8101:interface=\\:\\:1", "tcp:\\:\\:1:8101"),
        ("tls:8101:interface=10.0.0.7", "tls:10.0.0.7:8101"),
        ("ssl:8101:privateKey=k.pem", "tls:127.0.0.1:8101"),
        ("unix:/run/minibox.sock:mode=600", "unix:path=/run/minibox.sock"),
        ("tcp:127.0.0.1:8101", "tcp:127.0.0.1:8101"),
        ("tcp:host=example.org:port=1", "tcp:host=example.org:port=1"),
        ("unix:path=/run/minibox.sock", "unix:path=/run/minibox.sock"),
    ],
)
def test_a_listening_description_becomes_a_connecting_one(listen, connect):
    assert to_connect(listen) == connect


def test_a_server_on_all_interfaces_is_reached_where_its_host_is():
    assert to_connect("tcp:8101", host="10.0.0.7") == "tcp:10.0.0.7:8101"


@pytest.mark.parametrize("listen", ["", "8101", "systemd:domain=INET:index=0", "stdio:"])
def test_what_names_no_address_is_refused(listen):
    with pytest.raises(ValueError, match="no address"):
        to_connect(listen)


@given(st.text(min_size=1), st.text())
def test_escaped_fields_come_back(field, value):
    description = f"tcp:{escape(field)}:name={escape(value)}"
    assert parse(description) == ("tcp", (field,), {"name": value})


def test_the_allocator_takes_advice_or_says_that_it_does_not():
    assert keep_freed_memory() in (True, False)
