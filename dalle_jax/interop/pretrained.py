"""Models that travel: a folder of safetensors that draws what the workdir it came from draws.

FOLDER/README.md                 model card: training data, what was measured, how to use it
FOLDER/STAGE/model.safetensors   weights; in its metadata all that is in the files beside it
FOLDER/STAGE/config.json         of the run; also its fingerprint, and those of `FILES`

It is a workdir whose trainings can't go on: `sample`, `evaluate` and `DallePipeline` take it as
one. The same runs give the same bytes.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from dalle_jax import __version__
from dalle_jax.files import write_atomically
from dalle_jax.interop.model_card import model_card
from dalle_jax.runs import FORMAT, Run, model_file
from dalle_jax.runs.source import load_init
from dalle_jax.runs.workdir import upstream_names

# Of a run, besides its config.
FILES = ("tokenizer.json", "words.json", "data.json", "history.json")


def save_pretrained(
    runs: Iterable[Run],
    folder: str | Path,
    *,
    weights: Literal["ema", "raw"] = "ema",
    dtype: str = "float32",
    lora: Literal["merged", "alone"] = "merged",
) -> Path:
    """Write trained runs of one workdir, and those that they need, as a folder that travels.

    Args:
        runs: of the stages of a system.
        folder: that is made; one that holds something already is refused.
        weights: averaged over training (EMA), or as the optimizer left them. Stages that others
            were trained with, such as CLIP, are always averaged.
        dtype: of the tensors: float32 keeps every bit, bfloat16 and float16 halve the size.
        lora: adapters of a run that has some are merged into its weights, or written alone: then
            the weights that they adapt are needed to read them, where `train.init_from` says.

    Returns:
        The folder.

    Raises:
        FileExistsError: the folder is not empty.
        ValueError: there is no such dtype, the weights do not fit into it, or the runs are
            themselves of such a folder, whose weights are others.
    """
    folder = Path(folder).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists and is not an empty folder; give another name")
    model_file.check_dtype(dtype)
    wanted = _with_upstream(runs)
    averaged = upstream_names(wanted)
    chosen = {name: "ema" if name in averaged else weights for name in wanted}
    for name, run in wanted.items():
        if run.exported_as not in ("", model_file.name_of(chosen[name], dtype)):
            raise ValueError(
                f"{run.directory} holds {run.exported_as} weights; export others from the run that "
                "it was made of"
            )
    numbers, bases = {}, {}
    for name, run in wanted.items():
        alone = lora == "alone" and bool(run.lora["rank"])
        if alone:
            _check_base(run)
            bases[name] = run.history["init_from"]
        load = run.load_trained if alone else run.load_params
        params = jax.tree.map(np.asarray, load(chosen[name]))
        numbers[name] = sum(leaf.size for leaf in jax.tree.leaves(params))
        header = _header(run, chosen[name], dtype) | ({"adapters": True} if alone else {})
        for file_name, text in model_file.texts(header).items():
            content = text.encode()
            write_atomically(folder / name / file_name, lambda f, content=content: f.write(content))
        model_file.write(folder / name / model_file.NAME, params, header, dtype)
    card = model_card(wanted, numbers, chosen, dtype, bases).encode()
    write_atomically(folder / "README.md", lambda file: file.write(card))
    return folder


def _check_base(run: Run) -> None:
    """Check that a run's adapters adapt what is at `train.init_from`, to the bit.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: other weights are there, or tables of another length were taken from it.
    """
    if run.is_exported:
        raise ValueError(f"{run.directory} is an export; export from the run that it was made of")
    there = load_init(run)
    base = model_file.read_params(run.base_path, jax.eval_shape(lambda: there))
    if not all(jax.tree.leaves(jax.tree.map(np.array_equal, there, base))):
        raise ValueError(
            f"the adapters of {run.directory} adapt weights that are in part only in that run; "
            "export them merged"
        )


def _header(run: Run, weights: str, dtype: str) -> dict[str, Any]:
    """All that a run has besides its weights, but for where this machine keeps prepared data."""
    config = {**run.config, "data": {**run.config["data"], "dir": "data"}}
    return {
        "run": {"format": FORMAT, "stage": run.stage_name, "config": config},
        "fingerprint": run.fingerprint,
        "step": run.step,
        "weights": weights,
        "dtype": dtype,
        "files": {
            name: (run.directory / name).read_text(encoding="utf-8")
            for name in FILES
            if (run.directory / name).exists()
        },
        "version": __version__,
    }


def _with_upstream(runs: Iterable[Run]) -> dict[str, Run]:
    """The runs by name, each after those that it needs."""
    found: dict[str, Run] = {}
    for run in runs:
        found |= _with_upstream(run.upstream().values())
        found[run.directory.name] = run
    return found
