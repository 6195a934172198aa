"""The stopwatch under a fake clock: drift does not become a difference, the warm-up ends, bursts are bounded."""

from __future__ import annotations

import gc
import itertools
import math
import statistics

import pytest

from harness.bench import latency
from harness.bench.latency import Side, Stopwatch, alternately


class Machine:
    """A clock, and predicts that take as long as the machine's speed at that moment makes them."""

    def __init__(self, speed=lambda _t: 1.0) -> None:
        self.now, self.speed, self.order = 0.0, speed, []

    def clock(self):
        """Return the time, in seconds."""
        return self.now

    def side(self, name, seconds):
        """Return a side whose predicts take so long at speed 1."""

        def predict():
            self.order.append(name)
            self.now += seconds * self.speed(self.now)

        return Side(name, predict, lambda: None)


DRIFTS = {
    "linear": lambda share: 1 + 0.2 * share,
    "falling": lambda share: 1.2 - 0.2 * share,
    "square": lambda share: 1 + 0.2 * share**2,
    "wave": lambda share: 1.1 + 0.1 * math.sin(2 * math.pi * share),
    "step": lambda share: 1.0 if share < 0.37 else 1.2,
}


def medians(machine, sides, samples):
    blocks = Stopwatch(sides, machine.clock).blocks(lambda count, _past: count >= samples)
    taken = list(itertools.chain.from_iterable(blocks))
    return [statistics.median(one.wall_s for one in taken if one.side == index) for index in range(len(sides))]


@pytest.mark.parametrize("drift", DRIFTS)
@pytest.mark.parametrize("count", [2, 3])
def test_a_drift_of_a_fifth_over_the_run_makes_no_difference(drift, count):
    samples, seconds = 100, 0.01
    length = samples * count * seconds
    machine = Machine(lambda t: DRIFTS[drift](min(t / length, 1.0)))
    found = medians(machine, [machine.side(str(n), seconds) for n in range(count)], samples)
    # A block of 2 * count predicts spans 2 % or 3 % of the run, hence 0.4 % or 0.6 % of speed; sides differ by less.
    assert max(found) / min(found) - 1 < 0.005


def test_one_after_the_other_the_same_drift_is_a_difference():
    machine = Machine(lambda t: 1 + 0.2 * min(t / 2.0, 1.0))
    first, second = (medians(machine, [machine.side(name, 0.01)], 100)[0] for name in "AB")
    assert second / first - 1 > 0.05


def test_a_true_difference_survives_the_drift():
    machine = Machine(lambda t: 1 + 0.2 * min(t / 2.1, 1.0))
    off, on = medians(machine, [machine.side("off", 0.0105), machine.side("on", 0.01)], 100)
    assert off / on == pytest.approx(1.05, rel=0.005)


@pytest.mark.parametrize(("sides", "order"), [("A", "AAAA"), ("AB", "ABBAABBA"), ("ABC", "ABCCBAABC")])
def test_the_order_reads_the_same_from_both_ends(sides, order):
    assert "".join(itertools.islice(alternately(sides), len(order))) == order


def test_warm_up_ends_when_the_slower_side_is_stable():
    machine = Machine()
    sides = [machine.side("quick", 0.001), machine.side("slow", 0.001)]
    times = iter([0.1 / (n + 1) for n in range(10)])
    warming = Side("warming", lambda: setattr(machine, "now", machine.now + next(times, 0.01)), lambda: None)
    assert Stopwatch(sides, machine.clock).warm_up().stable
    warmth = Stopwatch([sides[0], warming], machine.clock).warm_up()
    assert warmth.stable
    # Ten predicts become faster; the last two windows of 8 must lie behind most of them.
    assert sum(one.side == 1 for one in warmth.samples) >= 20


def test_warm_up_of_what_never_settles_is_bounded_and_says_so():
    machine = Machine(lambda t: 1 + t / 4)
    warmth = Stopwatch([machine.side("A", 0.5)], machine.clock).warm_up()
    assert not warmth.stable
    assert machine.now < latency.WARM_UP_SECONDS + 10  # the block that crosses the bound


def test_a_burst_of_slow_predicts_ends_with_its_time_but_not_before_the_fewest_samples():
    machine = Machine()
    blocks = list(Stopwatch([machine.side("A", 10.0)], machine.clock).burst(1000, 5.0))
    assert len(list(itertools.chain.from_iterable(blocks))) == latency.FEWEST


def test_sustained_goes_on_for_its_time():
    machine = Machine()
    list(Stopwatch([machine.side("A", 0.1), machine.side("B", 0.1)], machine.clock).sustained(60.0))
    assert 60 <= machine.now < 60.5
    assert machine.order.count("A") == machine.order.count("B")


def test_the_note_names_the_side_while_it_predicts():
    machine, noted, seen = Machine(), [], []
    side = Side("A", lambda: seen.append(noted[-1]), lambda: None)
    Stopwatch([machine.side("other", 1.0), side], machine.clock, noted.append).sample(1)
    assert (seen, noted) == ([1], [1, -1])


def test_the_framework_s_own_time_stands_beside_the_wall_time():
    machine = Machine()
    side = Side("A", lambda: setattr(machine, "now", 0.002), lambda: 0.0015)
    assert Stopwatch([side], machine.clock).sample(0) == latency.Sample(0, 0.002, 0.0015)


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_rests_during_a_burst_and_is_then_as_it_was(enabled):
    was, machine, seen = gc.isenabled(), Machine(), []
    side = Side("A", lambda: seen.append(gc.isenabled()), lambda: None)
    (gc.enable if enabled else gc.disable)()
    try:
        list(Stopwatch([side], machine.clock).burst(2, math.inf))
        assert (set(seen), gc.isenabled()) == ({False}, enabled)
    finally:
        (gc.enable if was else gc.disable)()
