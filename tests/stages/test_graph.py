"""Systems as graphs: which stages draw, in what order, told by what they take and give."""

import re

import pytest

from dalle_jax.pipelines.arguments import check_source
from dalle_jax.stages import STAGES
from dalle_jax.stages.base import Stage
from dalle_jax.stages.graph import encoding, giving, image_stages, main_stage, sampling_chain


def stage(takes, gives, encodes="", continues=()):
    """A stage that takes and gives what is named, with commas."""
    made = Stage()
    made.takes, made.gives = tuple(takes.split(",")), tuple(gives.split(","))
    made.encodes, made.continues = encodes, continues
    return made


CLIP = stage("tokens", "text_embedding,text_features", encodes="image_embedding")
PRIOR = stage("tokens,text_embedding,text_features,sample_index", "image_embedding")
UNCLIP = stage("tokens,image_embedding,sample_index", "image")
GLIDE = stage("tokens,sample_index", "image")
UPSAMPLER = stage("low_res,sample_index", "image")
FEATURES = stage("image", "image_embedding", encodes="image_embedding")
JOINT = stage("tokens,sample_index", "image", continues=("prior", "decoder"))
DVAE = stage("image_tokens", "image", encodes="image_tokens")
TRANSFORMER = stage("tokens,sample_index", "image_tokens")
AUTOENCODER = stage("latents", "image", encodes="latents")
T5 = stage("tokens", "text_features")
LATENT = stage("tokens,text_features,sample_index", "latents")
CAPTIONER = stage("image", "caption")

SYSTEMS = {
    "GLIDE": ({"decoder": GLIDE}, "decoder"),
    "GLIDE beside CLIP": ({"decoder": GLIDE}, "decoder", {"clip": CLIP, "features": FEATURES}),
    "upsampled": ({"decoder": GLIDE, "upsampler": UPSAMPLER}, "decoder"),
    "twice upsampled": ({"decoder": GLIDE, "one": UPSAMPLER, "two": UPSAMPLER}, "decoder"),
    "unCLIP": (
        {"clip": CLIP, "prior": PRIOR, "decoder": UNCLIP, "upsampler": UPSAMPLER},
        "decoder",
        {"joint": JOINT, "features": FEATURES},
    ),
    "unCLIP without a prior": ({"clip": CLIP, "decoder": UNCLIP}, "decoder"),
    "DALL-E": ({"transformer": TRANSFORMER, "dvae": DVAE}, "transformer", {"features": FEATURES}),
    "latent diffusion": (
        {"text": T5, "latent": LATENT, "autoencoder": AUTOENCODER},
        "latent",
        {"captioner": CAPTIONER},
    ),
    "latent diffusion, upsampled": (
        {"text": T5, "latent": LATENT, "autoencoder": AUTOENCODER, "upsampler": UPSAMPLER},
        "latent",
    ),
}


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("name", SYSTEMS)
def test_the_chain_is_found_among_all_that_is_trained(name, backwards):
    wanted, main, *beside = SYSTEMS[name]
    several = sum(one is UPSAMPLER for one in wanted.values()) > 1  # in the order that is given
    everything = [*wanted.items(), *(pair for more in beside for pair in more.items())]
    found = sampling_chain(dict(everything[::-1] if backwards and not several else everything))
    assert found == wanted and list(found) == list(wanted)
    assert main_stage(found) == main
    assert image_stages(found) == tuple(wanted)[list(wanted).index(main) :]


@pytest.mark.parametrize(
    "stages",
    [
        {},
        {"clip": CLIP, "prior": PRIOR},
        {"prior": PRIOR, "decoder": UNCLIP},
        {"upsampler": UPSAMPLER},
        {"dvae": DVAE},
        {"latent": LATENT, "autoencoder": AUTOENCODER},
        {"joint": JOINT},
        {"features": FEATURES, "captioner": CAPTIONER},
    ],
)
def test_where_something_is_missing_no_image_is_made(stages):
    assert sampling_chain(stages) == {}
    assert image_stages({}) == () and main_stage({}) is None


def test_who_gives_and_who_encodes():
    unclip = {"clip": CLIP, "prior": PRIOR, "decoder": UNCLIP}
    assert giving(unclip, "image_embedding") == "prior"
    assert encoding(unclip, "image_embedding") == "clip"
    assert giving(unclip, "latents") is encoding(unclip, "latents") is None


def test_stages_of_the_table_that_embed_captions_too_are_clips():
    assert [name for name, one in STAGES.items() if one.embeds_captions()] == ["clip"]


def test_where_an_embedding_can_come_from_is_checked():
    unclip = {"clip": CLIP, "prior": PRIOR, "decoder": UNCLIP}
    picture = object()
    for source, image in ((None, None), ("prior", None), ("text-embedding", None)):
        check_source(unclip, source, image)
    check_source(unclip, "image-embedding", picture)
    check_source({"clip": CLIP, "decoder": UNCLIP}, "text-embedding", None)
    check_source({"decoder": GLIDE}, None, None)
    for stages, source, image, said in (
        (unclip, "image_embedding", None, "did you mean image-embedding?"),
        (unclip, "image-embedding", None, "needs the images"),
        (unclip, None, picture, 'images are not read with embedding="prior"'),
        ({"clip": CLIP, "decoder": UNCLIP}, None, None, "samples image embeddings"),
        ({"clip": CLIP, "decoder": UNCLIP}, "prior", None, "no embedding comes from 'prior'"),
        ({"decoder": GLIDE}, None, picture, "reads captions only; sampling from images needs"),
    ):
        with pytest.raises(ValueError, match=re.escape(said)):
            check_source(stages, source, image)
