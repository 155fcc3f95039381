"""Group commit by itself: what is grouped, when it is answered, what stops it."""

import pytest
from twisted.internet.defer import Deferred

from minibox.errors import NoRoom, StoreFull, StoreStopped
from minibox.store import MAX_GROUP_OPERATIONS
from minibox.store.groups import Groups


class HeldDisk:
    """Commits when told to."""

    def __init__(self) -> None:
        self.groups = []
        self.pending: Deferred[None] | None = None

    async def commit(self, group) -> None:
        assert self.pending is None, "two groups at once"
        self.groups.append(len(group))
        self.pending = Deferred()
        await self.pending
        for operation in group:
            operation.attempt(self)

    def finish(self, problem: Exception | None = None) -> None:
        pending, self.pending = self.pending, None
        if problem is None:
            pending.callback(None)
        else:
            pending.errback(problem)


@pytest.fixture
def disk():
    return HeldDisk()


@pytest.fixture
def groups(disk):
    return Groups(disk.commit, "/somewhere")


@pytest.fixture
def told():
    return []


def write(groups, told, name, *, raising=None):
    def run(_writer):
        if raising is not None:
            raise raising
        return name

    groups.write(run, frees=False).addCallbacks(
        told.append, lambda problem: told.append((name, problem.type))
    )


def test_the_first_is_written_at_once_and_who_comes_meanwhile_goes_together(disk, groups, told):
    for name in "abcd":
        write(groups, told, name)
    assert disk.groups == [1]
    assert told == []
    disk.finish()
    assert disk.groups == [1, 3]
    assert told == ["a"]
    disk.finish()
    assert told == ["a", "b", "c", "d"]
    assert disk.pending is None


def test_a_group_is_bounded(disk, groups, told):
    for number in range(MAX_GROUP_OPERATIONS + 3):
        write(groups, told, number)
    for _ in range(3):
        disk.finish()
    assert disk.groups == [1, MAX_GROUP_OPERATIONS, 2]
    assert told == list(range(MAX_GROUP_OPERATIONS + 3))


def test_refusals_leave_with_their_group_and_in_their_place(disk, groups, told):
    write(groups, told, "a", raising=ZeroDivisionError())
    assert told == []
    disk.finish()
    assert told == [("a", ZeroDivisionError)]


def test_the_next_group_is_being_written_when_answers_are_delivered(disk, groups):
    seen = []
    groups.write(lambda _: None, frees=False).addCallback(
        lambda _: seen.append(disk.pending is not None)
    )
    groups.write(lambda _: None, frees=False)
    disk.finish()
    assert seen == [True]


def test_a_write_made_by_an_answer_is_written(disk, groups, told):
    groups.write(lambda _: None, frees=False).addCallback(lambda _: write(groups, told, "second"))
    disk.finish()
    disk.finish()
    assert told == ["second"]
    write(groups, told, "third")
    disk.finish()
    assert told == ["second", "third"]


def test_no_room_refuses_the_group_and_the_next_one_is_tried(disk, groups, told):
    write(groups, told, "a")
    disk.finish(NoRoom(directory="/somewhere"))
    assert told == [("a", StoreFull)]
    assert not groups.failed.called
    write(groups, told, "b")
    disk.finish()
    assert told == [("a", StoreFull), "b"]


@pytest.mark.parametrize("problem", [OSError("gone"), RuntimeError()])
def test_any_other_failure_refuses_this_and_all_later_writes(disk, groups, told, problem):
    for name in "abc":
        write(groups, told, name)
    disk.finish(problem)
    write(groups, told, "d")
    assert told == [(name, StoreStopped) for name in "abcd"]
    assert disk.groups == [1]
    assert groups.failed.called


def test_the_failure_names_the_directory_and_the_reason(disk, groups):
    written = groups.write(lambda _: None, frees=False)
    disk.finish(OSError("gone"))
    seen = []
    written.addErrback(lambda problem: seen.append(problem.value))
    groups.failed.addCallback(seen.append)
    for each in seen:
        assert each.fields() == {"directory": "/somewhere", "reason": "gone"}
    assert len(seen) == 2


def test_closing_waits_for_all_that_is_queued(disk, groups, told):
    write(groups, told, "a")
    write(groups, told, "b")
    closing = Deferred.fromCoroutine(groups.close())
    disk.finish()
    assert not closing.called
    disk.finish()
    assert closing.called
    assert told == ["a", "b"]
    with pytest.raises(RuntimeError):
        groups.write(lambda _: None, frees=False)


def test_closing_at_rest_is_done_at_once(groups):
    assert Deferred.fromCoroutine(groups.close()).called


def test_a_long_queue_on_a_disk_without_delay_takes_no_deep_stack(told):
    held: Deferred[None] = Deferred()

    async def commit(group) -> None:
        await held
        for operation in group:
            operation.attempt(None)

    groups = Groups(commit, "/somewhere")

    def again(number):
        told.append(number)
        if number < 5000:
            groups.write(lambda _: number + 1, frees=False).addCallback(again)

    again(0)
    held.callback(None)
    assert len(told) == 5001
