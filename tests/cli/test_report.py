import re
from html.parser import HTMLParser

import numpy as np
import pytest

from dalle_jax.cli import tables
from dalle_jax.cli.report import rank_captions, render
from dalle_jax.metrics.protocol import Protocol, protocol_hash

CAPTIONS = ["a large red circle", "a small blue star", "a small red star"]


def row(**more):
    protocol = Protocol(
        features="oracle",
        features_sha256=None,
        preprocessing={},
        num_images=3,
        reference=None,
        reference_sha256=None,
        settings={},
        manifest_sha256="ab" * 32,
        sampling={"sampler": "ddim", "seeds": (0, 1)},
    ).as_dict()
    metrics = {
        "oracle/caption": {"value": 0.5, "interval": [0.25, 0.75], "std_of_seeds": 0.1},
        "FD[clip:ab]": {"value": 1.25},
    }
    return {
        "protocol": protocol,
        "protocol_hash": protocol_hash(protocol),
        "model": {"decoder": {"fingerprint": "0123456789ab", "step": 7}},
        "data": "shapes <test>",
        "metrics": metrics,
        "floor": {"num_images": 3, "oracle/caption": 1.0},
        **more,
    }


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
    assert "FD[clip:ab] 1.2500" in text
    assert "0123456789ab at step 7" in text and "manifest abababababab" in text
    assert "shapes <test>" in text and "<test>" not in page  # escaped
    assert "http" not in page
    # First captions, best and worst: each image three times.
    assert page.count("<figure>") == 9
    assert [f"% of {n}" in text for n in (1, 2, 3)] == [True, True, True]


def test_best_and_worst_are_by_the_share_of_right_statements():
    by, order = rank_captions(scores())
    assert by == "the share of right statements" and order.tolist() == [0, 2, 1]
    cosine = {"clip_cosine[clip:ab]": np.array([[0.1, 0.3], [0.5, 0.5], [0.4, 0.1]])}
    by, order = rank_captions({**scores(), **cosine})
    assert by == "clip_cosine[clip:ab]" and order.tolist() == [1, 2, 0]
    assert rank_captions({}) is None


def test_without_images_the_figures_remain():
    page = render("runs/x", [row()], CAPTIONS, None, scores())
    assert "whole caption" in page and "<figure>" not in page


def test_a_terminal_shows_names_with_brackets_and_what_leaked(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    leakage = {"image": {"count": 1, "share": 1 / 3}, "near_duplicate": {"count": 0, "share": 0}}
    without = {"num_images": 2, "metrics": {"oracle/caption": {"value": 1.0}}}
    tables.print_row(row(leakage=leakage, without_leaked=without))
    out = capsys.readouterr().out
    assert "FD[clip:ab]" in out and "deviation of 2 seeds" in out
    assert "33.3 % by image, 0.0 % by near duplicate" in out
    assert "on the 2 whose images are not: whole caption 100.0 %" in out


@pytest.mark.parametrize("reference, floor", [(None, "real images"), ("x", "real against real")])
def test_the_floor_is_named_for_what_it_is(reference, floor):
    one = row()
    one["protocol"]["reference"] = reference
    assert tables.headings(one).floor == f"{floor}, n = 3"
    assert re.fullmatch(r".*3 images of shapes <test> captions.*", tables.title(one))
