"""Statistics of a reference set as files, ours and other people's; never a pickle."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dalle_jax.files import UNREADABLE_NPZ
from dalle_jax.metrics.statistics import Gaussian

# Arrays of a file by tap of Inception: pytorch-fid has the first pair, guided-diffusion both. Of
# another network it has the first pair too, and `made_with` names the network.
ARRAYS = {"2048": ("mu", "sigma"), "spatial": ("mu_s", "sigma_s")}
POOLED_ARRAYS = {"features": ("mu", "sigma")}


@dataclass(frozen=True)
class Reference:
    """Mean and covariance by tap, and what is known of where they come from.

    Attributes:
        gaussians: by tap of the network.
        made_with: network, its weights' hash, preprocessing, number and hash of the images. Empty
            for files of other tools, which do not say.
        images: a `.npz` that has the images too, as guided-diffusion's reference batches do: in
            `arr_0`, beside the statistics of more images than these. None where there are none.
        sha256: of the file's statistics.
    """

    gaussians: Mapping[str, Gaussian]
    made_with: Mapping[str, Any] = field(default_factory=dict)
    images: Path | None = None

    @property
    def sha256(self) -> str:
        """Of the statistics themselves."""
        digest = hashlib.sha256()
        for tap in sorted(self.gaussians):
            digest.update(tap.encode())
            for array in (self.gaussians[tap].mean, self.gaussians[tap].covariance):
                digest.update(np.ascontiguousarray(array, "<f8").tobytes())
        return digest.hexdigest()


def is_statistics(path: str | Path) -> bool:
    """Whether a file is a `.npz` with a mean and a covariance in it."""
    path = Path(path).expanduser()
    if path.suffix != ".npz" or not path.is_file():
        return False
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {"mu", "sigma"} <= set(archive.files)
    except UNREADABLE_NPZ:
        return False


def save_reference(path: str | Path, reference: Reference) -> None:
    """Write a `.npz` that pytorch-fid and guided-diffusion read too."""
    arrays = {}
    for tap, gaussian in reference.gaussians.items():
        mean, covariance = (ARRAYS | POOLED_ARRAYS)[tap]
        arrays |= {mean: gaussian.mean, covariance: gaussian.covariance}
    n = next(iter(reference.gaussians.values())).n
    made_with = json.dumps({**reference.made_with, "num_images": n}, sort_keys=True)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays, made_with=np.array(made_with))


def load_reference(path: str | Path) -> Reference:
    """Read statistics: of `save_reference`, pytorch-fid, or guided-diffusion.

    Images that the file holds too are not read, but named.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no statistics, or would need a pickle.
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
            of_inception = made_with.get("features", "inception") == "inception"
            named = ARRAYS if of_inception else POOLED_ARRAYS
            for tap, (mean, covariance) in named.items():
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
        raise ValueError(f"{path} holds no statistics: a mean `mu` and a covariance `sigma`")
    return Reference(gaussians, made_with, images)


def describe(reference: Reference) -> str:
    """What a file of statistics holds, in a few lines."""
    lines = [f"sha256 {reference.sha256}"]
    for tap, gaussian in reference.gaussians.items():
        lines.append(
            f"{tap}: {len(gaussian.mean)} features, |mean| {np.linalg.norm(gaussian.mean):.4f}, "
            f"trace {np.trace(gaussian.covariance):.4f}"
        )
    lines += [f"{name}: {value}" for name, value in sorted(reference.made_with.items())]
    if reference.images:
        lines.append("images: in arr_0, for the metrics that statistics do not serve")
    if not reference.made_with:
        lines.append("made with: unknown (a file of another tool)")
    return "\n".join(lines)
