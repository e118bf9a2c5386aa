"""One batch of captions through the stages of a system."""

import functools
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array

from dalle_jax.diffusion.noise import fold
from dalle_jax.pipelines.arguments import FROM_IMAGE, FROM_TEXT
from dalle_jax.pipelines.images import to_uint8
from dalle_jax.pipelines.programs import OnStep, compiled, sampled
from dalle_jax.pipelines.settings import Settings
from dalle_jax.pipelines.system import System
from dalle_jax.stages.captions import empty_captions
from dalle_jax.stages.graph import GIVEN, encoding, giving

MAX_BYTES = 2**28
MIN_ENTRY_BYTES = 2**14  # an entry takes more memory than its arrays


class Memo:
    """Outputs cached by their inputs; beyond `max_bytes` the least recently used are dropped."""

    def __init__(self, max_bytes: int = MAX_BYTES):
        self._entries: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._max_bytes, self._bytes = max_bytes, 0

    def __call__(self, name: str, arrays: Sequence[np.ndarray], make: Callable[[], Any]) -> Any:
        """`make()`, or its cached result for this name (network and settings) and these inputs."""
        digest = hashlib.sha256(name.encode())
        for array in arrays:
            array = np.ascontiguousarray(array)
            digest.update(f"|{array.dtype}{array.shape}".encode())
            digest.update(array)
        key = digest.hexdigest()
        if key not in self._entries:
            made = make()
            size = max(MIN_ENTRY_BYTES, sum(leaf.nbytes for leaf in jax.tree.leaves(made)))
            self._entries[key] = made, size
            self._bytes += size
        self._entries.move_to_end(key)
        made = self._entries[key][0]
        while self._bytes > self._max_bytes:
            self._bytes -= self._entries.popitem(last=False)[1][1]
        return made


def sample_batch(
    system: System,
    batch: Mapping[str, np.ndarray],
    key: Array,
    *,
    stages: Sequence[str],
    settings: Settings,
    source: str | None,
    memo: Memo,
    on_step: OnStep | None,
) -> dict[str, np.ndarray]:
    """The outputs of `stages`, some of `system.image_stages`, for one batch of captions.

    Args:
        system: the stages and their weights.
        batch: tokens [B, L] and sample_index [B]; optionally negative_tokens [B, L], and image
            uint8 [B, H, W, 3] for embeddings of images.
        key: the random key of each sample [B], of its seed.
        stages: in order, the main stage first.
        settings: of sampling, by stage.
        source: where image embeddings come from, see `conditions`.
        memo: the cache of encoded captions and of embeddings.
        on_step: called after each step of the main stage, see `programs.sampled`.

    Returns:
        `image_embedding` [B, D] if the main stage reads it, then uint8 [B, H, W, 3] by stage.
    """
    tokens, sample_index = batch["tokens"], batch["sample_index"]
    known = conditions(
        system,
        tokens,
        sample_index,
        fold(key, 1),
        source=source,
        image=batch.get("image"),
        settings=settings,
        memo=memo,
    )
    outputs = {name: np.asarray(known[name]) for name in known if name == "image_embedding"}
    captions = read_captions(system, tokens, batch.get("negative_tokens"), memo)
    inputs = {"sample_index": sample_index, **captions, **known}
    for i, name in enumerate(stages):
        stage = system.stages[name]
        # The main stage uses the root key, so that it samples the same with and without a prior.
        key_of_stage, of_stage = fold(key, 1 + i) if i else key, dict(settings[name])
        after = None if i else on_step
        made = sampled(stage, system.params[name], inputs, key_of_stage, of_stage, after)
        if "image" in stage.gives:
            outputs[name] = to_uint8(made, name)
        given = {**batch, "low_res": made, stage.gives[0]: made}
        if i + 1 < len(stages):
            inputs = {taken: given[taken] for taken in system.stages[stages[i + 1]].takes}
    return outputs


def conditions(
    system: System,
    tokens: np.ndarray,
    sample_index: np.ndarray,
    key: Array,
    *,
    source: str | None,
    image: Array | None,
    settings: Settings,
    memo: Memo,
) -> dict[str, Array]:
    """What the stages before the main one give it for captions [B, L]: image embeddings [B, D].

    Args:
        system: the stages and their weights.
        tokens: of the captions, int32 [B, L].
        sample_index: [B].
        key: the random key of each sample [B] in these stages.
        source: of image embeddings: None or the name of the stage that samples them;
            "text-embedding", the caption's embedding in place of an image's; "image-embedding",
            the embedding of `image`.
        image: uint8 [B, H, W, 3], for "image-embedding".
        settings: of sampling, by stage.
        memo: the cache of these stages' outputs.
    """
    seeds = np.asarray(jax.random.key_data(key))
    made: dict[str, Any] = {"tokens": tokens, "sample_index": sample_index}
    if source == FROM_IMAGE:
        name = encoding(system.stages, "image_embedding")
        encode = compiled(system.stages[name].encode_image)
        made["image_embedding"] = encode(system.params[name], image)

    def make(wanted: str) -> Any:
        """A quantity that a stage gives, after all that this stage takes."""
        if wanted not in made:
            name = giving(system.stages, wanted)
            stage, of_stage = system.stages[name], settings.get(name, ())
            inputs = {taken: make(taken) for taken in stage.takes}
            # Only stages that draw noise depend on the key and the sample index.
            arrays = [tokens, sample_index, seeds] if "sample_index" in stage.takes else [tokens]
            params = system.params[name]
            sample = functools.partial(sampled, stage, params, inputs, key, dict(of_stage))
            outputs = memo(f"{name} {of_stage}", arrays, sample)
            made.update(outputs if isinstance(outputs, Mapping) else {stage.gives[0]: outputs})
        return made[wanted]

    if source == FROM_TEXT:
        made["image_embedding"] = make("text_embedding")
    return {taken: make(taken) for taken in system.stages[system.main].takes if taken not in GIVEN}


def read_captions(
    system: System, tokens: np.ndarray, negative_tokens: np.ndarray | None, memo: Memo
) -> dict[str, Any]:
    """The main stage's inputs from captions: `tokens` and `negative_tokens`, or `text` and
    `negative_text` if it has a text encoder; empty if it reads no captions."""
    name = system.main
    stage = system.stages[name]
    if "tokens" not in stage.takes:
        return {}
    if negative_tokens is None:
        negative_tokens = np.asarray(empty_captions(tokens))
    if not stage.reads_captions:
        return {"tokens": tokens, "negative_tokens": negative_tokens}
    encode = functools.partial(compiled(stage.encode_text), system.params[name])
    return {
        text: memo(name, [captions], functools.partial(encode, captions))
        for text, captions in {"text": tokens, "negative_text": negative_tokens}.items()
    }
