"""How well a trained system renders the original captions of captioned_shapes (`alt`)."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from dalle_jax.data.open import open_source
from dalle_jax.data.shapes.captions import named
from dalle_jax.data.shapes.scene import Scene
from dalle_jax.figures.measures import score_row
from dalle_jax.metrics import oracle
from dalle_jax.pipelines.text_to_image import DallePipeline


def original_row(workdir: Path, num_captions: int, *, seed: int) -> dict[str, Any]:
    """The share of colours and shapes named in held-out original captions that is correct.

    Of the first `num_captions` of the test split, those that name neither are left out. Image n is
    that of sample index n, as in an evaluation.
    """
    pipe = DallePipeline.from_pretrained(workdir)
    data = pipe.run.data
    options = {"data_dir": data["dir"], "image_size": data["image_size"], "captions": "alt"}
    source = open_source(data["source"], split="test", **options)
    items = [source[i] for i in range(num_captions)]
    stated = [named(Scene.from_dict(json.loads(one["scene"])), one["caption"]) for one in items]
    index = np.array([i for i, statements in enumerate(stated) if statements])
    images = pipe.generate([items[i]["caption"] for i in index], sample_index=index, seed=seed)
    right = [np.mean(oracle.check(stated[i], image)) for i, image in zip(index, images)]
    return score_row("original", np.array(right))
