"""The data of a run, opened for training."""

from dataclasses import dataclass
from typing import Any

import jax

from dalle_jax import console
from dalle_jax.data.disk_cache import OnDisk, on_disk
from dalle_jax.data.loader import make_loader
from dalle_jax.data.prefetch import Prefetch
from dalle_jax.data.source import Source, keep_in_memory
from dalle_jax.data.tokenizer import Tokenizer
from dalle_jax.runs import Run
from dalle_jax.runs.history import Phase
from dalle_jax.training.distributed import in_turn


@dataclass(frozen=True)
class Data:
    """What a run is trained on.

    Args:
        train: captioned images.
        validation: held-out ones; there may be none.
        tokenizer: of the captions.
    """

    train: Source
    validation: Source
    tokenizer: Tokenizer


def open_data(run: Run, *, record: bool) -> Data:
    """The data of a run and its tokenizer, which is trained on the captions if need be.

    With `record` the run notes what data it reads from now on.
    """
    name, image_size = run.stage_name, run.data["image_size"]
    opened = {split: run.open_source(split) for split in ("train", "validation")}
    if record:
        with in_turn(f"record the data of {name}"):
            run.record_data(opened["train"], opened["validation"])
    # Here, since the tokenizer goes through the captions before the loader does.
    source = on_disk(opened["train"], image_size, limit=int(run.data["disk_cache"] * 1e9))
    if isinstance(source, OnDisk):
        console.note(f"{name}: {source}; config.data.disk_cache is the limit")
    source = keep_in_memory(run.with_embeddings(source, "train"), image_size)
    held_out = run.with_embeddings(opened["validation"], "validation")
    with in_turn(f"make the tokenizer of {name}"):
        return Data(source, held_out, run.tokenizer(source))


def training_batches(run: Run, data: Data, phase: Phase) -> Prefetch:
    """The endless batches of a phase of a run's training, this process's share of each."""
    settings = run.data
    return batches_of(
        run,
        data.train,
        data.tokenizer,
        batch_size=phase.settings["batch_size"],
        first_batch=phase.first_step,
        first_item=phase.first_item,
        seed=run.config["seed"],
        flip=settings["flip"],
        max_shift=settings["max_shift"],
    )


def batches_of(run: Run, source: Source, tokenizer: Tokenizer, **options: Any) -> Prefetch:
    """Batches for a run, this process's share of each; `options` as of `make_loader`."""
    return make_loader(
        source,
        tokenizer,
        image_size=run.data["image_size"],
        num_threads=run.data["num_threads"],
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        **options,
    )
