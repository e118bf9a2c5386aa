"""The sampler's settings as options of `sample` and `evaluate`."""

import argparse
from typing import Any

from dalle_jax.cli.options import (
    Number,
    OneOf,
    OneOfOrLiteral,
    Parser,
    Suggested,
    count,
    literal,
    number,
    numeric,
    whole,
)
from dalle_jax.config.choices import EMBEDDINGS, SAMPLERS, SPACINGS, THRESHOLDS, VARIANCES

# Name: type and description. What is not given is taken from the run's own config.
SETTINGS = {
    "num_inference_steps": (count, "steps of the sampler"),
    "guidance_scale": (number, "1 is no guidance"),
    "sampler": (OneOf(SAMPLERS), "by which the noise is removed"),
    "spacing": (OneOfOrLiteral(SPACINGS), "of the steps' times, or a list of times"),
    "threshold": (OneOf(THRESHOLDS), "of predicted images, to the range of pixels"),
    "guidance_rescale": (number, "share by which guided images get back their contrast"),
    "guidance_interval": (literal, "(low, high]: noise ratios at which guidance acts"),
    "num_candidates": (count, "prior: embeddings drawn, of which the best is taken"),
    "dot_percentile": (Number(numeric, 0, 1), "autoregressive prior: share of dot products below"),
    "variance": (OneOf(VARIANCES), "ddpm"),
    "eta": (number, "ddim: 0 draws no noise, 1 as much as ddpm"),
    "variable": (OneOf(("flow", "sigma")), "heun: what the steps are taken in"),
    "churn": (number, "euler, heun: noise that is added, over all steps"),
    "churn_min": (number, "euler, heun: least noise level at which it is added"),
    "churn_max": (Number(numeric, endless=True), "euler, heun: greatest such level"),
    "churn_noise": (number, "euler, heun: factor of its deviation"),
    "order": (count, "unipc"),
    "variant": (OneOf(("bh1", "bh2")), "unipc"),
    "corrector": (literal, "unipc: True or False"),
    "corrector_start": (whole, "unipc: steps that are not corrected"),
    "solver_prediction": (OneOf(("x0", "eps")), "unipc"),
    "lower_order_final": (literal, "dpmpp_*, unipc: True or False"),
    "unic_order": (whole, "order of a corrector after a deterministic sampler; 0 for none"),
    "steps_offset": (whole, "spacing leading"),
    "counts": (literal, "spacing sections: strides in each part, as (10, 10, 3, 2, 2)"),
    "sigma_min": (number, "spacings logsnr, exponential, karras: noise ratio at the end"),
    "sigma_max": (number, "the same at the start"),
    "rho": (number, "spacing karras"),
    "a": (number, "spacing beta"),
    "b": (number, "spacing beta"),
}


def add_sampling(parser: Parser) -> None:
    """Let a verb take a sampler's settings: `--eta=0.5`, of other stages `--prior.eta=0.5`."""
    group = parser.add_argument_group(
        "sampling",
        "What is not given is taken from the run's own config. These are the decoder's; those of\n"
        "another stage have its name before them: --prior.guidance_scale=2.",
    )
    for name, (kind, text) in SETTINGS.items():
        group.add_argument(f"--{name}", type=kind, metavar="X", help=text)
    group.add_argument(
        "--embedding",
        type=Suggested(EMBEDDINGS),
        metavar="X",
        help="unCLIP: what the decoder reads, the prior's embeddings if not",
    )
    parser.add_stages("stage_settings", SETTINGS)


def sampling_settings(parser: Parser, args: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given, by name; those of a stage as a dict by its name."""
    given = {name: getattr(args, name) for name in (*SETTINGS, "embedding")}
    settings = {name: value for name, value in given.items() if value is not None}
    if "guidance_scale" in settings:  # as the records of all earlier images have it
        settings["guidance_scale"] = float(settings["guidance_scale"])
    for text in args.stage_settings:
        option, _, value = text.partition("=")
        stage, _, name = option.removeprefix("--").partition(".")
        try:
            settings.setdefault(stage, {})[name] = SETTINGS[name][0](value)
        except argparse.ArgumentTypeError as error:
            parser.error(f"{option} {error}")
    return settings
