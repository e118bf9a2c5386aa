import re
from xml.etree import ElementTree

import numpy as np
import pytest

from dalle_jax.html.curves import MAX_DRAWN, plot


def elements(svg, name):
    return [e for e in ElementTree.fromstring(re.sub("xlink:", "", svg)).iter() if e.tag == name]


def words(svg):
    return ["".join(text.itertext()) for text in elements(svg, "text")]


def test_equal_curves_give_equal_bytes_and_no_address_or_id_that_recurs():
    curves = {"a <b>": ([0, 10, 20], [3.0, 2.0, 1.0]), "c": ([0, 10], [4.0, 0.5])}
    svg, colors = plot(curves)
    assert plot(curves) == (svg, colors) and len(set(colors)) == 2
    assert [title.text for title in elements(svg, "title")] == ["a <b>", "c"]
    assert "http" not in svg and not re.search(r'id="\w+_\d+"', svg)


def test_positive_losses_have_a_logarithmic_axis_marked_at_its_ends_and_between():
    svg, _ = plot({"a": ([0, 50, 100], [4.0, 2.0, 0.25])})
    assert {"0.25", "1", "4", "loss, logarithmic", "step"} <= set(words(svg))
    assert "loss" in words(plot({"a": ([0, 50], [1.0, -1.0])})[0])


@pytest.mark.parametrize("hole", [np.nan, np.inf])
def test_losses_that_are_no_numbers_are_gaps(hole):
    svg, _ = plot({"a": ([0, 1, 2, 3, 4], [4.0, 1.0, hole, 1.0, 2.0])})
    (line,) = (e.get("d") for e in elements(svg, "path") if "#1f77b4" in e.get("style", ""))
    assert line.split().count("M") == 2 and "nan" not in line
    plot({"a": ([1, 2], [hole, hole])})


def test_a_curve_of_one_point_is_seen():
    svg, _ = plot({"a": ([5], [1.0])})
    assert any("#1f77b4" in use.get("style", "") for use in elements(svg, "use"))


def test_long_curves_are_thinned_out_and_many_curves_told_apart():
    steps = np.arange(100_000)
    noise = np.random.default_rng(0).uniform(1, 2, len(steps))
    svg, _ = plot({"a": (steps, noise)})
    assert max(e.get("d").count("L") for e in elements(svg, "path")) < MAX_DRAWN
    assert len(set(plot({str(i): ([0, 1], [1.0, 2.0]) for i in range(30)})[1])) == 30
