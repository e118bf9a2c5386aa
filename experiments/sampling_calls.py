"""What calls of a trained pipeline cost: the first, those with other numbers, and bare evaluations.

Claims: a call with another guidance scale, number of steps, seed or callback compiles nothing; it
takes at most 5 % more than as many bare evaluations of the guided network.

    python experiments/sampling_calls.py --workdir=runs/quickstart

Calls and bare evaluations take turns in one process; the median of their ratios is judged. Exits
with 1 if a claim does not hold.
"""

import argparse
import sys
import time

from dalle_jax import cpu

cpu.configure()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from dalle_jax import DallePipeline  # noqa: E402

STEPS, BATCH = 20, 8
OTHERS = {
    "guidance scale": {"guidance_scale": 4.5},
    "seed": {"seed": 3},
    "steps": {"num_inference_steps": 13},
    "callback": {"callback_on_step_end": lambda *_: None},
    "bar": {"progress": True},
}


def seconds(f) -> float:
    """Wall time of one call, waited for."""
    start = time.perf_counter()
    jax.block_until_ready(f())
    return time.perf_counter() - start


def main() -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)

    pipe = DallePipeline.from_pretrained(args.workdir)
    stage, params = pipe.system.stages[pipe.system.main], pipe.system.params[pipe.system.main]
    prompts = ["a large red circle"] * BATCH
    condition = jax.jit(stage.encode_text)(params, pipe.tokenizer.encode(prompts * 2))
    x = jnp.zeros((2 * BATCH, *stage.image_shape))

    @jax.jit
    def bare(params, x, condition, times):
        """Evaluations of the network on both halves, each on the one before's output."""

        def body(x, t):
            return stage.denoise(params, x, jnp.full(x.shape[:1], t), condition), None

        return jax.lax.scan(body, x, times)[0]

    def evaluate(steps):
        return bare(params, x, condition, np.linspace(1, 0.05, steps, dtype=np.float32))

    def call(**other):
        settings = {"num_inference_steps": STEPS, "guidance_scale": 3.0, "progress": False}
        return pipe(prompts, output_type="np", **{**settings, **other}).images

    print(
        f"{jax.devices()[0].device_kind}, batch {BATCH} of {stage.image_shape[0]} px, {STEPS} steps"
    )
    print(f"first call: {seconds(call):.2f} s")
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, duration, **_: "backend_compile" in event and compiled.append(duration)
    )
    failed = False
    for name, other in OTHERS.items():
        before = len(compiled)
        once = seconds(lambda other=other: call(**other))
        new = len(compiled) - before
        steps = other.get("num_inference_steps", STEPS)
        seconds(lambda steps=steps: evaluate(steps))
        pairs = [
            (
                seconds(lambda other=other: call(**other)),
                seconds(lambda steps=steps: evaluate(steps)),
            )
            for _ in range(args.repeats)
        ]
        a, b = np.median(pairs, axis=0)
        ratio = np.median([a / b for a, b in pairs])
        failed |= new > 0 or ratio > 1.05
        print(
            f"another {name}: {once:.2f} s with {new} compilations; later calls {a:.2f} s, bare "
            f"evaluations {b:.2f} s, ratio {ratio:.3f}"
        )
    print("a claim does not hold" if failed else "all claims hold")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
