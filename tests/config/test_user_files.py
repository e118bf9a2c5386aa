"""Config and experiment files lie anywhere; what is wrong in one is a sentence with its line."""

import sys

import pytest

from dalle_jax.cli import figure, sweep
from dalle_jax.config.load import load_config
from dalle_jax.config.places import CONFIGS, find_experiment
from dalle_jax.config.user_files import UserFile, find_config, known_configs
from dalle_jax.sweeps.sweep import load_sweep

CONFIG = """from dalle_jax.configs import base


def get_config():
    config = base.get_config()
    config.seed = 7
    return config
"""
SWEEP = """from dalle_jax.sweeps.grid import Sweep, product


def get_sweep(scale):
    return Sweep(config="configs/tiny.py", points=product(("seed", [0, 1])), evaluation=None)
"""


@pytest.mark.parametrize("folder", ["configs", "mine", "configs/further", "."])
def test_a_config_of_one_s_own_varies_those_of_the_project_wherever_it_lies(
    folder, tmp_path, monkeypatch
):
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / folder / "mine.py").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    path, modules = list(sys.path), {name for name in sys.modules if name.startswith("configs")}
    for name in (tmp_path / folder / "mine.py", f"{folder}/mine.py", f"./{folder}/mine"):
        assert load_config(name, ["--config.decoder.train.steps=3"]).seed == 7
    assert sys.path == path
    assert {name for name in sys.modules if name.startswith("configs")} == modules
    assert not list(tmp_path.rglob("__pycache__"))


def test_configs_of_one_s_own_come_before_those_of_the_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/mine.py").write_text(CONFIG.replace("dalle_jax.configs", "configs"))
    (tmp_path / "configs/base.py").write_text(
        "from configs import quickstart\n\n\ndef get_config():\n"
        "    config = quickstart.get_config()\n    config.data.flip = True\n    return config\n"
    )
    (tmp_path / "configs/quickstart.py").write_text((CONFIGS / "base.py").read_text())
    assert load_config("mine").data.flip and load_config("base").data.flip
    assert not load_config("quickstart").data.flip
    assert not load_config(CONFIGS / "quickstart.py").data.flip


def test_the_old_name_of_the_project_s_configs_is_answered_with_the_new_one(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(CONFIG.replace("dalle_jax.configs", "configs"))
    for _ in range(2):
        assert load_config(tmp_path / "mine.py").seed == 7
    said = capsys.readouterr().err
    assert said.count("imports configs.base, which is dalle_jax.configs.base now") == 1


def test_a_config_imports_a_file_beside_it(tmp_path):
    (tmp_path / "widths_of_mine.py").write_text("SEED = 11\n")
    (tmp_path / "mine.py").write_text(
        CONFIG.replace("= 7", "= widths_of_mine.SEED").replace(
            "from dalle_jax", "import widths_of_mine\n\nfrom dalle_jax"
        )
    )
    assert load_config(tmp_path / "mine.py").seed == 11


@pytest.mark.parametrize("name", ["quickstart", "quickstart.py", "configs/quickstart.py"])
def test_a_config_of_the_project_is_found_by_its_name_from_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config(name) == CONFIGS / "quickstart.py"
    assert find_config(name, beside=tmp_path / "experiments") == CONFIGS / "quickstart.py"
    assert find_config("dalle2/clip") == CONFIGS / "dalle2/clip.py"


def test_a_config_is_looked_for_beside_the_experiment_first(tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    for folder in (elsewhere, tmp_path / "project/experiments", tmp_path / "project/configs"):
        folder.mkdir(parents=True)
        (folder / "tiny.py").write_text(CONFIG)
    monkeypatch.chdir(elsewhere)
    beside = tmp_path / "project/experiments"
    assert find_config("tiny", beside) == beside / "tiny.py"
    assert find_config("configs/tiny.py", beside) == tmp_path / "project/configs/tiny.py"
    (beside / "tiny.py").unlink()
    assert find_config("tiny", beside) == elsewhere / "tiny.py"
    (elsewhere / "tiny.py").unlink()
    assert find_config("tiny", beside) == tmp_path / "project/configs/tiny.py"


def test_a_config_that_is_nowhere_is_told_with_the_places_and_the_nearest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"quickstrat, .*current folder nor .*quickstart\?"):
        load_config("quickstrat")
    with pytest.raises(FileNotFoundError, match=r"did you mean dalle2/decoder\?"):
        load_config("dalle2/decodr.py")
    with pytest.raises(FileNotFoundError, match=r"neither beside .*experiments nor in the current"):
        find_config("none", beside=tmp_path / "experiments")
    with pytest.raises(FileNotFoundError, match=rf"no config file {tmp_path}/none\.py$"):
        find_config(tmp_path / "none.py")
    with pytest.raises(FileNotFoundError, match="no config file"):
        load_config(tmp_path)  # a folder
    assert {"quickstart", "dalle2/clip"} <= set(known_configs(tmp_path))


def test_a_home_folder_is_written_as_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.py").write_text(CONFIG)
    assert load_config("~/mine.py").seed == 7 and find_config("~/mine") == tmp_path / "mine.py"


BROKEN = {
    "a name that is not there": ("\ndef FUNCTION(*given):\n    return stepz\n", 3, "NameError"),
    "at its top": ("x = 1\ny = x / 0\n", 2, "ZeroDivisionError"),
    "syntax": ("def FUNCTION(*given):\n    return (\n", 2, "SyntaxError: '(' was never closed"),
    "a tab": ("if True:\n\tx = 1\n        y = 2\n", 3, "TabError"),
    "an import": ("import os\nimport no_such_module_at_all\n", 2, "ModuleNotFoundError"),
    "a part of the project": ("from dalle_jax.sweeps.grid import Swep\n", 1, "ImportError"),
    "a call that dalle_jax refuses": (
        "from dalle_jax.sweeps.grid import product\n\n\ndef FUNCTION(*given):\n"
        "    return product(('a', [1]), ('a', [2]))\n",
        5,
        "ValueError",
    ),
    "without an argument too many": ("\n\ndef FUNCTION(a, b, c):\n    return a\n", 3, "TypeError"),
    "an exit": ("import sys\n\nsys.exit(3)\n", 3, "SystemExit: 3"),
    "an assertion": ("assert False\n", 1, "AssertionError"),
    "many lines": ("raise ValueError('a\\n\\nb')\n", 1, "ValueError: a b"),
    "a key": ("\ndef FUNCTION(*given):\n    return {}['seed']\n", 3, "KeyError: 'seed'"),
    "no text": (b"\xff\xfe\x00\x01", 1, "Error"),
}
LOADERS = {
    "get_config": lambda path: load_config(path),
    "get_sweep": lambda path: sweep.run([str(path), f"--workdir={path.parent}/w", "--dry-run"]),
    "get_figure": lambda path: figure.run([str(path)]),
}


@pytest.mark.parametrize("function", LOADERS)
@pytest.mark.parametrize("case", BROKEN)
def test_a_file_that_fails_is_one_sentence_with_its_line(case, function, tmp_path):
    text, line, said = BROKEN[case]
    path = tmp_path / "mine.py"
    path.write_bytes(
        text if isinstance(text, bytes) else text.replace("FUNCTION", function).encode()
    )
    with pytest.raises(ValueError) as failed:
        LOADERS[function](path)
    message = str(failed.value)
    assert message.startswith(f"{path} can't be run, line {line} of ") and said in message
    assert "mine.py: " in message and "\n" not in message


def test_a_file_that_imports_one_that_fails_names_that_one(tmp_path):
    (tmp_path / "helper_that_fails.py").write_text("x = 1\n\n\ny = x.no_such_thing\n")
    (tmp_path / "mine.py").write_text("import helper_that_fails\n")
    with pytest.raises(ValueError, match=r"mine\.py can't be run, line 4 of .*helper_that_fails"):
        UserFile(tmp_path / "mine.py")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no sweep: it defines no get_sweep(scale)"),
        ("get_sweep = 3", "TypeError: 'int' object is not callable"),
        ("def get_sweep(scale):\n    return {}", "gives a dict, not a Sweep"),
        ("def get_sweep(scale):\n    pass", "gives a NoneType, not a Sweep"),
        ("def get_sweep(scale):\n    return {'small': 1}[scale]", "has no scale 'tiny'"),
        (SWEEP.replace("configs/tiny.py", "configs/tinny.py"), "did you mean tiny?"),
    ],
)
def test_a_file_that_is_no_sweep_is_told(text, said, tmp_path):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises((ValueError, FileNotFoundError)) as failed:
        sweep.run([f"{tmp_path}/mine.py", f"--workdir={tmp_path}/w", "--dry-run"])
    assert said in str(failed.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no figure: it defines no get_figure(scale)"),
        ("def get_figure(scale):\n    return 3", "gives a int, not a Figure"),
        (
            "SCALES = {'small': 1}\n\ndef get_figure(scale):\n    return SCALES[scale]",
            "it has small",
        ),
    ],
)
def test_a_file_that_is_no_figure_is_told(text, said, tmp_path):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(ValueError) as failed:
        figure.run([f"{tmp_path}/mine.py"])
    assert said in str(failed.value)


def test_a_sweep_of_one_s_own_lies_anywhere(tmp_path, monkeypatch):
    from dalle_jax.sweeps import run as sweep_run

    seen = []
    monkeypatch.setattr(sweep_run, "run", lambda graph, place, config, **how: seen.append(config))
    (tmp_path / "mine.py").write_text(SWEEP)
    sweep.run([f"{tmp_path}/mine.py", f"--workdir={tmp_path}/w"])
    assert seen == [CONFIGS / "tiny.py"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"evaluation": 3}, "line 5 of .*evaluation is 3; it must be a dict of settings"),
        ({"overrides": [1]}, r"overrides is \[1\]; it must be a dict of settings"),
        ({"config": 3}, "config is 3; it must be the name of a config file"),
        ({"points": 3}, "points must be a list of dicts of overrides"),
        ({"points": [1]}, "points must be a list of dicts of overrides"),
        ({"points": "ab"}, "points must be a list of dicts of overrides"),
        ({"points": []}, "line 5 of .*the sweep has no points"),
        ({"points": [{}, {}]}, "line 5 of .*has the point base more than once"),
        ({"stages": "decoder"}, "stages is 'decoder'; it must be a tuple of names"),
        ({"evaluation": {"workdir": "w"}}, "evaluation has a workdir; each point is measured"),
    ],
)
def test_a_sweep_of_other_kinds_is_refused_with_the_line_of_the_user_s_file(
    tmp_path, change, message
):
    path = tmp_path / "mine.py"
    settings = {"config": "tiny", "points": [{}]} | change
    path.write_text(
        "from dalle_jax.sweeps.grid import Sweep\n\n\n"
        f"def get_sweep(scale):\n    return Sweep(**{settings!r})\n"
    )
    with pytest.raises(ValueError, match=message):
        load_sweep(path, "tiny")


def test_a_folder_is_no_experiment_file(tmp_path):
    with pytest.raises(ValueError, match="is a folder; give an experiment file in it"):
        find_experiment(tmp_path, "get_sweep")
