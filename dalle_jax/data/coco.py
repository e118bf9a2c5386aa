"""COCO's annotation file of captions as a caption manifest, the COCO-2014-30k form among them."""

import hashlib
import json
from pathlib import Path
from typing import Any

from dalle_jax.data.manifest import Manifest, choose

# Zero-shot FID on COCO is that of 30,000 captions of the validation images of 2014.
NUM_CAPTIONS = 30_000


def make_coco_manifest(
    annotations: str | Path, *, rule: str = "one", n: int | None = NUM_CAPTIONS, seed: int = 0
) -> Manifest:
    """The manifest of an official `captions_val2014.json` (or of another year and split).

    "one" takes of each image the caption with the lowest number, so that 30,000 rows are as many
    images; "all" draws from all captions, so that an image may occur several times. Rows are
    "IMAGE" or "IMAGE#ANNOTATION", by COCO's numbers. The images themselves are not looked for.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, has fewer than n captions, or one that can't be used.
    """
    path = Path(annotations)
    if not path.is_file():
        raise FileNotFoundError(f"There is no annotation file {path}.")
    content = path.read_bytes()
    try:
        files, captions = _read(json.loads(content))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(
            f"{path} is not a COCO annotation file of captions ({error!r:.200}); it is named as "
            "captions_val2014.json and holds images and annotations with captions."
        ) from error
    candidates = (
        (str(image), file, [(str(number), text) for number, text in sorted(captions[image])])
        for image, file in files.items()
    )
    return choose(
        candidates,
        source=f"coco:{path.name}",
        split=path.stem.removeprefix("captions_"),
        rule=rule,
        n=n,
        seed=seed,
        data={"annotations_sha256": hashlib.sha256(content).hexdigest()},
    )


def _read(document: Any) -> tuple[dict[int, str], dict[int, list[tuple[int, str]]]]:
    """The file of each image, and its captions with their numbers."""
    files = {int(image["id"]): str(image["file_name"]) for image in document["images"]}
    captions: dict[int, list[tuple[int, str]]] = {image: [] for image in files}
    for annotation in document["annotations"]:
        number, text = int(annotation["id"]), annotation["caption"]
        if not isinstance(text, str):
            raise TypeError(f"caption {number} is no text")
        captions[int(annotation["image_id"])].append((number, text))
    return files, captions
