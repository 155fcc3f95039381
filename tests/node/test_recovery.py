import contextlib

import pytest
from chunk_machine import SMALL, Machine, incoming, ref
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from twisted.internet.defer import Deferred

from minibox.errors import ChunkDamaged, ChunkNotHeld, StoreStopped
from minibox.node import recovery
from minibox.node.volume import RECORD_HEADER_BYTES, VOLUME_HEADER_BYTES, Kind, parse_record

CONTENTS = [bytes([number]) * length for number, length in enumerate((1, 300, 600, 1300, 3000))]


class Crashes(RuleBasedStateMachine):
    """Puts, deletes, kills and power cuts against what was promised.

    Changes of one chunk take effect in the order in which they were asked for. After a crash the
    chunk is as one of them left it: the last one that was answered, or one after that.
    """

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed):
        self.machine = Machine(seed)
        self.sequence = 1
        self.asked = {content: [[False, True]] for content in CONTENTS}

    def ask(self, content, wish, *, leaves_it):
        change = [leaves_it, False]
        self.asked[content].append(change)

        def answered(result):
            change[1] = result is not False

        deferred = Deferred.fromCoroutine(wish)
        deferred.addCallbacks(answered, lambda failure: failure.trap(StoreStopped) and None)

    @rule(content=st.sampled_from(CONTENTS))
    def put(self, content):
        self.sequence += 1
        self.ask(
            content, self.machine.store.put([incoming(content, self.sequence)]), leaves_it=True
        )

    @rule(content=st.sampled_from(CONTENTS))
    def delete(self, content):
        self.sequence += 1
        chunk = ref(content).id
        self.ask(content, self.machine.store.delete(chunk, self.sequence), leaves_it=False)

    @rule(content=st.sampled_from(CONTENTS))
    def delete_too_late(self, content):
        Deferred.fromCoroutine(self.machine.store.delete(ref(content).id, 1)).addErrback(
            lambda failure: failure.trap(StoreStopped) and None
        )

    @rule(events=st.integers(1, 6))
    def go_on(self, events):
        for _ in range(events):
            self.machine.clock.step()

    @rule()
    def pass_a_minute(self):
        self.machine.clock.advance(60)

    @rule()
    def cut_power(self):
        self.machine.crash()
        self.look()

    @rule(changes=st.integers(0, 12))
    def cut_power_in_mid_change(self, changes):
        self.machine.disk.crash_before(changes)
        self.machine.clock.advance(1)
        self.restart_until_it_works()

    @rule(changes=st.integers(0, 12))
    def kill_in_mid_change(self, changes):
        self.machine.disk.kill_before(changes)
        self.machine.clock.advance(1)
        self.restart_until_it_works()

    @rule(changes=st.integers(0, 6))
    def cut_power_in_mid_recovery(self, changes):
        self.machine.disk.crash()
        self.machine.crash_in_start(changes)
        self.restart_until_it_works()

    @rule()
    def kill(self):
        self.machine.start()
        self.look()

    @rule()
    def lose_the_index(self):
        self.machine.lose_index()
        self.machine.crash()
        self.look()

    @rule()
    def fail_a_sync(self):
        self.machine.disk.fail_next_sync()

    def restart_until_it_works(self):
        while True:
            try:
                self.machine.start()
            except StoreStopped:
                continue
            break
        self.look()

    def possible(self, content):
        changes = self.asked[content]
        last = max(number for number, change in enumerate(changes) if change[1])
        return {leaves_it for leaves_it, _ in changes[last:]}

    def look(self):
        """After a restart: what is found is promised from now on."""
        store = self.machine.store
        held = []
        for content in CONTENTS:
            is_held = store.holds(ref(content).id) is not None
            assert is_held in self.possible(content)
            self.asked[content] = [[is_held, True]]
            if is_held:
                held.append(ref(content))
                assert self.machine.get(ref(content)) == content
            else:
                with pytest.raises((ChunkNotHeld, ChunkDamaged)):
                    self.machine.get(ref(content))
        assert store.refs() == sorted(held, key=lambda chunk: chunk.id)
        assert store.status().chunks == len(held)
        assert not self.machine.recovery.damaged

    @invariant()
    def what_is_held_is_readable(self):
        for content in CONTENTS:
            if self.machine.store.holds(ref(content).id) is not None:
                held = self.machine.store._index.get(ref(content).id)
                name = f"volumes/{held.place.volume:08}.vol"
                start = held.place.offset + RECORD_HEADER_BYTES
                found = self.machine.disk.content(name)
                assert found[start : start + held.length] == content


TestCrashes = Crashes.TestCase
TestCrashes.settings = settings(max_examples=120, stateful_step_count=25, deadline=None)


# One fault each


@pytest.fixture
def machine():
    return Machine()


def filled(machine, count=12):
    """Chunks put, touched, deleted and healed, over several volumes; the contents that are held."""
    contents = [bytes([number]) * (300 + 97 * number) for number in range(count)]
    for number, content in enumerate(contents):
        machine.put(content, number + 1)
    machine.put(contents[0], 50)
    machine.delete(ref(contents[1]), 60)
    machine.delete(ref(contents[2]), 61)
    machine.put(contents[2], 62)
    volume, offset = machine.find(contents[3])
    machine.disk.flip(volume, offset, 1)
    machine.put(contents[3], 63)
    return [content for number, content in enumerate(contents) if number != 1]


def known(machine):
    index = machine.store._index
    held = {chunk.id: index.get(chunk.id) for chunk in machine.store.refs(limit=1000)}
    return held, index.chunks, index.live_bytes, machine.store._volumes.end


def test_an_index_made_anew_equals_the_one_that_was_kept(machine):
    contents = filled(machine)
    before = known(machine)
    machine.close()
    machine.start()
    assert not machine.recovery.was_rebuilt
    assert machine.recovery.records == 0
    assert known(machine) == before
    machine.lose_index()
    machine.start()
    assert machine.recovery.was_rebuilt
    assert known(machine) == before
    assert [machine.get(ref(content)) for content in contents] == contents
    assert not machine.delete(ref(contents[0]), 50)


def test_only_what_is_newer_than_the_checkpoint_is_replayed(machine):
    filled(machine)
    machine.clock.advance(60)
    machine.put(b"late", 70)
    machine.crash()
    assert not machine.recovery.was_rebuilt
    assert machine.recovery.records == 1
    assert machine.get(ref(b"late")) == b"late"


def test_many_changes_are_checkpointed_without_waiting_for_the_time():
    machine = Machine(limits=SMALL._replace(checkpoint_rows=10, checkpoint_seconds=1e6))
    for number in range(40):
        machine.put(b"%d" % number)
    machine.clock.advance(1)
    machine.crash()
    assert machine.recovery.records <= 10
    assert len(machine.store.refs()) == 40


def test_an_index_of_another_disk_is_not_believed(machine):
    other = Machine(seed=5)
    other.put(b"evil")
    other.close()
    machine.put(b"mine")
    machine.rows = other.rows
    machine.start()
    assert machine.recovery.was_rebuilt
    assert machine.store.refs() == [ref(b"mine")]


def test_an_index_that_is_ahead_of_the_volumes_is_not_believed(machine):
    first = machine.put(bytes(3000))
    machine.put(bytes(3001))
    machine.close()
    machine.disk.remove(machine.volumes()[-1])
    machine.start()
    assert machine.recovery.was_rebuilt
    assert machine.store.refs() == [first]


def test_a_flipped_bit_in_the_index_never_gives_wrong_bytes_and_is_repaired_at_the_next_start():
    for seed in range(40):
        machine = Machine(seed)
        contents = filled(machine)
        machine.close()
        machine.rows.flip_a_bit()
        machine.start()
        for content in contents:
            try:
                assert machine.get(ref(content)) == content
            except ChunkDamaged:
                machine.put(content, 80)
                assert machine.get(ref(content)) == content
        machine.close()
        machine.start()
        assert [machine.get(ref(content)) for content in contents] == contents
        assert machine.store.status().chunks == len(contents)
        machine.close()
        machine.start()
        assert not machine.recovery.was_rebuilt


@settings(max_examples=150, deadline=None)
@given(st.data(), st.booleans(), st.booleans())
def test_a_flipped_byte_anywhere_costs_one_record_and_never_gives_wrong_bytes(
    data, keep_index, checkpoint
):
    machine = Machine()
    contents = [bytes([number]) * (200 + 97 * number) for number in range(8)]
    for content in contents:
        machine.put(content)
    if checkpoint:
        machine.run(machine.store.checkpoint())
    volume = data.draw(st.sampled_from(machine.volumes()))
    offset = data.draw(st.integers(0, len(machine.disk.content(volume)) - 1))
    hit = [each for each in contents if is_at(machine, volume, offset, each)]
    machine.disk.flip(volume, offset, data.draw(st.integers(1, 255)))
    if not keep_index:
        machine.lose_index()
    machine.crash()
    for content in contents:
        try:
            assert machine.get(ref(content)) == content
        except (ChunkNotHeld, ChunkDamaged):
            assert content in hit
    assert set(machine.damage) <= {ref(content).id for content in hit}
    for content in contents:
        machine.put(content)
        assert machine.get(ref(content)) == content


def is_at(machine, volume, offset, content):
    where, start = machine.find(content)
    return where == volume and start - RECORD_HEADER_BYTES <= offset < start + len(content)


def test_damage_in_mid_volume_is_reported_and_what_follows_is_found(machine):
    contents = filled(machine)
    volume, offset = machine.find(contents[4])
    machine.disk.flip(volume, offset - 20, 1)
    machine.lose_index()
    machine.crash()
    [damaged] = machine.recovery.damaged
    assert damaged.stop - damaged.start == RECORD_HEADER_BYTES + len(contents[4])
    assert machine.store.holds(ref(contents[4]).id) is None
    left = contents[:4] + contents[5:]
    assert [machine.get(ref(content)) for content in left] == left


def test_a_torn_tail_costs_only_itself_and_is_cut_off():
    whole = Machine()
    whole.put(b"a" * 500)
    whole.put(b"b" * 500)
    size = len(whole.disk.content("volumes/00000001.vol"))
    for cut in range(size - 1, VOLUME_HEADER_BYTES, -13):
        machine = Machine()
        machine.put(b"a" * 500)
        machine.put(b"b" * 500)
        file = machine.disk.attach().open("volumes/00000001.vol")
        file.truncate(cut)
        file.sync()
        machine.crash()
        is_first_whole = cut >= VOLUME_HEADER_BYTES + RECORD_HEADER_BYTES + 500
        assert (machine.store.holds(ref(b"a" * 500).id) is not None) == is_first_whole
        assert machine.store.holds(ref(b"b" * 500).id) is None
        machine.put(b"c" * 500)
        machine.lose_index()
        machine.crash()
        assert machine.get(ref(b"c" * 500)) == b"c" * 500
        assert not machine.recovery.damaged


def test_more_than_a_batch_of_damage_at_the_end_is_kept_and_reported(machine, monkeypatch):
    monkeypatch.setattr(recovery, "MAX_CUT_BYTES", 1000)
    machine.put(b"a" * 1500)
    _, offset = machine.find(b"a" * 1500)
    machine.disk.flip(machine.volumes()[0], offset - 1, 1)
    machine.crash()
    [damaged] = machine.recovery.damaged
    assert damaged.stop == offset + 1500
    machine.put(b"b")
    machine.crash()
    assert machine.recovery.damaged == (damaged,)
    assert machine.get(ref(b"b")) == b"b"


def test_a_header_whose_content_never_arrived_is_not_held(machine):
    machine.put(b"a" * 500)
    machine.put(b"b" * 500)
    volume, offset = machine.find(b"b" * 500)
    for at in range(offset, offset + 500):
        machine.disk.flip(volume, at, ord("b"))
    for _ in range(2):
        machine.crash()
        assert machine.store.holds(ref(b"b" * 500).id) is None
        assert machine.damage[-1] == ref(b"b" * 500).id
        machine.lose_index()
    machine.put(b"b" * 500)
    assert machine.get(ref(b"b" * 500)) == b"b" * 500


def test_a_lost_volume_is_damage_of_its_chunks_alone(machine):
    contents = filled(machine)
    machine.close()
    lost = machine.volumes()[1]
    inside = machine.disk.content(lost)
    machine.disk.remove(lost)
    machine.start()
    for content in contents:
        try:
            assert machine.get(ref(content)) == content
        except ChunkDamaged:
            assert content in inside


def test_a_damaged_volume_header_costs_no_record(machine):
    contents = filled(machine)
    for volume in machine.volumes():
        machine.disk.flip(volume, 9, 0x40)
    machine.lose_index()
    machine.crash()
    assert [machine.get(ref(content)) for content in contents] == contents


def test_a_crash_while_a_volume_is_begun_leaves_nothing_in_the_way():
    for changes in range(5):
        for seed in range(6):
            machine = Machine(seed)
            machine.disk.crash_before(changes)
            with pytest.raises(StoreStopped):
                machine.put(b"x")
            machine.start()
            machine.put(b"y")
            machine.crash()
            assert machine.get(ref(b"y")) == b"y"
            assert not machine.recovery.damaged


@pytest.mark.parametrize("goes_on", [True, False])
def test_what_a_killed_process_wrote_is_certain_or_not_held(goes_on):
    for changes in range(8):
        for seed in range(12):
            machine = Machine(seed)
            machine.disk.kill_before(changes)
            with contextlib.suppress(StoreStopped):
                for number in range(4):
                    machine.put(b"%d" % number)
            machine.start()
            if goes_on:
                machine.put(b"later")
            held = machine.store.refs()
            machine.crash()
            assert machine.store.refs() == held
            machine.lose_index()
            machine.crash()
            assert machine.store.refs() == held


def test_a_volume_whose_begin_failed_to_sync_is_begun_anew():
    for seed in range(20):
        machine = Machine(seed)
        machine.disk.fail_next_sync()
        with pytest.raises(StoreStopped):
            machine.put(b"x")
        machine.start()  # its header still shows in the cache, and may never have been written
        machine.put(b"y")
        machine.crash()
        assert machine.get(ref(b"y")) == b"y"
        assert not machine.recovery.damaged


def test_without_room_for_the_index_it_follows_later(machine):
    machine.rows.room_bytes = 0
    contents = filled(machine)
    for _ in range(3):
        machine.clock.advance(60)
        machine.put(b"more", 90)
        assert [machine.get(ref(content)) for content in contents] == contents
    machine.rows.room_bytes = None
    machine.clock.advance(60)
    machine.crash()
    assert machine.recovery.records == 0
    assert [machine.get(ref(content)) for content in contents] == contents


def test_a_full_disk_opens_reads_and_deletes():
    machine = Machine()
    contents = filled(machine)
    machine.disk.resize(machine.disk.used_bytes())
    machine.rows.room_bytes = 0
    for forget in (lambda: None, machine.lose_index):
        forget()
        machine.crash()
        assert [machine.get(ref(content)) for content in contents] == contents
    assert machine.delete(ref(contents[5]), 99)
    machine.clock.advance(60)
    machine.crash()
    assert machine.store.holds(ref(contents[5]).id) is None


def test_tombstones_are_exact_about_the_copy_they_remove(machine):
    machine.put(b"x" * 100, 1)
    machine.delete(ref(b"x" * 100), 2)
    machine.put(b"x" * 100, 1)  # a put that was allowed before the delete, and came after it
    machine.lose_index()
    machine.crash()
    assert machine.get(ref(b"x" * 100)) == b"x" * 100


def test_the_same_seed_gives_the_same_volumes():
    def run():
        machine = Machine(3)
        filled(machine)
        return [machine.disk.content(name) for name in machine.volumes()]

    assert run() == run()


def test_records_say_what_they_are_about(machine):
    chunk = machine.put(b"x" * 100, 1)
    machine.delete(chunk, 2)
    first = machine.store._volumes.numbers()[0]
    content = machine.disk.content(machine.volumes()[0])
    salt = machine.store._salt
    place = type(machine.store._volumes.end)(first, len(content) - RECORD_HEADER_BYTES)
    tombstone = parse_record(content[-RECORD_HEADER_BYTES:], place, salt)
    assert tombstone is not None
    assert (tombstone.kind, tombstone.chunk, tombstone.sequence) == (Kind.TOMBSTONE, chunk.id, 2)
    assert tombstone.about == (first, VOLUME_HEADER_BYTES)
