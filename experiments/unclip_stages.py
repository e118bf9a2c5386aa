"""Which stage of unCLIP loses what: a metric of each stage, and correct captions along the chain.

    python experiments/unclip_stages.py --workdir=runs/unclip_shapes --features=runs/features_64

Printed as Markdown, with 95 % intervals: CLIP's retrieval among held-out images; the prior's cosine
to the true image embedding against the caption's own (two priors, if `--other_prior` names a
workdir with another); the oracle's accuracy on what the decoder samples from true image embeddings,
from the prior's and from text embeddings, before and after joint training, and the decoder's loss
on either embedding; and what the upsampler makes of true small images, against bicubic enlargement.
"""

import argparse
import itertools
from pathlib import Path

from dalle_jax import cpu

cpu.configure()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from dalle_jax.data.loader import make_loader  # noqa: E402
from dalle_jax.metrics import oracle  # noqa: E402
from dalle_jax.metrics.embeddings import prior_cosines  # noqa: E402
from dalle_jax.metrics.frechet import factor_features, jackknife  # noqa: E402
from dalle_jax.metrics.intervals import bootstrap, percent  # noqa: E402
from dalle_jax.metrics.retrieval import retrieval  # noqa: E402
from dalle_jax.pipelines.images import to_uint8  # noqa: E402
from dalle_jax.pipelines.text_to_image import DallePipeline  # noqa: E402
from dalle_jax.runs import Run, open_run  # noqa: E402
from dalle_jax.stages.images import enlarge, shrink, to_model_range  # noqa: E402
from dalle_jax.training.evaluate import evaluate  # noqa: E402

RETRIEVED = 256  # images that a caption is searched among
EDGE = 16  # of 255, from one pixel to the next
SOURCES = ("image-embedding", "prior", "text-embedding")


def in_batches(function, arrays, size: int = 128) -> np.ndarray:
    """`function` on rows of `arrays`, a few at a time."""
    starts = range(0, len(arrays[0]), size)
    return np.concatenate(
        [np.asarray(function(*(a[i : i + size] for a in arrays))) for i in starts]
    )


def clip_table(pipe: DallePipeline, captions, images) -> None:
    """Recall of image and text among `RETRIEVED` pairs."""
    image, text = clip_embeddings(pipe, captions[:RETRIEVED], images[:RETRIEVED])
    print(f"\n| retrieval among {RETRIEVED} held-out pairs | share |\n|---|---|")
    for name, recall in retrieval(image, text, captions[:RETRIEVED]).items():
        print(f"| {name.replace('_', ' ')} | {percent(recall.found, recall.queries)} |")


def clip_embeddings(pipe: DallePipeline, captions, images) -> tuple[np.ndarray, np.ndarray]:
    """CLIP's embeddings [N, D] of images and of their captions."""
    clip, params = pipe.system.stages["clip"], pipe.system.params["clip"]
    of_image, of_text = jax.jit(clip.encode_image), jax.jit(clip.encode_text)
    image = in_batches(lambda x: of_image(params, x), [images])
    text = in_batches(lambda x: of_text(params, x)[0], [pipe.tokenizer.encode(captions)])
    return image, text


def prior_table(pipes: dict[str, DallePipeline], captions, images) -> None:
    """Cosines of sampled embeddings with true ones, for each prior."""
    columns = ("cosine_image", "cosine_text", "cosine_baseline", "gain")
    print(f"\n| prior | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for name, pipe in pipes.items():
        image, text = clip_embeddings(pipe, captions, images)
        sampled = pipe.generate_all(
            captions, sample_index=range(len(captions)), until="decoder", num_inference_steps=1
        )["image_embedding"]
        means = prior_cosines(sampled, image, text)
        cells = (f"{m.value:.3f} [{m.low:.3f}, {m.high:.3f}]" for m in map(means.get, columns))
        print(f"| {name} | {' | '.join(cells)} |")


def accuracy_table(pipes: dict[str, DallePipeline], captions, images) -> None:
    """Fully correct captions, by where the decoder's embedding comes from and by last stage."""
    drawing = next(iter(pipes.values())).system.image_stages
    print(f"\n| embedding from | weights | {' | '.join(drawing)} |\n|{'---|' * (len(drawing) + 2)}")
    for source in SOURCES:
        for weights, pipe in pipes.items():
            made = pipe.generate_all(
                captions,
                sample_index=range(len(captions)),
                embedding=source,
                images=images if source == "image-embedding" else None,
            )
            cells = []
            for stage in drawing:
                right = int(oracle.score(captions, made[stage]).all_right.sum())
                cells.append(percent(right, len(captions)))
            print(f"| {source} | {weights} | {' | '.join(cells)} |", flush=True)


def gap_table(run: Run) -> None:
    """The decoder's held-out loss on true and on sampled embeddings, at the noise of validation."""
    stage, settings = run.build_stage(), run.config["joint"]["train"]
    size, num_images = settings["batch_size"], settings["validation_images"]
    start, frozen = stage.start_from(run.load_frozen())
    source = run.with_embeddings(run.open_source("validation"), "validation")
    loss = jax.jit(lambda params, frozen, *rest: stage.loss(params, frozen, *rest, train=False))

    def eval_step(*args):
        value, metrics = loss(*args)
        return {"loss": value, **metrics}

    def batches():
        loader = make_loader(
            source,
            run.tokenizer(source),
            batch_size=size,
            image_size=run.data["image_size"],
            shuffle=False,
            repeat=False,
        )
        for batch in itertools.islice(loader, num_images // size):
            del batch["mask"]
            yield batch

    print("\n| decoder's loss | true embeddings | sampled ones | gap |\n|---|---|---|---|")
    for name, params in {"before": start, "after": run.load_params()}.items():
        means = evaluate(eval_step, params, frozen, batches())
        true, drawn = means["decoder_true"], means["decoder_drawn"]
        print(f"| {name} joint training | {true:.4f} | {drawn:.4f} | {drawn - true:.4f} |")


def steps(images: np.ndarray) -> np.ndarray:
    """How far pixels are from the next to the right, channels' mean, of 255: [N, H, W - 1]."""
    return np.abs(np.diff(images.astype(float), axis=2)).mean(-1)


def upsampler_table(pipe: DallePipeline, images, features) -> None:
    """Upsampled against bicubic, of the same true small images.

    Edges are steps between neighbouring pixels where the true image has one, as a share of its own;
    flat parts are such steps, of 255, where it has none.
    """
    stage, params = pipe.system.stages["upsampler"], pipe.system.params["upsampler"]
    small = np.asarray(shrink(jnp.asarray(images), stage.low_res_size))
    settings = pipe.defaults["upsampler"]
    draw = jax.jit(
        lambda x, i: stage.sample(
            params, {"low_res": x, "sample_index": i}, jax.random.key(0), **settings
        )
    )
    enlarged = jax.jit(lambda x: enlarge(to_model_range(x), stage.factor, "bicubic"))
    index = np.arange(len(images), dtype=np.uint32)
    made = {
        "upsampler": to_uint8(in_batches(draw, [small, index], 32)),
        "bicubic": to_uint8(in_batches(enlarged, [small])),
    }
    half = len(images) // 2  # the other half of the true images is the reference
    reference = factor_features(features(images[half:]))
    print("\n| 64 px from true 32 px | PSNR, dB | edges | flat parts | Fréchet distance |")
    print("|---|---|---|---|---|")
    true_steps = steps(images[:half])
    for name, array in [*made.items(), ("true images", images)]:
        error = ((array[:half].astype(float) - images[:half]) ** 2).mean((1, 2, 3))
        psnr = 10 * np.log10(255**2 / np.maximum(error, 1e-9))
        low, high = bootstrap(psnr)
        text = f"{psnr.mean():.2f} [{low:.2f}, {high:.2f}]" if error.any() else "–"
        distance = jackknife(features(array[:half]), reference)
        ends = distance.interval
        edges, flat = (
            steps(array[:half])[at].mean() for at in (true_steps > EDGE, true_steps == 0)
        )
        sharp = f"{edges / true_steps[true_steps > EDGE].mean():.1%} | {flat:.2f}"
        ends = f"[{ends[0]:.2f}, {ends[1]:.2f}]"
        print(f"| {name} | {text} | {sharp} | {distance.value:.2f} {ends} |")


def main() -> None:
    """Print the tables that the workdir has the stages for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, default=Path("runs/unclip_shapes"))
    parser.add_argument("--other_prior", type=Path, help="a workdir with another prior")
    parser.add_argument("--features", type=Path, help="a classifier's workdir, at the same size")
    parser.add_argument("--n", type=int, default=512, help="held-out captions")
    args = parser.parse_args()

    before = DallePipeline.from_pretrained(args.workdir, joint=False)
    pipes = {"stage by stage": before}
    if (args.workdir / "joint").exists():
        pipes["after joint training"] = DallePipeline.from_pretrained(args.workdir)
    source = before.run.open_source("test")
    items = [source[i] for i in range(args.n)]
    captions = [item["caption"] for item in items]
    images = np.stack([item["image"] for item in items])

    clip_table(before, captions, images)
    priors = {before.system.stages["prior"].kind: before}
    if args.other_prior:
        other = DallePipeline.from_pretrained(args.other_prior, joint=False)
        priors[other.system.stages["prior"].kind] = other
    priors |= {name: pipe for name, pipe in pipes.items() if pipe is not before}
    prior_table(priors, captions, images)
    accuracy_table(pipes, captions, images)
    if len(pipes) > 1:
        gap_table(open_run(args.workdir / "joint"))
    if args.features and "upsampler" in before.system.stages:
        run = open_run(args.features / "classifier")
        stage, params = run.build_stage(), run.load_params()
        forward = jax.jit(lambda x: stage.sample(params, {"image": x}, jax.random.key(0)))
        upsampler_table(before, images, lambda x: in_batches(forward, [x]))


if __name__ == "__main__":
    main()
