"""Which copies are given up for lost."""

import pytest

from minibox.coordinator.holders import Copies, Holder
from minibox.coordinator.survey import gone

OLD, NEW = b"old disk", b"new disk"
COPIES = Copies(10, tuple(Holder(node, OLD) for node in ("n1", "n2", "n3")))


def up(*nodes, **changed):
    """Nodes that are up with the disks of COPIES, or with others."""
    return {node: frozenset([OLD]) for node in nodes} | {
        node: frozenset([disk]) for node, disk in changed.items()
    }


@pytest.mark.parametrize(
    ("standing", "lost", "expected"),
    [
        pytest.param(up("n1", "n2", "n3"), set(), (), id="all are there"),
        pytest.param(up("n1", "n2"), set(), (), id="one is away for a moment"),
        pytest.param(up("n2", "n3", n1=NEW), set(), ("n1",), id="one has another disk"),
        pytest.param(up("n3", n1=NEW, n2=NEW), set(), ("n1", "n2"), id="two have other disks"),
        pytest.param(up("n1", "n2", "n4"), {"n3"}, ("n3",), id="one is lost, another can take it"),
        pytest.param(up("n1", "n2"), {"n3"}, (), id="one is lost and nobody can take it"),
        pytest.param(up(n1=NEW, n2=NEW, n3=NEW), set(), (), id="no copy is in reach"),
        pytest.param(up("n4"), {"n1", "n2", "n3"}, (), id="all are lost"),
    ],
)
def test_a_copy_is_given_up_only_for_a_disk_that_is_gone(standing, lost, expected):
    assert gone(COPIES, standing, lost) == expected
