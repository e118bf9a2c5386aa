"""`dalle-jax prepare --embeddings`: store CLIP's image embeddings for the stages after it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

SPLITS = ("train", "validation")


def store(workdir: Path, split: str, batch_size: int = 256) -> Path:
    """Write the embeddings of one split, in the order of its source; the path of the file.

    Raises:
        FileNotFoundError: the workdir has no CLIP.
    """
    import jax

    from dalle_jax.data.disk_cache import on_disk
    from dalle_jax.data.embeddings import write_embeddings
    from dalle_jax.data.loader import make_loader
    from dalle_jax.data.tokenizer import Tokenizer
    from dalle_jax.runs import clip_in
    from dalle_jax.runs.data import signature_of

    clip = clip_in(workdir)
    if clip is None:
        raise FileNotFoundError(f"{workdir} holds no CLIP; train one with `dalle-jax train`")
    stage, params, source = clip.build_stage(), clip.load_params(), clip.open_source(split)
    data = clip.data
    source = on_disk(source, data["image_size"], limit=int(data["disk_cache"] * 1e9))
    loader = make_loader(
        source,
        Tokenizer.load(clip.tokenizer_path),
        batch_size=batch_size,
        image_size=data["image_size"],
        shuffle=False,
        repeat=False,
    )
    encode = jax.jit(stage.encode_image)

    def embeddings() -> Iterator[np.ndarray]:
        for batch in loader:
            yield from np.asarray(encode(params, batch["image"]))[batch["mask"]]

    path = clip.embeddings_path(split)
    write_embeddings(
        path,
        embeddings(),
        count=len(source),
        width=stage.embedding_width,
        made_by=clip.checkpoint_name,
        data=signature_of(source),
    )
    return path
