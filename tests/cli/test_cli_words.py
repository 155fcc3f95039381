"""What the command line understands and prints, without any server."""

import json
from datetime import UTC, datetime

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from minibox.cli.commands import minibox
from minibox.cli.output import print_table, printable, size_text, time_text
from minibox.cli.remote import file_target, must_be_local, must_be_remote, remote_path
from minibox.cli.supervision import MAX_PAUSE_SECONDS, STEADY_SECONDS, Lapses
from minibox.cli.up import url_of

# Remote paths


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("mb:/docs/a.txt", "/docs/a.txt"),
        ("mb:docs", "/docs"),
        ("/docs", "/docs"),
        ("docs", "/docs"),
        ("mb:", "/"),
    ],
)
def test_where_only_a_remote_path_can_stand_the_prefix_is_optional(text, path):
    assert remote_path(text) == path


def test_where_both_can_stand_the_prefix_decides():
    assert must_be_remote("mb:/a") == "/a"
    assert must_be_local("a:b") == "a:b"
    for wrong in (lambda: must_be_remote("/a"), lambda: must_be_local("mb:/a")):
        with pytest.raises(click.UsageError):
            wrong()


def test_a_file_goes_into_a_folder_under_its_own_name():
    assert file_target("/docs", "here/a.txt", is_folder=True) == "/docs/a.txt"
    assert file_target("/docs/", "a.txt", is_folder=False) == "/docs/a.txt"
    assert file_target("/docs/b.txt", "a.txt", is_folder=False) == "/docs/b.txt"
    assert file_target("/", "a.txt", is_folder=True) == "/a.txt"


# Usage


@pytest.mark.parametrize(
    "arguments",
    [
        ["put", "a.txt", "/b.txt"],
        ["put", "mb:/a", "mb:/b"],
        ["put", "-r", "a", "b", "mb:/c"],
        ["put", "-r", "--base", "f_1.1", "a", "mb:/c"],
        ["put", "a.txt"],
        ["get", "/a"],
        ["get", "mb:/a", "mb:/b"],
        ["get", "--version", "0", "mb:/a"],
        ["get", "--json", "mb:/a", "-"],
        ["rm"],
        ["restore", "/a", "first"],
        ["nonsense"],
        ["ls", "--nonsense"],
    ],
)
def test_wrong_usage_is_2_and_asks_no_server(arguments, monkeypatch):
    monkeypatch.setenv("MINIBOX_URL", "not even an address")
    result = CliRunner().invoke(minibox, arguments)
    assert result.exit_code == 2
    assert "Error" in result.output


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("MINIBOX_URL", "http://127.0.0.1:1")


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize("arguments", [["ls"], ["status"], ["whoami"], ["get", "mb:/a"]])
def test_a_refusal_is_1_and_one_line_on_stderr(arguments):
    result = CliRunner().invoke(minibox, arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("minibox: http://127.0.0.1:1 can't be reached")
    assert result.stderr.count("\n") == 1


def test_an_address_that_is_none_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    result = CliRunner().invoke(minibox, ["--url", "localhost", "ls"])
    assert result.exit_code == 1
    assert "write it like http://" in result.stderr


def test_up_without_a_file_says_how_to_get_one(tmp_path):
    result = CliRunner().invoke(minibox, ["up", "-c", str(tmp_path / "cluster.yaml")])
    assert result.exit_code == 1
    assert "minibox up --nodes 3" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_up_does_not_silently_ignore_another_number_of_nodes(tmp_path):
    from minibox.config import demo_config  # noqa: PLC0415

    (tmp_path / "cluster.yaml").write_text(demo_config(3))
    arguments = ["up", "--nodes", "5", "-c", str(tmp_path / "cluster.yaml")]
    result = CliRunner().invoke(minibox, arguments)
    assert result.exit_code == 1
    assert "3 nodes" in result.stderr


def test_every_command_has_a_word_of_help():
    with click.Context(minibox) as context:
        for name in minibox.list_commands(context):
            assert minibox.get_command(context, name).get_short_help_str()


# Output


@given(st.text())
def test_no_name_speaks_to_the_terminal(text):
    shown = printable(text)
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in shown)


@pytest.mark.parametrize(
    ("size", "text"),
    [(None, "-"), (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 * 1024**4, "5.0 TiB")],
)
def test_sizes_are_for_people(size, text):
    assert size_text(size) == text


@given(st.integers(0, 2**80))
def test_every_size_has_a_text(size):
    assert size_text(size)


def test_times_are_in_the_zone_of_the_reader():
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    expected = moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    assert time_text(moment) == expected


def test_a_table_aligns_numbers_to_the_right(capsys):
    print_table(["size", "name"], [["1 B", "a"], ["100 B", "bb"]])
    assert capsys.readouterr().out == " size  name\n  1 B  a\n100 B  bb\n"


def test_a_table_of_nothing_is_its_head(capsys):
    print_table(["size", "name"], [])
    assert capsys.readouterr().out == "size  name\n"


# Children


@given(st.lists(st.floats(0, 2 * STEADY_SECONDS), min_size=1, max_size=60))
def test_pauses_between_starts_grow_to_a_bound_and_begin_anew_after_a_steady_run(runs):
    lapses, former = Lapses(), 0.0
    for seconds in runs:
        lapses = lapses.after(seconds)
        assert 0 < lapses.pause_seconds <= MAX_PAUSE_SECONDS
        if seconds >= STEADY_SECONDS:
            assert lapses == Lapses(1)
        else:
            assert lapses.pause_seconds >= former
        former = lapses.pause_seconds


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("tcp:8000:interface=127.0.0.1", "http://127.0.0.1:8000"),
        ("tcp:8000", "http://127.0.0.1:8000"),
        (r"tcp6:8000:interface=\:\:1", "http://[::1]:8000"),
        ("tls:8443:interface=10.0.0.1:privateKey=a:certKey=b", "https://10.0.0.1:8443"),
    ],
)
def test_the_address_that_up_prints_is_one_that_a_browser_takes(listen, url):
    assert url_of(listen) == url


def test_json_of_nothing_is_json(capsys):
    from minibox.cli.output import print_json  # noqa: PLC0415

    print_json([])
    assert json.loads(capsys.readouterr().out) == []
