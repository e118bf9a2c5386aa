"""A trained stage as one file that travels: `model.safetensors`, weights and all that names them.

The file's metadata has one entry, JSON: the stage, its whole config, step, tokenizer and words, so
that the file alone is enough to draw with. One entry, because the library writes several in an
order that changes from file to file, and two files of one run are to be the same bytes.
"""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from dalle_jax.files import write_atomically
from dalle_jax.stages import STAGES

NAME = "model.safetensors"
METADATA = "dalle_jax"  # the entry of the metadata
KEYS = {"run", "fingerprint", "step", "weights", "dtype", "files"}
NAMES = ("config.json", "fingerprint", "tokenizer.json", "words.json", "data.json", "history.json")
DTYPES = ("float32", "bfloat16", "float16")
SHOWN = 5  # names in a message


def check_dtype(dtype: str) -> None:
    """Raise ValueError for a dtype that tensors are not stored in."""
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}; it can be {', '.join(DTYPES)}")


def name_of(weights: str, dtype: str) -> str:
    """How weights differ from a checkpoint's EMA: "raw", "ema bfloat16"; "" if they do not."""
    if dtype == "float32":
        return "" if weights == "ema" else weights
    return f"{weights} {dtype}"


def write(path: Path, params: Any, header: Mapping[str, Any], dtype: str) -> None:
    """Write parameters, cast to `dtype` where they are floating-point numbers.

    Raises:
        ValueError: a value does not fit into the dtype.
    """
    tensors = {name: _cast(name, leaf, dtype) for name, leaf in _flat(params).items()}
    content = save(tensors, {METADATA: json.dumps(header, sort_keys=True)})
    write_atomically(path, lambda file: file.write(content))


def read_header(path: Path) -> dict[str, Any]:
    """What `write` was given as `header`; no tensor is read.

    Raises:
        ValueError: it is not a file that `write` wrote.
    """
    stat = path.stat()
    return _header(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=32)
def _header(path: Path, modified: int, size: int) -> dict[str, Any]:
    try:
        with safe_open(path, "numpy") as file:
            header = json.loads((file.metadata() or {})[METADATA])
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not a model of dalle_jax: {error}") from error
    try:
        whole = header.keys() >= KEYS and {"stage", "config", "format"} <= header["run"].keys()
        whole &= all(isinstance(text, str) for text in header["files"].values())
    except (AttributeError, TypeError, KeyError):
        whole = False
    if not whole:
        raise ValueError(f"{path} is not a model of dalle_jax: its metadata is of another form")
    return header


def unpack(path: Path, workdir: Path) -> None:
    """Make a workdir of one file, whose only run's weights are in it.

    Raises:
        ValueError: it is not a file that `write` wrote.
    """
    header = read_header(path)
    stage = header["run"]["stage"]
    if stage not in STAGES:
        raise ValueError(f"{path} is a model of the stage {stage!r}, which this version lacks")
    (workdir / stage).mkdir(parents=True)
    for name, content in texts(header).items():
        if name not in NAMES:
            raise ValueError(f"{path} is not a model of dalle_jax: it holds a file {name!r}")
        (workdir / stage / name).write_text(content, encoding="utf-8")
    (workdir / stage / NAME).symlink_to(path.absolute())


def texts(header: Mapping[str, Any]) -> dict[str, str]:
    """The files beside the model file, by name, that hold the same as its header."""
    return {
        "config.json": json.dumps(header["run"], indent=2) + "\n",
        "fingerprint": header["fingerprint"] + "\n",
        **header["files"],
    }


def read_params(path: Path, wanted: Any) -> Any:
    """Parameters as float32 arrays on the first device, in a tree like that of `wanted`.

    Args:
        path: of the file.
        wanted: the shapes that the stage has, as `jax.eval_shape` gives them.

    Raises:
        ValueError: a tensor is missing, has another shape, or belongs to no parameter.
    """
    shapes = _flat(wanted)
    try:
        with safe_open(path, "numpy") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            _check(path, found, {name: leaf.shape for name, leaf in shapes.items()})
            flat = {
                name: jax.numpy.asarray(file.get_tensor(name), leaf.dtype)
                for name, leaf in shapes.items()
            }
    except SafetensorError as error:
        raise ValueError(f"{path} can't be read: {error}; copy it anew") from error
    return traverse_util.unflatten_dict(flat, sep=".")


def _flat(tree: Any) -> dict[str, Any]:
    return traverse_util.flatten_dict(tree, sep=".")


def _cast(name: str, leaf: Any, dtype: str) -> np.ndarray:
    array = np.asarray(leaf, order="C")  # `ascontiguousarray` gives scalars an axis
    if not np.issubdtype(array.dtype, np.floating):
        return array
    cast = array.astype(jax.numpy.dtype(dtype))
    if not np.isfinite(cast.astype(np.float32)).all() and np.isfinite(array).all():
        raise ValueError(
            f"{name} has values up to {np.abs(array).max():.3g}, which {dtype} does not hold; "
            "choose another dtype"
        )
    return cast


def _check(
    path: Path, found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]
) -> None:
    problems = {
        "missing": [name for name in wanted if name not in found],
        "of no parameter": [name for name in found if name not in wanted],
        "of another shape": [
            f"{name} ({list(found[name])}, not {list(shape)})"
            for name, shape in wanted.items()
            if name in found and found[name] != tuple(shape)
        ],
    }
    said = [f"{kind}: {_listed(names)}" for kind, names in problems.items() if names]
    if said:
        raise ValueError(f"the tensors of {path} are not those of its config; {'; '.join(said)}")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
