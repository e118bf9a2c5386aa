"""What two settings of a config have to be to each other, as a width and its number of heads."""

import re
from collections.abc import Iterator, Mapping
from typing import Any


def conflict(stage: str, config: Mapping[str, Any]) -> str | None:
    """Why two settings of a stage don't fit each other; None if all do."""
    for relation in (_heads, _groups, _sides, _batches, _codes, _expressions, _adapters):
        try:
            if reason := next(relation(stage, config), None):
                return reason
        except (KeyError, TypeError, AttributeError):
            continue  # a setting is missing, which building the stage reports
    return None


def _heads(stage: str, config: Mapping[str, Any]) -> Iterator[str]:
    """Attention heads cut the width of a transformer into equal parts; most have blocks."""
    model = config[stage].get("model", {})
    for part, own in model.items():
        if not isinstance(own, Mapping) or "num_heads" not in own:
            continue
        if part == "text" and own["depth"] == 0 and "unet" not in model:
            yield f"config.{stage}.model.text.depth is 0; it must be at least 1"
        unused = (
            (part == "text" and own["depth"] == 0)
            or (part == "layout" and not own["size"])
            or (part == "latent" and config[stage]["kind"] != "autoregressive")
        )
        if not unused and own["width"] % own["num_heads"]:
            yield (
                f"config.{stage}.model.{part}.width is {own['width']}; it must be a multiple of "
                f"num_heads, {own['num_heads']}"
            )


def _groups(stage: str, config: Mapping[str, Any]) -> Iterator[str]:
    """Group norm cuts the width of each level into equal groups, attention into equal heads."""
    model = config[stage].get("model", {})
    name, net = ("unet.", model["unet"]) if "unet" in model else ("", model)
    if "channel_mult" not in net:
        return
    side = _side(stage, config) / net.get("patch_size", 1)
    for level, mult in enumerate(net["channel_mult"]):
        width, of = net["channels"] * mult, f"config.{stage}.model.{name}"
        problem = f"{of}channels times channel_mult is {width} at level {level}"
        if width % net["norm_groups"]:
            yield f"{problem}; it must be a multiple of norm_groups, {net['norm_groups']}"
        last = level == len(net["channel_mult"]) - 1
        attends = "head_channels" in net and (
            last or side / 2**level in net["attention_resolutions"]
        )
        if attends and width % net["head_channels"]:
            yield f"{problem}; it must be a multiple of head_channels, {net['head_channels']}"


def _sides(stage: str, config: Mapping[str, Any]) -> Iterator[str]:
    """Images can be cut into patches, halved at each level, and shrunk from those of the data."""
    model, side = config[stage].get("model", {}), _side(stage, config)
    data = _data_side(stage, config)
    if "unet" in model:
        net = model["unet"]
        factor = net.get("patch_size", 1) * 2 ** (len(net["channel_mult"]) - 1)
        crop = config[stage].get("loss", {}).get("crop_size", side)
        for pixels in {side: None, crop: None}:
            if pixels % factor:
                yield (
                    f"the U-Net of {stage} takes images of {pixels} pixels; with its patch_size "
                    f"and {len(net['channel_mult'])} levels it needs a multiple of {factor}"
                )
    if "patch_size" in model.get("image", {}) and side % model["image"]["patch_size"]:
        yield (
            f"config.{stage}.model.image_size is {side}; it must be a multiple of "
            f"image.patch_size, {model['image']['patch_size']}"
        )
    if "image_size" in model and data % side:
        yield (
            f"config.{stage}.model.image_size is {side}; images of data.image_size, {data} pixels, "
            "must be a multiple of it"
        )


def _batches(stage: str, config: Mapping[str, Any]) -> Iterator[str]:
    """A batch is worked through in equal parts."""
    train = config[stage].get("train", {})
    if "accumulate" in train and train["batch_size"] % train["accumulate"]:
        yield (
            f"config.{stage}.train.batch_size is {train['batch_size']}; it must be a multiple of "
            f"accumulate, {train['accumulate']}"
        )


def _codes(stage: str, config: Mapping[str, Any]) -> Iterator[str]:
    """An autoregressive prior's PCA has fewer dimensions than there are items to measure it on."""
    own = config[stage]
    if own.get("kind") == "autoregressive":
        sizes = own["autoregressive"]
        if sizes["num_fitted"] <= sizes["num_dimensions"]:
            yield (
                f"config.{stage}.autoregressive.num_fitted is {sizes['num_fitted']}; it must be "
                f"above num_dimensions, {sizes['num_dimensions']}"
            )


def _expressions(stage: str, config: Mapping[str, Any]) -> Iterator[str]:
    """Regular expressions can be read, and what they choose among is there."""
    train = config[stage]["train"]
    for name in ("init_only", "freeze"):
        try:
            re.compile(train[name])
        except re.error as error:
            yield (
                f"config.{stage}.train.{name} is {train[name]!r}; it must be a regular expression: "
                f"{error}"
            )
    if train["init_only"] and not train["init_from"]:
        yield (
            f"config.{stage}.train.init_only is {train['init_only']!r}, and there is no init_from "
            "whose weights it could choose among"
        )


def _adapters(stage: str, config: Mapping[str, Any]) -> Iterator[str]:
    """Adapters adapt weights that are there, and nothing else is trained."""
    train = config[stage]["train"]
    if train["lora"]["rank"] and not train["init_from"]:
        yield (
            f"config.{stage}.train.lora.rank is {train['lora']['rank']}, and there is no init_from "
            "whose weights could be adapted"
        )
    if train["lora"]["rank"] and train["freeze"]:
        yield (
            f"config.{stage}.train.freeze is {train['freeze']!r}; with lora.rank above 0 all "
            "weights are frozen, so leave it out"
        )


def _data_side(stage: str, config: Mapping[str, Any]) -> int:
    return {**config["data"], **config[stage].get("data", {})}["image_size"]


def _side(stage: str, config: Mapping[str, Any]) -> int:
    """Of the images that a stage's network is given."""
    return config[stage].get("model", {}).get("image_size") or _data_side(stage, config)
