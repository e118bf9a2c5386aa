"""A run directory: made, opened, refused, its weights read back."""

import json
import re
import runpy
from unittest import mock

import jax
import numpy as np
import pytest

from dalle_jax import runs
from dalle_jax.configs import tiny, unclip_tiny
from dalle_jax.data.open import is_same_source
from dalle_jax.data.words import CaptionWords
from dalle_jax.runs import Run, create_run, open_run
from dalle_jax.runs import run as run_module
from dalle_jax.runs.create import ENDLESS_DECAYS
from dalle_jax.runs.fingerprint import fingerprint
from dalle_jax.training import pending
from dalle_jax.training.checkpoint import Checkpoints
from dalle_jax.training.optim import DECAYS, learning_rate_schedule, make_optimizer
from dalle_jax.training.state import TrainState, create_state
from tests.conftest import ROOT


def config(**overrides):
    """The tiny config as plain data, with some settings set by their dotted names."""
    settings = tiny.get_config()
    settings.update_from_flattened_dict(overrides)
    return settings.to_dict()


def test_made_then_opened(tmp_path):
    made = create_run(tmp_path / "decoder", "decoder", config())
    opened = open_run(tmp_path / "decoder")
    assert opened.stage_name == "decoder"
    assert opened.fingerprint == made.fingerprint
    assert (tmp_path / "decoder" / "fingerprint").read_text().strip() == made.fingerprint
    assert opened.step == 0
    assert create_run(tmp_path / "decoder", "decoder", config()).fingerprint == made.fingerprint


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("decoder.train.batch_size", 48, "decoder.train.batch_size is 8 there, 48 given"),
        ("decoder.train.steps", 40, "decoder.train.steps is 20 there, 40 given"),
        ("data.image_size", 64, "data.image_size is 24 there, 64 given"),
        ("seed", 1, "seed is 0 there, 1 given"),
    ],
)
def test_another_config_is_refused_with_its_settings_named(tmp_path, setting, value, sentence):
    create_run(tmp_path, "decoder", config())
    with pytest.raises(ValueError, match=sentence) as error:
        create_run(tmp_path, "decoder", config(**{setting: value}))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("decoder.train.log_every", 7),
        ("decoder.train.checkpoint_every", 3),
        ("decoder.train.mesh.fsdp", 2),
        ("decoder.sample.guidance_scale", 5.0),
        ("data.num_threads", 1),
        ("licence", "CC-BY-4.0"),
    ],
)
def test_what_weights_do_not_depend_on_may_change(tmp_path, setting, value):
    before = create_run(tmp_path, "decoder", config())
    changed = config(**{setting: value})
    after = create_run(tmp_path, "decoder", changed)
    assert after.fingerprint == before.fingerprint
    assert after.config == changed


STEPS, DECAY = "decoder.train.steps", "decoder.train.optimizer.decay"


@pytest.mark.parametrize("decay", ["cosine", "linear"])
def test_a_longer_training_says_why_it_can_t_go_on_and_what_to_do(tmp_path, decay):
    create_run(tmp_path, "decoder", config(**{DECAY: decay}))
    with pytest.raises(ValueError, match="steps is 20 there, 30 given") as error:
        create_run(tmp_path, "decoder", config(**{STEPS: 30, DECAY: decay}))
    told = str(error.value)
    assert "Its learning rate falls until the last step" in told
    assert "train anew with --config.decoder.train.steps=30 in another --workdir" in told
    assert "with --config.decoder.train.optimizer.decay=constant can be made longer" in told
    with pytest.raises(ValueError) as error:  # with a further difference that is no advice
        create_run(tmp_path, "decoder", config(**{STEPS: 30, DECAY: decay, "seed": 1}))
    assert "learning rate falls" not in str(error.value)
    assert open_run(tmp_path).config["decoder"]["train"]["steps"] == 20


@pytest.mark.parametrize("decay", ENDLESS_DECAYS)
@pytest.mark.parametrize("steps", [30, 10])
def test_a_training_of_an_endless_learning_rate_goes_on_to_another_length(tmp_path, decay, steps):
    before = create_run(tmp_path, "decoder", config(**{DECAY: decay}))
    other = config(**{STEPS: steps, DECAY: decay})
    longer = create_run(tmp_path, "decoder", other)
    assert longer.fingerprint == fingerprint("decoder", other) != before.fingerprint
    assert open_run(tmp_path).config["decoder"]["train"]["steps"] == steps
    assert open_run(tmp_path).fingerprint == longer.fingerprint
    assert (tmp_path / "fingerprint").read_text().strip() == longer.fingerprint
    with pytest.raises(ValueError, match="seed is 0 there, 1 given"):
        create_run(tmp_path, "decoder", config(**{STEPS: 40, DECAY: decay, "seed": 1}))


def test_a_training_does_not_go_back(tmp_path, monkeypatch):
    create_run(tmp_path, "decoder", config(**{DECAY: "constant"}))
    (tmp_path / "checkpoints").mkdir()
    monkeypatch.setattr(run_module, "steps_in", lambda directory: [15])
    with pytest.raises(ValueError, match="It is at step 15 already; give at least as many steps"):
        create_run(tmp_path, "decoder", config(**{STEPS: 10, DECAY: "constant"}))
    create_run(tmp_path, "decoder", config(**{STEPS: 15, DECAY: "constant"}))


@pytest.mark.parametrize("decay", DECAYS)
def test_endless_decays_are_those_that_do_not_depend_on_the_steps(decay):
    how = {"warmup_steps": 3, "decay": decay, "end_factor": 0.1}
    short, long = (learning_rate_schedule(1.0, steps=steps, **how) for steps in (10, 20))
    same = all(float(short(n)) == float(long(n)) for n in range(10))
    assert same == (decay in ENDLESS_DECAYS)


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """A folder `pictures` in the working directory and the home, and a link to it."""
    (tmp_path / "pictures").mkdir()
    (tmp_path / "linked").symlink_to("pictures")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


SPELLINGS = ("pictures", "pictures/", "./pictures", "{here}/pictures//", "~/pictures", "linked")


@pytest.mark.parametrize("second", SPELLINGS)
@pytest.mark.parametrize("first", SPELLINGS[:3])
@pytest.mark.parametrize("kind", ["folder:{}", "webdataset:{}/*.tar", "webdataset:a.tar::{}/b.tar"])
def test_another_spelling_of_the_same_place_goes_on_as_the_same_run(pictures, kind, first, second):
    made = config(**{"data.source": kind.format(first)})
    again = config(**{"data.source": kind.format(second.format(here=pictures))})
    before = create_run(pictures / "run", "decoder", made)
    after = create_run(pictures / "run", "decoder", again)
    assert after.fingerprint == before.fingerprint == fingerprint("decoder", made)
    assert after.data["source"] == kind.format(first)
    assert create_run(pictures / "run", "decoder", made).fingerprint == before.fingerprint


@pytest.mark.parametrize("other", ["folder:others", "folder:pictures/sub", "webdataset:pictures"])
def test_another_place_is_refused_in_the_words_that_were_typed(pictures, other):
    create_run(pictures / "run", "decoder", config(**{"data.source": "folder:pictures"}))
    with pytest.raises(
        ValueError, match=f"data.source is 'folder:pictures' there, '{other}' given"
    ):
        create_run(pictures / "run", "decoder", config(**{"data.source": other}))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("folder:a", "folder:a/", True),
        ("folder:a/../a", "folder:a", True),
        ("folder:a", "folder:b", False),
        ("folder:a", "webdataset:a", False),
        ("captioned_shapes/easy", "captioned_shapes/easy/", False),
        ("tfds:coco", "tfds:coco", True),
        ("webdataset:gs://bucket/a.tar", "webdataset:gs://bucket/a.tar", True),
        ("webdataset:gs://bucket/a.tar", "webdataset:gs://bucket/./a.tar", False),
        ("webdataset:a.tar::b.tar", "webdataset:./a.tar::./b.tar", True),
        ("folder:", "folder:.", False),
    ],
)
def test_sources_are_the_same_place_or_not(one, other, same):
    assert is_same_source(one, other) is same


def test_fingerprint_tells_configs_apart():
    base = fingerprint("decoder", config())
    assert base == fingerprint("decoder", json.loads(json.dumps(config())))
    settings = {
        "decoder.model.unet.channels": 16,
        "decoder.loss.target": "eps",
        "decoder.train.optimizer.learning_rate": 1e-4,
        "tokenizer.vocab_size": 321,
        "data.source": "emoji",
    }
    others = [
        fingerprint("decoder", config(**{setting: value})) for setting, value in settings.items()
    ]
    assert len({base, *others}) == 1 + len(settings)


def test_missing_foreign_and_old_directories(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no run"):
        open_run(tmp_path)
    for content in ("{", "[]", '{"a": 1}'):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(ValueError, match="is not the config of a run"):
            open_run(tmp_path)
    create_run(tmp_path / "run", "decoder", config())
    document = json.loads((tmp_path / "run" / "config.json").read_text())
    document["format"] = 0
    (tmp_path / "run" / "config.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match="format 0, and this version reads format 2: use the"):
        open_run(tmp_path / "run")


def made_before(directory, config):
    """A run as format 1 wrote it: without the settings that came since, with those that went."""
    config = json.loads(json.dumps(config))
    for name in ("encoding", "image_column", "caption_column", "min_side", "max_aspect_ratio"):
        del config["data"][name]
    own = config["decoder"]
    for name in ("layout", "scan_blocks", "image_size", "image_embedding"):
        del own["model"][name]
    for name in ("num_timesteps", "learned_variance", "zero_terminal_snr"):
        del own["diffusion"][name]
    del own["loss"]["embedding_dropout"]
    config["clip"] = {"loss": {"temperature": 0.07, "max_logit_scale": 100.0}}
    directory.mkdir()
    (directory / "config.json").write_text(
        json.dumps({"format": 1, "stage": "decoder", "config": config})
    )
    (directory / "fingerprint").write_text("0123456789ab\n")


def test_a_run_of_an_older_format_is_refused_until_the_script_that_is_named_brings_it(
    tmp_path, capsys
):
    made_before(tmp_path / "decoder", config())
    told = f"bring it there with `python {runs.MIGRATION} {tmp_path / 'decoder'}`"
    with pytest.raises(ValueError, match=re.escape(told)):
        open_run(tmp_path / "decoder")
    script = runpy.run_path(str(ROOT / runs.MIGRATION))["main"]
    (tmp_path / "decoder/due.json").write_text('{"step": 9, "left": ["preview"]}\n')
    assert script([str(tmp_path / "decoder")]) == 0
    assert pending.read(tmp_path / "decoder", 9) == ["preview"]
    assert not (tmp_path / "decoder/due.json").exists()
    run = create_run(tmp_path / "decoder", "decoder", config())  # the same config goes on
    assert run.fingerprint == fingerprint("decoder", config())
    assert (tmp_path / "decoder/fingerprint").read_text().strip() == run.fingerprint
    assert "fingerprint " + run.fingerprint in capsys.readouterr().out
    assert script([str(tmp_path / "decoder")]) == 0  # again: nothing is left to do
    assert "already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("section", "setting", "value", "sentence"),
    [
        ("clip", "temperature", 0.05, r"config.clip.loss.temperature is 0.05, and is always 0.07"),
        ("decoder", "target", None, "has no setting 'target' for the stage decoder"),
    ],
)
def test_the_script_refuses_a_run_that_this_version_can_t_continue(
    tmp_path, capsys, section, setting, value, sentence
):
    made_before(tmp_path / "decoder", config())
    path = tmp_path / "decoder/config.json"
    document = json.loads(path.read_text())
    loss = document["config"][section]["loss"]
    loss[setting] = value
    if value is None:
        del loss[setting]
    path.write_text(json.dumps(document))
    assert runpy.run_path(str(ROOT / runs.MIGRATION))["main"]([str(tmp_path / "decoder")]) == 1
    assert re.search(sentence, capsys.readouterr().err)
    assert json.loads(path.read_text()) == document


def test_the_script_refuses_weights_that_read_padding(tmp_path, capsys):
    made_before(tmp_path / "decoder", config())
    before = (tmp_path / "decoder/config.json").read_text()
    stage, optimizer = (
        Run(tmp_path, "decoder", config()).build_stage(),
        make_optimizer(learning_rate=1e-3, steps=1),
    )
    params = jax.eval_shape(stage.init, jax.random.key(0))
    params["text_transformer"]["embedding"]["padding"] = jax.ShapeDtypeStruct((12, 16), np.float32)
    params = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), params)
    checkpoints = Checkpoints(tmp_path / "decoder/checkpoints")
    state = TrainState(np.zeros((), np.int32), params, params, optimizer.init(params))
    checkpoints.save(5, state, {})
    checkpoints.close()
    assert runpy.run_path(str(ROOT / runs.MIGRATION))["main"]([str(tmp_path / "decoder")]) == 1
    said = capsys.readouterr().err
    assert "text_transformer/embedding/padding is only in the run; train it anew" in said
    assert (tmp_path / "decoder/config.json").read_text() == before


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("encoding", "cp1252"),
        ("image_column", "path"),
        ("caption_column", "title"),
        ("min_side", 64),
        ("max_aspect_ratio", 2.0),
    ],
)
def test_settings_of_how_own_data_are_read_count_once_they_are_set(tmp_path, setting, value):
    before = config()
    changed = config(**{f"data.{setting}": value})
    assert fingerprint("decoder", changed) != fingerprint("decoder", before)
    create_run(tmp_path, "decoder", before)
    with pytest.raises(ValueError, match=rf"data\.{setting} is .* there, {value!r} given"):
        create_run(tmp_path, "decoder", changed)


def test_a_stage_of_own_data_at_the_default_differs_from_the_system_s_setting():
    given = unclip_tiny.get_config().to_dict()
    given["data"]["encoding"] = "cp1252"
    everywhere = fingerprint("clip", given)
    given["clip"]["data"] = {"encoding": "utf-8"}
    assert fingerprint("clip", given) != everywhere


def test_settings_reach_the_reader_of_own_data_and_no_other(monkeypatch, tmp_path):
    options = {}
    monkeypatch.setattr(
        "dalle_jax.runs.opening.open_source", lambda source, **given: options.update(given)
    )
    run = create_run(tmp_path, "decoder", config(**{"data.source": "folder:x"}))
    run.open_source("train")
    assert not {"encoding", "min_side"} & options.keys()  # a built-in data set takes none
    given = config(**{"data.source": "folder:x", "data.encoding": "cp1252", "data.min_side": 8})
    create_run(tmp_path / "other", "decoder", given).open_source("train")
    assert (options["encoding"], options["min_side"]) == ("cp1252", 8)


def test_a_run_with_another_tokenizer_does_not_fit(tmp_path):
    settings = unclip_tiny.get_config().to_dict()
    settings["clip"]["train"]["steps"] = 0  # trained to its end
    for name in ("clip", "prior"):
        create_run(tmp_path / name, name, settings)
        (tmp_path / name / "tokenizer.json").write_text("{}")
    prior = open_run(tmp_path / "prior")
    assert set(prior.upstream()) == {"clip"}
    (tmp_path / "clip" / "tokenizer.json").write_text('{"version": "1.0"}')
    told = r"prior in .*prior was trained with another tokenizer.json than clip in .*clip;"
    with pytest.raises(ValueError, match=told):
        prior.upstream()


class Captioned:
    """Items of a data set with these captions."""

    def __init__(self, *captions):
        self.captions = captions

    def __len__(self):
        return len(self.captions)

    def __getitem__(self, i):
        return {"caption": self.captions[i], "image": np.zeros((2, 2, 3), np.uint8)}


def test_the_words_of_the_training_captions_stay_with_the_tokenizer_and_go_along(tmp_path):
    whole = unclip_tiny.get_config().to_dict()
    source = Captioned("a red star", "a blue star")
    clip = create_run(tmp_path / "clip", "clip", whole)
    assert CaptionWords.load(clip.words_path) is None
    clip.tokenizer(source)
    assert CaptionWords.load(clip.words_path).words == {"a", "red", "blue", "star"}
    prior = Run(tmp_path / "prior", "prior", whole)
    (tmp_path / "prior").mkdir()
    with mock.patch.object(Run, "upstream", lambda run: {"clip": clip}):
        prior.tokenizer(Captioned("other words"))
    assert prior.words_path.read_text() == clip.words_path.read_text()


def test_a_tokenizer_that_was_given_says_nothing_of_words(tmp_path):
    first = create_run(tmp_path / "first", "decoder", config())
    first.tokenizer(Captioned("a red star"))
    given = config(**{"tokenizer.file": str(first.tokenizer_path)})
    second = create_run(tmp_path / "second", "decoder", given)
    second.tokenizer(Captioned("a blue star"))
    assert not second.words_path.exists()


def test_weights_come_back_as_they_were_averaged(tmp_path):
    run = create_run(tmp_path, "decoder", config())
    with pytest.raises(FileNotFoundError, match="no checkpoint yet"):
        run.load_params()
    stage, optimizer = run.build_stage(), make_optimizer(learning_rate=1e-3, steps=1)
    shapes = jax.eval_shape(lambda key: create_state(stage, optimizer, key), jax.random.key(0))
    rng = np.random.default_rng(0)
    state = jax.tree.map(lambda x: rng.integers(0, 9, x.shape).astype(x.dtype), shapes)
    checkpoints = Checkpoints(run.directory / "checkpoints")
    checkpoints.save(5, state, {})
    checkpoints.close()
    assert open_run(tmp_path).step == 5
    params = open_run(tmp_path).load_params()
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, y), params, state.ema_params)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("runs/quikstart/decoder", "; there is one in runs/quickstart; train one"),
        ("runs/zzz/decoder", "; there is one in runs/other, runs/quickstart; train one"),
        ("runs/quickstart/decoder/decoder", "quickstart/decoder is a run itself: its workdir is "),
        ("runs/quickstart/prior", "; there are runs of decoder in runs/quickstart; train one"),
        ("runs/quikstart/clip", r"\(it has no config.json\); train one"),
        ("nowhere/x/decoder", r"\(it has no config.json\); train one"),
    ],
)
def test_where_there_is_no_run_one_nearby_is_named(tmp_path, monkeypatch, asked, sentence):
    for name in ("quickstart", "other"):
        create_run(tmp_path / "runs" / name / "decoder", "decoder", config())
    (tmp_path / "runs/empty").mkdir()
    (tmp_path / "runs/file").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=sentence):
        open_run(asked)
