"""The pure and the local parts of the client."""

import os
import stat
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibox import errors
from minibox.chunk import ChunkRef, Cutter, chunk_id
from minibox.client.authority import Credentials
from minibox.client.batching import BATCH_BYTES, BATCH_NAME_BYTES, batches, most_chunks
from minibox.client.cutting import READ_BYTES, CutFile
from minibox.client.direct import reachable
from minibox.client.exchange import NeverSent
from minibox.client.local import LocalFile, LocalFolder, PartFile, Skipped, walk
from minibox.client.putting import open_source
from minibox.client.retrying import Attempt, pause_before_next
from minibox.client.settings import DEFAULT_URL, Settings
from minibox.client.unfinished import Intent, UnfinishedUploads
from minibox.client.wire import placements_of, record_of, text_of
from minibox.http_api.uploads import MAX_CHUNKS_PER_CALL, MAX_FILES_PER_CALL, Plan
from minibox.node_api import Receipt

# Trying again


def attempt(failure, **facts):
    defaults = {"number": 1, "elapsed_seconds": 0, "is_repeatable": False, "is_known_server": True}
    return Attempt(failure=failure, **{**defaults, **facts})


def test_what_was_never_sent_is_tried_again_whatever_it_was():
    assert pause_before_next(attempt(NeverSent("a", "b")), 10)


def test_what_may_have_happened_is_tried_again_only_if_repeatable():
    lost = errors.Unreachable("a", "b")
    assert pause_before_next(attempt(lost), 10) is None
    assert pause_before_next(attempt(lost, is_repeatable=True), 10)


@pytest.mark.parametrize(
    "failure",
    [
        errors.NotFound(),
        errors.VersionConflict("x"),
        errors.CallTimeout("x"),
        errors.RateLimited(1),
    ],
)
def test_a_refusal_stands(failure):
    assert pause_before_next(attempt(failure, is_repeatable=True), 10) is None


@given(st.integers(1, 1000), st.floats(0, 100), st.none() | st.floats(0, 100))
def test_no_pause_passes_the_patience(number, elapsed, retry_after):
    tried = attempt(errors.Busy(), number=number, elapsed_seconds=elapsed, retry_after=retry_after)
    pause = pause_before_next(tried, 15.0)
    assert pause is None or elapsed + pause <= 15.0
    assert pause is None or pause >= (retry_after or 0)


# Batches


@given(st.lists(st.tuples(st.integers(0, 2**20), st.integers(1, 4096)), max_size=1500))
def test_every_file_is_in_one_batch_in_order_and_no_batch_is_too_much(files):
    found = list(batches(files, lambda f: f[0], lambda f: "x" * f[1]))
    assert [file for batch in found for file in batch] == files
    for batch in found:
        assert 0 < len(batch) <= MAX_FILES_PER_CALL
        assert sum(size for size, _ in batch) <= BATCH_BYTES
        assert sum(name for _, name in batch) <= BATCH_NAME_BYTES
        assert sum(most_chunks(size) for size, _ in batch) <= MAX_CHUNKS_PER_CALL


# Cutting


@pytest.mark.parametrize("size", [0, 1, READ_BYTES - 1, READ_BYTES, 2 * READ_BYTES + 17])
def test_a_file_is_cut_as_any_other_door_cuts_it(tmp_path, size):
    content = os.urandom(1024) * (size // 1024) + b"x" * (size % 1024)
    path = tmp_path / "a"
    path.write_bytes(content)
    cutter = Cutter()
    expected = [chunk_id(each) for each in [*cutter.feed(content), *cutter.finish()]]
    found = []
    with path.open("rb") as file:
        cut = CutFile(file)
        while pieces := cut.cut():
            found += pieces
    assert [each.chunk.id for each in found] == expected
    assert b"".join(each.content for each in found) == content
    assert cut.size == size


# Nodes as seen from here


def test_a_node_on_every_interface_is_where_the_coordinator_is():
    assert reachable({"n1": "tcp:8101"}, "box.example") == {"n1": "tcp:box.example:8101"}


def test_a_node_on_the_loopback_of_another_machine_is_not_ours():
    nodes = {"n1": "tcp:8101:interface=127.0.0.1", "n2": "tcp:8102:interface=10.0.0.2"}
    assert reachable(nodes, "box.example") == {"n2": "tcp:10.0.0.2:8102"}
    assert list(reachable(nodes, "127.0.0.1")) == ["n1", "n2"]
    assert list(reachable(nodes, "localhost")) == ["n1", "n2"]


def test_an_endpoint_that_names_no_address_is_left_out():
    assert reachable({"n1": "carrier-pigeon:7"}, "127.0.0.1") == {}


# Records in JSON


def receipt():
    return Receipt(chunk_id(b"a"), 1, "n1", b"d" * 16, 7, b"m" * 32)


def test_a_receipt_comes_back_with_or_without_padding():
    text = text_of(receipt())
    assert record_of(Receipt, text) == record_of(Receipt, text.rstrip("=")) == receipt()


@given(st.text(max_size=80))
def test_no_text_makes_anything_but_a_record_or_a_bad_record(text):
    with suppress(errors.BadRecord):
        record_of(Receipt, text)


def test_a_plan_that_forgets_a_capability_is_a_bad_record():
    plan = Plan("u_1", ("00" * 32,), {}, {}, {}, 3, 2, "2026-01-01T00:00:00Z")
    with pytest.raises(errors.BadRecord):
        placements_of(plan)


# Files here


def test_a_walk_skips_links_and_special_files_and_says_so(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "empty").mkdir()
    (tmp_path / "b" / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("b")
    os.mkfifo(tmp_path / "pipe")
    found = list(walk(tmp_path))
    assert [each.relative for each in found if isinstance(each, LocalFile)] == ["b/file"]
    assert [each.relative for each in found if isinstance(each, LocalFolder)] == ["b/empty"]
    skipped = [each.path for each in found if isinstance(each, Skipped)]
    assert skipped == [str(tmp_path / "link"), str(tmp_path / "pipe")]


def fill(target, parts, tag="tag"):
    file = PartFile(target, tag, "rival")
    file.begin()
    for part in parts:
        file.write([part])
    return file


def test_a_target_is_replaced_only_when_its_content_is_right(tmp_path):
    target = tmp_path / "a"
    target.write_bytes(b"old")
    file = fill(target, [b"new"])
    assert file.finish("0" * 64, None) == chunk_id(b"new").hex()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]
    file = fill(target, [b"ne", b"w"])
    file.finish(chunk_id(b"new").hex(), 1000.0)
    assert target.read_bytes() == b"new"
    assert target.stat().st_mtime == 1000
    assert list(tmp_path.iterdir()) == [target]


def test_what_an_interrupted_get_left_is_kept_as_far_as_it_is_good(tmp_path):
    pieces = [b"a" * 10, b"b" * 10, b"c" * 10]
    fill(tmp_path / "a", [b"a" * 10, b"b" * 5, b"?" * 5]).close()
    file = PartFile(tmp_path / "a", "tag", "rival")
    assert file.had_bytes
    assert not file.keep_good([ChunkRef(chunk_id(each), 10) for each in pieces])
    assert file.size == 10
    file.begin()
    file.write(pieces[1:])
    assert file.finish(chunk_id(b"".join(pieces)).hex(), None) == chunk_id(b"".join(pieces)).hex()
    assert (tmp_path / "a").read_bytes() == b"".join(pieces)


def test_two_gets_of_one_file_do_not_write_into_each_other(tmp_path):
    first = fill(tmp_path / "a", [b"on"])
    second = fill(tmp_path / "a", [b"one"])
    first.write([b"e"])
    for each in (second, first):
        assert each.finish(chunk_id(b"one").hex(), None) == chunk_id(b"one").hex()
    assert (tmp_path / "a").read_bytes() == b"one"


def test_nothing_is_written_after_a_part_file_is_closed(tmp_path):
    file = fill(tmp_path / "a", [b"x"])
    file.close()
    file.write([b"late"])
    file.close()


def test_a_folder_is_no_source(tmp_path):
    with pytest.raises(errors.ValidationFailed):
        open_source(tmp_path)


# What is remembered


def intent(**changes):
    facts = {
        "url": "http://a",
        "username": "alice",
        "source": "/x",
        "size": 1,
        "mtime_ns": 2,
        "remote": "/y",
    }
    return Intent(**{**facts, **changes})


def test_an_unfinished_upload_is_found_for_exactly_the_same_source(tmp_path):
    kept = UnfinishedUploads(tmp_path / "uploads")
    kept.remember(intent(), "u_1")
    assert kept.find(intent()) == "u_1"
    for change in ({"size": 2}, {"mtime_ns": 3}, {"username": "bob"}, {"remote": "/z"}):
        assert kept.find(intent(**change)) is None
    kept.forget(intent())
    assert kept.find(intent()) is None
    kept.forget(intent())


def test_a_torn_note_was_never_made(tmp_path):
    kept = UnfinishedUploads(tmp_path)
    kept.remember(intent(), "u_1")
    (note,) = tmp_path.glob("*.json")
    note.write_bytes(note.read_bytes()[:-5])
    assert kept.find(intent()) is None


def test_a_login_is_kept_for_its_owner_alone(tmp_path):
    folder = tmp_path / "minibox"
    Settings(folder, {}).keep("http://a:1", Credentials("t", "r", "alice"))
    again = Settings(folder, {})
    assert again.url() == "http://a:1"
    assert again.credentials("http://a:1") == Credentials("t", "r", "alice")
    assert again.credentials("http://b:1") is None
    assert stat.S_IMODE((folder / "login.json").stat().st_mode) == 0o600
    again.keep("http://a:1", None)
    assert Settings(folder, {}).credentials("http://a:1") is None


def test_the_environment_wins_and_its_token_is_never_written(tmp_path):
    settings = Settings(tmp_path, {"MINIBOX_URL": "http://e:1/", "MINIBOX_TOKEN": "mbx_1"})
    assert settings.url() == "http://e:1"
    assert settings.url("http://option:2") == "http://option:2"
    assert settings.credentials("http://e:1") == Credentials("mbx_1")
    settings.keep("http://e:1", Credentials("mbx_1"))
    assert list(tmp_path.iterdir()) == []


def test_without_anything_the_server_is_this_machine(tmp_path):
    assert Settings(tmp_path / "none", {}).url() == DEFAULT_URL


def test_damaged_settings_are_said_to_be(tmp_path):
    (tmp_path / "login.json").write_text("{")
    with pytest.raises(errors.ValidationFailed):
        Settings(tmp_path, {}).url()


def test_credentials_do_not_print():
    assert "secret" not in repr(Credentials("secret", "secret2", "alice"))
