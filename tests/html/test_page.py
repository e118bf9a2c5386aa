import base64
import io
import shutil
import subprocess
import sys

import jinja2
import numpy as np
import pytest
from PIL import Image

from dalle_jax.html.page import data_uri, render
from tests.conftest import ROOT


def test_an_image_is_inside_its_address():
    image = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    head, _, content = data_uri(image).partition(",")
    assert head == "data:image/png;base64"
    assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))) == image).all()


def test_text_is_escaped_and_a_value_that_is_missing_is_an_error():
    assert "<title>&lt;b&gt; &amp; \\u200b</title>" in render("base.html", title="<b> & \u200b")
    with pytest.raises(jinja2.UndefinedError, match="title"):
        render("base.html")


def test_an_installed_package_has_its_templates(tmp_path):
    pytest.importorskip("setuptools", "77", reason="builds the package without the network")
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "dalle_jax", source / "dalle_jax")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    install += ["--no-build-isolation", "--no-compile", "--target", str(target), str(source)]
    subprocess.run(install, check=True)
    templates = lambda root: (
        {path.name for path in (root / "dalle_jax/html").iterdir() if path.suffix != ".py"}
        - {"__pycache__"}
    )
    assert {"base.html", "style.css"} < templates(ROOT) == templates(target)
    code = (
        "from dalle_jax.html import page; print(page.__file__, page.render('base.html', title=''))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=target, capture_output=True, text=True, check=True
    ).stdout
    assert shown.startswith(str(target)) and "color-scheme" in shown
