"""Which words of a caption a decoder reads, and in how much noise.

    python experiments/words_read.py --workdir=runs/shapes

Of captioned shapes, one kind of word at a time is exchanged for another of its kind (red for
green, left for right, ...). Printed is by how much that raises the error of x0_hat against that of
the true caption: 0 % means that the word is not read. Noise levels are ln(sigma / alpha).
"""

import argparse
import re
from collections.abc import Callable
from pathlib import Path

from dalle_jax import cpu

cpu.configure()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from dalle_jax.data.shapes import scene  # noqa: E402
from dalle_jax.data.tokenizer import Tokenizer  # noqa: E402
from dalle_jax.runs import open_run  # noqa: E402
from dalle_jax.stages.images import to_model_range  # noqa: E402

NOISE = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)


def exchange(words: dict[str, str]) -> Callable[[str], str]:
    """A function that puts each word's other in its place."""
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, words)) + r")\b(?! of\b)")
    return lambda caption: pattern.sub(lambda found: words[found[0]], caption)


def next_of(words) -> dict[str, str]:
    """Each word with the one after it, the last with the first."""
    words = list(words)
    return dict(zip(words, words[1:] + words[:1]))


MIRRORED = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
KINDS = {
    "background": exchange(next_of(scene.BACKGROUNDS)),
    "color": exchange(next_of(scene.COLORS)),
    "size": exchange(next_of(scene.SIZES)),
    "shape": exchange(next_of(scene.SHAPES)),
    "place": exchange(MIRRORED),
    "relation": exchange(scene.OPPOSITE),
}


def main() -> None:
    """Print one row a kind of word."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, default=Path("runs/shapes"))
    parser.add_argument("--n", type=int, default=128, help="captions a row")
    args = parser.parse_args()

    run = open_run(args.workdir / "decoder")
    stage, params = run.build_stage(), run.load_params()
    tokenizer = Tokenizer.load(run.tokenizer_path)
    source = run.open_source("test")

    @jax.jit
    def error(x0, t, tokens):
        eps = jax.random.normal(jax.random.key(0), x0.shape)
        alpha, sigma = stage.schedule.alpha(t), stage.schedule.sigma(t)
        times = jnp.full(len(x0), t)
        x0_hat = stage.denoise(
            params, alpha * x0 + sigma * eps, times, stage.encode(params, tokens)
        )
        return jnp.mean((x0_hat - x0) ** 2)

    print(f"| exchanged | captions | {' | '.join(f'{level:g}' for level in NOISE)} |")
    print("|" + "---|" * (len(NOISE) + 2))
    items = [source[i] for i in range(min(len(source), 20 * args.n))]
    for kind, other in KINDS.items():
        rows = [item for item in items if other(item["caption"]) != item["caption"]][: args.n]
        if not rows:
            continue
        x0 = to_model_range(jnp.asarray(np.stack([item["image"] for item in rows])))
        true = tokenizer.encode([item["caption"] for item in rows])
        false = tokenizer.encode([other(item["caption"]) for item in rows])
        cells = []
        for level in NOISE:
            # logsnr is ln(alpha² / sigma²), of which the schedule gives the time.
            t = stage.schedule.time(-2 * level)
            gain = error(x0, t, false) / error(x0, t, true) - 1
            cells.append(f"{100 * float(gain):.1f} %")
        print(f"| {kind} | {len(rows)} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
