"""What a notebook calls: the functions that `import dalle_jax` offers."""

import inspect

import pytest

import dalle_jax
from tests.conftest import ROOT


@pytest.mark.parametrize("name", sorted({*dalle_jax.__all__} - {"__version__"}))
def test_each_is_documented(name):
    public = getattr(dalle_jax, name)
    assert inspect.getdoc(public)
    assert public.__name__ == name


def test_a_sweep_says_what_it_would_do(tmp_path, capsys):
    path = ROOT / "experiments/guidance.py"
    assert dalle_jax.sweep(path, tmp_path / "sweeps", dry_run=True) == 0
    assert "24 points" in capsys.readouterr().out
    assert not (tmp_path / "sweeps/guidance-tiny").exists()


def test_a_figure_says_what_it_would_train(capsys):
    assert dalle_jax.figure("schedules", dry_run=True) == 0
    assert "nothing is to be trained" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match="did you mean schedules"):
        dalle_jax.figure("schedule")


def test_an_evaluation_refuses_a_misspelt_option_without_a_model(tmp_path):
    with pytest.raises(ValueError, match="no option 'metric'; did you mean metrics"):
        dalle_jax.evaluate(tmp_path, metric="oracle")
    with pytest.raises(FileNotFoundError):
        dalle_jax.evaluate(tmp_path)
