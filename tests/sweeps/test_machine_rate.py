"""The rate of a machine on which nothing was trained yet."""

import json

import pytest

from dalle_jax.sweeps import machine_rate
from dalle_jax.sweeps.machine_rate import SHARE_IN_TRAINING, guessed_rate, matrix_product_rate

CORES = 2


@pytest.fixture
def measured(monkeypatch):
    """How often it was measured."""
    times = []

    def rate():
        times.append(1)
        return 100e9

    monkeypatch.setattr(machine_rate, "matrix_product_rate", rate)
    return times


def test_a_machine_is_measured_once(measured, tmp_path):
    cache = tmp_path / "workdir" / "rates.json"
    cache.parent.mkdir()
    for _ in range(2):
        assert guessed_rate(CORES, "abacus", cache) == pytest.approx(SHARE_IN_TRAINING * 200e9)
    assert len(measured) == 1
    guessed_rate(CORES, "another", cache)
    assert len(measured) == 2
    assert set(json.loads(cache.read_text())) == {"abacus", "another"}


def test_a_worker_has_its_share_of_the_cores(measured, tmp_path):
    whole = guessed_rate(2 * CORES, "abacus", tmp_path / "rates.json")
    assert guessed_rate(CORES, "abacus", tmp_path / "rates.json") == pytest.approx(whole / 2)


@pytest.mark.parametrize("content", ["{", "[]", '{"abacus": "fast"}', '{"abacus": -1}', "null", ""])
def test_a_damaged_file_is_measured_anew(measured, tmp_path, content):
    cache = tmp_path / "rates.json"
    cache.write_text(content)
    assert guessed_rate(CORES, "abacus", cache) > 0
    assert len(measured) == 1 and json.loads(cache.read_text()) == {"abacus": 100e9}


def test_a_measurement_is_a_rate_that_a_computer_can_have_and_comes_out_again():
    rates = [matrix_product_rate() for _ in range(5)]
    assert min(rates) > 1e6 and max(rates) < 1e15
    assert max(rates) < 2 * min(rates)
