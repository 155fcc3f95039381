"""The first k of n."""

import itertools

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred

from minibox.errors import DiskFull, NodeFenced
from minibox.quorum import AllRefused, QuorumImpossible, first_in_turn, first_of
from minibox.simulation.clock import VirtualClock


class Race:
    """n attempts that end when the test says so."""

    def __init__(self, needed, attempts):
        self.attempts = [Deferred() for _ in range(attempts)]
        self.late = []
        self.outcome = []
        self.running = Deferred.fromCoroutine(
            first_of(needed, self.attempts, lambda *told: self.late.append(told))
        )
        self.running.addBoth(self.outcome.append)

    def problem(self):
        return self.outcome[0].value


def test_it_returns_with_the_first_that_suffice_and_tells_of_the_rest():
    race = Race(2, 3)
    race.attempts[2].callback("c")
    assert race.outcome == []
    race.attempts[0].callback("a")
    assert race.outcome == [{2: "c", 0: "a"}]
    race.attempts[1].callback("b")
    assert race.late == [(1, "b")]


def test_a_failure_is_made_up_for_by_another():
    race = Race(2, 3)
    race.attempts[0].errback(ValueError("no"))
    race.attempts[1].callback("b")
    race.attempts[2].callback("c")
    assert race.outcome == [{1: "b", 2: "c"}]


def test_it_raises_as_soon_as_success_is_impossible_with_all_that_happened():
    race = Race(2, 3)
    race.attempts[1].callback("b")
    race.attempts[0].errback(ValueError("no"))
    assert race.outcome == []
    race.attempts[2].errback(KeyError("gone"))
    problem = race.problem()
    assert isinstance(problem, QuorumImpossible)
    assert problem.successes == {1: "b"}
    assert [type(problem.failures[at]) for at in (0, 2)] == [ValueError, KeyError]


def test_attempts_still_running_after_a_defeat_are_told_of_not_cancelled():
    race = Race(3, 3)
    race.attempts[0].errback(ValueError("no"))
    assert isinstance(race.problem(), QuorumImpossible)
    race.attempts[1].callback("b")
    lost = KeyError("gone")
    race.attempts[2].errback(lost)
    assert race.late == [(1, "b"), (2, lost)]


def test_a_cancelled_caller_leaves_the_attempts_running_and_hears_of_each():
    race = Race(2, 3)
    race.attempts[1].callback("b")
    race.running.cancel()
    assert isinstance(race.problem(), CancelledError)
    assert race.late == [(1, "b")]
    race.attempts[0].callback("a")
    race.attempts[2].errback(problem := ValueError("no"))
    assert race.late == [(1, "b"), (0, "a"), (2, problem)]


def test_needing_nothing_returns_at_once_and_needing_too_much_raises_at_once():
    assert Race(0, 2).outcome == [{}]
    assert isinstance(Race(3, 2).problem(), QuorumImpossible)
    assert isinstance(Race(1, 0).problem(), QuorumImpossible)


def test_coroutines_that_are_done_at_once_are_all_begun():
    begun = []

    async def attempt(number):
        begun.append(number)
        return number

    outcome = []
    running = Deferred.fromCoroutine(first_of(1, [attempt(0), attempt(1), attempt(2)]))
    running.addBoth(outcome.append)
    assert begun == [0, 1, 2]
    assert outcome == [{0: 0, 1: 1, 2: 2}]


@given(st.integers(0, 5), st.permutations(range(5)), st.lists(st.booleans(), min_size=5))
def test_every_outcome_is_heard_exactly_once_in_any_order(needed, order, wins):
    race = Race(needed, 5)
    for position in order:
        if wins[position]:
            race.attempts[position].callback(position)
        else:
            race.attempts[position].errback(ValueError(position))
    [outcome] = race.outcome
    late = [position for position, _ in race.late]
    if sum(wins[:5]) >= needed:
        assert len(outcome) == needed
        heard = list(outcome)
        early_failures = 5 - len(heard) - len(late)
        assert early_failures <= 5 - sum(wins[:5])
    else:
        heard = [*outcome.value.successes, *outcome.value.failures]
        assert sorted([*heard, *late]) == list(range(5))
    assert not any(a == b for a, b in itertools.product(heard, late))


class Turns:
    """Attempts in turn, three seconds apart, that end when the test says so."""

    def __init__(self, attempts):
        self.clock = VirtualClock()
        self.begun = []
        self.cancelled = []
        self.outcome = []
        self.running = Deferred.fromCoroutine(
            first_in_turn(
                self.clock,
                [lambda at=at: self._attempt(at) for at in range(attempts)],
                3.0,
                (DiskFull,),
            )
        )
        self.running.addBoth(self.outcome.append)

    async def _attempt(self, at):
        waiting = Deferred()
        self.begun.append(waiting)
        try:
            return await waiting
        except CancelledError:
            self.cancelled.append(at)
            raise


def test_the_next_begins_only_when_one_fails_or_is_silent():
    turns = Turns(3)
    assert len(turns.begun) == 1
    turns.begun[0].errback(DiskFull("n1"))
    assert len(turns.begun) == 2
    turns.clock.advance(2.9)
    assert len(turns.begun) == 2
    turns.clock.advance(0.2)
    assert len(turns.begun) == 3


def test_the_first_success_of_several_counts_and_the_others_are_cancelled():
    turns = Turns(3)
    turns.clock.advance(3.1)
    turns.begun[0].callback("slow")
    assert turns.outcome == ["slow"]
    assert turns.cancelled == [1]
    turns.clock.advance(10.0)
    assert len(turns.begun) == 2


def test_when_all_fail_their_failures_are_told():
    turns = Turns(2)
    turns.begun[0].errback(DiskFull("n1"))
    turns.begun[1].errback(DiskFull("n2"))
    problem = turns.outcome[0].value
    assert isinstance(problem, AllRefused)
    assert [each.node for each in problem.failures] == ["n1", "n2"]


def test_another_failure_ends_the_turns_at_once():
    turns = Turns(2)
    turns.begun[0].errback(NodeFenced("n1"))
    assert isinstance(turns.outcome[0].value, NodeFenced)
    assert len(turns.begun) == 1


def test_who_leaves_cancels_what_runs_in_turn():
    turns = Turns(2)
    turns.clock.advance(3.1)
    turns.running.cancel()
    assert turns.cancelled == [0, 1]
    assert isinstance(turns.outcome[0].value, CancelledError)


def test_no_attempt_at_all_is_a_refusal():
    assert isinstance(Turns(0).outcome[0].value, AllRefused)
