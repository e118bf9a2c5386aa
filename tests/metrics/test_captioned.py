import numpy as np
import pytest

from dalle_jax.data.shapes.captions import short
from dalle_jax.data.shapes.draw import draw
from dalle_jax.data.shapes.scene import SceneSettings, sample_scene
from dalle_jax.metrics.captioned import clip_scores, counts_by_value, oracle_accuracy
from dalle_jax.metrics.intervals import wilson


@pytest.fixture(scope="module")
def pairs():
    """Twelve scenes of one or two objects: captions and images."""
    rng = np.random.default_rng(0)
    scenes = [sample_scene(rng, SceneSettings((0.5, 0.5), novel=False)) for _ in range(12)]
    return [short(s).text for s in scenes], np.stack([draw(s, 32) for s in scenes])


def test_rendered_scenes_are_all_correct(pairs):
    captions, images = pairs
    scored = oracle_accuracy(captions, images[None])
    whole = scored.metrics["oracle/caption"]
    assert (whole["value"], whole["right"], whole["of"]) == (1.0, 12, 12)
    assert whole["interval"] == wilson(12, 12)
    assert set(scored.metrics) >= {"oracle/count", "oracle/color", "oracle/object"}
    assert all(entry["value"] == 1 for entry in scored.metrics.values())
    colors = scored.metrics["oracle/color"]
    assert colors["of"] > 12 and colors["interval_by"] == "Wilson, of captions"


def test_values_are_the_shares_of_what_is_stated(pairs):
    captions, images = pairs
    order = np.array([1, 0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])  # two images change places
    scored = oracle_accuracy(captions, images[None, order])
    right = counts_by_value(captions, images[order])
    for kind, values in right.items():
        expected = np.sum(list(values.values()), axis=0)
        entry = scored.metrics[f"oracle/{kind}"]
        assert (entry["right"], entry["of"]) == tuple(expected)
        assert entry["value"] == pytest.approx(expected[0] / expected[1])
    every = [scored.metrics[f"oracle/{kind}"] for kind in right]
    statement = scored.metrics["oracle/statement"]
    for part in ("right", "of"):
        assert statement[part] == sum(entry[part] for entry in every)
    assert statement["value"] == statement["right"] / statement["of"] < 1
    per_caption = scored.by_caption["oracle/caption"][:, 0]
    np.testing.assert_array_equal(per_caption[2:], 1)
    assert per_caption[:2].min() == 0


def test_captions_of_one_and_of_two_objects_are_counted_separately(pairs):
    captions, images = pairs
    two = np.array([len(caption.split()) > 5 for caption in captions])
    metrics = oracle_accuracy(captions, np.roll(images, 1, axis=0)[None]).metrics
    of_one, of_two = metrics["oracle/caption_of_1"], metrics["oracle/caption_of_2"]
    assert (of_one["of"], of_two["of"]) == ((~two).sum(), two.sum())
    assert of_one["right"] + of_two["right"] == metrics["oracle/caption"]["right"]
    only_one = [n for n in range(12) if not two[n]]
    of_ones = oracle_accuracy([captions[n] for n in only_one], images[None, only_one]).metrics
    assert not any("caption_of" in name for name in of_ones)


def test_seeds_are_averaged_and_their_spread_reported(pairs):
    captions, images = pairs
    both = np.stack([images, np.roll(images, 1, axis=0)])
    entry = oracle_accuracy(captions, both).metrics["oracle/caption"]
    first, second = entry["by_seed"]
    assert first == 1 and second < 1
    assert entry["value"] == pytest.approx((first + second) / 2)
    assert entry["std_of_seeds"] == pytest.approx((first - second) / np.sqrt(2))
    low, high = entry["interval"]
    assert low <= entry["value"] <= high and entry["interval_by"] == "bootstrap over captions"
    assert entry["right"] == [12, round(12 * second)]


def test_clip_scores_are_cosines_with_intervals():
    rng = np.random.default_rng(0)
    captions = rng.normal(size=(120, 16))
    noise = np.where(np.arange(120) < 2, 30, 0.3)[:, None]  # two images fit no caption
    images = np.stack([captions + noise * rng.normal(size=captions.shape) for _ in range(2)])
    texts = [f"caption {i}" for i in range(120)]
    scored = clip_scores("clip:abc", captions, images, texts)
    cosine = np.einsum("snd,nd->ns", images, captions) / (
        np.linalg.norm(images, axis=2).T * np.linalg.norm(captions, axis=1)[:, None]
    )
    np.testing.assert_allclose(scored.by_caption["clip_cosine[clip:abc]"], cosine, rtol=1e-9)
    entry = scored.metrics["clip_cosine[clip:abc]"]
    assert entry["value"] == pytest.approx(cosine.mean())
    assert entry["by_seed"] == pytest.approx(cosine.mean(0).tolist())
    times100, hessel = (
        scored.metrics[f"{name}[clip:abc]"] for name in ("clip_score_x100", "clipscore_hessel")
    )
    assert times100["value"] == pytest.approx(100 * entry["value"])
    assert times100["interval"] == pytest.approx([100 * end for end in entry["interval"]])
    # Where a cosine is below zero it is clipped, one by one.
    assert hessel["value"] == pytest.approx(2.5 * cosine.clip(min=0).mean())
    assert hessel["value"] > 2.5 * cosine.mean()
    assert scored.metrics["r_precision[clip:abc]"]["value"] > 0.95
    few = clip_scores("clip:abc", captions[:50], images[:, :50], texts[:50])
    assert "r_precision[clip:abc]" not in few.metrics and len(few.metrics) == 3
