"""A rate limit holds over all orchestrators, whatever their clocks say and however late they hear of one another."""

import heapq
import random
from collections.abc import Callable

import pytest

from flotilla.routing.rate_windows import GRAIN_S, LEASE_S, LEASES_MAX, SHARES, WINDOW_S, Leases, RateWindow

Event = tuple[float, int, Callable[[], None]]


class Fleet:
    """
    Orchestrators that share a counter, in simulated time; each has its own clock.

    Attributes:
        used_at_s: When tokens were used, in true time.
    """

    def __init__(self, *, limit: int, orchestrators: int, delay_s: float, seed: int) -> None:
        self.random = random.Random(seed)
        self.now_s = 0.0
        self.total = 0
        self.delay_s = delay_s
        self.events: list[Event] = []
        self.count = 0
        self.used_at_s: list[float] = []
        self.orchestrators = [Orchestrator(self, limit) for _ in range(orchestrators)]

    def later(self, after_s: float, call: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.events, (self.now_s + after_s, self.count, call))

    def add(self, amount: int, acknowledge: Callable[[int], None]) -> None:
        """Reach the counter after a while; then everybody hears, each a while later."""

        def stored() -> None:
            self.total += amount
            total = self.total
            self.later(self.random.random() * self.delay_s, lambda: acknowledge(total))
            for each in self.orchestrators:
                # Messages of one subject are heard in their order.
                each.hears_at_s = max(each.hears_at_s, self.now_s + self.random.random() * self.delay_s)
                self.later(each.hears_at_s - self.now_s, lambda each=each: each.window.heard(total, each.clock_s))

        self.later(self.random.random() * self.delay_s, stored)

    def run(self, until_s: float) -> None:
        while self.events and self.events[0][0] <= until_s:
            self.now_s, _, call = heapq.heappop(self.events)
            call()
        self.now_s = until_s

    def most_within(self, span_s: float) -> int:
        most = first = 0
        for index, at_s in enumerate(self.used_at_s):
            while self.used_at_s[first] <= at_s - span_s:
                first += 1
            most = max(most, index - first + 1)
        return most


class Orchestrator:
    """Takes tokens as fast as it may, one task after another."""

    def __init__(self, fleet: Fleet, limit: int) -> None:
        self.fleet = fleet
        self.window = RateWindow(limit)
        self.leases = Leases()
        self.offset_s = fleet.random.uniform(-5, 5) + 1000
        self.hears_at_s = 0.0
        self.waiting = 0
        self.asking = False

    @property
    def clock_s(self) -> float:
        return self.fleet.now_s + self.offset_s

    def wants(self) -> None:
        """One more task."""
        self.waiting += 1
        self.serve()

    def serve(self) -> None:
        while self.waiting and self.leases.take(1, self.clock_s):
            self.waiting -= 1
            self.fleet.used_at_s.append(self.fleet.now_s)
        if not self.waiting or self.asking:
            return
        asked = self.leases.to_ask(min(self.waiting, 4), self.window.room(self.clock_s), self.clock_s)
        if not asked:
            self.fleet.later(self.window.free_in_s(1, self.clock_s) + 0.01, self.serve)
            return
        self.asking = True
        asked_at_s, known = self.clock_s, self.window.latest

        def acknowledged(total: int) -> None:
            self.asking = False
            self.leases.add(self.window.granted(asked, total, self.clock_s, known=known), asked_at_s)
            self.serve()

        self.fleet.add(asked, acknowledged)


@pytest.mark.parametrize("delay_s", [0.001, 0.5])
@pytest.mark.parametrize("orchestrators", [1, 2, 5])
def test_no_minute_has_more_than_the_limit(orchestrators: int, delay_s: float) -> None:
    """
    Any 60 s, wherever they begin; and nearly all of the limit is used where there is the demand.
    """
    fleet = Fleet(limit=100, orchestrators=orchestrators, delay_s=delay_s, seed=orchestrators)
    for index in range(1000):
        fleet.later(index * 0.01, fleet.orchestrators[index % orchestrators].wants)
    fleet.run(300.0)

    assert fleet.most_within(60.0) <= 100
    assert len(fleet.used_at_s) >= 4 * 85


def test_a_slow_trickle_wastes_little() -> None:
    """
    An orchestrator that needs a token a second takes about one a second.
    """
    fleet = Fleet(limit=100, orchestrators=1, delay_s=0.001, seed=1)
    for index in range(50):
        fleet.later(index * 1.0, fleet.orchestrators[0].wants)
    fleet.run(50.0)

    assert len(fleet.used_at_s) == 50
    assert fleet.total <= 60


def test_a_limit_that_is_lowered_holds_from_the_next_block_on() -> None:
    """
    What is used beyond the new limit leaves no room until it is a minute old.
    """
    window = RateWindow(100)
    assert window.granted(60, 60, 0.0, known=0) == 60
    window.limit = 50

    assert window.room(1.0) == -10
    assert window.free_in_s(1, 1.0) == pytest.approx(WINDOW_S - 1.0)
    assert window.room(WINDOW_S) == 50


def test_of_a_block_beyond_the_limit_only_the_rest_is_granted() -> None:
    """
    Two ask at once: whoever comes second gets what is left.
    """
    window = RateWindow(10)
    assert window.granted(8, 8, 0.0, known=0) == 8
    assert window.granted(8, 16, 0.1, known=0) == 2
    assert window.granted(8, 24, 0.2, known=0) == 0


def test_a_counter_that_was_lost_gives_nothing_away() -> None:
    """
    The stream was deleted and begins at 0: what was used within the minute is used all the same.
    """
    window = RateWindow(10)
    window.heard(8, 0.0)
    assert window.granted(5, 5, 1.0, known=8) == 0
    window.heard(5, 1.0)
    assert window.room(1.5) == -3
    assert window.room(WINDOW_S + 2.0) == 10


def test_tokens_of_a_lease_end_with_it() -> None:
    """
    A frozen orchestrator uses nothing that the others count as a minute old.
    """
    leases = Leases()
    leases.add(5, asked_at_s=0.0)
    assert leases.take(2, LEASE_S)
    assert not leases.take(1, LEASE_S + 0.001)


def test_what_was_used_beyond_the_estimate_is_paid_from_the_next_block() -> None:
    """
    Tokens of a model are known when it has answered.
    """
    leases = Leases()
    leases.add(10, asked_at_s=0.0)
    assert leases.take(10, 0.1)
    leases.owe(30, most=25)
    assert leases.to_ask(10, room=1000, now_s=0.2) >= 35
    leases.add(35, asked_at_s=0.2)
    assert leases.left(0.3) == 10


def test_a_window_starts_from_what_is_stored() -> None:
    """
    What was counted before is gone; what came since counts from its own time. What an earlier start knew does not.
    """
    window = RateWindow(10)
    window.heard(3, 0.0)
    window.begin(100, [(5.0, 104), (6.0, 107)])

    assert 107 == window.latest
    assert 3 == window.room(6.0)
    window.heard(108, 7.0)
    assert 2 == window.room(7.0)
    assert 2 == window.room(WINDOW_S)
    assert 6 == window.room(5.0 + WINDOW_S)
    assert 9 == window.room(6.0 + WINDOW_S)
    assert 10 == window.room(7.0 + WINDOW_S)


def test_tokens_that_were_not_used_are_used_next_while_their_block_lasts() -> None:
    """
    Of an attempt that was not made; they do not count as used.
    """
    leases = Leases()
    leases.add(5, asked_at_s=0.0)
    assert leases.take(5, 0.1)
    leases.give_back(5, 0.2, leases.ends_s or LEASE_S)

    assert 5 == leases.left(LEASE_S)
    assert LEASE_S == leases.ends_s
    assert 1 == leases.to_ask(1, room=1000, now_s=1.0)
    assert 0 == leases.left(LEASE_S + 0.001)
    leases.give_back(5, LEASE_S, LEASE_S)
    assert 0 == leases.left(LEASE_S)


def test_no_more_blocks_are_kept_than_may_be() -> None:
    """
    Whether they are granted or given back.
    """
    leases = Leases()
    for _ in range(LEASES_MAX + 1):
        leases.give_back(1, 0.0, 1.0)
    leases.add(1, asked_at_s=0.0)

    assert LEASES_MAX == leases.left(0.5)


def test_what_was_granted_and_used_by_nobody_is_told() -> None:
    """
    Whether its block ended, there were too many blocks, an attempt was not made in time, or the policy changed.
    """
    leases = Leases()
    unused: list[int] = []
    leases.on_unused = unused.append
    leases.add(5, asked_at_s=0.0)
    assert leases.take(2, 1.0)
    assert not leases.take(1, LEASE_S + 0.001)
    leases.give_back(2, LEASE_S + 0.001, LEASE_S)
    for _ in range(LEASES_MAX + 1):
        leases.add(7, asked_at_s=5.0)
    assert [3, 2, 7] == unused

    leases.drop()
    assert [3, 2, *[7] * (LEASES_MAX + 1)] == unused


def test_what_was_used_within_the_estimate_leaves_no_debt() -> None:
    """
    Exactly as much, or less.
    """
    leases = Leases()
    leases.owe(0, most=25)
    leases.owe(-7, most=25)
    leases.add(10, asked_at_s=0.0)

    assert 10 == leases.left(0.1)


def test_a_total_that_is_heard_again_counts_once() -> None:
    """
    Nor does one that was acknowledged begin its minute anew when it is heard, or is lost because nothing was counted.
    """
    window = RateWindow(10)
    window.heard(8, 0.0)
    window.heard(8, 0.1)
    assert 2 == window.room(0.1)

    window = RateWindow(10)
    window.heard(8, 0.0)
    assert 8 == window.granted(8, 8, GRAIN_S - 0.1, known=0)
    assert 10 == window.room(WINDOW_S)

    window = RateWindow(10)
    assert 0 == window.latest
    assert 5 == window.granted(5, 5, 0.0, known=0)
    window.heard(0, 0.5)
    assert 5 == window.granted(5, 10, 1.0, known=5)


def test_after_a_loss_blocks_are_granted_on_top_of_what_was_used() -> None:
    """
    The counter has come to 5 of its new totals; 8 of the old ones are used as well.
    """
    window = RateWindow(20)
    window.heard(8, 0.0)
    window.heard(5, 1.0)

    assert 2 == window.granted(2, 7, 1.5, known=13)
    assert 5 == window.granted(6, 13, 2.0, known=15)


def test_totals_end_by_the_grain() -> None:
    """
    What comes within one ends with the last of it, what comes after it by itself.
    """
    within, after = RateWindow(10), RateWindow(10)
    for window, at_s in ((within, GRAIN_S - 0.01), (after, GRAIN_S)):
        window.heard(4, 0.0)
        window.heard(8, at_s)

    assert 2 == within.room(WINDOW_S)
    assert 6 == after.room(WINDOW_S)


@pytest.mark.parametrize(
    ("amount", "now_s", "free_in_s"),
    [
        (2, 11.0, 0.0),
        (3, 11.0, WINDOW_S - 11.0),
        (6, 11.0, WINDOW_S - 11.0),
        (7, 11.0, WINDOW_S - 1.0),
        (10, 11.0, WINDOW_S - 1.0),
        (11, 11.0, WINDOW_S),
        (3, WINDOW_S - 0.5, 0.5),
    ],
)
def test_when_tokens_are_free_again(amount: int, now_s: float, free_in_s: float) -> None:
    """
    Of a limit of 10, of which 4 were used at 0 s, and 4 at 10 s.
    """
    window = RateWindow(10)
    window.heard(4, 0.0)
    window.heard(8, 10.0)

    assert free_in_s == pytest.approx(window.free_in_s(amount, now_s))


def test_a_block_is_as_large_as_what_was_used_lately() -> None:
    """
    By the rate since the last one was asked for, for half a lease; at most a share of what is left, and what is waited for.
    """
    leases = Leases()
    assert 0 == leases.to_ask(0, room=1000, now_s=2.0)
    leases.add(100, asked_at_s=2.0)
    assert leases.take(40, 2.5)

    assert 0 == leases.to_ask(0, room=0, now_s=4.0)
    assert int(40 * LEASE_S / 2 / 2.0) == leases.to_ask(0, room=1000, now_s=4.0)
    assert 0 == leases.to_ask(0, room=1000, now_s=5.0)
    leases.add(100, asked_at_s=5.0)
    assert leases.take(90, 5.5)
    in_part = leases.to_ask(1, room=10 * SHARES + 1, now_s=6.0)
    assert (10, int) == (in_part, type(in_part))
    assert 3 == leases.to_ask(3, room=1000, now_s=7.0)


def test_the_first_block_is_as_large_as_what_was_used_since_the_start() -> None:
    """
    Of the clock, which begins anywhere.
    """
    leases = Leases()
    leases.add(100, asked_at_s=0.0)
    assert leases.take(40, 0.5)

    assert int(40 * LEASE_S / 2 / 1.5) == leases.to_ask(0, room=1000, now_s=1.5)


def test_a_debt_is_paid_once() -> None:
    """
    Of several blocks, of which one pays all that it has: nothing is left of it, and nothing ends with it.
    """
    leases = Leases()
    unused: list[int] = []
    leases.on_unused = unused.append
    leases.owe(5, most=25)
    leases.add(3, asked_at_s=0.0)
    assert (0, 0.0) == (leases.left(0.1), leases.ends_s)
    leases.add(2, asked_at_s=0.0)
    assert (0, 0.0) == (leases.left(0.1), leases.ends_s)
    leases.add(3, asked_at_s=0.0)
    assert 3 == leases.left(0.1)
    for _ in range(LEASES_MAX - 1):
        leases.add(1, asked_at_s=0.0)

    leases.owe(2, most=25)
    leases.add(7, asked_at_s=0.0)

    assert [5] == unused
