"""Seeds are exact."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dalle_jax.seeds import LIMIT, checked_seed, key_of


def data(seed):
    return tuple(np.asarray(jax.random.key_data(key_of(seed))).tolist())


@pytest.mark.parametrize("seed", [0, 1, 5, 2**31 - 1, 2**31, 2**32 - 1])
def test_a_seed_of_32_bits_draws_what_it_always_drew(seed):
    np.testing.assert_array_equal(
        jax.random.key_data(key_of(seed)), jax.random.key_data(jax.random.key(seed))
    )


@given(st.sets(st.integers(0, LIMIT - 1), min_size=2, max_size=5))
def test_no_two_seeds_are_one(seeds):
    assert len({data(seed) for seed in seeds}) == len(seeds)


@pytest.mark.parametrize("seed", [5, 2**31, 2**32 - 1])
@pytest.mark.parametrize("more", [2**32, 2**33, 2**63])
def test_bits_beyond_the_32nd_count(seed, more):
    assert data(seed) != data(seed + more)
    assert data(seed + more) == ((seed + more) >> 32, (seed + more) & 0xFFFFFFFF)


@pytest.mark.parametrize("seed", [-1, -(2**32), LIMIT, 10**30, 1.0, 0.5, "0", None, True, np.nan])
def test_what_is_no_seed_is_refused_with_the_range(seed):
    with pytest.raises(ValueError, match=r"config\.seed is .*from 0 to 2\*\*64 − 1"):
        checked_seed(seed, "config.seed")
    with pytest.raises(ValueError, match="whole number"):
        key_of(seed)


@pytest.mark.parametrize("seed", [np.int64(7), np.uint64(7), np.int8(7), 7])
def test_a_whole_number_of_any_type_is_a_seed(seed):
    assert checked_seed(seed) == 7 and type(checked_seed(seed)) is int
    assert data(seed) == (0, 7)


def test_a_large_seed_works_under_jit():
    drawn = jax.jit(lambda key: jax.random.normal(key, (3,)))(key_of(2**40 + 3))
    assert drawn.dtype == np.float32 and np.isfinite(drawn).all()
