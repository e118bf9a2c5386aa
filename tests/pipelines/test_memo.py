"""What is made of captions is made once, however often they are drawn."""

import numpy as np
import pytest

from dalle_jax import DallePipeline
from dalle_jax.pipelines import text_to_image
from dalle_jax.pipelines.memo import LEAST, Memo

PROMPTS = ["a large red circle", "a small blue star"]


def test_a_memo_knows_its_inputs_and_forgets_what_was_longest_unused():
    memo, made = Memo(max_bytes=2 * LEAST), []

    def ask(what, *of):
        return memo(what, of, lambda: made.append(what) or np.full(10, float(len(made))))

    one, other = np.arange(3), np.arange(4)
    assert ask("clip", one) is ask("clip", one.copy())
    assert ask("clip", one) is not ask("clip", other)
    assert made == ["clip", "clip"]
    ask("clip", one)  # so that `other` is the one longest unused
    ask("prior", one)  # a third, and there is room for two
    ask("clip", one)
    assert made == ["clip", "clip", "prior"]
    ask("clip", other)
    ask("prior", one.astype(np.int16))
    ask("prior", one.reshape(3, 1))
    assert made == ["clip", "clip", "prior", "clip", "prior", "prior"]


class Counting(Memo):
    """Counts what is made, by the first word of its name."""

    def __init__(self):
        super().__init__()
        self.made: list[str] = []

    def __call__(self, what, of, make):
        return super().__call__(what, of, lambda: self.made.append(what.split()[0]) or make())


@pytest.fixture
def open_pipe(monkeypatch):
    monkeypatch.setattr(text_to_image, "Memo", Counting)
    return DallePipeline.from_pretrained


def test_a_sweep_over_guidance_encodes_its_captions_once(open_pipe, tiny_workdir):
    pipe = open_pipe(tiny_workdir)
    draw = lambda **how: pipe.generate(PROMPTS, sample_index=(0, 1), num_inference_steps=2, **how)
    images = [draw(guidance_scale=scale) for scale in (1.0, 2.0, 3.0)]
    assert pipe.memo.made == ["decoder", "decoder"]  # the captions, the empty ones
    draw(seed=1)
    assert pipe.memo.made == ["decoder", "decoder"]
    draw(negative_prompts=PROMPTS[::-1])
    assert pipe.memo.made == ["decoder"] * 3
    fresh = open_pipe(tiny_workdir)
    how = {"sample_index": (0, 1), "num_inference_steps": 2, "guidance_scale": 3.0}
    np.testing.assert_array_equal(fresh.generate(PROMPTS, **how), images[2])


def test_a_sweep_over_the_decoder_draws_the_priors_embeddings_once(open_pipe, tiny_unclip_workdir):
    pipe = open_pipe(tiny_unclip_workdir)
    draw = lambda **how: pipe.generate(PROMPTS, sample_index=(0, 1), until="decoder", **how)
    draw(guidance_scale=1.0)
    draw(guidance_scale=2.0)
    assert pipe.memo.made.count("prior") == pipe.memo.made.count("clip") == 1
    draw(prior={"guidance_scale": 2.0})
    draw(seed=1)
    assert pipe.memo.made.count("prior") == 3 and pipe.memo.made.count("clip") == 1
