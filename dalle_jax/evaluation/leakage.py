"""What an evaluation's captions and images share with the training data of the run."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dalle_jax.console import note
from dalle_jax.data.source import Source
from dalle_jax.evaluation.captions import HeldOut, Images, source_arguments
from dalle_jax.evaluation.networks import open_features
from dalle_jax.files import UNREADABLE_NPZ, short_hash, write_atomically
from dalle_jax.metrics.features import FeatureExtractor, extract
from dalle_jax.metrics.images import pixel_digest
from dalle_jax.metrics.leakage import (
    FEATURE_KIND,
    check_leakage,
    compute_prints,
    load_prints,
    save_prints,
)
from dalle_jax.runs import Run, clip_in

PROBES = 64  # training items that are read again, to know whether the data are what they were

T = TypeVar("T")


def leakage_of(
    run: Run, held_out: HeldOut, extractor: FeatureExtractor | None, cache: Path
) -> dict[str, Any]:
    """The report of `check_leakage`, and under "summary" what a row of results says of it.

    Feature neighbours are looked for where there is an extractor.

    What is computed of the training data, which takes longest, is kept in the folder `cache`.
    """
    train = run.open_source("train")
    name = f"train_{data_hash(run, train)}"
    prints = _kept(
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
    train_features = _kept(
        cache / f"{name}_{extractor.name.partition(':')[0]}_{extractor.sha256[:12]}.npy",
        lambda path: np.load(path, allow_pickle=False),
        lambda path, array: write_atomically(path, lambda file: np.save(file, array)),
        lambda: _features(Images(train, range(len(train))), extractor),
        f"features of {len(train)} training images …",
    )
    features = _features(held_out.images, extractor)
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
    """The network in whose features neighbours are looked for, if there is one.

    It is the CLIP that is given, else the workdir's own, else the network of `features`.
    """
    own = clip_in(workdir)
    run = clip or (own.directory if own and own.step else features)
    return open_features(run).extractor if run else None


def data_hash(run: Run, train: Source) -> str:
    """Twelve digits that tell training data from others: by name, number and `PROBES` items.

    Of data that are scanned when they are opened, the signature of all files counts as well.
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


def _features(images: Images, extractor: FeatureExtractor) -> np.ndarray:
    return np.concatenate([batch.features["features"] for batch in extract(images, extractor)])


def _kept(
    path: Path,
    load: Callable[[Path], T],
    save: Callable[[Path, T], None],
    make: Callable[[], T],
    what: str,
) -> T:
    """What is in the file, or made and written there; a torn file is as none."""
    if path.exists():
        try:
            return load(path)
        except UNREADABLE_NPZ:
            path.unlink()
    note(what)
    made = make()
    save(path, made)
    return made
