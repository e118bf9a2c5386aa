from html.parser import HTMLParser

import numpy as np

from dalle_jax.html.evaluation import rank_captions, render
from tests.evaluation.test_tables import row
from tests.html.browser import greys_seen, needs_browser, width_on_a_phone

CAPTIONS = ["a large red circle", "a small blue star", "a small red star"]


def scores():
    kinds = {"color": [1, 0, 1], "shape": [1, 0, 0], "caption": [1, 0, 0]}
    return {f"oracle/{kind}": np.array(v, float)[:, None] for kind, v in kinds.items()}


class WellFormed(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.open, self.text = [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            assert name != "src" or value.startswith("data:image/png;base64,")
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_a_page_holds_everything_and_refers_to_nothing():
    images = np.random.default_rng(0).integers(0, 255, (3, 24, 24, 3), dtype=np.uint8)
    page = render("runs/x", [row()], CAPTIONS, images, scores())
    text = " ".join(" ".join(WellFormed(page).text).split())
    assert "whole caption 50.0 % 25.0 % – 75.0 % ± 10.0 % 100.0 %" in text
    assert "FD[clip:ab] 1.250" in text
    assert "0123456789ab at step 7, raw weights" in text and "manifest abababababab" in text
    assert "shapes <test>" in text and "<test>" not in page  # escaped
    assert "http" not in page
    # First captions, best and worst: each image three times.
    assert page.count("<figure>") == 9
    assert [f"% of {n}" in text for n in (1, 2, 3)] == [True, True, True]
    assert "1.00 ✓ a large red circle" in text and "0.00 ✗ a small blue star" in text
    assert "images of seed 0" in text and "mean of 2 seeds" in text


@needs_browser
def test_a_page_is_seen_in_a_browser_and_fits_a_phone(tmp_path):
    images = np.stack([np.full((24, 24, 3), value, np.uint8) for value in (40, 90, 140)])
    wide = row()
    wide["metrics"] |= {f"oracle/{'x' * 60}": {"value": 0.5, "interval": [0.25, 0.75]}}
    page = render("runs/x", [wide], CAPTIONS, images, scores())
    # Each of the three images stands in three grids, at least 80 pixels wide.
    seen = greys_seen(page, tmp_path)
    assert all(seen.get(value, 0) > 3 * 80 * 80 for value in (40, 90, 140))
    assert width_on_a_phone(page, tmp_path) <= 390


def test_captions_of_any_script_are_on_the_page_and_nothing_of_them_is_hidden():
    captions = ["دائرة حمراء", "红色 <b>", "a\u200b \ud800\0"]
    images = np.zeros((3, 8, 8, 3), np.uint8)
    page = render("runs/x", [row()], captions, images, {})
    page.encode()
    assert '<meta charset="utf-8">' in page
    for seen in ("دائرة حمراء", "红色 &lt;b&gt;", "a\\u200b \\ud800\\x00"):
        assert f'<span dir="auto">{seen}</span>' in page


def test_a_page_says_which_distances_are_biased():
    entry = {"value": 9.0, "num_features": 5, "extrapolated": 4.0}
    biased = row()
    biased["metrics"]["FD[clip:ab]"] = entry | {"extrapolated_standard_error": 0.5}
    text = " ".join(" ".join(WellFormed(render("x", [biased], CAPTIONS, None, {})).text).split())
    assert "FD[clip:ab] is biased upwards: 3 images are fewer than its 5 features" in text
    assert "at n → ∞" in text and text.count("4.00 ± 0.50") == 2
    without = row()
    without["metrics"]["FD[clip:ab]"] = entry = {"value": 9.0, "num_features": 5}
    assert "without intervals there is no FD∞" in render("x", [without], CAPTIONS, None, {})
    entry["num_features"] = 3
    assert "biased" not in render("x", [without], CAPTIONS, None, {})


def test_a_page_tells_what_leaked():
    found = {"count": 1, "share": 1 / 3}
    near = {**found, "features": "clip:ab", "cosine": 0.98, "median_cosine": 0.9}
    leaking = row(leakage={"near_duplicate": found, "feature_neighbour": near})
    text = " ".join(WellFormed(render("runs/x", [leaking], CAPTIONS, None, {})).text)
    assert "near duplicate 1 33.3 %" in text
    assert "feature neighbour (cosine ≥ 0.98 in clip:ab" in text
    assert "Also in the training data" not in render("runs/x", [row()], CAPTIONS, None, {})


def test_best_and_worst_are_by_the_share_of_correct_statements():
    by, values, order = rank_captions(scores())
    assert by == "the share of correct statements" and order.tolist() == [0, 2, 1]
    assert values.tolist() == [1, 0, 0.5]
    cosine = {"clip_cosine[clip:ab]": np.array([[0.1, 0.3], [0.5, 0.5], [0.4, 0.1]])}
    by, _, order = rank_captions({**scores(), **cosine})
    assert by == "clip_cosine[clip:ab]" and order.tolist() == [1, 2, 0]
    assert rank_captions({}) is None


def test_without_images_the_figures_remain():
    page = render("runs/x", [row()], CAPTIONS, None, scores())
    assert "whole caption" in page and "<figure>" not in page
