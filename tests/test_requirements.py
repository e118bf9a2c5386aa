"""What is installed: what a newcomer needs, all of it, and a sentence for what only some need."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ONE_DEVICE, ROOT

# What others need for what is not used here; launch/install.sh says for what.
LEFT_OUT = {"pyarrow", "huggingface-hub", "uvloop"}


def names_in(text):
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    return {canonicalize_name(Requirement(line).name) for line in lines if line}


def test_requirements_hold_all_that_is_needed_and_only_that():
    """Since they are installed without looking at what each of them needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = names_in((ROOT / "requirements.txt").read_text())
    needed, new = set(), {canonicalize_name(Requirement(r).name) for r in project["dependencies"]}
    extras = {"etils": {"edc", "enp", "epath", "epy", "etree"}}
    while new:
        needed |= new
        found = set()
        for name in new:
            try:
                lines = requires(name) or []
            except PackageNotFoundError:  # of another Python or system
                continue
            for requirement in map(Requirement, lines):
                asked = [{"extra": extra} for extra in ("", *extras.get(name, ()))]
                if requirement.marker is None or any(map(requirement.marker.evaluate, asked)):
                    found.add(canonicalize_name(requirement.name))
        new = found - needed - LEFT_OUT
    assert needed == listed


def test_every_extra_has_its_versions_and_is_installed_for_the_tests():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    pinned = names_in((ROOT / "launch/extras.txt").read_text())
    assert pinned == {
        canonicalize_name(Requirement(line).name)
        for name in ("parquet", "emoji", "remote")
        for line in extras[name]
    }
    assert any(re.fullmatch(r"dalle-jax\[slurm,parquet,emoji,remote\]", x) for x in extras["test"])


LACKING = {
    "pyarrow, images": ("pyarrow", "prepare parquet:a.parquet", "parquet"),
    "pyarrow, a table": ("pyarrow", "prepare folder:table", "parquet"),
    "emoji": ("emoji", "prepare emoji --font=a.ttf", "emoji"),
    "aiohttp": ("aiohttp", "prepare webdataset:http://127.0.0.1:1/0.tar", "remote"),
}


@pytest.mark.parametrize("case", LACKING)
def test_what_needs_a_package_that_is_not_installed_says_which_extra(case, tmp_path):
    package, command, extra = LACKING[case]
    for name in ("a.parquet", "a.ttf"):
        (tmp_path / name).touch()
    (tmp_path / "table").mkdir()
    (tmp_path / "table/metadata.parquet").touch()
    (tmp_path / "table/a.png").touch()
    program = (
        f"import sys; sys.modules[{package!r}] = None\n"
        f"from dalle_jax.cli.main import main; main({command.split()!r})"
    )
    environ = {**ONE_DEVICE, "DALLE_JAX_CPU_SETTINGS": "off"}
    run = [sys.executable, "-c", program]
    done = subprocess.run(run, cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"pip install 'dalle-jax[{extra}]'" in done.stderr
