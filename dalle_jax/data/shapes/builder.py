"""The `captioned_shapes` data set: prepared once with TFDS as ArrayRecord files, read by index."""

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

from dalle_jax.data.shapes.captions import CAPTION_KINDS, caption
from dalle_jax.data.shapes.draw import draw
from dalle_jax.data.shapes.phrasings import phrased
from dalle_jax.data.shapes.scene import Scene, SceneSettings, sample_scene

# Probability of one, two and three objects.
CONFIGS = {"easy": (1.0,), "pairs": (0.4, 0.6), "full": (0.25, 0.4, 0.35)}
CHUNK = 1000  # records that are read at once
SPLITS = {"train": 50_000, "validation": 2_000, "test": 5_000, "test_novel": 2_000}
PARAPHRASE = "paraphrase"  # the scenes of `test` in pairs of phrasing and synonym held out
STORED_KINDS = tuple(kind for kind in CAPTION_KINDS if kind != "phrased")


@dataclass
class ShapesConfig(tfds.core.BuilderConfig):
    """Which scenes, drawn how large. The resolution has no influence on the scenes."""

    object_counts: tuple[float, ...] = CONFIGS["easy"]
    resolution: int = 32
    seed: int = 0
    split_sizes: Mapping[str, int] = field(default_factory=lambda: dict(SPLITS))


class CaptionedShapes(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Drawn scenes of one to three objects, each with four captions.

    `test_novel` shows only (shape, color) pairs and relations that the other splits never show.
    """

    VERSION = tfds.core.Version("1.0.0")
    # Nothing is downloaded. Looking for checksums, TFDS would import a package it does not require.
    url_infos = None

    def _info(self) -> tfds.core.DatasetInfo:
        side = self.builder_config.resolution
        texts = ("scene", *(f"caption_{kind}" for kind in STORED_KINDS))
        return tfds.core.DatasetInfo(
            builder=self,
            description="Drawn scenes of simple objects, each with four kinds of caption.",
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": tfds.features.Image(shape=(side, side, 3), encoding_format="png"),
                    **{name: tfds.features.Text() for name in texts},
                }
            ),
            disable_shuffling=True,  # The scenes are drawn at random: any order is as good.
        )

    def _split_generators(self, dl_manager) -> dict[str, Iterator]:
        seen: set[bytes] = set()
        return {split: self._generate_examples(split, seen) for split in SPLITS}

    def _generate_examples(self, split: str, seen: set[bytes]) -> Iterator:
        """Scenes of a split, none of which is in `seen`; adds them to it."""
        config = self.builder_config
        settings = SceneSettings(config.object_counts, novel=split == "test_novel")
        for index in range(config.split_sizes[split]):
            rng = np.random.default_rng([config.seed, tuple(SPLITS).index(split), index])
            while True:
                scene = sample_scene(rng, settings)
                text = json.dumps(scene.to_dict(), separators=(",", ":"))
                digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
                if digest not in seen:
                    break
            seen.add(digest)
            image = io.BytesIO()
            Image.fromarray(draw(scene, config.resolution)).save(image, "PNG", compress_level=1)
            image.seek(0)
            texts = {f"caption_{kind}": caption(scene, kind, rng).text for kind in STORED_KINDS}
            yield index, {"id": f"{split}/{index:05d}", "image": image, "scene": text, **texts}


def prepare(
    data_dir: str | Path,
    config: str = "easy",
    resolution: int = 32,
    *,
    seed: int = 0,
    split_sizes: Mapping[str, int] | None = None,
) -> Path:
    """Draw the data set into `data_dir`, unless it is there; its folder.

    Args:
        data_dir: folder of prepared data sets.
        config: of `CONFIGS`.
        resolution: of the images, in pixels.
        seed: of the scenes; each has its own folder.
        split_sizes: number of scenes where they differ from `SPLITS`.

    Raises:
        ValueError: an unknown config or split, or the data set is there with other split sizes.
    """
    unknown = sorted(set(split_sizes or ()) - set(SPLITS))
    if unknown:
        raise ValueError(
            f"captioned_shapes has no split {unknown[0]!r}; it has {', '.join(SPLITS)}"
        )
    sizes = {**SPLITS, **(split_sizes or {})}
    builder = _builder(data_dir, config, resolution, seed, sizes)
    if builder.is_prepared():
        there = {name: split.num_examples for name, split in builder.info.splits.items()}
        if split_sizes is not None and there != sizes:
            raise ValueError(
                f"{builder.data_dir} holds splits of {there} scenes, not {sizes}; "
                "give another data_dir or remove it"
            )
    else:
        builder.download_and_prepare(file_format="array_record")
    return Path(builder.data_dir)


class CaptionedShapesSource:
    """Items of a prepared split: image, caption, caption_kind, scene (JSON) and id.

    `caption` is a kind of caption, or the share of each kind in a mixture, e.g. `{"short": 0.05,
    "descriptive": 0.95}`; which one an item has depends on (caption_seed, index) only, and so does
    a `phrased` caption of its scene, which is not stored. The split `paraphrase` has the scenes of
    `test` and, whatever `caption` is, `phrased` captions with held-out words only.
    """

    def __init__(
        self,
        data_dir: str | Path,
        config: str = "easy",
        resolution: int = 32,
        split: str = "train",
        caption: str | Mapping[str, float] = "short",
        *,
        seed: int = 0,
        caption_seed: int = 0,
    ):
        if split not in (splits := (*SPLITS, PARAPHRASE)):
            raise ValueError(f"captioned_shapes has no split {split!r}; it has {', '.join(splits)}")
        self._held_out_words = split == PARAPHRASE
        if self._held_out_words:
            split, caption = "test", "phrased"
        shares = {caption: 1.0} if isinstance(caption, str) else dict(caption)
        for kind in shares:
            if kind not in CAPTION_KINDS:
                raise ValueError(
                    f"captioned_shapes has no caption {kind!r}; it has {', '.join(CAPTION_KINDS)}"
                )
        if min(shares.values(), default=0) < 0 or abs(sum(shares.values()) - 1) > 1e-6:
            raise ValueError(f"the shares of captions {shares} must be positive and add up to 1")
        builder = _builder(data_dir, config, resolution, seed, SPLITS)
        if not builder.is_prepared():
            raise FileNotFoundError(
                f"captioned_shapes/{config} is not prepared at {resolution} pixels in {data_dir}: "
                f"run `dalle-jax prepare captioned_shapes/{config} --resolution={resolution} "
                f"--data_dir={data_dir}`"
            )
        # As bytes: TFDS takes three times as long for the features of an item.
        self._records = builder.as_data_source(
            split=split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
        )
        # In a fixed order, so that the order of the mixture does not matter.
        kinds = [kind for kind in CAPTION_KINDS if kind in shares]
        chosen = np.random.default_rng(caption_seed).choice(
            len(kinds), size=len(self._records), p=[shares[kind] for kind in kinds]
        )
        self._kinds = [kinds[k] for k in chosen]
        self._seed = caption_seed, tuple(SPLITS).index(split)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        self._kinds[index]  # Raises IndexError at the end, as iteration needs.
        values = _values(self._records[index])
        image = np.array(Image.open(io.BytesIO(values("image"))))
        return {"image": image, **self._texts(index, values)}

    def without_images(self) -> Iterator[dict[str, Any]]:
        """The items in order without their images: in a thirtieth of the time."""
        for start in range(0, len(self), CHUNK):
            numbers = range(start, min(start + CHUNK, len(self)))
            try:
                values = map(_values, self._records.__getitems__(numbers))
                items = [self._texts(k, each) for k, each in zip(numbers, values)]
            except Exception as error:
                raise ValueError(
                    f"items {start} to {numbers[-1]} of CaptionedShapesSource can't be read "
                    f"({type(error).__name__}: {error})"
                ) from error
            yield from items

    def _texts(self, index: int, values: Callable[[str], bytes]) -> dict[str, Any]:
        kind, scene = self._kinds[index], values("scene").decode()
        if kind == "phrased":
            rng = np.random.default_rng([*self._seed, index])
            held_out = self._held_out_words
            text = phrased(Scene.from_dict(json.loads(scene)), rng, held_out=held_out).text
        else:
            text = values(f"caption_{kind}").decode()
        return {"caption": text, "caption_kind": kind, "scene": scene, "id": values("id").decode()}


def _builder(data_dir, config, resolution, seed, split_sizes) -> CaptionedShapes:
    if config not in CONFIGS:
        raise ValueError(f"captioned_shapes has no config {config!r}; it has {', '.join(CONFIGS)}")
    name = f"{config}_{resolution}" + (f"_seed{seed}" if seed else "")
    builder_config = ShapesConfig(
        name=name,
        description=f"Scenes {config!r} of seed {seed}, {resolution} × {resolution} pixels.",
        object_counts=CONFIGS[config],
        resolution=resolution,
        seed=seed,
        split_sizes=split_sizes,
    )
    return CaptionedShapes(
        data_dir=str(data_dir), config=builder_config, file_format="array_record"
    )


def _values(record: bytes) -> Callable[[str], bytes]:
    """A feature's only value, by the feature's name."""
    features = tf_example_pb2.Example.FromString(record).features.feature
    return lambda name: features[name].bytes_list.value[0]
