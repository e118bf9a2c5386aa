"""Trained runs as feature networks, given by a path."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from dalle_jax.data.tokenizer import Tokenizer
from dalle_jax.metrics.features import FeatureExtractor
from dalle_jax.metrics.pooled import params_sha256, pooled_extractor
from dalle_jax.runs import Run, open_run
from dalle_jax.stages import EMBEDDERS

CAPTIONS_AT_ONCE = 256


@dataclass(frozen=True)
class Network:
    """A trained run as a feature network.

    Attributes:
        extractor: of images.
        embed_captions: maps captions to embeddings [N, D] in the space of the images' features;
            None if the network has no text encoder.
    """

    extractor: FeatureExtractor
    embed_captions: Callable[[Sequence[str]], np.ndarray] | None = None


def check_network(
    metrics: Sequence[str], inception: str | Path | None, features: str | Path | None
) -> None:
    """Check that metrics of two sets have exactly one network.

    Raises:
        ValueError: neither or both of `inception` and `features` are given.
    """
    if inception and features:
        raise ValueError("distances are of one network's features: give --inception or --features")
    if not inception and not features:
        raise ValueError(
            f"{', '.join(metrics)} {'need' if len(metrics) > 1 else 'needs'} a network: give "
            "--inception=FILE, made by `dalle-jax convert inception` from "
            "pt_inception-2015-12-05-6726825d.pth, the weights that pytorch-fid publishes as a "
            "release on GitHub and downloads at its first use (6726825d begins their SHA-256; "
            "nothing is downloaded here), or --features=RUN of a classifier that `dalle-jax train "
            "--config=configs/features.py` trained"
        )


def find_features(path: str | Path) -> Run:
    """The run of a classifier or CLIP, by its directory or the workdir that holds it.

    Raises:
        FileNotFoundError: nothing was trained there.
        ValueError: what was trained there has no features.
    """
    path = Path(path).expanduser()
    directories = [path, *(path / stage for stage in EMBEDDERS)]
    found = next((d for d in directories if (d / "config.json").exists()), path)
    run = open_run(found)
    if run.stage_name not in EMBEDDERS:
        raise ValueError(
            f"{found} is a {run.stage_name}, which has no features; "
            f"give a run of {' or '.join(EMBEDDERS)}"
        )
    return run


def open_features(path: str | Path) -> Network:
    """A trained classifier or CLIP with its weights, by its run or the workdir that holds it.

    Raises:
        FileNotFoundError: nothing was trained there.
        ValueError: what was trained there has no features.
    """
    run = find_features(path)
    params, stage = run.load_params(), run.build_stage()
    extractor = pooled_extractor(
        f"{run.stage_name}:{run.fingerprint}",
        params_sha256(params),
        params,
        stage.encode_image,
        run.data["image_size"],
    )
    if not stage.embeds_captions():
        return Network(extractor)
    tokenizer = Tokenizer.load(run.tokenizer_path)

    @jax.jit
    def encode(params, tokens):
        return stage.sample(params, {"tokens": tokens}, jax.random.key(0))["text_embedding"]

    def embed_captions(captions: Sequence[str]) -> np.ndarray:
        tokens = tokenizer.encode(captions)
        size = min(CAPTIONS_AT_ONCE, len(tokens))
        # The last batch is filled up, so that one compiled program serves all.
        batches = (
            np.resize(tokens[start : start + size], (size, tokens.shape[1]))
            for start in range(0, len(tokens), size)
        )
        return np.concatenate([encode(params, batch) for batch in batches])[: len(tokens)]

    return Network(extractor, embed_captions)
