import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dalle_jax.evaluation.digits import fitted


@pytest.mark.parametrize(
    ("value", "interval", "text"),
    [
        (12.3456, (11.2, 13.4), "12.3"),
        (12.3456, (12.34, 12.36), "12.346"),
        (231.7, (190.0, 270.0), "232"),
        (0.000123, (0.00011, 0.00013), "0.000123"),
        (1234567.0, (1e6, 2e6), "1234567"),
        (12.3456, (7.3456, 17.3456), "12.3"),
        (12.3456, (2.4, 22.3), "12"),
        (12.3456, None, "12.35"),
        (0.0001234567, None, "0.0001235"),
        (1234.6, None, "1235"),
        (0.0, None, "0.000"),
        (5.0, (5.0, 5.0), "5.000"),
        (math.nan, (math.nan, math.nan), "nan"),
        (math.inf, None, "inf"),
    ],
)
def test_half_of_the_interval_has_two_digits(value, interval, text):
    assert fitted(value, interval)(value) == text


@pytest.mark.parametrize(
    ("value", "interval", "text"),
    [
        (0.5, (0.4, 0.6), "50.0 %"),
        (0.98765, (0.986, 0.989), "98.77 %"),
        (0.5, None, "50.00 %"),
        (1.0, (0.9, 1.0), "100.0 %"),
    ],
)
def test_shares_are_percentages_of_one_decimal_or_more(value, interval, text):
    assert fitted(value, interval, percent=True)(value) == text


def test_a_sign_is_written_where_it_is_asked_for():
    text = fitted(0.5, (0.4, 0.6), sign=True)
    assert (text(0.5), text(-0.25)) == ("+0.50", "-0.25")


@given(
    st.floats(-1e6, 1e6),
    st.floats(1e-8, 1e6),
)
def test_what_is_rounded_away_is_small_against_the_interval(value, half):
    written = float(fitted(value, (value - half, value + half))(value))
    assert abs(written - value) <= 0.051 * half + 1e-10
