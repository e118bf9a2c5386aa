"""What an evaluation's captions and images share with the run's training data."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dalle_jax.console import note
from dalle_jax.data.source import Source
from dalle_jax.evaluation.captions import HeldOut, Images, source_arguments
from dalle_jax.evaluation.measurements import Measurement
from dalle_jax.evaluation.networks import open_features
from dalle_jax.files import UNREADABLE_NPZ, short_hash, write_atomically
from dalle_jax.metrics.features import FeatureExtractor
from dalle_jax.metrics.images import Subset, pixel_digest
from dalle_jax.metrics.leakage import FEATURE_KIND, IMAGE_KINDS, check_leakage, leaked_rows
from dalle_jax.metrics.pooled import pooled_features
from dalle_jax.metrics.prints import compute_prints, load_prints, save_prints
from dalle_jax.runs import Run, clip_in

PROBES = 64  # training items that are read again, to detect other data
# The parts of a row that hold its metrics without the captions whose images leaked. Neighbours in a
# space of features are reported separately, since whether they leaked depends on the space.
LEFT_OUT = {
    "without_leaked": IMAGE_KINDS,
    "without_neighbours": (*IMAGE_KINDS, FEATURE_KIND),
}

T = TypeVar("T")


def find_leakage(
    run: Run, held_out: HeldOut, extractor: FeatureExtractor | None, workdir: Path
) -> dict[str, Any]:
    """`leakage_of` with its cache in the workdir, also written to `leakage.json` there."""
    report = leakage_of(run, held_out, extractor, workdir / "leakage")
    (workdir / f"leakage{held_out.suffix}.json").write_text(json.dumps(report, indent=1))
    return report


def leakage_of(
    run: Run, held_out: HeldOut, extractor: FeatureExtractor | None, cache: Path
) -> dict[str, Any]:
    """The report of `check_leakage`, and under "summary" the part for a results row.

    Feature neighbours are included if there is an extractor. Prints and features of the training
    data, which take longest, are cached in the folder `cache`.
    """
    train = run.open_source("train")
    name = f"train_{data_hash(run, train)}"
    prints = _cached(
        cache / f"{name}.npz",
        load_prints,
        save_prints,
        lambda: compute_prints(train),
        f"reading {len(train)} training images to look for held-out ones among them …",
    )
    rows = compute_prints(held_out.items)
    if extractor is None:
        report = check_leakage(rows, prints)
        return {"summary": _summary(report), **report}
    train_features = _cached(
        cache / f"{name}_{extractor.name.partition(':')[0]}_{extractor.sha256[:12]}.npy",
        lambda path: np.load(path, allow_pickle=False),
        lambda path, array: write_atomically(path, lambda file: np.save(file, array)),
        lambda: pooled_features(Images(train, range(len(train))), extractor),
        f"features of {len(train)} training images …",
    )
    features = pooled_features(held_out.images, extractor)
    report = check_leakage(rows, prints, features=features, train_features=train_features)
    summary = _summary(report)
    summary[FEATURE_KIND] |= {
        "features": extractor.name,
        "cosine": report["thresholds"]["feature"],
        "median_cosine": report["median_cosine"],
    }
    return {"summary": summary, **report}


def _summary(report: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        kind: {"count": found["count"], "share": found["share"]}
        for kind, found in report["found"].items()
    }


def open_space(workdir: Path, clip: str | None, features: str | None) -> FeatureExtractor | None:
    """The network for feature neighbours, or None.

    It is the given CLIP, else the workdir's own, else the network of `features`.
    """
    own = clip_in(workdir)
    run = clip or (own.directory if own and own.step else features)
    return open_features(run).extractor if run else None


def has_leakage(row: Mapping[str, Any], space: FeatureExtractor | None) -> bool:
    """Whether a results row reports leakage, with feature neighbours in this space."""
    if "leakage" not in row:
        return False
    return space is None or row["leakage"].get(FEATURE_KIND, {}).get("features") == space.name


def without_leaked(
    measurement: Measurement, images: Sequence[Sequence[np.ndarray]], report: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """The parts `LEFT_OUT` of a row; a part that leaves out no further caption is omitted."""
    parts, before = {}, report["num_rows"]
    for name, kinds in LEFT_OUT.items():
        if not set(kinds) <= report["found"].keys():
            continue
        rest = np.flatnonzero(~leaked_rows(report, kinds)).tolist()
        if len(rest) < before:
            parts[name] = {"num_images": len(rest)} | _of_captions(measurement, images, rest)
        before = len(rest)
    return parts


def _of_captions(
    measurement: Measurement, images: Sequence[Sequence[np.ndarray]], rows: Sequence[int]
) -> dict[str, Any]:
    """The metrics of some captions, or the reason why there are none."""
    if not rows:
        return {"metrics": {}, "reason": "no caption is left"}
    try:
        chosen = [Subset(of_seed, rows) for of_seed in images]
        return {"metrics": measurement.measure(chosen, rows)[0]["metrics"]}
    except ValueError as error:  # too few are left for a metric
        return {"metrics": {}, "reason": str(error)}


def data_hash(run: Run, train: Source) -> str:
    """Twelve digits that identify training data by source, number of items and `PROBES` items.

    For data that are scanned when they are opened, the signature of all files counts as well.
    """
    indices = np.unique(np.linspace(0, len(train) - 1, PROBES).astype(int)).tolist()
    probes = [train[i] for i in indices]
    described = {
        "source": run.data["source"],
        "arguments": source_arguments(run.data, "train"),
        "signature": getattr(getattr(train, "report", None), "signature", None),
        "items": len(train),
        "captions": [item.get("captions") or (item["caption"],) for item in probes],
        "images": [pixel_digest(item["image"]).hex() for item in probes],
    }
    return short_hash(described)


def _cached(
    path: Path,
    load: Callable[[Path], T],
    save: Callable[[Path, T], None],
    make: Callable[[], T],
    message: str,
) -> T:
    """The content of a file, made and written if it does not exist or can't be read."""
    if path.exists():
        try:
            return load(path)
        except UNREADABLE_NPZ:
            path.unlink()
    note(message)
    made = make()
    save(path, made)
    return made
