"""What a sweep costs: operations as XLA counts them, and the rate of earlier runs."""

import copy
import dataclasses
import json
import os

import pytest

from dalle_jax.cost.flops import forward_flops, step_flops, unrolled
from dalle_jax.runs import create_run
from dalle_jax.stages import build_stage
from dalle_jax.sweeps.grid import Sweep, product
from dalle_jax.sweeps.hours import Counts, measured_rates, sampling_flops
from tests.sweeps.twelve import graph_of


@pytest.fixture(scope="module")
def graph():
    points = product(
        ("decoder.train.batch_size", [8, 16]), ("decoder.sample.guidance_scale", [1.0, 3.0])
    )
    return graph_of(
        Sweep(
            "",
            points,
            stages=("clip", "decoder"),
            # Muon's matrix products would be most of so small a network's step.
            overrides={"decoder.train.optimizer.name": "adamw"},
            evaluation={"n": 100, "seeds": "0,1"},
        )
    )


@pytest.mark.long  # it compiles
def test_a_step_is_about_three_forward_passes_of_its_batch(graph):
    small, large = (run.config for run in graph.runs.values() if run.stage == "decoder")
    # The gradient is two more products for each one of the forward pass.
    forward, step = forward_flops("decoder", small), step_flops("decoder", small)
    assert 2.5 < step / (8 * forward) < 3.5
    assert step_flops("decoder", large) == pytest.approx(2 * step, rel=0.1)


def test_operations_are_counted_of_blocks_one_by_one(graph):
    run = next(run for run in graph.runs.values() if run.stage == "decoder")
    config = copy.deepcopy(run.config)
    for stage in ("clip", "decoder"):
        config[stage]["model"]["scan_blocks"] = True
    assert unrolled(config) == run.config
    assert config["clip"]["model"]["scan_blocks"]  # the caller's own is left as it is


def test_sampling_is_a_pass_an_evaluation_and_two_where_guided(graph, tmp_path):
    path = tmp_path / "flops.json"
    key = next(key for key in graph.runs if key.startswith("decoder-"))
    path.write_text(json.dumps({f"forward {key}": 7.0}))
    unguided, guided = graph.points[:2]
    assert unguided.runs["decoder"] == guided.runs["decoder"] == key
    # 100 captions, 2 seeds, 2 steps
    assert sampling_flops(unguided, Counts(path)) == 100 * 2 * 2 * 7
    assert sampling_flops(guided, Counts(path)) == 100 * 2 * 2 * 7 * 2


def test_a_prior_samples_each_candidate_once_for_points_of_the_same_weights(tmp_path):
    path, passes = tmp_path / "flops.json", 0

    def flops_of(*axes, drawn=None, **evaluation):
        """Of the priors of these points; a pass is one operation."""
        sweep = Sweep("", product(*axes), ("clip", "prior", "decoder"))
        sweep = dataclasses.replace(sweep, evaluation={"n": 100, **evaluation})
        points = graph_of(sweep).points
        runs, config = points[0].runs, points[0].config
        path.write_text(
            json.dumps({f"forward {runs['prior']}": 1, f"forward {runs['decoder']}": 0})
        )
        nonlocal passes
        passes = 100 * build_stage("prior", config).passes(**config["prior"]["sample"])
        return [sampling_flops(point, Counts(path), drawn) for point in points]

    flops = flops_of(("prior.sample.num_candidates", [1, 2, 4]))
    assert flops == [passes, 2 * passes, 4 * passes]
    drawn = set()
    guidance = [(f"{stage}.sample.guidance_scale", [1.0, 2.0]) for stage in ("decoder", "prior")]
    assert flops_of(*guidance, drawn=drawn) == [passes, 2 * passes, 0, 0]
    assert flops_of(*guidance, drawn=drawn, seeds="1")[0] == passes  # of other noise


def test_the_rate_is_that_of_the_newest_run_of_a_stage_on_this_machine(graph, tmp_path):
    run = next(run for run in graph.runs.values() if run.stage == "clip")
    path, here = tmp_path / "flops.json", "one Abacus, here"
    path.write_text(json.dumps({f"step {run.key}": 800.0}))
    where = {
        "old": (5.0, {"machine": "one Abacus", "host": "here"}),
        "new": (6.0, {"machine": "two Abaci", "host": "here"}),
        "newest": (7.0, {"host": "there"}),  # as an earlier version's attempts
    }

    def rate(*names):
        """Of these runs, the oldest first."""
        workdir = tmp_path / "-".join(names)
        for i, name in enumerate(names):
            speed, attempt = where[name]
            log = create_run(workdir / "runs" / name, "clip", run.config).directory
            log /= "metrics.jsonl"
            speeds = ({"step": j, "images_per_second": s} for j, s in enumerate((1, speed, 99)))
            log.write_text("".join(json.dumps(line) + "\n" for line in speeds))
            os.utime(log, (i, i))
            (workdir / "jobs" / name).mkdir(parents=True)
            (workdir / "jobs" / name / "attempts.jsonl").write_text(json.dumps(attempt) + "\n")
        return measured_rates([workdir / "runs"], Counts(path), here)

    # 800 operations for a step of 8 images, at a median of 5 images a second.
    assert rate("old", "new", "newest") == {"clip": (500.0, "")}
    assert rate("new", "newest") == {"clip": (700.0, "there")}
    assert rate("new") == {"clip": (600.0, "two Abaci, here")}
    of_train = create_run(tmp_path / "mine/clip", "clip", run.config).directory
    assert measured_rates([tmp_path / "mine"], Counts(path), here) == {}
    (of_train / "metrics.jsonl").write_text('{"step": 1, "images_per_second": 2.0}\n')
    found = measured_rates([tmp_path / "mine"], Counts(path), here)
    assert found == {"clip": (200.0, "a machine that is not known")}
