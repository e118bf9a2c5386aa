"""What figures draw of an unCLIP, against its pipeline and against the images themselves."""

import numpy as np
import pytest

from dalle_jax.figures.unclip import open_chain, way
from dalle_jax.pipelines.text_to_image import DallePipeline


@pytest.fixture(scope="module")
def chain(tiny_unclip_workdir):
    return open_chain(tiny_unclip_workdir, 5)


def test_a_chain_draws_what_the_pipeline_draws(chain, tiny_unclip_workdir):
    pipe = DallePipeline.from_pretrained(tiny_unclip_workdir, joint=False)
    made = pipe.generate_all(chain.captions, sample_index=range(5), until="decoder")
    z = chain.of_prior()
    np.testing.assert_allclose(z, made["image_embedding"], atol=1e-5)
    drawn = chain.draw(z, chain.captions).astype(int)
    assert abs(drawn - made["decoder"]).max() <= 1  # of 255: rounding
    # Noise belongs to the index, and what is dropped does not count.
    again = chain.draw(z[::-1], chain.captions[::-1], index=np.arange(5)[::-1])
    assert abs(again[::-1].astype(int) - drawn).max() <= 1
    assert (chain.draw(None, chain.captions) != drawn).any()


def test_inversion_leads_back_to_the_image(chain):
    z = chain.of_images(chain.images)
    how = {"sampler": "ddim", "num_inference_steps": 40, "guidance_scale": 1.0}
    back = chain.draw(z, x_T=chain.invert(z, steps=40), **how)
    other = chain.draw(z, **how)
    error = lambda drawn: np.abs(drawn.astype(int) - chain.images).mean()
    assert error(back) < 0.2 * error(other)


def test_a_way_goes_along_the_great_circle():
    a, b = np.eye(3, dtype=np.float32)[None, 0], np.eye(3, dtype=np.float32)[None, 1]
    np.testing.assert_allclose(way(a, b, 0.5), [[0.5**0.5, 0.5**0.5, 0]], atol=1e-6)
    np.testing.assert_allclose(way(a, b, 1.0), b, atol=1e-6)
