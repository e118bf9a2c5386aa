import re

import pytest

from dalle_jax.evaluation import tables
from dalle_jax.metrics.protocol import Protocol, protocol_hash


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
        "model": {"decoder": {"fingerprint": "0123456789ab", "step": 7, "weights": "raw"}},
        "data": "shapes <test>",
        "metrics": metrics,
        "floor": {"num_images": 3, "oracle/caption": 1.0},
        **more,
    }


def test_a_terminal_shows_names_with_brackets_and_leakage(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    leakage = {"image": {"count": 1, "share": 1 / 3}, "near_duplicate": {"count": 0, "share": 0}}
    without = {"num_images": 2, "metrics": {"oracle/caption": {"value": 1.0}}}
    tables.print_row(row(leakage=leakage, without_leaked=without))
    out = capsys.readouterr().out
    assert "FD[clip:ab]" in out and "deviation of 2 seeds" in out
    assert "33.3 % by image, 0.0 % by near duplicate" in out
    assert "on the 2 whose images are not in the training data: whole caption 100.0 %" in out
    near = {"count": 2, "share": 2 / 3, "features": "clip:ab", "cosine": 0.98}
    leakage["feature_neighbour"] = {**near, "median_cosine": 0.9}
    without = {"num_images": 1, "metrics": {}, "reason": "too few"}
    told, left = tables.remarks(row(leakage=leakage, without_neighbours=without))
    assert told.endswith(
        "66.7 % by feature neighbour (cosine ≥ 0.98 in clip:ab, where the median of the nearest "
        "is 0.900)"
    )
    assert left == "on the 1 without a feature neighbour there either: too few"


@pytest.mark.parametrize("reference, floor", [(None, "real images"), ("x", "real against real")])
def test_the_floor_is_named_for_what_it_is(reference, floor):
    one = row()
    one["protocol"]["reference"] = reference
    assert tables.headings(one).floor == f"{floor}, n = 3"
    assert re.fullmatch(r".*3 images of shapes <test> captions.*", tables.title(one))
