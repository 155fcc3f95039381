"""Which coordinator is obeyed, for how long an answer counts, and what is remembered of it."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from minibox.errors import DirectoryRefused, DiskFull, NodeFenced, StaleOrder, StoreStopped
from minibox.node.obedience import Obedience, Obeyed, obeyed_after, read_obeyed, write_obeyed
from minibox.node_api import HeartbeatAnswer, Order
from minibox.simulation.disk import SimulatedDisk

ORDERS = st.lists(
    st.builds(Order, st.integers(1, 4), st.sampled_from([b"a", b"b"]), st.integers(0, 5))
)


@given(ORDERS)
def test_terms_never_fall_and_each_has_one_coordinator(orders):
    obeyed = Obeyed()
    heard = {}
    for order in orders:
        try:
            after = obeyed_after(obeyed, order)
        except StaleOrder:
            continue
        assert after.term >= obeyed.term
        assert after.sequence >= obeyed.sequence
        assert heard.setdefault(order.term, order.coordinator) == order.coordinator
        assert after.covers(order)
        obeyed = after


def test_within_a_term_a_lower_sequence_is_only_late():
    obeyed = Obeyed(3, b"a", 100)
    assert obeyed_after(obeyed, Order(3, b"a", 50)) == obeyed


@pytest.mark.parametrize(
    "order", [Order(2, b"a", 500), Order(3, b"b", 500), Order(4, b"b", 99), Order(4, b"a", 0)]
)
def test_a_coordinator_of_the_past_is_refused(order):
    with pytest.raises(StaleOrder):
        obeyed_after(Obeyed(3, b"a", 100), order)


class Story:
    """A node's obedience, with a clock and a memory that may be slow."""

    def __init__(self, obeyed=None):
        self.clock = Clock()
        self.kept = []
        self.slow = None
        self.obedience = Obedience(self.clock, "n1", obeyed or Obeyed(), self._keep)

    def _keep(self, obeyed):
        self.kept.append(obeyed)
        return self.slow if self.slow is not None else succeed(None)

    def hear(self, order, sent_at=None, seconds=1000):
        answer = HeartbeatAnswer(order, seconds, 1, ())
        sent_at = self.clock.seconds() if sent_at is None else sent_at
        return Deferred.fromCoroutine(self.obedience.hear(answer, sent_at))

    def obey(self, order):
        return Deferred.fromCoroutine(self.obedience.obey(order))


def failure_of(deferred):
    caught = []
    deferred.addErrback(lambda failure: caught.append(failure.value))
    return caught[0] if caught else None


def test_an_answer_counts_ten_seconds_from_when_the_heartbeat_was_sent():
    story = Story()
    story.clock.advance(4)
    story.hear(Order(1, b"a", 1), sent_at=0)
    story.clock.advance(6)
    assert not story.obedience.is_fenced
    story.clock.advance(0.01)
    assert story.obedience.is_fenced


def test_an_answer_that_was_overtaken_makes_nothing_older():
    story = Story()
    story.clock.advance(5)
    story.hear(Order(1, b"a", 1), sent_at=5)
    story.hear(Order(1, b"a", 1), sent_at=1)
    story.clock.advance(8)
    assert not story.obedience.is_fenced


def test_the_coordinators_time_is_counted_from_when_the_heartbeat_was_sent():
    story = Story()
    with pytest.raises(NodeFenced):
        story.obedience.coordinator_seconds()
    story.clock.advance(3)
    story.hear(Order(1, b"a", 1), sent_at=1, seconds=500)
    assert story.obedience.coordinator_seconds() == 502
    story.clock.advance(100)
    assert story.obedience.coordinator_seconds() == 602


def test_a_new_term_counts_only_once_it_is_durable():
    story = Story()
    story.slow = Deferred()
    hearing = story.hear(Order(1, b"a", 7))
    assert story.obedience.is_fenced
    story.slow.callback(None)
    assert failure_of(hearing) is None
    assert not story.obedience.is_fenced
    assert story.kept == [Obeyed(1, b"a", 7)]


def test_a_heartbeat_alone_writes_nothing_a_delete_writes_once():
    story = Story()
    for sequence in range(20):
        story.hear(Order(1, b"a", sequence))
    assert story.kept == [Obeyed(1, b"a", 0)]
    for _ in range(3):
        assert failure_of(story.obey(Order(1, b"a", 25))) is None
    assert story.kept == [Obeyed(1, b"a", 0), Obeyed(1, b"a", 25)]


def test_an_order_that_removes_nothing_writes_nothing():
    story = Story()
    story.hear(Order(1, b"a", 1))
    story.obedience.check_order(Order(1, b"a", 9))
    with pytest.raises(StaleOrder):
        story.obedience.check_order(Order(1, b"b", 9))
    assert story.kept == [Obeyed(1, b"a", 1)]
    assert story.obedience.obeyed.sequence == 9


def test_an_order_waits_until_its_sequence_is_durable():
    story = Story()
    story.hear(Order(1, b"a", 1))
    story.slow = Deferred()
    obeying = story.obey(Order(1, b"a", 2))
    assert not obeying.called
    story.slow.callback(None)
    assert obeying.called


def test_an_order_is_refused_if_a_new_term_was_heard_while_the_disk_was_written():
    story = Story()
    story.hear(Order(1, b"a", 1))
    story.slow = Deferred()
    obeying = story.obey(Order(1, b"a", 2))
    story.hear(Order(2, b"b", 3))
    story.slow.callback(None)
    assert isinstance(failure_of(obeying), StaleOrder)
    assert story.obedience.obeyed == Obeyed(2, b"b", 3)
    assert story.kept[-1] == Obeyed(2, b"b", 3)


def test_an_order_of_a_term_that_has_not_answered_is_remembered_and_not_carried_out():
    story = Story()
    story.hear(Order(1, b"a", 1))
    assert isinstance(failure_of(story.obey(Order(2, b"b", 5))), NodeFenced)
    assert story.obedience.is_fenced
    assert isinstance(failure_of(story.hear(Order(1, b"a", 9))), StaleOrder)
    story.hear(Order(2, b"b", 5))
    assert not story.obedience.is_fenced


# On disk


def disks(count):
    hardware = [SimulatedDisk(Random(number), 100_000) for number in range(count)]
    return hardware, [each.attach() for each in hardware]


def test_what_was_written_is_read_after_a_power_cut():
    [hardware], attached = disks(1)
    assert read_obeyed(attached) == Obeyed()
    write_obeyed("n1", attached, Obeyed(4, b"id", 99))
    hardware.crash()
    assert read_obeyed([hardware.attach()]) == Obeyed(4, b"id", 99)


def test_each_disk_remembers_and_the_highest_counts():
    hardware, attached = disks(2)
    write_obeyed("n1", attached, Obeyed(4, b"id", 99))
    write_obeyed("n1", attached[1:], Obeyed(5, b"other", 100))
    assert read_obeyed(attached) == Obeyed(5, b"other", 100)
    hardware[1].lose()
    assert read_obeyed([each.attach() for each in hardware]) == Obeyed(4, b"id", 99)


def test_a_damaged_memory_is_not_no_memory():
    hardware, attached = disks(2)
    write_obeyed("n1", attached, Obeyed(4, b"id", 99))
    hardware[0].flip("obeyed", 7, 4)
    assert read_obeyed(attached) == Obeyed(4, b"id", 99)
    with pytest.raises(DirectoryRefused):
        read_obeyed(attached[:1])


def test_on_a_full_disk_the_ballast_goes():
    [hardware], [attached] = disks(1)
    attached.allocate("ballast", 1000)
    hardware.resize(hardware.used_bytes())
    write_obeyed("n1", [attached], Obeyed(4, b"id", 99))
    assert read_obeyed([attached]) == Obeyed(4, b"id", 99)
    hardware.resize(hardware.used_bytes())
    with pytest.raises(DiskFull):
        write_obeyed("n1", [attached], Obeyed(5, b"id", 99))


def test_one_failed_disk_does_not_keep_the_others_from_remembering():
    hardware, attached = disks(2)
    hardware[0].fail_next_sync()
    write_obeyed("n1", attached, Obeyed(4, b"id", 99))
    hardware[1].fail_next_sync()
    with pytest.raises(StoreStopped):
        write_obeyed("n1", attached, Obeyed(5, b"id", 99))
