"""What items are expected to take, from what those before them took."""

from __future__ import annotations

from whichpool._pools.budget import Taken


def test_in_proportion_to_the_most_that_any_took():
    taken = Taken()
    assert not taken.knows(1.0)
    for weight, rose in [(100, 1000), (120, 1100), (90, 1800)]:
        taken.learn(rose, weight)
    assert taken.of(100) == 2000
    assert taken.knows(240)
    assert not taken.knows(241)


def test_light_ones_say_little_of_heavy_ones():
    taken = Taken()
    taken.learn(5_000_000, 1)  # what any item takes, however light
    taken.learn(6_000_000, 1000)
    assert taken.of(1000) == 6_000_000
    assert taken.of(1) == 5_000_000
    taken.learn(7_000_000, 2)
    assert taken.of(1) == 7_000_000
    assert taken.of(1500) == 9_000_000
