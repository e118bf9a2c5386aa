"""Import and export of FID's Inception-v3 weights in the formats of pytorch-fid and torch-fidelity.

`pt_inception-2015-12-05-6726825d.pth` (pytorch-fid) and `weights-inception-2015-12-05-6726825d.pth`
(torch-fidelity) hold the same tensors under the same names, which a converted file keeps. `load`
folds batch normalization into the convolutions of `metrics.inception.Inception`. Nothing is
downloaded.
"""

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from dalle_jax.metrics.inception import IMAGE_SIZE, Inception

BATCH_NORM_EPSILON = 1e-3
SOURCES = (
    "pytorch-fid's pt_inception-2015-12-05-6726825d.pth or torch-fidelity's "
    "weights-inception-2015-12-05-6726825d.pth"
)


@dataclass(frozen=True)
class InceptionWeights:
    """Parameters of `Inception` and the hashes that identify them."""

    params: Mapping[str, Any]  # of `Inception`, without the "params" level
    sha256: str  # of the tensors, the same for every file that holds these weights
    source_sha256: str  # of the file that was converted


@functools.cache
def published_shapes() -> dict[str, tuple[int, ...]]:
    """The name and shape of each tensor in the published files, except batch counters."""
    image = jax.ShapeDtypeStruct((1, IMAGE_SIZE, IMAGE_SIZE, 3), np.float32)
    params = jax.eval_shape(Inception().init, jax.random.key(0), image)["params"]
    shapes = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        *names, kind = (key.key for key in path)
        layer = ".".join(names[:-1])
        if kind == "kernel":
            height, width, channels_in, channels_out = leaf.shape
            shapes[f"{layer}.conv.weight"] = (channels_out, channels_in, height, width)
            for name in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"{layer}.bn.{name}"] = (channels_out,)
    shapes["fc.weight"] = params["fc_kernel"].shape[::-1]
    shapes["fc.bias"] = params["fc_bias"].shape
    return shapes


def convert(source: str | Path, target: str | Path) -> str:
    """Convert a published `.pth` to `.safetensors`, or such a file back to `.pth`.

    Returns:
        The SHA-256 of the tensors.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it does not hold the weights of FID's Inception, or a suffix is unknown.
        ImportError: torch, which reads and writes `.pth` files, is not installed.
    """
    source, target = Path(source).expanduser(), Path(target).expanduser()
    suffixes = (source.suffix, target.suffix)
    if suffixes not in ((".pth", ".safetensors"), (".safetensors", ".pth")):
        raise ValueError(
            f"cannot convert {source.name} to {target.name}: one must be a published .pth, the "
            "other a .safetensors"
        )
    if suffixes[0] == ".pth":
        tensors = _read_pth(source)
        metadata = {"source": source.name, "source_sha256": _file_sha256(source)}
        target.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, target, metadata)
    else:
        tensors, _ = _read_safetensors(source)
        torch = _import_torch()
        target.parent.mkdir(parents=True, exist_ok=True)
        torch.save({name: torch.from_numpy(value) for name, value in tensors.items()}, target)
    return _tensors_sha256(tensors)


def load(path: str | Path) -> InceptionWeights:
    """Load a converted `.safetensors` or, if torch is installed, a published `.pth`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it does not hold the weights of FID's Inception.
    """
    path = Path(path).expanduser()
    if path.suffix == ".pth":
        tensors, source_sha256 = _read_pth(path), _file_sha256(path)
    else:
        tensors, source_sha256 = _read_safetensors(path)
    return InceptionWeights(fold(tensors), _tensors_sha256(tensors), source_sha256)


def fold(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Parameters of `Inception` from published tensors, with batch normalization folded in.

    γ (conv(x) − μ) / √(σ² + ε) + β is a convolution of the kernel γ/√(σ² + ε) · W and the bias
    β − γ μ / √(σ² + ε), computed in float64.
    """
    params: dict[str, Any] = {
        "fc_kernel": np.ascontiguousarray(tensors["fc.weight"].T),
        "fc_bias": tensors["fc.bias"],
    }
    for name in tensors:
        if not name.endswith(".conv.weight"):
            continue
        layer = name.removesuffix(".conv.weight")
        gamma, beta, mean, variance = (
            tensors[f"{layer}.bn.{kind}"].astype(np.float64)
            for kind in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
        kernel = tensors[name].astype(np.float64).transpose(2, 3, 1, 0) * scale  # [h, w, in, out]
        node = params
        for part in layer.split("."):
            node = node.setdefault(part, {})
        node["conv"] = {
            "kernel": kernel.astype(np.float32),
            "bias": (beta - mean * scale).astype(np.float32),
        }
    return params


def _checked(tensors: Mapping[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    """The published tensors as float32.

    Raises:
        ValueError: a tensor is missing, has another shape, is not finite or is unknown.
    """
    expected = published_shapes()
    for name, shape in expected.items():
        if name not in tensors:
            raise ValueError(f"{path} is not FID's Inception: it has no {name}; give {SOURCES}")
        if tensors[name].shape != shape:
            raise ValueError(
                f"{path} is not FID's Inception: {name} is {tensors[name].shape}, not {shape}; "
                f"give {SOURCES}"
            )
        if not np.isfinite(tensors[name]).all():
            raise ValueError(f"{path} is damaged: {name} is not finite")
    # Files from newer torch versions count batches, which the network does not use.
    extra = [name for name in tensors if name not in expected and "num_batches" not in name]
    if extra:
        raise ValueError(
            f"{path} is not FID's Inception: it has {extra[0]}, which that network lacks; "
            f"give {SOURCES}"
        )
    return {name: np.ascontiguousarray(tensors[name], np.float32) for name in expected}


def _read_pth(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; give {SOURCES}")
    torch = _import_torch()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        tensors = {name: value.detach().numpy() for name, value in state.items()}
    except Exception as error:  # torch raises many types for a file that is not a checkpoint
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise ValueError(f"torch cannot read tensors from {path}: {reason}") from error
    return _checked(tensors, path)


def _read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """The tensors and the SHA-256 of the file that was converted."""
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no file {path}; make it with `dalle-jax convert inception`"
        )
    try:
        with safe_open(path, "numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from error
    return _checked(tensors, path), metadata.get("source_sha256", "unknown")


def _import_torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            "reading and writing .pth files needs torch: pip install 'dalle-jax[parity]', or "
            "convert the file to .safetensors on a machine that has it"
        ) from error
    return torch


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tensors_sha256(tensors: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].shape} ".encode())
        digest.update(tensors[name].astype("<f4").tobytes())
    return digest.hexdigest()
