"""Joint fine-tuning, with a prior and a decoder of one number each: all is worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalle_jax.stages.base import Stage
from dalle_jax.stages.joint import Joint

N, D = 2000, 3
TRUE, WANTED, FROZEN = 1.0, 5.0, {"clip": None}
PARAMS = {"prior": {"p": jnp.float32(3.0)}, "decoder": {"d": jnp.float32(2.0)}}
BATCH = {"image": jnp.full((N, D), TRUE), "tokens": jnp.zeros((N, 4), int)}
KEY = jax.random.key(0)


class Numbers(Stage):
    """CLIP, prior and decoder in one: the prior draws its number p, the decoder says d · z.

    The prior's own loss is p², the decoder's the mean of (d · z − WANTED)².
    """

    def __init__(self, kind="diffusion", reads_embeddings=True):
        self.kind, self.clip = kind, self if reads_embeddings else None

    def encode_text(self, params, tokens):
        return jnp.zeros((len(tokens), D)), None

    def embed(self, frozen, batch):
        return batch["image"], None

    def sample(self, params, inputs, key, *, num_candidates):
        assert num_candidates == 1
        return jnp.full((len(inputs["sample_index"]), D), params["p"])

    def loss(self, params, frozen, batch, key, *, train):
        if "p" in params:
            return params["p"] ** 2, {"cosine": jnp.float32(0.5)}
        return jnp.mean((params["d"] * batch["image_embedding"] - WANTED) ** 2), {}


def joint(stop_gradient, stage=None):
    stage = stage or Numbers()
    return Joint(
        loss={"stop_gradient": stop_gradient},
        prior_sampling={"num_candidates": 1},
        image_size=8,
        vocab_size=16,
        max_length=4,
        upstream={"clip": stage, "prior": stage, "decoder": stage},
    )


def loss_and_slope(stage, train=True):
    of_params = jax.value_and_grad(
        lambda params: stage.loss(params, FROZEN, BATCH, KEY, train=train), has_aux=True
    )
    return of_params(PARAMS)


OF_DRAWN, OF_TRUE, OF_PRIOR = (2 * 3 - WANTED) ** 2, (2 * TRUE - WANTED) ** 2, 3**2


def share_drawn(loss):
    """Of the embeddings that the decoder was given."""
    return (loss - OF_PRIOR - OF_TRUE) / (OF_DRAWN - OF_TRUE)


def test_half_of_the_decoder_s_embeddings_are_drawn_and_the_rest_are_true():
    (loss, metrics), _ = loss_and_slope(joint(stop_gradient=True))
    assert abs(share_drawn(loss) - 0.5) < 4 * np.sqrt(0.5 * 0.5 / N)
    np.testing.assert_allclose(loss, metrics["decoder"] + metrics["prior"], rtol=1e-6)
    assert metrics["prior"] == OF_PRIOR and metrics["prior_cosine"] == 0.5


def test_the_decoder_s_loss_reaches_the_prior_unless_it_is_stopped():
    ((loss, _), stopped), (_, through) = (loss_and_slope(joint(stop)) for stop in (True, False))
    own, share = 2 * 3, share_drawn(loss)
    np.testing.assert_allclose(stopped["prior"]["p"], own, rtol=1e-5)
    reached = share * 2 * (2 * 3 - WANTED) * 2
    np.testing.assert_allclose(through["prior"]["p"], own + reached, rtol=1e-4)
    # The decoder learns the same either way.
    learned = share * 2 * (2 * 3 - WANTED) * 3 + (1 - share) * 2 * (2 * TRUE - WANTED) * TRUE
    np.testing.assert_allclose(stopped["decoder"]["d"], learned, rtol=1e-4)
    np.testing.assert_allclose(through["decoder"]["d"], stopped["decoder"]["d"], rtol=1e-6)


def test_validation_reports_the_gap_between_true_and_drawn_embeddings():
    (loss, metrics), _ = loss_and_slope(joint(stop_gradient=True), train=False)
    np.testing.assert_allclose(metrics["decoder_true"], OF_TRUE, rtol=1e-5)
    np.testing.assert_allclose(metrics["decoder_drawn"], OF_DRAWN, rtol=1e-5)
    assert loss == metrics["decoder_drawn"] + metrics["prior"]


def test_it_starts_from_both_trained_runs_and_clip_stays():
    frozen = {"clip": 1, "prior": 2, "decoder": 3}
    assert joint(True).start_from(frozen) == ({"prior": 2, "decoder": 3}, {"clip": 1})


def test_what_can_not_be_joined_is_named():
    with pytest.raises(ValueError, match="reads only captions"):
        joint(True, stage=Numbers(reads_embeddings=False))
    with pytest.raises(ValueError, match=r"set joint\.loss\.stop_gradient to True"):
        joint(False, stage=Numbers(kind="autoregressive"))
    joint(True, stage=Numbers(kind="autoregressive"))
