"""A node from start to stop, in the simulated world."""

import pytest
from node_cluster import CLUSTER_KEY, Cluster, config_of
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory

from minibox.errors import ConfigInvalid, DirectoryRefused, PortTaken, Unreachable
from minibox.node.service import Storage, start_node
from minibox.simulation import Simulation

SMALL = b"a small file"


def test_a_stopped_node_starts_again_with_all_it_had():
    cluster = Cluster()
    cluster.put(SMALL)
    cluster.simulation.run(cluster.nodes["n1"].stop())
    cluster.crash("n1")
    cluster.start("n1")
    cluster.advance(2)
    assert cluster.get(SMALL).body.join() == SMALL


def test_a_node_that_stops_finishes_what_it_has_begun():
    cluster = Cluster()
    cluster.put(b"connected")
    putting = cluster.putting(SMALL)
    cluster.advance(0.004)
    stopping = Deferred.fromCoroutine(cluster.nodes["n1"].stop())
    [receipt] = cluster.simulation.run(putting).message.receipts
    cluster.receipts.check(receipt)
    cluster.simulation.run(stopping)
    with pytest.raises(Unreachable):
        cluster.put(b"too late")


def test_nothing_of_a_stopped_node_goes_on():
    cluster = Cluster(nodes=2)
    cluster.put_everywhere(SMALL)
    for node in cluster.nodes.values():
        cluster.simulation.run(node.stop())
    cluster.advance(30)
    beats = len(cluster.coordinator.beats)
    cluster.advance(30)
    assert len(cluster.coordinator.beats) == beats


def test_a_name_that_is_not_in_the_configuration_is_refused():
    simulation = Simulation(1)
    storage = Storage(lambda _path: None, lambda _path: None)
    with pytest.raises(ConfigInvalid):
        simulation.run(start_node(simulation.world("n9"), config_of(2), "n9", CLUSTER_KEY, storage))


def test_the_disk_of_another_node_is_refused_and_nothing_is_left_running():
    cluster = Cluster(nodes=2)
    for name in ("n1", "n2"):
        cluster.crash(name)
    cluster.disks["n1"] = cluster.disks["n2"]
    with pytest.raises(DirectoryRefused):
        cluster.start("n1")
    beats = len(cluster.coordinator.beats)
    cluster.advance(30)
    assert len(cluster.coordinator.beats) == beats
    cluster.crash("n1")
    cluster.start("n2")


def test_a_taken_port_is_refused_and_frees_the_disk():
    cluster = Cluster()
    cluster.crash("n1")
    port = cluster.simulation.network.listen("squatter", ("127.0.0.1", 8101), Factory())
    with pytest.raises(PortTaken):
        cluster.start("n1")
    port.stopListening()
    cluster.crash("n1")
    cluster.start("n1")
