"""Files with statistics of a reference set, from this and other tools; never a pickle."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dalle_jax.files import UNREADABLE_NPZ
from dalle_jax.metrics.statistics import Gaussian

# Arrays of a file by tap of Inception: pytorch-fid has the first pair, guided-diffusion both. A
# file for another network has the first pair, and its `made_with` names the network.
ARRAYS = {"2048": ("mu", "sigma"), "spatial": ("mu_s", "sigma_s")}
POOLED_ARRAYS = {"features": ("mu", "sigma")}


@dataclass(frozen=True)
class Reference:
    """Mean and covariance by tap, and their provenance.

    Attributes:
        gaussians: by tap of the network.
        made_with: the network, the hash of its weights, the preprocessing, and the number and hash
            of the images. Empty for files of other tools, which do not record it.
        images: a `.npz` with images in `arr_0`, as in guided-diffusion's reference batches, whose
            statistics are those of more images; or None.
        sha256: of the file's statistics.
    """

    gaussians: Mapping[str, Gaussian]
    made_with: Mapping[str, Any] = field(default_factory=dict)
    images: Path | None = None

    @property
    def sha256(self) -> str:
        """The SHA-256 of the statistics."""
        digest = hashlib.sha256()
        for tap in sorted(self.gaussians):
            digest.update(tap.encode())
            for array in (self.gaussians[tap].mean, self.gaussians[tap].covariance):
                digest.update(np.ascontiguousarray(array, "<f8").tobytes())
        return digest.hexdigest()


def is_statistics(path: str | Path) -> bool:
    """Whether a file is a `.npz` with a mean and a covariance."""
    path = Path(path).expanduser()
    if path.suffix != ".npz" or not path.is_file():
        return False
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {"mu", "sigma"} <= set(archive.files)
    except UNREADABLE_NPZ:
        return False


def save_reference(path: str | Path, reference: Reference) -> None:
    """Write a `.npz` that pytorch-fid and guided-diffusion can also read."""
    arrays = {}
    for tap, gaussian in reference.gaussians.items():
        mean, covariance = (ARRAYS | POOLED_ARRAYS)[tap]
        arrays |= {mean: gaussian.mean, covariance: gaussian.covariance}
    n = next(iter(reference.gaussians.values())).n
    made_with = json.dumps({**reference.made_with, "num_images": n}, sort_keys=True)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays, made_with=np.array(made_with))


def load_reference(path: str | Path) -> Reference:
    """Read statistics that `save_reference`, pytorch-fid or guided-diffusion wrote.

    If the file also has images, they are not read; `Reference.images` names the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it does not contain statistics, or needs a pickle.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of statistics {path}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            made_with = json.loads(str(archive["made_with"])) if "made_with" in archive else {}
            if not isinstance(made_with, dict):
                raise ValueError(f"made_with is {made_with!r:.80}")
            gaussians, images = {}, path if "arr_0" in archive else None
            is_inception = made_with.get("features", "inception") == "inception"
            arrays = ARRAYS if is_inception else POOLED_ARRAYS
            for tap, (mean, covariance) in arrays.items():
                if mean in archive and covariance in archive:
                    mu, sigma = (
                        np.asarray(archive[name], np.float64) for name in (mean, covariance)
                    )
                    if mu.ndim != 1 or sigma.shape != (len(mu), len(mu)):
                        raise ValueError(f"{mean} {mu.shape} and {covariance} {sigma.shape}")
                    gaussians[tap] = Gaussian(mu, sigma, made_with.get("num_images"))
    except UNREADABLE_NPZ as error:
        raise ValueError(f"{path} holds no readable statistics: {error}") from error
    if not gaussians.keys() & {"2048", "features"}:
        raise ValueError(f"{path} has no statistics, that is, a mean `mu` and a covariance `sigma`")
    return Reference(gaussians, made_with, images)


def describe(reference: Reference) -> str:
    """A description of a file of statistics in a few lines."""
    lines = [f"sha256 {reference.sha256}"]
    for tap, gaussian in reference.gaussians.items():
        lines.append(
            f"{tap}: {len(gaussian.mean)} features, |mean| {np.linalg.norm(gaussian.mean):.4f}, "
            f"trace {np.trace(gaussian.covariance):.4f}"
        )
    lines += [f"{name}: {value}" for name, value in sorted(reference.made_with.items())]
    if reference.images:
        lines.append("images: in arr_0, for metrics that need images")
    if not reference.made_with:
        lines.append("made with: unknown (a file of another tool)")
    return "\n".join(lines)
