"""Does FID from sums need the same memory, however many images there are?

    PYTHONPATH=. python experiments/evaluation_memory.py

Evaluates a folder of 1,000 small PNG files and one of 10,000 against reference statistics, each by
`dalle-jax evaluate` in a process of its own, and prints the most memory that each took. Inception's
weights are random: what is measured is not the distance. The exit code is 0 if ten times the images
take at most 5 % more. Needs Linux or macOS.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from safetensors.numpy import save_file

from tests.metrics.random_inception import random_images, random_tensors

SIZES = (1_000, 10_000)
GROWTH_ALLOWED = 1.05
UNIT = 1024 if sys.platform == "darwin" else 1  # of ru_maxrss, to KiB


def main() -> None:
    """Make folders and statistics, evaluate both, print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights, statistics = folder / "weights.safetensors", folder / "reals.npz"
        save_file(random_tensors(), weights)
        how = ["--metrics=fid", f"--inception={weights}", "--intervals=off"]
        reals = make_images(folder / "reals", 128, seed=1)
        peak_of("--fake", reals, "--real", reals, *how, f"--save_statistics={statistics}")
        peaks = []
        for n in SIZES:
            fakes = make_images(folder / str(n), n, seed=2)
            peaks.append(peak_of("--fake", fakes, "--real", statistics, *how))
            print(f"{n:6,} images: at most {peaks[-1] / 1024:.0f} MiB", flush=True)
    print(f"ratio {peaks[1] / peaks[0]:.3f}")
    sys.exit(0 if peaks[1] <= GROWTH_ALLOWED * peaks[0] else 1)


def make_images(folder: Path, n: int, seed: int) -> Path:
    """A folder of n images of 32 px."""
    folder.mkdir()
    for i, image in enumerate(random_images(n, seed)):
        Image.fromarray(image).save(folder / f"{i:05d}.png")
    return folder


def peak_of(*args: str | Path) -> int:
    """KiB resident at most in an evaluation."""
    command = [sys.executable, "-m", "dalle_jax", "evaluate", *map(str, args)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} ended with exit code {os.waitstatus_to_exitcode(status)}")
    return usage.ru_maxrss // UNIT


if __name__ == "__main__":
    main()
