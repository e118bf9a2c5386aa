"""Packages that only some need: a sentence where one is missing."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def needed_for(what: str, extra: str) -> Iterator[None]:
    """Import in here packages of an extra of pyproject.toml, which `what` needs.

    Raises:
        ImportError: one is not installed; the message says how to install it.
    """
    try:
        yield
    except ImportError as error:
        raise ImportError(
            f"{what} needs {error.name}, which is not installed: pip install 'dalle-jax[{extra}]', "
            f"or in a checkout `bash launch/install.sh {extra}`"
        ) from error
