"""What the size of a batch, the place in it and the neighbours change in an image.

    python experiments/batch_bits.py --sizes=1,2,4,8

`configs/quickstart.py` with random weights of which none is zero, as trained ones are; guidance 3,
UniPC, 10 steps. Each image is compared with itself in a batch of the first size, in float32 and in
the 255 levels of a file.
"""

import argparse
import functools

import jax
import numpy as np

from dalle_jax.config.load import load_config
from dalle_jax.pipelines.images import to_uint8
from dalle_jax.stages import build_stage

COUNT = 16  # images, of different captions


def main() -> None:
    """Draw, compare, print one line a size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="configs/quickstart.py")
    parser.add_argument("--sizes", default="1,2,4,8,16")
    args = parser.parse_args()
    config = load_config(args.config).to_dict()
    stage = build_stage("decoder", config)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda p: p + 0.03 * rng.normal(size=p.shape).astype(np.float32),
        jax.jit(stage.init)(jax.random.key(0)),
    )
    tokens = np.zeros((COUNT, config["tokenizer"]["max_length"]), np.int32)
    tokens[:, :6] = rng.integers(2, config["tokenizer"]["vocab_size"], (COUNT, 6))
    tokens[:, 6] = 1  # end of text
    how = {"guidance_scale": 3.0, "sampler": "unipc", "num_inference_steps": 10}
    sample = jax.jit(functools.partial(stage.sample, **how))

    def images_of(index: list[int]) -> np.ndarray:
        inputs = {"tokens": tokens[index], "sample_index": np.array(index, np.uint32)}
        return np.asarray(sample(params, inputs, jax.random.key(0)))

    sizes, first = [int(size) for size in args.sizes.split(",")], None
    for size in sizes:
        image = images_of(list(range(size)))[0]
        beside = images_of([0, *range(COUNT - size + 1, COUNT)])[0]
        elsewhere = images_of([*range(1, size), 0])[-1]
        first = image if first is None else first
        parts = [
            f"{name}: {np.abs(image - other).max():.1e}, "
            f"{np.mean(to_uint8(image) != to_uint8(other)):.1e} of the values"
            for name, other in (
                (f"size {sizes[0]}", first),
                ("other neighbours", beside),
                ("last place", elsewhere),
            )
        ]
        print(f"batch of {size} against {'; '.join(parts)}", flush=True)


if __name__ == "__main__":
    main()
