"""Inception features a second beside torch-fidelity's, on the CPU: same weights, same images.

python experiments/inception_throughput.py --batch=8 --rounds=5

Rounds are interleaved. Wall time is what a user waits for; where others use the machine, the CPU
time of this process is the steadier of the two. Needs the `parity` extra.
"""

import argparse
import tempfile
import time
from pathlib import Path

import dalle_jax.cpu

dalle_jax.cpu.configure()

import numpy as np  # noqa: E402
import torch  # noqa: E402

from dalle_jax.interop.inception import fold  # noqa: E402
from dalle_jax.metrics.features import extract, inception_extractor  # noqa: E402
from dalle_jax.metrics.preprocess import Preprocessing  # noqa: E402
from tests.metrics.random_inception import random_images, random_tensors  # noqa: E402
from tests.metrics.torch_fidelity_import import import_torch_fidelity  # noqa: E402


def main() -> None:
    """Time both, print medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--batches", type=int, default=2, help="in a round")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()

    tensors = random_tensors()
    images = random_images(args.batches * args.batch, size=64)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth"
        torch.save({name: torch.from_numpy(value) for name, value in tensors.items()}, path)
        network = import_torch_fidelity().FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path)
        )
    extractor = inception_extractor(fold(tensors), "random", Preprocessing())
    num_images = len(images)

    def ours():
        list(extract(images, extractor, args.batch))

    def theirs():
        with torch.no_grad():
            for start in range(0, num_images, args.batch):
                batch = images[start : start + args.batch]
                network(torch.from_numpy(batch).permute(0, 3, 1, 2))

    times = {"dalle_jax": [], "torch-fidelity": []}
    for round_ in range(args.rounds + 1):
        for name, function in (("dalle_jax", ours), ("torch-fidelity", theirs)):
            wall, cpu = time.perf_counter(), time.process_time()
            function()
            if round_:  # the first compiles
                times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    medians = {name: np.median(values, axis=0) / num_images for name, values in times.items()}
    for name, (wall, cpu) in medians.items():
        print(f"{name}: {1 / wall:.2f} images/s, {cpu:.3f} CPU seconds an image")
    ratio = medians["torch-fidelity"] / medians["dalle_jax"]
    print(f"dalle_jax is {ratio[0]:.2f} × as fast by wall time, {ratio[1]:.2f} × by CPU time")


if __name__ == "__main__":
    main()
