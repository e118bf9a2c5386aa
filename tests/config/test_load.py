import json
import os
import shlex

import pytest

from dalle_jax.cli import train
from dalle_jax.config.load import apply_override, flatten, load_config, read_settings
from tests.conftest import ROOT

TINY = ROOT / "configs/tiny.py"


def test_overrides_take_the_type_of_the_setting():
    config = load_config(
        TINY,
        [
            "--config.decoder.train.steps=7",
            "--config.decoder.train.optimizer.learning_rate=1",
            "--config.decoder.model.unet.channel_mult=[1, 2, 3]",
            "--config.decoder.loss.target=eps",
            "--config.data.flip=True",
        ],
    )
    train = config.decoder.train
    assert train.steps == 7
    assert type(train.optimizer.learning_rate) is float
    assert config.decoder.model.unet.channel_mult == (1, 2, 3)
    assert config.decoder.loss.target == "eps"
    assert config.data.flip is True


@pytest.mark.parametrize(
    "override, message",
    [
        ("--config.decoder.train.stesp=7", "did you mean decoder.train.steps"),
        ("--config.train.learning_rate=7", "did you mean decoder.train.optimizer.learning_rate"),
        (
            "--config.decoder.train.steps=many",
            "decoder.train.steps is a whole number .*'many' is not",
        ),
        ("--config.decoder.train.steps=7.5", "is a whole number"),
        ("--config.decoder.train=3", "no setting config.decoder.train"),
        ("--config.decoder.train.steps", "is not understood"),
        ("--config.data.flip=1", "is True or False"),
        ("--config.decoder.train.steps=" + "(" * 100_000, "is a whole number"),
    ],
)
def test_what_is_mistyped_is_told(override, message):
    with pytest.raises(ValueError, match=message):
        apply_override(load_config(TINY).unlock(), override)


def test_settings_from_json_are_those_that_are_typed(tmp_path):
    settings = {
        "decoder.train.steps": 7,
        "decoder.train.optimizer.learning_rate": 1,
        "decoder.model.unet.channel_mult": (1, 2, 3),
        "decoder.loss.target": "eps",
        "data.flip": True,
    }
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(settings))
    typed = load_config(TINY, [f"--config.{name}={value}" for name, value in settings.items()])
    config = load_config(TINY, settings=read_settings(path))
    assert config.to_dict() == typed.to_dict()
    assert type(config.decoder.train.optimizer.learning_rate) is float
    # What is typed for one run goes before.
    assert load_config(TINY, ["--config.decoder.train.steps=8"], settings).decoder.train.steps == 8
    for text, message in (
        ('{"decoder.train.steps": "7"}', "is a whole number .*'7' is not"),
        ('{"decoder.loss.target": 7}', "is a text .*'7' is not"),
        ('{"decoder.train.stepz": 7}', r"did you mean decoder\.train\.steps"),
        ("[7]", "must hold a JSON object of settings"),
        ("{", "is not JSON"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            train.run([f"--config={TINY}", "--print_config", f"--settings={path}"])
    with pytest.raises(FileNotFoundError, match=r"--settings=.*none\.json: there is no such file"):
        train.run([f"--config={TINY}", "--print_config", f"--settings={tmp_path}/none.json"])


def test_an_override_executes_nothing(tmp_path):
    trap = tmp_path / "trap"
    with pytest.raises(ValueError):
        load_config(TINY, [f"--config.seed=__import__('os').mkdir({str(trap)!r})"])
    assert not os.path.exists(trap)


def test_a_missing_file_and_one_without_get_config(tmp_path):
    with pytest.raises(FileNotFoundError, match="no config file"):
        load_config(tmp_path / "none.py")
    (tmp_path / "empty.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match=r"empty\.py is not a config file"):
        load_config(tmp_path / "empty.py")


@pytest.mark.parametrize(
    "text, message",
    [
        ("x = (\n", r"line 1 of .*wrong\.py: SyntaxError: '\(' was never closed"),
        ("def get_config():\n    return nothing\n", r"line 2 of .*wrong\.py: NameError: name"),
        ("import no_such_module\n", "line 1 of .*ModuleNotFoundError"),
        ("def get_config():\n    return {}\n", r"has no get_config\(\) of a ConfigDict"),
    ],
)
def test_a_config_file_that_fails_is_told_by_its_line(tmp_path, text, message):
    (tmp_path / "wrong.py").write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        load_config(tmp_path / "wrong.py")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["tiny", "unclip_tiny", "emoji", "dalle2/clip"])
def test_a_printed_config_gives_itself_again(name, capsys, tmp_path):
    typed = [
        "--config.data.source=folder:my pictures/$HOME's",
        "--config.seed=7",
        "--config.data.max_shift=3",
    ]
    assert train.run([f"--config={name}", "--print_config", *typed]) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") == len(dict(flatten(load_config(name))))
    assert not list(tmp_path.iterdir())
    pasted = shlex.split(printed)
    assert "--config.seed=7" in pasted and typed[0] in pasted
    assert load_config(name, pasted).to_dict() == load_config(name, typed).to_dict()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("c.decoder.train.stepz = 3", "has config.decoder.train.stepz.*did you mean steps?"),
        ("c.data.flipp = True", "has config.data.flipp, which is no setting; did you mean flip?"),
        ("c.tokenizer.vocab = 3", "config.tokenizer.vocab, .*did you mean vocab_size?"),
        ("c.dekoder = c.decoder", "config.dekoder, which is no setting; did you mean decoder?"),
        ("c.decoder.train.optimizer.lr = 3", "config.decoder.train.optimizer.lr, which is no"),
        ("c.decoder.loss.targt = 'x0'", "config.decoder.loss.targt is no setting.*mean target?"),
        ("c.decoder.model.unet.chanels = 8", "unet.chanels is no setting; did you mean channels?"),
        ("c.decoder.diffusion.schedul = 'edm'", "schedul is no setting; did you mean schedule?"),
        ("c.decoder.data = ConfigDict({'sorce': ''})", "config.decoder.data.sorce, which is no"),
        ("del c.decoder.train.ema_decay", "lacks config.decoder.train.ema_decay, which .*base.py"),
        ("del c.data", "lacks config.data, which .*base.py has"),
        ("c.data = ConfigDict()", "lacks config.data"),
        ("del c.decoder.train", "has no section config.decoder.train"),
        ("c.decoder = None", "has no section config.decoder.train"),
        ("c.tokenizer = None", "config.tokenizer of .* is None; it must be a ConfigDict"),
        ("c.decoder.train.optimizer.learning_rate = None", "learning_rate is None; it must be"),
    ],
)
def test_a_setting_of_ones_own_config_that_is_misspelt_or_missing_is_named(tmp_path, line, message):
    path = tmp_path / "own.py"
    path.write_text(
        "from ml_collections import ConfigDict\nfrom configs import tiny\n"
        f"def get_config():\n    c = tiny.get_config()\n    {line}\n    return c\n"
    )
    with pytest.raises(ValueError, match=message):
        load_config(path)


def test_ones_own_config_may_give_a_sampler_its_options_and_a_stage_its_own_data(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(
        "from ml_collections import ConfigDict\nfrom configs import tiny\n"
        "def get_config():\n    c = tiny.get_config()\n    c.decoder.sample.order = 2\n"
        "    c.decoder.data = ConfigDict({'image_size': 12})\n    return c\n"
    )
    assert load_config(path).decoder.sample.order == 2
