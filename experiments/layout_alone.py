"""How soon a caption's layout is learned by itself, without a U-Net: minutes a run.

    python experiments/layout_alone.py --workdir=runs/shapes --batch_size=32
    python experiments/layout_alone.py --workdir=runs/shapes --keep_brightness

The decoder's layout is a text transformer that predicts a coarse image. Only that is trained
here, with the tokenizer, the sizes and the optimizer of a run, at a constant learning rate. Printed
is by how much its error on held-out captions rises when their relation is turned into its opposite:
0 % means that relations are not read. `--keep_brightness` has it predict the mean colour too.
"""

import argparse
import re
import time
from pathlib import Path

from dalle_jax import cpu

cpu.configure()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402

from dalle_jax.data.shapes.scene import OPPOSITE  # noqa: E402
from dalle_jax.data.tokenizer import Tokenizer  # noqa: E402
from dalle_jax.runs import open_run  # noqa: E402
from dalle_jax.stages.images import layout_error, to_model_range  # noqa: E402
from dalle_jax.training.optim import make_optimizer  # noqa: E402

TRAINED_ON, MEASURED_ON, REPORTS = 20_000, 512, 10


def opposite(caption: str) -> str:
    """The caption with its relation the other way round."""
    return re.sub("|".join(OPPOSITE), lambda found: OPPOSITE[found[0]], caption)


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, default=Path("runs/shapes"))
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--learning_rate", type=float, help="the run's own peak, if none")
    parser.add_argument("--keep_brightness", action="store_true")
    args = parser.parse_args()

    run = open_run(args.workdir / "decoder")
    stage, tokenizer = run.build_stage(), Tokenizer.load(run.tokenizer_path)
    settings = {**run.config["decoder"]["train"]["optimizer"], "decay": "constant"}
    if args.learning_rate:
        settings["learning_rate"] = args.learning_rate
    optimizer = make_optimizer(**settings, steps=args.steps)

    def load(split, n, wanted=lambda caption: True):
        source = run.open_source(split)
        items = (source[i] for i in range(len(source)))
        items = [item for _, item in zip(range(n), (i for i in items if wanted(i["caption"])))]
        return np.stack([i["image"] for i in items]), [i["caption"] for i in items]

    images, captions = load("train", TRAINED_ON)
    tokens = tokenizer.encode(captions)
    held_out, held_out_captions = load("test", MEASURED_ON, lambda c: opposite(c) != c)
    true = tokenizer.encode(held_out_captions)
    false = tokenizer.encode([opposite(caption) for caption in held_out_captions])

    params = stage.init(jax.random.key(0))
    own = {name: value for name, value in params.items() if name.startswith("layout")}
    others = {name: value for name, value in params.items() if name not in own}

    def error(own, image, tokens):
        layout = stage.encode({**others, **own}, tokens).layout
        x_0 = to_model_range(image)
        if args.keep_brightness:
            return jnp.mean((layout - jax.image.resize(x_0, layout.shape, "linear")) ** 2)
        return layout_error(layout, x_0)

    @jax.jit
    def step(own, state, image, tokens):
        gradient = jax.grad(error)(own, image, tokens)
        updates, state = optimizer.update(gradient, state, own)
        return optax.apply_updates(own, updates), state

    measure, state = jax.jit(error), optimizer.init(own)
    rng, began = np.random.default_rng(0), time.perf_counter()
    print(
        "| step | seconds | held-out error | more with the opposite relation |\n|---|---|---|---|"
    )
    for i in range(args.steps + 1):
        if i % (args.steps // REPORTS) == 0:
            right = float(measure(own, held_out, true))
            more = float(measure(own, held_out, false)) / right - 1
            seconds = time.perf_counter() - began
            print(f"| {i} | {seconds:.0f} | {right:.4f} | {100 * more:.1f} % |", flush=True)
        rows = rng.integers(0, len(images), args.batch_size)
        own, state = step(own, state, images[rows], tokens[rows])


if __name__ == "__main__":
    main()
