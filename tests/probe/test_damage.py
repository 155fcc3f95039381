"""A flipped byte on a disk: nobody ever reads it, and the copy is made anew."""

import hashlib

import pytest

pytestmark = pytest.mark.probe

CONTENT = hashlib.shake_256(b"damage").digest(300_000)
CREATED = 201


def flip(cluster, node):
    """Flip one bit of the content on the disk of ``node``."""
    for volume in sorted((cluster.folder / node / "volumes").glob("*.vol")):
        place = volume.read_bytes().find(CONTENT[1000:1100])
        if place >= 0:
            with volume.open("r+b") as file:
                file.seek(place)
                file.write(bytes([CONTENT[1000] ^ 1]))
            return
    raise AssertionError(f"{node} has no copy")


def good_copies(cluster):
    """How many good copies the disks have, in all."""
    return sum(
        volume.read_bytes().count(CONTENT)
        for node in cluster.nodes
        for volume in sorted((cluster.folder / node / "volumes").glob("*.vol"))
    )


@pytest.fixture
def stored(cluster):
    """A cluster in which each node has a copy of CONTENT."""
    assert cluster.put("a.bin", CONTENT).status == CREATED
    cluster.await_copies(3)
    assert good_copies(cluster) == 3
    return cluster


def read_until_noticed(cluster, copies):
    """Read, right each time, until every copy that is bad has been found so and made anew."""
    for _ in range(200):
        assert cluster.get("a.bin") == CONTENT
        if good_copies(cluster) == copies:
            return
    raise AssertionError("nobody noticed")


def test_a_flipped_bit_under_a_running_node_is_never_read_and_is_repaired(stored):
    for node in stored.nodes[:2]:
        flip(stored, node)
    assert good_copies(stored) == 1
    read_until_noticed(stored, 3)
    stored.await_copies(3)


def test_a_bit_that_was_flipped_while_the_node_was_off_is_found_at_its_start(stored):
    stored.kill("n2")
    flip(stored, "n2")
    stored.start_all()
    assert stored.get("a.bin") == CONTENT
    stored.await_copies(3)
    assert "damage" in stored.log_of("n2")


def test_when_every_copy_is_bad_the_answer_is_an_error_and_never_other_bytes(stored):
    for node in stored.nodes:
        flip(stored, node)
    answer = stored.ask("GET", "/api/files/content/a.bin")
    assert answer.status == 503
    assert answer.json()["code"] == "content_damaged"
