"""The evaluation of a trained workdir on held-out captions: from options to rows of results."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dalle_jax.evaluation.caption_scores import clip_measurement, oracle_measurement
from dalle_jax.evaluation.captions import HeldOut, open_held_out
from dalle_jax.evaluation.checks import check_evaluation
from dalle_jax.evaluation.evaluated import Evaluated, evaluated
from dalle_jax.evaluation.generated import GeneratedImages, PipelineCache
from dalle_jax.evaluation.leakage import find_leakage, has_leakage, open_space, without_leaked
from dalle_jax.evaluation.measurements import Measurement, open_extractor, set_measurement
from dalle_jax.evaluation.memorization import memorization_measurement
from dalle_jax.evaluation.options import Evaluation, evaluation_of
from dalle_jax.metrics.features import FeatureExtractor
from dalle_jax.metrics.protocol import protocol_hash
from dalle_jax.metrics.results import append_row, find_row, read_rows, read_scores
from dalle_jax.metrics.shards import exclusive
from dalle_jax.metrics.table import CLIP, MEMORIZATION, METRICS, ORACLE
from dalle_jax.pipelines.settings import check_sampling
from dalle_jax.runs import Run, clip_in
from dalle_jax.runs.data import check_moved


def evaluate(
    workdir: str | Path, *, sampling: Mapping[str, Any] | None = None, **options: Any
) -> Evaluated:
    """Generate images of held-out captions with a trained workdir, and measure them. For example::

        found = dalle_jax.evaluate("runs/quickstart", n=256, sampling={"guidance_scale": 2.0})
        found.rows[0]["metrics"]["oracle/caption"]["value"]

    Images and results that exist are reused. `html.evaluation.write_report` makes a page of it.

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
    on_progress: Callable[[int, int], None] = lambda sampled, wanted: None,
) -> Evaluated:
    """The rows of results.jsonl for these options; those that are missing are measured.

    Writes the first images as samples.png; `html.evaluation.write_report` makes a page of it all.

    Args:
        what: the options.
        cache: of earlier evaluations in this process.
        on_progress: called with the number of images sampled so far, and of those missing at first.

    Raises:
        FileNotFoundError: there is no trained run, manifest or data.
        ValueError: a metric is unknown or undefined for these captions, or there are too few.
    """
    check_sampling(what.workdir, what.sampling)
    check_evaluation(what, has_clip=clip_in(what.workdir) is not None)
    pipe = (cache or PipelineCache()).load(what.workdir, what.weights)
    run = pipe.run
    if what.data_source:
        check_moved([run.data["source"]], what.data_source)
        run = replace(run, moved_to=what.data_source)
    held_out = open_held_out(run, what.manifest, what.images, what.split, what.n)
    generated = GeneratedImages(
        pipe, what.workdir, held_out.captions, what.sampling, what.seeds, what.weights
    )
    sampling = {**generated.sampling, "seeds": what.seeds}
    measurements = open_measurements(what, held_out, sampling, run)
    space = open_space(what.workdir, what.clip, what.features) if what.leakage else None
    results, model = what.workdir / "results.jsonl", generated.model

    def stored() -> list[dict[str, Any] | None]:
        return [stored_row(results, one, model, what.leakage, space) for one in measurements]

    rows = stored()
    if not all(rows):
        images = generated.load(on_progress)
        # Of several processes here one measures, and the others then find its rows.
        with exclusive(results.with_name(".evaluate.lock")):
            leaked = find_leakage(run, held_out, space, what.workdir) if what.leakage else None
            for i, (row, measurement) in enumerate(zip(stored(), measurements)):
                if row is None:
                    row, scores = measure_row(measurement, images, model, held_out, leaked)
                    row = append_row(results, *_with_older(results, row, scores))
                rows[i] = row
    return evaluated(what.workdir, rows, held_out, generated)


def open_measurements(
    what: Evaluation, held_out: HeldOut, sampling: dict[str, Any], run: Run
) -> list[Measurement]:
    """The measurements of the metrics, each of which makes a row."""
    found = []
    if ORACLE in what.metrics:
        found.append(oracle_measurement(held_out, sampling))
    if CLIP in what.metrics:
        clip = what.clip or clip_in(what.workdir).directory
        found.append(clip_measurement(clip, held_out, sampling))
    if MEMORIZATION in what.metrics:
        picture = what.workdir / f"memorization{held_out.suffix}.png"
        found.append(memorization_measurement(run, held_out, sampling, picture))
    if set_metrics := [name for name in what.metrics if name in METRICS]:
        extractor = open_extractor(set_metrics, what.inception, what.features, what.preprocessing)
        found.append(
            set_measurement(
                set_metrics, extractor, held_out, sampling, what.reference, what.kid_subset_size
            )
        )
    return found


def stored_row(
    results: Path,
    measurement: Measurement,
    model: Mapping[str, Any],
    leakage: bool,
    space: FeatureExtractor | None,
) -> dict[str, Any] | None:
    """The row of a measurement, if there is one with all its metrics and, if asked for, leakage."""
    row = find_row(read_rows(results), protocol_hash(measurement.protocol), model)
    if row is None or not set(measurement.names) <= row["metrics"].keys():
        return None
    return None if leakage and not has_leakage(row, space) else row


def measure_row(
    measurement: Measurement,
    images: Sequence[Sequence[np.ndarray]],
    model: Mapping[str, Any],
    held_out: HeldOut,
    leaked: Mapping[str, Any] | None,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A row of results, and the scores by caption."""
    entries, scores = measurement.measure(images, range(len(held_out.captions)))
    row = {
        "protocol": measurement.protocol,
        "protocol_hash": protocol_hash(measurement.protocol),
        "model": model,
        "data": held_out.name,
        **entries,
    }
    if leaked is not None:
        row |= {"leakage": leaked["summary"], **without_leaked(measurement, images, leaked)}
    return row, scores


def _with_older(
    results: Path, row: dict[str, Any], scores: dict[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A row and its scores, with further metrics of an older row of the same protocol and model."""
    older = find_row(read_rows(results), row["protocol_hash"], row["model"])
    if older is None:
        return row, scores
    merged = {**older, **row}
    for part in ("metrics", "floor"):
        merged[part] = {**older.get(part, {}), **row.get(part, {})}
    return merged, read_scores(results, older) | scores
