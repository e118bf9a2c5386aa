"""The whole chain, trained by the command line and drawn from."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from dalle_jax import DallePipeline, trainer
from dalle_jax.cli import prepare as cli_prepare
from dalle_jax.cli import sample as cli_sample
from dalle_jax.config.load import load_config
from dalle_jax.prepare import embeddings as cli_embeddings
from tests.conftest import ROOT

PROMPTS = ["a large red circle", "a small blue star"]


@pytest.fixture(scope="module")
def pipe(tiny_unclip_workdir):
    return DallePipeline.from_pretrained(tiny_unclip_workdir)


def generate(pipe, prompts=PROMPTS, **settings):
    return pipe.generate_all(prompts, sample_index=range(len(prompts)), **settings)


def config(data_dir, *overrides):
    path = str(ROOT / "configs/unclip_tiny.py")
    return load_config(path, [f"--config.data.dir={data_dir}", *overrides]).to_dict()


def last_line(workdir, stage):
    return json.loads((workdir / stage / "metrics.jsonl").read_text().splitlines()[-1])


@pytest.mark.slow
def test_a_caption_goes_through_all_stages(pipe):
    assert list(pipe.system.stages) == ["clip", "prior", "decoder", "upsampler"]
    made = pipe(PROMPTS[0], output="all", num_images_per_prompt=2, prior={"guidance_scale": 2.0})
    assert made.image_embeddings.shape == (2, 12)
    np.testing.assert_allclose(np.linalg.norm(made.image_embeddings, axis=1), 1, rtol=1e-5)
    sizes = {name: images[0].size for name, images in made.resolutions.items()}
    assert sizes == {"decoder": (12, 12), "upsampler": (24, 24)}
    assert made.images[0].size == (24, 24)
    record = made.images[0].record
    for stage in ("clip", "prior", "decoder", "upsampler", "joint"):
        assert re.search(rf"{stage} [0-9a-f]{{12}} step 10", record["checkpoint"])
    assert "'guidance_scale': 2.0" in record["prior"]


def test_a_sample_does_not_depend_on_its_batch(pipe):
    together = generate(pipe, PROMPTS * 2, seed=1)
    alone = pipe.generate_all([PROMPTS[1]], sample_index=[3], seed=1)
    for name, arrays in together.items():
        np.testing.assert_allclose(alone[name][0].astype(float), arrays[3], atol=1.0, rtol=1e-3)


def test_each_source_of_the_embedding_is_another_one(pipe):
    image = np.random.default_rng(0).integers(0, 255, (2, 40, 40, 3), dtype=np.uint8)
    made = {
        source: generate(pipe, embedding=source, images=images, until="decoder")
        for source, images in (
            ("prior", None),
            ("text-embedding", None),
            ("image-embedding", image),
        )
    }
    for outputs in made.values():
        assert list(outputs) == ["image_embedding", "decoder"]
    found = [outputs["image_embedding"] for outputs in made.values()]
    for i in range(3):
        assert np.abs(found[i] - found[i - 1]).max() > 0.01
    clip = pipe.system.stages["clip"]
    shrunk = np.stack([np.asarray(Image.fromarray(i).resize((24, 24), 1)) for i in image])
    expected = clip.encode_image(pipe.system.params["clip"], shrunk)
    np.testing.assert_allclose(made["image-embedding"]["image_embedding"], expected, atol=1e-5)


def test_joint_training_can_be_left_out(pipe, tiny_unclip_workdir):
    without = DallePipeline.from_pretrained(tiny_unclip_workdir, joint=False)
    a, b = generate(pipe), generate(without)
    assert np.abs(a["image_embedding"] - b["image_embedding"]).max() > 1e-4


def test_what_can_not_be_drawn_is_named(pipe):
    for settings, message in (
        ({"embedding": "image-embedding"}, "needs the images"),
        ({"until": "upsampler_256"}, "those that do: decoder, upsampler"),
        ({"num_candidates": 3}, 'decoder has no option "num_candidates", prior has: give prior='),
        ({"clip": {"threshold": "none"}}, 'clip has no option "threshold"'),
        ({"upsampler": {"num_inference_steps": 0}}, "1 to 100,000; got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            pipe("a red apple", **settings)


def test_the_verb_draws_variations(tiny_unclip_workdir, tmp_path):
    picture, out = tmp_path / "picture.png", tmp_path / "out.png"
    Image.new("RGB", (50, 30), "red").save(picture)
    options = ["--from=image-embedding", f"--image={picture}", "--until=decoder"]
    cli_sample.run(
        ["a red apple", f"--workdir={tiny_unclip_workdir}", f"--out={out}", *options, "--n=1"]
    )
    with Image.open(out) as image:
        assert image.size == (12, 12)


def test_a_stage_refuses_what_it_does_not_stand_on(tiny_unclip_workdir, shapes_dir, tmp_path):
    shutil.copytree(tiny_unclip_workdir / "clip", tmp_path / "clip")
    other = config(shapes_dir, "--config.clip.model.embedding_width=16")
    with pytest.raises(ValueError, match=r"prior in .* does not fit clip in .*embedding_width is"):
        trainer.train_stage("prior", other, tmp_path)
    unfinished = config(shapes_dir, "--config.clip.train.steps=20")
    path = tmp_path / "clip" / "config.json"
    document = json.loads(path.read_text())
    document["config"]["clip"]["train"]["steps"] = 20
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match="at step 10 of 20"):
        trainer.train_stage("prior", unfinished, tmp_path)


@pytest.mark.slow
def test_stored_embeddings_give_the_same_training(tiny_unclip_workdir, shapes_dir, tmp_path):
    shutil.copytree(tiny_unclip_workdir / "clip", tmp_path / "clip")
    cli_prepare.run(["--embeddings", f"--workdir={tmp_path}"])
    trainer.train_stage("prior", config(shapes_dir), tmp_path)
    with_stored, without = last_line(tmp_path, "prior"), last_line(tiny_unclip_workdir, "prior")
    for name, value in without.items():
        if not name.startswith("validation/mse_t"):
            assert with_stored[name] == pytest.approx(value, rel=1e-3), name


@pytest.mark.slow
def test_stored_embeddings_are_of_images_as_they_are(tiny_unclip_workdir, shapes_dir, tmp_path):
    moved = config(shapes_dir, "--config.data.max_shift=1")
    shutil.copytree(tiny_unclip_workdir / "clip", tmp_path / "clip")
    path = tmp_path / "clip" / "config.json"
    document = json.loads(path.read_text())
    document["config"]["data"]["max_shift"] = 1
    path.write_text(json.dumps(document))
    cli_embeddings.store(tmp_path, "train")
    with pytest.raises(ValueError, match="max_shift changes them"):
        trainer.train_stage("prior", moved, tmp_path)


def test_embeddings_of_another_clip_are_refused(tiny_unclip_workdir, shapes_dir, tmp_path):
    from dalle_jax.data.embeddings import StoredEmbeddings, write_embeddings

    path = tmp_path / "embeddings"
    rows = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    write_embeddings(path, rows, count=5, width=3, made_by="a step 1")
    np.testing.assert_array_equal([StoredEmbeddings(path, "a step 1")[i] for i in range(5)], rows)
    with pytest.raises(ValueError, match="embeddings of a step 1, and b step 1 is asked for"):
        StoredEmbeddings(path, "b step 1")
    path.write_bytes(path.read_bytes()[:70_000])
    with pytest.raises(ValueError, match=r"no readable embeddings|not whole"):
        StoredEmbeddings(path, "a step 1")
    with pytest.raises(ValueError, match="5 embeddings came where 6 were announced"):
        write_embeddings(path, rows, count=6, width=3, made_by="a")
    with pytest.raises(ValueError, match="embedding 0 is no 3 finite numbers"):
        write_embeddings(path, rows * np.nan, count=5, width=3, made_by="a")
