"""What a training starts from and what of it is trained."""

import json
import re
import shutil

import jax
import numpy as np
import pytest
from flax import traverse_util

import dalle_jax
from configs import tiny
from dalle_jax.config.load import load_config
from dalle_jax.data.tokenizer import Tokenizer, train_tokenizer
from dalle_jax.interop.pretrained import save_pretrained
from dalle_jax.runs import create_run, open_run
from dalle_jax.runs.fingerprint import fingerprint
from dalle_jax.trainer.start import check_start, load_start
from dalle_jax.training.checkpoint import Checkpoints
from dalle_jax.training.optim import make_optimizer
from dalle_jax.training.state import Rows, create_state
from tests.conftest import ROOT

TRAIN = "decoder.train"
TOKENS, POSITIONS = (f"text_transformer/embedding/{name}" for name in ("token", "position"))


def config(**overrides):
    """The tiny config as plain data, with some settings set by their dotted names."""
    settings = tiny.get_config()
    settings.update_from_flattened_dict(overrides)
    return settings.to_dict()


def flat(params):
    return {k: np.asarray(v) for k, v in traverse_util.flatten_dict(params, sep="/").items()}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A run of the tiny decoder whose weights are random numbers, EMA and raw ones differ."""
    run = create_run(tmp_path_factory.mktemp("source") / "decoder", "decoder", config())
    stage, optimizer = run.build_stage(), make_optimizer(learning_rate=1e-3, steps=1)
    shapes = jax.eval_shape(lambda key: create_state(stage, optimizer, key), jax.random.key(0))
    rng = np.random.default_rng(0)
    state = jax.tree.map(lambda x: np.asarray(0.02 * rng.standard_normal(x.shape), x.dtype), shapes)
    state = state.replace(step=np.int32(20))
    checkpoints = Checkpoints(run.directory / "checkpoints")
    checkpoints.save(20, state, {})
    checkpoints.close()
    tokens = train_tokenizer(["a large red circle", "a small blue star"], 300)
    Tokenizer(tokens, 12).save(run.tokenizer_path)
    return run


def starting(directory, init_from, **overrides):
    """A run that starts from other weights, and its tokenizer."""
    settings = config(**{f"{TRAIN}.init_from": str(init_from)} | overrides)
    run = create_run(directory / "decoder", "decoder", settings)
    return run, run.tokenizer([{"caption": "a green square"}])


def test_a_run_a_workdir_a_saved_model_and_a_file_of_it_give_the_averaged_weights(source, tmp_path):
    saved = save_pretrained([source], tmp_path / "saved")
    alone = shutil.copy(saved / "decoder/model.safetensors", tmp_path / "alone.safetensors")
    wanted, given = flat(source.load_params()), {}
    for place in (source.directory, source.directory.parent, saved, alone):
        run, tokenizer = starting(tmp_path / f"from_{len(given)}", place)
        given[place] = load_start(run, tokenizer)
        assert given[place].keys() == wanted.keys()
        for name, array in given[place].items():
            np.testing.assert_array_equal(array, wanted[name])
        assert run.history == {"init_from": source.checkpoint_name}
        assert run.tokenizer_path.read_text() == source.tokenizer_path.read_text()
        assert run.fingerprint not in (source.fingerprint, fingerprint("decoder", config()))


def test_settings_that_are_not_used_leave_the_fingerprint_as_it_was():
    before = config()
    for name in ("init_from", "init_only", "freeze", "lora"):
        del before["decoder"]["train"][name]
    assert fingerprint("decoder", before) == fingerprint("decoder", config())
    frozen = config(**{f"{TRAIN}.freeze": "^network/"})
    assert fingerprint("decoder", frozen) != fingerprint("decoder", config())


def test_tables_of_another_tokenizer_and_length_take_the_rows_that_both_have(
    source, tmp_path, capsys
):
    other = Tokenizer(train_tokenizer(["a large square", "red stars"], 310), 8)
    other.save(tmp_path / "tokenizer.json")
    given = {"file": str(tmp_path / "tokenizer.json"), "vocab_size": 400, "max_length": 16}
    overrides = {f"tokenizer.{name}": value for name, value in given.items()}
    run, tokenizer = starting(tmp_path, source.directory, **overrides)
    start, was = load_start(run, tokenizer), flat(source.load_params())
    there = Tokenizer.load(source.tokenizer_path).vocabulary()
    assert set(there) != set(tokenizer.vocabulary()) and "<pad>" in there
    assert isinstance(start[TOKENS], Rows) and isinstance(start[POSITIONS], Rows)
    rows = dict(zip(start[TOKENS].index.tolist(), start[TOKENS].values))
    for token, row in tokenizer.vocabulary().items():
        if token in there:
            np.testing.assert_array_equal(rows.pop(row), was[TOKENS][there[token]])
    assert not rows
    np.testing.assert_array_equal(start[POSITIONS].values, was[POSITIONS])
    assert start[POSITIONS].index.tolist() == list(range(12))
    said = " ".join(capsys.readouterr().out.split())
    assert f"{POSITIONS} takes the rows of 12 positions that both have, and begins with" in said
    assert f"rows of {len(start[TOKENS].index)} tokens that both have" in said


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"init_only": "text_transfromer"}, "matches no parameter; did you mean text_transformer?"),
        ({"freeze": "^xyz/"}, "freeze='^xyz/' matches no parameter; names begin with "),
        ({"freeze": "."}, "matches all parameters of decoder, so that nothing would be trained"),
        ({"init_from": "nowhere"}, "nowhere holds no run"),
    ],
)
def test_expressions_and_places_that_fit_nothing_are_refused(source, settings, sentence):
    settings = {"init_from": str(source.directory)} | settings
    given = config(**{f"{TRAIN}.{name}": value for name, value in settings.items()})
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(sentence)):
        check_start("decoder", given, is_begun=False)


def test_weights_of_another_network_are_refused_by_name_and_its_parts_are_taken(
    source, tmp_path, capsys
):
    wide = {"decoder.model.unet.channels": 16, f"{TRAIN}.init_from": str(source.directory)}
    with pytest.raises(ValueError, match="of another shape: network/") as error:
        check_start("decoder", config(**wide), is_begun=False)
    assert " and " in str(error.value) and "config.decoder.train.init_only" in str(error.value)
    wide[f"{TRAIN}.init_only"] = "^text_transformer/"
    wide[f"{TRAIN}.freeze"] = "^text_transformer/"
    check_start("decoder", config(**wide), is_begun=False)
    assert "parameters are frozen" in capsys.readouterr().out
    run, tokenizer = starting(tmp_path, source.directory, **wide)
    assert {name.split("/")[0] for name in load_start(run, tokenizer)} == {"text_transformer"}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["freeze=("], "train.freeze is '('; it must be a regular expression"),
        (["lora.rank=2"], "train.lora.rank is 2, and there is no init_from"),
        (["lora.rank=2", "init_from=a", "freeze=b"], "freeze is 'b'; with lora.rank above 0 all"),
        (["init_only=unet"], "train.init_only is 'unet', and there is no init_from"),
    ],
)
def test_bad_expressions_are_refused_with_the_config(settings, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        load_config("tiny", [f"--config.decoder.train.{one}" for one in settings])


def test_weights_that_changed_since_the_run_was_made_are_refused(source, tmp_path):
    copy = shutil.copytree(source.directory, tmp_path / "copy")
    run, tokenizer = starting(tmp_path, copy)
    (copy / "checkpoints/20").rename(copy / "checkpoints/30")
    with pytest.raises(ValueError, match=r"is [0-9a-f]{12} step 30 now, and .* step 20; start in"):
        load_start(run, tokenizer)


def test_a_place_without_a_trained_run_of_the_stage_says_so(source, tmp_path):
    (tmp_path / "decoder").mkdir()
    shutil.copy(source.directory / "config.json", tmp_path / "decoder")
    given = config(**{f"{TRAIN}.init_from": str(tmp_path)})
    with pytest.raises(FileNotFoundError, match="has no checkpoint to start from; train it first"):
        check_start("decoder", given, is_begun=False)
    document = json.loads((tmp_path / "decoder/config.json").read_text()) | {"stage": "clip"}
    (tmp_path / "decoder").rename(tmp_path / "clip")
    (tmp_path / "clip/config.json").write_text(json.dumps(document))
    with pytest.raises(
        FileNotFoundError, match="holds no run of decoder to start from; it has clip"
    ):
        check_start("decoder", given, is_begun=False)


@pytest.mark.slow
def test_what_is_frozen_stays_as_it_was_and_the_rest_is_trained(
    one_device, source, shapes_dir, tmp_path
):
    options = [f"data.dir={shapes_dir}", "decoder.train.steps=2", "decoder.train.freeze=^network/"]
    options += [f"decoder.train.init_from={source.directory}", "decoder.train.validation_images=0"]
    options = [f"--config.{option}" for option in options]
    given = load_config(ROOT / "configs/tiny.py", options)
    run = dalle_jax.train(given, tmp_path)["decoder"]
    was = flat(source.load_params())
    for weights in ("ema", "raw"):
        now = flat(run.load_params(weights))
        assert now.keys() == was.keys()
        for name, array in now.items():
            same = bool((array == was[name]).all())
            assert same or not name.startswith("network/"), name
        assert not (now[POSITIONS] == was[POSITIONS]).all()
    saved = save_pretrained([run], tmp_path / "saved")
    assert open_run(saved / "decoder").fingerprint == run.fingerprint


@pytest.mark.slow
def test_adapters_are_trained_on_weights_that_stay_and_exported_merged_or_alone(
    one_device, source, shapes_dir, tmp_path
):
    place = shutil.copytree(source.directory, tmp_path / "adapted")
    options = [f"data.dir={shapes_dir}", "decoder.train.optimizer.decay=constant"]
    options += [f"decoder.train.{name}" for name in ("lora.rank=2", "lora.alpha=4.0")]
    options += [f"decoder.train.init_from={place}", "decoder.train.validation_images=0"]
    given = load_config(ROOT / "configs/tiny.py", [f"--config.{option}" for option in options])
    merged = {}
    for workdir, steps in (("parts", 2), ("parts", 4), ("whole", 4)):
        given.decoder.train.steps = steps
        run = dalle_jax.train(given, tmp_path / workdir)["decoder"]
        merged[workdir] = flat(run.load_params())
    was, adapters = flat(source.load_params()), flat(run.load_trained())
    assert {name.rpartition("/")[2] for name in adapters} == {"lora_a", "lora_b"}
    for name, array in merged["whole"].items():
        np.testing.assert_array_equal(array, merged["parts"][name])
        if name.endswith("/kernel"):
            a, b = (adapters[name.removesuffix("kernel") + one] for one in ("lora_a", "lora_b"))
            assert b.any()
            wanted = was[name] + 2.0 * (a @ b).reshape(array.shape)
            np.testing.assert_allclose(array, wanted, atol=1e-6)
        else:
            np.testing.assert_array_equal(array, was[name])
    whole = save_pretrained([run], tmp_path / "merged")
    alone = save_pretrained([run], tmp_path / "alone", lora="alone")
    sizes = [(one / "decoder/model.safetensors").stat().st_size for one in (alone, whole)]
    assert sizes[0] < sizes[1]
    assert source.checkpoint_name in (alone / "README.md").read_text()
    for saved in (whole, alone):
        again = open_run(saved / "decoder")
        assert again.fingerprint == run.fingerprint
        for name, array in flat(again.load_params()).items():
            np.testing.assert_array_equal(array, merged["whole"][name])
    (place / "checkpoints/20").rename(place / "checkpoints/30")
    with pytest.raises(ValueError, match=f"adapters of the weights {source.checkpoint_name}, and"):
        open_run(alone / "decoder").load_params()
    place.rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=f"{source.checkpoint_name}, to be found at "):
        open_run(alone / "decoder").load_params()
