from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.sampling.chance import Chance
from tests.sampling.judge import evenness


def test_the_stream_is_splitmix64() -> None:
    """The reference's own numbers, so any language can draw the same: https://prng.di.unimi.it/splitmix64.c."""
    chance = Chance(1234567)
    assert [chance.bits() for _ in range(5)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


@pytest.mark.parametrize(("seed", "same"), [(2**64 + 7, 7), (-1, 2**64 - 1)])
def test_any_integer_is_a_seed(seed: int, same: int) -> None:
    """Taken modulo 2⁶⁴."""
    assert Chance(seed).bits() == Chance(same).bits()


def test_neighbouring_seeds_have_nothing_in_common() -> None:
    """Rounds and ROIs may be numbered: no stream is another's, some numbers later."""
    streams = [[chance.bits() for _ in range(20)] for chance in map(Chance, range(50))]
    assert all(not set(one) & set(other) for one, other in pairwise(streams))


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 7, 8, 10, 100])
def test_each_number_below_a_limit_is_as_likely(limit: int) -> None:
    """Also where the limit is no power of two."""
    chance, times = Chance(limit), [0] * limit
    for _ in range(200 * limit):
        times[chance.below(limit)] += 1
    assert evenness(times) < 1


@pytest.mark.parametrize("limit", [3 << 62, (3 << 62) - 1, 2**64])
def test_large_limits_have_no_favourites(limit: int) -> None:
    """The remainder of a division, or a float, would make some of the numbers twice as likely, or leave some out."""
    chance, times = Chance(1), [0] * 3
    for _ in range(3000):
        times[chance.below(limit) * 3 // limit] += 1
    assert evenness(times) < 1
    assert {chance.below(limit) % 4 for _ in range(100)} == {0, 1, 2, 3}


@given(st.integers(), st.integers(1, 2**64))
def test_a_number_below_a_limit_is_below_it(seed: int, limit: int) -> None:
    """From 0 to one less."""
    chance = Chance(seed)
    assert all(0 <= chance.below(limit) < limit for _ in range(5))


def test_between_includes_both_ends() -> None:
    """And each number is as likely."""
    chance, times = Chance(5), dict.fromkeys(range(-3, 4), 0)
    for _ in range(1400):
        times[chance.between(-3, 3)] += 1
    assert evenness(list(times.values())) < 1


def test_between_one_number_and_itself_is_that_number() -> None:
    """A fixed size is drawn like any other."""
    assert Chance(0).between(100, 100) == 100
