import numpy as np
import pytest

from dalle_jax.metrics.intervals import wilson
from dalle_jax.metrics.retrieval import retrieval


def by_hand(image, text, captions, k):
    """Found at rank k, one query at a time, over distinct captions."""
    distinct = sorted(set(captions))
    of = {caption: text[captions.index(caption)] for caption in distinct}
    to_text = to_image = 0
    for i, caption in enumerate(captions):
        near = sorted(distinct, key=lambda c: -image[i] @ of[c])[:k]
        to_text += caption in near
    for caption in distinct:
        near = sorted(range(len(captions)), key=lambda i: -image[i] @ of[caption])[:k]
        to_image += any(captions[i] == caption for i in near)
    return to_text, to_image


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_recalls_are_those_counted_by_hand():
    rng = np.random.default_rng(0)
    captions = [f"caption {i % 17}" for i in range(40)]
    table = unit(rng.normal(size=(17, 6)))
    text = table[[int(c.split()[1]) for c in captions]]
    image = unit(text + 0.5 * rng.normal(size=text.shape))
    recalls = retrieval(image, text, captions)
    assert len(recalls) == 6
    for k in (1, 5, 10):
        to_text, to_image = by_hand(image, text, captions, k)
        found = recalls[f"image_to_text_recall_at_{k}"]
        assert (found.found, found.queries, found.candidates) == (to_text, 40, 17)
        assert found.interval == wilson(to_text, 40)
        found = recalls[f"text_to_image_recall_at_{k}"]
        assert (found.found, found.queries, found.candidates) == (to_image, 17, 40)
    assert 0 < recalls["image_to_text_recall_at_1"].share < 1


def test_embeddings_that_say_nothing_find_nothing():
    # All are alike, so a caption is as near as any other; a tie is not a find.
    same = np.ones((12, 3))
    recalls = retrieval(same, same, [f"caption {i}" for i in range(12)])
    assert all(recall.found == 0 for recall in recalls.values())


def test_what_is_no_set_of_pairs_is_named():
    x = np.eye(3)
    with pytest.raises(ValueError, match="needs pairs; got images"):
        retrieval(x, x[:2], ["a", "b", "c"])
    with pytest.raises(ValueError, match="2 captions have another embedding than an equal"):
        retrieval(x, x, ["a", "a", "a"])
