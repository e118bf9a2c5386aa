"""What stages make of captions is cached, however often images are sampled from them."""

import numpy as np

from dalle_jax import DallePipeline
from dalle_jax.pipelines.batch import MIN_ENTRY_BYTES, Memo

PROMPTS = ["a large red circle", "a small blue star"]


def test_a_memo_knows_its_inputs_and_drops_the_least_recently_used():
    memo, made = Memo(max_bytes=2 * MIN_ENTRY_BYTES), []

    def ask(name, *arrays):
        return memo(name, arrays, lambda: made.append(name) or np.full(10, float(len(made))))

    one, other = np.arange(3), np.arange(4)
    assert ask("clip", one) is ask("clip", one.copy())
    assert ask("clip", one) is not ask("clip", other)
    assert made == ["clip", "clip"]
    ask("clip", one)  # so that `other` is the least recently used
    ask("prior", one)  # a third entry, with room for two
    ask("clip", one)
    assert made == ["clip", "clip", "prior"]
    ask("clip", other)
    ask("prior", one.astype(np.int16))
    ask("prior", one.reshape(3, 1))
    assert made == ["clip", "clip", "prior", "clip", "prior", "prior"]


class Counting(Memo):
    """Lists the stages whose outputs are computed."""

    def __init__(self):
        super().__init__()
        self.made: list[str] = []

    def __call__(self, name, arrays, make):
        return super().__call__(name, arrays, lambda: self.made.append(name.split()[0]) or make())


def counting_pipeline(workdir):
    pipe = DallePipeline.from_pretrained(workdir)
    pipe.memo = Counting()
    return pipe


def test_a_sweep_over_guidance_encodes_its_captions_once(tiny_workdir):
    pipe = counting_pipeline(tiny_workdir)
    settings = {"sample_index": (0, 1), "num_inference_steps": 2}
    images = [pipe.generate(PROMPTS, guidance_scale=s, **settings) for s in (1.0, 2.0, 3.0)]
    assert pipe.memo.made == ["decoder", "decoder"]  # the captions and the empty ones
    pipe.generate(PROMPTS, seed=1, **settings)
    assert pipe.memo.made == ["decoder", "decoder"]
    pipe.generate(PROMPTS, negative_prompts=PROMPTS[::-1], **settings)
    assert pipe.memo.made == ["decoder"] * 3
    pipe.memo = Memo()
    np.testing.assert_array_equal(pipe.generate(PROMPTS, guidance_scale=3.0, **settings), images[2])


def test_a_sweep_over_the_decoder_samples_the_priors_embeddings_once(tiny_unclip_workdir):
    pipe = counting_pipeline(tiny_unclip_workdir)

    def sample(**settings):
        pipe.generate(PROMPTS, sample_index=(0, 1), until="decoder", **settings)

    sample(guidance_scale=1.0)
    sample(guidance_scale=2.0)
    assert pipe.memo.made.count("prior") == pipe.memo.made.count("clip") == 1
    sample(prior={"guidance_scale": 2.0})
    sample(seed=1)
    assert pipe.memo.made.count("prior") == 3 and pipe.memo.made.count("clip") == 1
