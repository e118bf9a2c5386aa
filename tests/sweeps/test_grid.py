"""Points as dicts of overrides, and their names."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dalle_jax.evaluation.options import evaluation_of
from dalle_jax.runs import FORMAT
from dalle_jax.sweeps.grid import MAX_NAME, Sweep, chain, is_sampling, point_name, product, zip_
from dalle_jax.sweeps.jobs import jobs_of
from dalle_jax.sweeps.layout import SweepLayout
from dalle_jax.sweeps.overrides import load_point
from dalle_jax.sweeps.shared_runs import build_graph
from tests.sweeps.twelve import CONFIG

TINY = CONFIG.with_name("tiny.py")


def graph_of(points, config=TINY, **options):
    return build_graph(Sweep(str(config), points, **options), partial(load_point, config))


def test_a_product_has_every_combination_and_its_last_axis_changes_fastest():
    points = product(("a.x", [1, 2]), ("a.y", ["p", "q"]), seed=range(2))
    assert points[:3] == [
        {"a.x": 1, "a.y": "p", "seed": 0},
        {"a.x": 1, "a.y": "p", "seed": 1},
        {"a.x": 1, "a.y": "q", "seed": 0},
    ]
    assert len(points) == 8 and len({point_name(point) for point in points}) == 8


def test_zip_goes_side_by_side_and_chain_one_after_the_other():
    pairs = zip_(("a.target", ["eps", "v"]), ("a.weighting", ["simple", "snr"]))
    eps, v = {"a.target": "eps", "a.weighting": "simple"}, {"a.target": "v", "a.weighting": "snr"}
    assert pairs == [eps, v] and product(pairs, seed=[7])[1] == {**v, "seed": 7}
    assert chain([{}], ("a.x", [1]), product(b=[2])) == [{}, {"a.x": 1}, {"b": 2}]


def test_what_can_not_be_meant_is_refused():
    with pytest.raises(ValueError, match=r"axes of 2, 3 values"):
        zip_(("a", [1, 2]), ("b", [1, 2, 3]))
    with pytest.raises(ValueError, match=r"setting a\.x is set by two axes"):
        product(("a.x", [1]), [{"a.x": 2}])
    with pytest.raises(ValueError, match=r"is no axis"):
        product(["a.x", 3])


def test_a_name_says_the_overrides_in_one_order():
    assert point_name({}) == "base"
    one, other = {"seed": 0, "a.rate": 1e-3}, {"a.rate": 1e-3, "seed": 0}
    assert point_name(one) == point_name(other) == "a.rate=0.001,seed=0"
    assert point_name({"a.rate": np.float64(0.5)}) != point_name({"a.rate": 0.25})
    (point,) = product(("a.rate", np.array([0.5])))
    assert type(point["a.rate"]) is float and point_name(point) == "a.rate=0.5"


def test_only_settings_of_a_stage_s_sample_section_are_of_sampling():
    assert is_sampling("decoder.sample.guidance_scale")
    for name in ("decoder.loss.caption_dropout", "sample.x", "seed"):
        assert not is_sampling(name)


def test_a_point_may_have_a_base_of_its_own():
    points = product(("config", ["unclip_tiny", "tiny"]), ("decoder.sample.guidance_scale", [1.0]))
    stages = ("clip", "prior", "decoder")
    graph = graph_of(points, CONFIG, stages=stages, evaluation={"n": 8})
    unclip, glide = graph.points
    assert list(unclip.runs) == list(stages) and list(glide.runs) == ["decoder"]
    assert unclip.runs["decoder"] != glide.runs["decoder"]
    assert graph.runs[unclip.runs["decoder"]].config["decoder"]["model"]["image_size"] == 12
    jobs = jobs_of(graph, SweepLayout(Path("w"), "s"), CONFIG, ("train",))
    options = [option for job in jobs for option in job.command(Path("request.json"))]
    configs = [option for option in options if option.startswith("--config=")]
    assert configs == [f"--config={CONFIG}"] * 3 + [f"--config={TINY}"]
    assert not any("config" in job.request for job in jobs)
    with pytest.raises(FileNotFoundError, match=r"no config file .*none\.py"):
        graph_of([{"config": "none"}])


def test_averaged_and_raw_weights_of_one_training_are_two_points():
    points = product(
        ("decoder.sample.weights", ["ema", "raw"]), ("decoder.sample.guidance_scale", [1.0, 3.0])
    )
    graph = graph_of(points, evaluation={"n": 8})
    assert len(graph.runs) == 1 and len({point.key for point in graph.points}) == 4
    weights = [point.evaluation.options["weights"] for point in graph.points]
    assert weights == ["ema", "ema", "raw", "raw"]
    assert not any("weights" in point.evaluation.sampling for point in graph.points)


@pytest.mark.parametrize("seeds", [[0, 1], (0, 1), range(2), np.arange(2), "0,1"])
def test_several_values_of_an_evaluation_may_be_a_list(seeds):
    settings = {"n": 8, "seeds": seeds, "metrics": ["oracle", "fid"], "guidance_interval": (0, 2)}
    (point,) = graph_of([{}], evaluation=settings).points
    what = evaluation_of(Path(), *json.loads(json.dumps(point.evaluation)))
    assert (what.n, what.seeds, what.metrics) == (8, (0, 1), ("oracle", "fid"))
    assert what.sampling["guidance_interval"] == [0, 2]


def test_a_config_is_loaded_once_for_all_points_that_are_trained_alike():
    loaded = []

    def config_of(overrides):
        loaded.append(overrides)
        return load_point(TINY, overrides)

    points = product(("decoder.sample.guidance_scale", [1.0, 2.0, 3.0]), seed=range(2))
    graph = build_graph(Sweep("configs/tiny.py", points), config_of)
    assert loaded == [{"seed": 0}, {"seed": 1}]
    for point in graph.points:
        scale = point.overrides["decoder.sample.guidance_scale"]
        assert point.config["seed"] == point.overrides["seed"]
        assert point.config["decoder"]["sample"]["guidance_scale"] == scale


def test_a_point_is_measured_anew_by_a_network_that_was_trained_anew(tmp_path):
    run = tmp_path / "features/classifier"
    key = lambda **evaluation: graph_of([{}], evaluation={"n": 8, **evaluation}).points[0].key

    def train(seed, step):
        config = {**load_point(CONFIG.with_name("features.py"), {}), "seed": seed}
        document = {"format": FORMAT, "stage": "classifier", "config": config}
        (run / f"checkpoints/{step}").mkdir(parents=True)
        (run / "config.json").write_text(json.dumps(document))

    without = key()
    train(seed=0, step=1)
    by_path = {"metrics": "fid", "features": str(run.parent)}
    keys = [without, key(features=str(tmp_path / "none")), key(**by_path)]
    assert key(**by_path) == keys[-1] and key() == without
    for seed, step in ((0, 2), (1, 3)):
        train(seed, step)
        keys.append(key(**by_path))
    assert len(set(keys)) == len(keys)


def test_a_point_is_measured_once_however_the_path_of_its_network_is_written(tmp_path, monkeypatch):
    (tmp_path / "here/runs").mkdir(parents=True)
    (tmp_path / "link").symlink_to("here")
    monkeypatch.chdir(tmp_path / "here")
    planned = lambda path: graph_of([{}], evaluation={"n": 8, "features": path}).points[0]
    usual = planned("runs/features")
    assert usual.evaluation.options["features"] == "runs/features"
    for folder in (".", f"{tmp_path}/here", f"{tmp_path}/link"):
        assert planned(f"{folder}/runs/features/").key == usual.key
    elsewhere = planned("../other")
    assert elsewhere.evaluation == planned(f"{tmp_path}/other").evaluation
    assert elsewhere.key != usual.key


VALUES = st.one_of(st.text(), st.integers(), st.floats(allow_nan=False), st.tuples(st.integers()))


@given(st.lists(st.dictionaries(st.text(min_size=1), VALUES, min_size=1), min_size=2, max_size=4))
def test_names_are_safe_and_different_for_different_points(points):
    names = [point_name(point) for point in points]
    for name in names:
        assert name.isascii() and all(c.isalnum() or c in "._=,+-" for c in name)
        assert len(name) <= MAX_NAME + 9 and name not in (".", "..")
    # By their text: 1 and "1" are the same override.
    texts = [{name: str(value) for name, value in sorted(p.items())} for p in points]
    for i, name in enumerate(names):
        assert all(texts[i] == texts[j] for j in range(i) if name == names[j])
