"""How soon a cluster serves, in what doesn't depend on who else uses this machine."""

import resource

import pytest
from real_cluster import COORDINATOR

pytestmark = pytest.mark.probe

CPU_SECONDS = 4.5
"""Less than two processors have in three seconds."""


def cpu_seconds():
    """What all children that have ended took so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_a_coordinator_and_three_nodes_need_no_more_than_three_seconds_of_two_cores(make_cluster):
    cluster = make_cluster()
    before = cpu_seconds()
    cluster.start_all()
    cluster.kill(COORDINATOR, *cluster.nodes)
    assert cpu_seconds() - before < CPU_SECONDS
