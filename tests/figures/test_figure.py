import itertools
import math

import matplotlib.pyplot as plt
import numpy as np
import pytest

from dalle_jax.data.shapes.draw import draw as draw_scene
from dalle_jax.data.shapes.scene import Object, Scene
from dalle_jax.figures.figure import Figure
from dalle_jax.figures.fronts import plot_front
from dalle_jax.figures.measures import entropy_row
from dalle_jax.figures.plots import plot_named
from dalle_jax.figures.readings import draw_along, read_along, share
from dalle_jax.figures.record import cells
from dalle_jax.figures.rows import (
    BY_CAPTION,
    counted,
    difference,
    difference_of_differences,
    find,
    series,
)
from dalle_jax.figures.verdict import FAILS, HOLDS, MISSING, UNDECIDED, Claim, Estimate, overall
from dalle_jax.metrics.intervals import wilson
from dalle_jax.sweeps.shared_runs import short_names


def claim(value, interval=None, **ends):
    return Claim("It does.", Estimate(value, interval), **ends)


@pytest.mark.parametrize(
    ("value", "interval", "ends", "verdict"),
    [
        (0.5, (0.1, 0.9), {"above": 0}, HOLDS),
        (0.5, (-0.1, 1.1), {"above": 0}, UNDECIDED),  # the interval has both sides
        (-0.5, (-0.9, -0.1), {"above": 0}, FAILS),
        (-0.5, (-0.9, 0.1), {"above": 0}, UNDECIDED),
        (0.5, (0.1, 0.9), {"below": 0.1}, FAILS),
        (2.0, None, {"above": 1.85, "below": 2.15}, HOLDS),  # exact
        (2.2, None, {"above": 1.85, "below": 2.15}, FAILS),
        (0.0, (0.0, 0.0), {"above": 0}, FAILS),  # surely nothing is not more than nothing
        (0.5, (-math.inf, math.inf), {"above": 0}, UNDECIDED),
        (*MISSING[:2], {"above": 0}, UNDECIDED),
    ],
)
def test_a_claim_holds_if_all_of_the_interval_is_where_it_says(value, interval, ends, verdict):
    assert claim(value, interval, **ends).verdict == verdict


def test_single_trainings_whose_chance_decides_leave_a_claim_undecided():
    for value in (0.5, -0.5):
        ends = {"interval": (value - 0.1, value + 0.1), "above": 0}
        assert claim(value, **ends).verdict == (HOLDS if value > 0 else FAILS)
        assert claim(value, **ends, one_training=True).verdict == UNDECIDED


def test_several_claims_hold_together():
    yes, no, perhaps = claim(1, above=0), claim(-1, above=0), claim(1, (-1, 3), above=0)
    assert overall([yes, yes]) == HOLDS
    assert overall([yes, perhaps]) == UNDECIDED
    assert overall([yes, perhaps, no]) == FAILS
    assert overall([]) == UNDECIDED


def row(**columns):
    return {"metric": "oracle/caption", "value": 0.0, "num_images": 4, **columns}


def test_differences_are_those_of_the_same_captions():
    # Caption by caption b − a is 0, 1, 0, 1, however far a and b spread each.
    a = row(value=0.5, by_caption=np.array([[1.0], [0.0], [1.0], [0.0]]))
    b = row(value=1.0, by_caption=np.ones((4, 1)))
    found = difference(a, b)
    assert found.value == 0.5
    assert 0 <= found.interval[0] < 0.5 < found.interval[1] <= 1
    assert "4 captions" in found.basis
    assert difference(b, a).value == -0.5
    # What no caption changes can still change of others: as many as Wilson leaves of 0 of 4.
    assert difference(b, b).interval == (-wilson(0, 4)[1], wilson(0, 4)[1])
    assert claim(*difference(b, b)[:2], above=0).verdict == UNDECIDED


def test_distances_are_compared_with_the_same_captions_left_out():
    # Both lose the same by each group that is left out, so that only b − a = 1 is left.
    left_out = np.array([3.0, 5.0, 4.0, 6.0])
    a = row(value=4.0, left_out=left_out.tolist())
    b = row(value=5.0, left_out=(left_out + 1).tolist())
    assert difference(a, b).value == 1
    assert difference(a, b).interval == pytest.approx((1, 1))


def test_what_is_not_measured_or_not_comparable():
    assert math.isnan(difference(None, row()).value)
    assert claim(*difference(row(), row(value=1.0))[:2], above=0).verdict == UNDECIDED
    with pytest.raises(ValueError, match="num_images 4 and 8 can't be compared"):
        difference(row(), row(num_images=8))


def test_rows_are_found_by_metric_and_knobs():
    rows = [
        row(metric="FD[clip:0123]", steps=10, value=2.0),
        row(metric="FD[clip:0123]", steps=5, value=3.0),
        row(steps=5),
    ]
    assert find(rows, "FD", steps=5)["value"] == 3.0
    assert find(rows, "FD", steps=7) is None
    assert [(n, r["value"]) for n, r in series(rows, "FD", "steps").items()] == [
        (5, 3.0),
        (10, 2.0),
    ]
    with pytest.raises(ValueError, match=r"2 rows of FD .* differ in .*steps"):
        find(rows, "FD")


def test_a_knob_is_called_by_its_last_part_unless_two_end_alike():
    assert short_names(["decoder.sample.eta", "a.steps", "b.steps"]) == {
        "decoder.sample.eta": "eta",
        "a.steps": "a.steps",
        "b.steps": "b.steps",
    }
    made = row(by_caption=np.ones(3), mult=(1, 2), loss=0.12345678)
    assert cells(made) == row(mult="[1, 2]", loss=0.123457)


def test_a_figure_of_nothing_is_refused():
    with pytest.raises(ValueError, match="a sweep, or a function"):
        Figure(draw=lambda rows, images: None, claims=lambda rows: [])


def test_one_system_can_lose_more_than_another():
    def rows(*values):
        return tuple(row(value=v, left_out=[v - 0.1, v + 0.1]) for v in values)

    # One goes from 5 to 4, the other from 5 to 2: it loses 2 more, and all groups agree.
    found = difference_of_differences(rows(5.0, 2.0), rows(5.0, 4.0))
    assert found.value == pytest.approx(2)
    assert found.interval == pytest.approx((2, 2))
    assert math.isnan(difference_of_differences((row(), None), rows(1.0, 2.0)).value)
    with pytest.raises(ValueError, match="several metrics or numbers"):
        difference_of_differences(rows(1.0, 2.0), (*rows(1.0), {**rows(1.0)[0], "num_images": 8}))


def test_the_entropy_of_what_is_seen_is_in_bits():
    # Four equally frequent answers are two bits; one alone is none.
    found = entropy_row(
        [("white", "top"), ("white", "left"), "black", None] * 10, "diversity", at=1
    )
    assert found["value"] == pytest.approx(2) and found["at"] == 1 and found["num_images"] == 40
    assert len(found["left_out"]) == 10 and found["low"] < 2 < found["high"]
    assert entropy_row([None] * 20, "diversity")["value"] == 0


def test_what_is_seen_along_an_axis_is_held_against_what_is_asked_for():
    scene = lambda color: draw_scene(
        Scene(
            (Object("circle", color, "large", "center", 0.5, 0.5, 0.22, (0, 0, 0)),),
            "white",
            (0, 0, 0),
        ),
        32,
    )
    red, blue = scene("red"), scene("blue")
    empty = np.full_like(red, 248)
    drawn = [np.stack([red, red]), np.stack([blue, empty])]
    measured = read_along((0, 0.5), drawn, [("red", "circle"), ("blue", "circle")], seed=3)
    assert share(measured.table, "color", 0.0).value == 0.5
    assert share(measured.table, "color", 0.5).value == 0
    assert share(measured.table, "shape", 0.5).value == 0.5
    assert share(measured.table, "shape", 0.0, 0.5).value == 0.75
    assert math.isnan(share(measured.table, "shape", 0.25).value)
    assert {row["sampling_seeds"] for row in measured.table} == {"3"}
    assert measured.images["along"].shape == (64, 64, 3)
    assert (measured.images["along"][:32, 32:] == blue).all()  # a row an image, a column a place
    how = {"asked": "target", "readings": ("its colour", "its shape")}
    drawn = draw_along(measured.table, measured.images, "turn", **how)
    axes, (legend,) = drawn.axes, drawn.legends
    told = [text.get_text() for text in legend.get_texts()]
    assert told == ["the oracle reads its colour", "the oracle reads its shape"]
    assert axes[1].get_ylabel() == "share of the 2 images / %"
    beside = [text.get_text() for text in axes[0].get_yticklabels()]
    assert beside == ["red circle", "blue circle"]
    lines = [drawn.lines for drawn in axes[1].containers]
    assert [values.get_ydata().tolist() for values, *_ in lines] == [[50, 0], [100, 50]]
    ends = 100 * np.array([wilson(1, 2), wilson(0, 2)]).T  # of the colours
    np.testing.assert_allclose([cap.get_ydata() for cap in lines[0][1]], ends, atol=1e-9)


def test_zeros_and_ones_are_counted_with_wilsons_interval():
    found = counted([1, 0, 0, 1], "pairs")
    assert found == Estimate(0.5, wilson(2, 4), "4 pairs, Wilson")
    assert counted([], "pairs") is MISSING


def test_a_front_labels_each_point_with_its_interval():
    axes = plt.figure().subplots()
    row = lambda value: {"value": value, "low": value - 1, "high": value + 2}
    plot_front(axes, {1: row(10), 2: row(11)}, {1: row(5), 2: row(4)}, (100, 1))
    (drawn,) = axes.containers
    assert drawn.lines[0].get_xydata().tolist() == [[1000, 5], [1100, 4]]
    across, upright = (bars.get_segments() for bars in drawn.lines[2])
    assert np.asarray(across)[0, :, 0].tolist() == [900, 1200]
    assert np.asarray(upright)[1, :, 1].tolist() == [3, 6]
    assert [(label.get_text(), label.xy[0]) for label in axes.texts] == [("1", 1000), ("2", 1100)]


def test_labels_of_all_fronts_have_their_colour_and_cover_neither_points_nor_each_other():
    figure = plt.figure()
    axes = figure.subplots()
    row = lambda value: {"value": value}
    # Two curves of which three points nearly touch.
    plot_front(axes, {1: row(5.0), 2: row(5.1)}, {1: row(5.0), 2: row(9.0)}, color="C0")
    plot_front(axes, {0.5: row(5.02), 8: row(4.9)}, {0.5: row(4.9), 8: row(5.05)}, color="C1")
    assert [label.get_color() for label in axes.texts] == ["C0", "C0", "C1", "C1"]
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in axes.texts]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    for x, y in axes.transData.transform([label.xy for label in axes.texts]):
        assert not any(box.contains(x, y) for box in boxes)


def test_what_has_names_has_its_place_also_where_another_is_missing():
    axes = plt.figure().subplots()
    rows = {"none": {"value": 1}, "missing": None, "the caption's own": {"value": 3}}
    plot_named(axes, rows, unit=100, shift=0.25)
    (drawn,) = axes.containers
    assert drawn.lines[0].get_xydata().tolist() == [[0.25, 100], [2.25, 300]]
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names == ["none", "missing", "the\ncaption's\nown"]


def test_a_difference_of_two_trainings_says_that_there_is_one_of_each():
    scores = np.random.default_rng(0).normal(size=(50, 1))
    rows = [
        {"metric": "own", "value": float(v.mean()), "num_images": 50, BY_CAPTION: v, "runs": run}
        for v, run in ((scores, "a"), (scores + 0.1, "b"), (scores + 0.2, "b"))
    ]
    assert difference(*rows[:2]).basis.endswith("; one training each")
    assert difference(*rows[1:]).basis.startswith("50 captions, ")
    assert "training" not in difference(*rows[1:]).basis
    del rows[0]["runs"]
    assert "training" not in difference(*rows[:2]).basis
