"""Heartbeats: what they say, when they come, and what their answers change."""

from node_cluster import Cluster

from minibox.node_api import PeerStatus


def beats_of(cluster, name):
    return [beat for beat in cluster.coordinator.beats if beat.node == name]


def test_a_heartbeat_comes_each_second_and_counts():
    cluster = Cluster()
    cluster.advance(20)
    beats = beats_of(cluster, "n1")
    assert 20 <= len(beats) <= 28
    assert [beat.count for beat in beats] == list(range(1, len(beats) + 1))
    assert len({beat.boot for beat in beats}) == 1


def test_nodes_do_not_beat_in_step():
    cluster = Cluster(nodes=3)
    cluster.advance(30)
    assert len({len(beats_of(cluster, name)) for name in cluster.nodes}) > 1


def test_a_restart_draws_another_boot_number_and_keeps_the_disk():
    cluster = Cluster()
    before = beats_of(cluster, "n1")[-1]
    cluster.crash("n1")
    cluster.start("n1")
    cluster.advance(2)
    after = beats_of(cluster, "n1")[-1]
    assert after.boot != before.boot
    assert after.disks[0].id == before.disks[0].id


def test_a_heartbeat_says_what_the_disks_hold_and_what_was_obeyed():
    cluster = Cluster()
    cluster.put(b"something")
    cluster.coordinator.sequence = 123
    cluster.advance(3)
    beat = beats_of(cluster, "n1")[-1]
    assert (beat.term, beat.sequence, beat.layout) == (1, 123, 1)
    [disk] = beat.disks
    assert (disk.chunks, disk.takes_writes) == (1, True)
    assert disk.free > 0


def test_a_full_disk_says_that_it_takes_nothing():
    cluster = Cluster()
    cluster.disks["n1"].resize(cluster.disks["n1"].used_bytes() + 100)
    cluster.advance(2)
    assert not beats_of(cluster, "n1")[-1].disks[0].takes_writes


def test_a_coordinator_that_comes_back_is_heard_within_two_seconds():
    cluster = Cluster()
    cluster.simulation.network.cut("n1", "coordinator")
    cluster.advance(60)
    assert cluster.nodes["n1"].obedience.is_fenced
    cluster.simulation.network.heal("n1", "coordinator")
    cluster.advance(7.5)  # an attempt to connect that was under way may have to run out
    assert not cluster.nodes["n1"].obedience.is_fenced


def test_a_coordinator_that_restarts_is_heard_within_two_seconds():
    cluster = Cluster()
    cluster.simulation.network.refuse("coordinator")
    cluster.simulation.network.reset("n1", "coordinator")
    cluster.advance(60)
    assert cluster.nodes["n1"].obedience.is_fenced
    cluster.simulation.network.refuse("coordinator", refused=False)
    cluster.advance(2.2)
    assert not cluster.nodes["n1"].obedience.is_fenced


def test_a_one_way_cut_fences_too():
    cluster = Cluster()
    cluster.simulation.network.cut("coordinator", "n1", one_way=True)
    cluster.advance(14)
    assert cluster.nodes["n1"].obedience.is_fenced


def test_a_step_of_the_wall_clock_changes_nothing():
    cluster = Cluster()
    cluster.simulation.clock.step_wall(86_400)
    cluster.put(b"after a step forward")
    cluster.simulation.clock.step_wall(-2 * 86_400)
    cluster.advance(5)
    cluster.put(b"after a step back")


def test_a_restored_coordinator_is_not_obeyed_until_it_goes_on_above():
    cluster = Cluster()
    cluster.coordinator.term, cluster.coordinator.id = 2, b"restored"
    cluster.coordinator.sequence = 50
    cluster.advance(15)
    assert cluster.nodes["n1"].obedience.is_fenced
    assert beats_of(cluster, "n1")[-1].sequence == 100
    cluster.coordinator.sequence = 101
    cluster.advance(2)
    assert not cluster.nodes["n1"].obedience.is_fenced


def test_a_peer_that_moves_is_found_where_it_is():
    cluster = Cluster(nodes=2)
    cluster.put_everywhere(b"before")
    peers = cluster.nodes["n1"].peers
    moved = PeerStatus("n2", "tcp:9999:interface=127.0.0.1", "up")
    cluster.simulation.run(peers.learn([moved]))
    assert peers._callers == {}
    cluster.advance(3)  # the next answer has the old address again
    cluster.put_everywhere(b"after")


def test_the_same_seed_gives_the_same_trace():
    def trace():
        cluster = Cluster(nodes=3, seed=9)
        cluster.put_everywhere(b"x" * 1000)
        cluster.crash("n2")
        cluster.put(b"y", spread=("n2", "n3"), copies=3, ack=2)
        cluster.advance(10)
        return cluster.coordinator.beats, cluster.simulation.clock.events

    assert trace() == trace()
