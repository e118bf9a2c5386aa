"""Images of held-out captions from a trained workdir, and the rows of results that they give."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from dalle_jax.console import note, progress
from dalle_jax.evaluation.captions import HeldOut, open_held_out
from dalle_jax.evaluation.checks import check_evaluation
from dalle_jax.evaluation.leakage import leakage_of, open_space
from dalle_jax.evaluation.measurements import (
    Measurement,
    between_sets,
    by_clip,
    by_oracle,
    memorization_measurement,
)
from dalle_jax.evaluation.options import Evaluation, evaluation_of
from dalle_jax.metrics.images import Subset
from dalle_jax.metrics.leakage import FEATURE_KIND, IMAGE_KINDS, leaked_rows
from dalle_jax.metrics.protocol import protocol_hash
from dalle_jax.metrics.results import append_row, find_row, read_rows, read_scores
from dalle_jax.metrics.shards import SHARD_SIZE, Shards, exclusive
from dalle_jax.metrics.table import CLIP, MEMORIZATION, METRICS, ORACLE
from dalle_jax.pipelines.checks import check_drawing
from dalle_jax.pipelines.images import captioned_grid
from dalle_jax.pipelines.raw_weights import choose_weights, weights_of
from dalle_jax.pipelines.system import as_given, load_system
from dalle_jax.pipelines.text_to_image import DallePipeline
from dalle_jax.runs import Run, clip_in, open_run
from dalle_jax.runs.data import check_moved

SAMPLES = 24  # images of samples.png
# The parts of a row that hold its metrics without the captions whose images leaked. Whether
# neighbours in a space of features are leaked ones depends on the space, so they are told apart.
LEFT_OUT = {
    "without_leaked": IMAGE_KINDS,
    "without_neighbours": (*IMAGE_KINDS, FEATURE_KIND),
}


class Evaluated(NamedTuple):
    """What an evaluation measured.

    Attributes:
        workdir: of the system.
        suffix: of the names of its files: "" of the split test, else "_SPLIT".
        data: the name of the data and the split.
        rows: of results.jsonl.
        captions: that were drawn.
        images: of them, uint8 [H, W, 3] each, of the first seed; None where they were deleted.
        scores: by caption, [captions, seeds] by metric.
        samples: a picture of the first of them.
    """

    workdir: Path
    suffix: str
    data: str
    rows: list[dict[str, Any]]
    captions: Sequence[str]
    images: Sequence[np.ndarray] | None
    scores: dict[str, np.ndarray]
    samples: Path | None


class PipelineCache:
    """The pipeline that was loaded last, together with its encoded captions."""

    def __init__(self):
        self._key: tuple | None = None
        self._pipeline: DallePipeline | None = None

    def load(self, workdir: Path, weights: str) -> DallePipeline:
        """That of a workdir on EMA or raw weights; the last, if it is of the same runs.

        Raises:
            FileNotFoundError: nothing was trained there.
            ValueError: its stages do not fit each other, or there are no such weights.
        """
        runs = sorted(path.parent for path in workdir.glob("*/config.json"))
        key = (weights, *((run.resolve(), open_run(run).checkpoint_name) for run in runs))
        if key != self._key:
            self._key = self._pipeline = None  # frees its memory before another is loaded
            self._pipeline = DallePipeline(choose_weights(load_system(workdir), weights))
            self._key = key
        return self._pipeline


def evaluate(
    workdir: str | Path, *, sampling: Mapping[str, Any] | None = None, **options: Any
) -> Evaluated:
    """Draw images of held-out captions with a trained workdir, and measure them. For example::

        found = dalle_jax.evaluate("runs/quickstart", n=256, sampling={"guidance_scale": 2.0})
        found.rows[0]["metrics"]["oracle/caption"]["value"]

    What is drawn and measured already is read. `html.evaluation.write_report` makes a page of it.

    Args:
        workdir: of the trained system.
        sampling: settings of sampling, as `DallePipeline` takes them.
        options: of `Evaluation`, such as metrics="oracle,fid" and seeds=(0, 1).

    Raises:
        FileNotFoundError: there is no trained run, manifest or data.
        ValueError: there is no such option, or a metric is not defined on these captions.
    """
    return evaluate_workdir(evaluation_of(Path(workdir).expanduser(), options, sampling or {}))


def evaluate_workdir(
    what: Evaluation,
    cache: PipelineCache | None = None,
    on_progress: Callable[[int, int], None] = lambda drawn, wanted: None,
) -> Evaluated:
    """The rows of results.jsonl of these settings, measured where they are not there.

    Writes the first images as samples.png; `html.evaluation.write_report` makes a page of it all.

    Args:
        what: is measured.
        cache: of earlier evaluations in this process.
        on_progress: called with the number of images that are drawn, and of those missing at first.

    Raises:
        FileNotFoundError: there is no trained run, manifest or data.
        ValueError: a metric is unknown or can't be had of these captions, or there are too few.
    """
    check_drawing(what.workdir, what.sampling)
    check_evaluation(what, has_clip=clip_in(what.workdir) is not None)
    pipe = (cache or PipelineCache()).load(what.workdir, what.weights)
    run = pipe.run
    if what.data_source:
        check_moved([run.data["source"]], what.data_source)
        run = replace(run, moved_to=what.data_source)
    held_out = open_held_out(run, what.manifest, what.images, what.split, what.n)
    sampling = sampling_of(pipe, what.sampling)
    measurements = open_measurements(what, held_out, {**sampling, "seeds": what.seeds}, run)
    model = {
        name: {
            "fingerprint": run.fingerprint,
            "step": run.step,
            "weights": weights_of(pipe.system, name, what.weights),
        }
        for name, run in pipe.system.runs.items()
    }
    shards = {
        seed: Shards(
            what.workdir / "generated",
            {"model": model, "sampling": sampling, "seed": seed, "captions": held_out.captions},
            len(held_out.captions),
            min(SHARD_SIZE, len(held_out.captions)),
        )
        for seed in what.seeds
    }
    results = what.workdir / "results.jsonl"
    space = (what.workdir, what.clip, what.features)
    extractor = open_space(*space) if what.leakage else None
    there = partial(
        _there, results, model=model, leakage=what.leakage, features=extractor and extractor.name
    )
    found = [there(one) for one in measurements]
    if not all(found):
        images = generate(pipe, held_out.captions, shards, what.sampling, on_progress)
        # Of several processes that come to this point the first measures, the others read.
        with exclusive(results.with_name(".evaluate.lock")):
            leaked = None
            if what.leakage:
                leaked = leakage_of(run, held_out, extractor, what.workdir / "leakage")
                text = json.dumps(leaked, indent=1)
                (what.workdir / f"leakage{_suffix(held_out)}.json").write_text(text)
            for i, one in enumerate(measurements):
                found[i] = there(one) or append_row(
                    results, *_with_older(results, *measure(one, model, images, held_out, leaked))
                )
    return _evaluated(what.workdir, found, held_out, shards[what.seeds[0]])


def sampling_of(pipe: DallePipeline, settings: Mapping[str, Any]) -> dict[str, Any]:
    """All that drawing depends on but for the seed: the main stage's settings, others' by stage."""
    return as_given(pipe.system.stages, pipe.defaults, settings)


def open_measurements(
    what: Evaluation, held_out: HeldOut, sampling: dict[str, Any], run: Run
) -> list[Measurement]:
    """The measurements that the metrics ask for."""
    found = []
    if ORACLE in what.metrics:
        found.append(by_oracle(held_out, sampling))
    if CLIP in what.metrics:
        own = what.clip or clip_in(what.workdir).directory
        found.append(by_clip(own, held_out, sampling))
    if MEMORIZATION in what.metrics:
        picture = what.workdir / f"memorization{_suffix(held_out)}.png"
        found.append(memorization_measurement(run, held_out, sampling, picture))
    if of_sets := [name for name in what.metrics if name in METRICS]:
        found.append(
            between_sets(
                of_sets,
                held_out,
                sampling,
                data_dir=run.data["dir"],
                inception=what.inception,
                features=what.features,
                preprocessing=what.preprocessing,
                reference=what.reference,
                kid_subset_size=what.kid_subset_size,
            )
        )
    return found


def generate(
    pipe: DallePipeline,
    captions: Sequence[str],
    shards: Mapping[int, Shards],
    settings: Mapping[str, Any],
    on_progress: Callable[[int, int], None] = lambda drawn, wanted: None,
) -> list[Sequence[np.ndarray]]:
    """An image uint8 [H, W, 3] of each caption, for each seed.

    Images that are there are read. Image i of a seed is drawn with sample index i.
    """
    if missing := sum(of_seed.missing() for of_seed in shards.values()):
        note(f"drawing {missing} images of held-out captions …")
        on_progress(0, missing)
        before = 0  # drawn with earlier seeds
        for seed, of_seed in shards.items():

            def draw(indices: range, seed: int = seed) -> np.ndarray:
                return pipe.generate(
                    [captions[i % len(captions)] for i in indices],
                    sample_index=indices,
                    seed=seed,
                    batch_size=len(indices),
                    **settings,
                )

            def tell(drawn: int, seed: int = seed, before: int = before) -> None:
                progress(f"seed {seed}: {drawn} images")
                on_progress(before + drawn, missing)

            before += of_seed.make(draw, tell)
    return [of_seed.load() for of_seed in shards.values()]


def measure(
    measurement: Measurement,
    model: Mapping[str, Any],
    images: Sequence[Sequence[np.ndarray]],
    held_out: HeldOut,
    leakage: Mapping[str, Any] | None,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A row of results, and the scores by caption."""
    everything = range(len(held_out.captions))
    entries, scores = measurement.measure(images, everything)
    row = {
        "protocol": measurement.protocol,
        "protocol_hash": protocol_hash(measurement.protocol),
        "model": model,
        "data": held_out.name,
        **entries,
    }
    if leakage is not None:
        row["leakage"] = leakage["summary"]
        before = len(everything)
        for name, kinds in LEFT_OUT.items():
            if not set(kinds) <= leakage["found"].keys():
                continue
            kept = np.flatnonzero(~leaked_rows(leakage, kinds)).tolist()
            if len(kept) < before:
                row[name] = {"num_images": len(kept)} | _without(measurement, images, kept)
            before = len(kept)
    return row, scores


def _without(
    measurement: Measurement, images: Sequence[Sequence[np.ndarray]], kept: Sequence[int]
) -> dict[str, Any]:
    """The metrics of the captions `kept`, or why there are none."""
    if not kept:
        return {"metrics": {}, "reason": "no caption is left"}
    try:
        chosen = [Subset(of_seed, kept) for of_seed in images]
        return {"metrics": measurement.measure(chosen, kept)[0]["metrics"]}
    except ValueError as error:  # too few are left for a metric
        return {"metrics": {}, "reason": str(error)}


def _evaluated(
    workdir: Path, rows: list[dict[str, Any]], held_out: HeldOut, shards: Shards
) -> Evaluated:
    """With the scores by caption, and the images and samples.png where the images are there."""
    scores: dict[str, np.ndarray] = {}
    for row in rows:
        scores |= read_scores(workdir / "results.jsonl", row)
    suffix, images, samples = _suffix(held_out), None, None
    if not shards.missing():
        images, samples = shards.load(), workdir / f"samples{suffix}.png"
        correct = scores.get("oracle/caption")
        draw_samples(images, held_out.captions, correct).save(samples)
    captions = held_out.captions
    return Evaluated(workdir, suffix, held_out.name, rows, captions, images, scores, samples)


def _suffix(held_out: HeldOut) -> str:
    """What the pictures and the report of another split than test have in their names."""
    split = held_out.manifest.header.split
    return "" if split == "test" else f"_{split}"


def draw_samples(
    images: Sequence[np.ndarray], captions: Sequence[str], right: np.ndarray | None
) -> Image.Image:
    """A grid of the first captions; where they are scored, written green if all is right."""
    captions = captions[:SAMPLES]
    first = np.stack([images[i] for i in range(len(captions))])
    colors = None
    if right is not None:
        colors = ["#1a7f37" if one else "#b42318" for one in right[: len(captions), 0]]
    return captioned_grid(first, captions, columns=8, colors=colors)


def _there(
    results: Path,
    measurement: Measurement,
    *,
    model: Mapping[str, Any],
    leakage: bool,
    features: str | None,
) -> dict[str, Any] | None:
    """The row of a measurement, if there is one that says all that is asked for."""
    row = find_row(read_rows(results), protocol_hash(measurement.protocol), model)
    if row is None or not set(measurement.names) <= row["metrics"].keys():
        return None
    if leakage and "leakage" not in row:
        return None
    if features and row["leakage"].get(FEATURE_KIND, {}).get("features") != features:
        return None
    return row


def _with_older(
    results: Path, row: dict[str, Any], scores: dict[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A row and its scores with what an older row of the same protocol and model has besides."""
    older = find_row(read_rows(results), row["protocol_hash"], row["model"])
    if older is None:
        return row, scores
    merged = {**older, **row}
    for part in ("metrics", "floor"):
        merged[part] = {**older.get(part, {}), **row.get(part, {})}
    return merged, read_scores(results, older) | scores
