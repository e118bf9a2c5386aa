"""The package as it is built, away from a checkout."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the built package."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("built")
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("config", ["tiny", "dalle2/clip", "configs/mine.py"])
def test_configs_come_along_and_a_user_s_file_varies_them(built, tmp_path, config):
    (tmp_path / "configs").mkdir()
    mine = "from configs import tiny\n\n\ndef get_config():\n    return tiny.get_config()\n"
    (tmp_path / "configs/mine.py").write_text(mine)
    command = [sys.executable, "-m", "dalle_jax", "train", f"--config={config}", "--print_config"]
    env = {**os.environ, "PYTHONPATH": str(built), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "--config.data.source=" in done.stdout, done.stderr


def test_what_the_package_needs_besides_python_is_in_it(built):
    there = {path.name for path in built.rglob("*") if path.is_file()}
    files, suffixes = (ROOT / "dalle_jax").rglob("*"), (".html", ".css", ".js")
    needed = {path for path in files if path.suffix in suffixes}
    assert needed and {path.name for path in needed} <= there and "py.typed" in there
    assert not (built / "configs").exists()  # which is nobody's name alone
