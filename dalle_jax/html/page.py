"""Pages from the templates of this folder: each is one file that needs no other."""

import base64
import io
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from dalle_jax.pipelines.text import visible


def render(template: str, **values: Any) -> str:
    """The page that a template makes of its values, as HTML.

    All text is escaped, and characters that have no shape are shown as escapes.
    """
    return _ENVIRONMENT.get_template(template).render(values)


def data_uri(image: np.ndarray) -> str:
    """uint8 [H, W, 3] as an address that holds the image itself, as PNG."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("dalle_jax", "html"),
    autoescape=True,
    # A str that is no Markup, which is HTML already.
    finalize=lambda value: visible(value) if type(value) is str else value,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters["data_uri"] = data_uri
_ENVIRONMENT.policies["json.dumps_kwargs"] = {"sort_keys": False}
