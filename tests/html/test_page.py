import base64
import io

import jinja2
import numpy as np
import pytest
from PIL import Image

from dalle_jax.html.page import data_uri, render


def test_an_image_is_inside_its_address():
    image = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    head, _, content = data_uri(image).partition(",")
    assert head == "data:image/png;base64"
    assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))) == image).all()


def test_text_is_escaped_and_a_value_that_is_missing_is_an_error():
    assert "<title>&lt;b&gt; &amp; \\u200b</title>" in render("base.html", title="<b> & \u200b")
    with pytest.raises(jinja2.UndefinedError, match="title"):
        render("base.html")
