"""The package as it is built, away from a checkout."""

import os
import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest

from dalle_jax.cli.main import VERBS
from tests.conftest import ONE_DEVICE, ROOT


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the built package."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("built")
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


BY_NAME = {
    "a config": ("train --config=tiny --print_config", "--config.data.source="),
    "a config of a folder": ("train --config=dalle2/clip --print_config", "--config.data.source="),
    "a user's config": ("train --config=configs/mine.py --print_config", "--config.data.source="),
    "a figure": ("figure schedules --dry-run", "needs no trained network"),
    "the figures": ("figure --list", "of a core"),
    "a mistyped sweep": ("sweep guidnace --workdir=w --dry-run", "did you mean guidance?"),
}


@pytest.mark.parametrize("what", BY_NAME)
def test_in_an_empty_folder_it_is_found_by_its_name(built, tmp_path, what):
    command, said = BY_NAME[what]
    (tmp_path / "configs").mkdir()
    mine = "from dalle_jax.configs import tiny\n\nget_config = tiny.get_config\n"
    (tmp_path / "configs/mine.py").write_text(mine)
    env = {**os.environ, "PYTHONPATH": str(built), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "dalle_jax", *command.split()]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert said in done.stdout + done.stderr and "Traceback" not in done.stderr
    assert (done.returncode == 0) == (what != "a mistyped sweep")


def test_what_the_package_needs_besides_python_is_in_it(built):
    there = {path.name for path in built.rglob("*") if path.is_file()}
    files, suffixes = (ROOT / "dalle_jax").rglob("*"), (".html", ".css", ".js")
    needed = {path for path in files if path.suffix in suffixes}
    assert needed and {path.name for path in needed} <= there and "py.typed" in there


def test_configs_sweeps_figures_and_their_records_are_in_it_and_no_more(built):
    there = {path.relative_to(built).as_posix() for path in built.rglob("*") if path.is_file()}
    assert all(path.startswith("dalle_jax/") for path in there)  # no name that is everybody's
    of = lambda folder: {f"dalle_jax/{x.relative_to(ROOT)}" for x in (ROOT / folder).rglob("*.py")}
    assert of("configs") <= there and "dalle_jax/configs.py" not in there
    figures = of("experiments/figures")
    records = {path for path in there if path.startswith("dalle_jax/experiments/results/")}
    assert records and all(path.endswith(".json") for path in records)
    experiments = {path for path in there if path.startswith("dalle_jax/experiments/")}
    assert figures and figures | {"dalle_jax/experiments/guidance.py"} <= experiments
    assert "dalle_jax/experiments/torch_speed.py" not in there  # a script of the checkout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The verb `dalle-jax` of an environment in which the package is installed from its sdist.

    What it depends on is that of this environment: nothing is downloaded.
    """
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("installed")
    run = lambda *command, cwd=folder: subprocess.run(command, cwd=cwd, check=True, text=True)
    skipped = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "*.png", "*.pdf")
    for name in ("dalle_jax", "configs", "experiments"):
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=skipped)
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    run(sys.executable, "setup.py", "-q", "sdist", "--dist-dir=..", cwd=folder / "source")
    shutil.rmtree(folder / "source")
    run(sys.executable, "-m", "venv", "--without-pip", "venv")
    (packages,) = (folder / "venv").glob("lib/python*/site-packages")
    (packages / "others.pth").write_text("\n".join(site.getsitepackages()))
    pip = (sys.executable, "-m", "pip", f"--python={folder}/venv/bin/python", "install")
    (source,) = folder.glob("*.tar.gz")
    run(*pip, "--quiet", "--no-index", "--no-deps", "--no-build-isolation", str(source))
    return folder / "venv/bin/dalle-jax"


@pytest.mark.long
@pytest.mark.timeout(2400)
def test_every_verb_works_in_an_empty_folder(installed, tmp_path):
    environ = {name: text for name, text in ONE_DEVICE.items() if name != "PYTHONPATH"}
    environ |= {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "home/.cache")}
    (tmp_path / "home").mkdir()
    (tmp_path / "empty").mkdir()

    def verb(command):
        run = [str(installed), *command.split()]
        done = subprocess.run(
            run, cwd=tmp_path / "empty", env=environ, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    where = subprocess.check_output(
        [installed.with_name("python"), "-c", "import dalle_jax; print(dalle_jax.__file__)"],
        cwd=tmp_path,
        env=environ,
        text=True,
    )
    assert Path(where.strip()).is_relative_to(installed.parents[1])
    for name in VERBS:
        assert f"dalle-jax {name}" in verb(f"{name} --help")
    for side in (24, 32):
        verb(f"prepare captioned_shapes/easy --resolution={side}")
    steps = "--config.decoder.train.steps=2"
    verb(f"train --config=tiny --workdir=runs/tiny {steps}")
    verb("sample --workdir=runs/tiny a_large_red_circle --out=circle.png")
    verb("evaluate --workdir=runs/tiny --n=8 --num_inference_steps=2")
    verb("export --workdir=runs/tiny --out=model")
    verb("sample --workdir=model a_large_red_circle --out=again.png")
    verb("bench --config=tiny --rounds=1 --block=1")
    verb("figure schedules")
    assert "24 points" in verb("sweep guidance --workdir=runs/sweeps --dry-run")
    verb("figure ddim_steps --dry-run")
    verb("completion bash")
    made = {path.name for path in (tmp_path / "empty").iterdir()}
    assert {"data", "runs", "figures", "model", "circle.png", "again.png"} <= made
